package runtimeapi

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Host is the host's end of the channel. It believes nothing: every message is bounded, has its place in the order,
// and a breach is an ErrProtocol after which the sandbox can only be killed. It is for one goroutine; closing the
// reader ends a waiting call.
type Host struct {
	w      io.Writer
	r      io.Reader
	answer int // limits in bytes
	log    *HeadTail
	whole  bool // the log is: the answer or the end was told
	again  bool // another event follows an answer, so Ready does too
}

// NewHost speaks over w and r with a process 1 that keeps to the limits of setup.
func NewHost(w io.Writer, r io.Reader, maxAnswer, maxLog int) *Host {
	return &Host{w: w, r: bufio.NewReader(r), answer: maxAnswer, log: NewHeadTail(maxLog)}
}

// A FaultError is an end without an answer that process 1 reported; Document is the function's own error document,
// if it left one.
type FaultError struct {
	Fault    Fault
	Document []byte
}

func (e *FaultError) Error() string { return "the function left no answer" }

// Start sends the setup and waits until the runtime asks for its event. Errors: *FaultError when INIT failed; io.EOF
// or io.ErrUnexpectedEOF when the sandbox ended; ErrProtocol.
func (h *Host) Start(s Setup) error {
	if err := writeMessages(h.w, message{kindSetup, encode(s)}); err != nil {
		return fmt.Errorf("send setup: %w", err)
	}
	_, err := h.receive(true)
	return err
}

// Rehearse sends an event whose answer nobody gets, and waits until the runtime asks for another. Errors as for
// Start; a function that fails its rehearsal and lives is none. What was printed so far is forgotten.
func (h *Host) Rehearse(i Invocation, event []byte) error {
	i.Warm = true
	if err := h.send(i, event); err != nil {
		return err
	}
	if _, err := h.receive(true); err != nil {
		return err
	}
	h.log = NewHeadTail(h.log.limit)
	return nil
}

// Invoke sends the event and waits for the answer. Errors as for Start. After the answer to one with Again it may be called
// again; what was printed since is in the next log.
func (h *Host) Invoke(i Invocation, event []byte) ([]byte, error) {
	if h.again {
		h.log, h.whole = NewHeadTail(h.log.limit), false
	}
	if err := h.send(i, event); err != nil {
		return nil, err
	}
	answer, err := h.receive(false)
	h.again = i.Again && err == nil
	return answer, err
}

func (h *Host) send(i Invocation, event []byte) error {
	if err := writeMessages(h.w, message{kindInvocation, encode(i)}, message{kindEvent, event}); err != nil {
		return fmt.Errorf("send an event: %w", err)
	}
	return nil
}

// Log is what the function printed so far: at most the limit, and a line where something was left out. A process 1 that
// is killed has sent the head alone.
func (h *Host) Log() []byte {
	if !h.whole && h.log.headIsFull() {
		return append(h.log.Bytes(), "\n[what was printed after this is lost: the sandbox was ended]\n"...)
	}
	return h.log.Bytes()
}

func (h *Host) receive(untilReady bool) ([]byte, error) {
	var document []byte
	for {
		k, body, err := readMessage(h.r, func(k kind) int {
			switch {
			case k == kindReady && (untilReady || h.again):
				return 0
			case k == kindLog:
				return maxLogChunk
			case k == kindDropped:
				return 8
			case k == kindAnswer && !untilReady:
				return h.answer
			case k == kindDocument && document == nil:
				return maxDocument
			case k == kindFault:
				return maxFault
			}
			return -1
		})
		if err != nil {
			return nil, err
		}
		switch k {
		case kindAnswer:
			h.whole = true
			return body, nil
		case kindReady:
			if untilReady {
				return body, nil
			}
			h.again = false // once
		case kindLog:
			// HeadTail bounds what a process 1 that has stopped counting may send.
			_, _ = h.log.Write(body)
		case kindDropped:
			if len(body) != 8 {
				return nil, fmt.Errorf("%w: a count has %d bytes", ErrProtocol, len(body))
			}
			h.log.Skip(int64(binary.BigEndian.Uint64(body) & (1<<62 - 1)))
		case kindDocument:
			document = append([]byte{}, body...)
		case kindFault:
			var f Fault
			if err := decode(body, &f); err != nil {
				return nil, err
			}
			h.whole = true
			return nil, &FaultError{f, document}
		}
	}
}

// Ended says that err means the other side went away rather than misbehaved.
func Ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
