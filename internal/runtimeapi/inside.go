// Package runtimeapi holds the two protocols around one invocation: the Lambda Runtime API (version 2018-06-01), that
// process 1 of a sandbox speaks to the function's runtime on loopback, and the channel of bounded messages between
// process 1 and the host.
//
// Format of the Runtime API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. Format of the channel:
// wire.go. The package moves bytes and knows nothing of what they mean.
package runtimeapi

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Inside is process 1's end of the channel.
type Inside struct {
	r   io.Reader
	out sender
	log *logSender
}

// NewInside speaks over r and w; the host sends the first message.
func NewInside(r io.Reader, w io.Writer) *Inside {
	return &Inside{r: bufio.NewReaderSize(r, maxLogChunk), out: sender{w: w}}
}

// Setup waits for the host's setup.
func (in *Inside) Setup() (Setup, error) {
	_, body, err := readMessage(in.r, only(kindSetup, maxControl))
	if err != nil {
		return Setup{}, fmt.Errorf("read setup: %w", err)
	}
	var s Setup
	if err := decode(body, &s); err != nil {
		return Setup{}, err
	}
	in.log = &logSender{out: &in.out, kept: NewHeadTail(s.MaxLog)}
	return s, nil
}

// Ready says that INIT is over.
func (in *Inside) Ready() error { return in.out.send(kindReady, nil) }

// Event waits for an event of at most maxEvent bytes. For a copy it starts a new log.
func (in *Inside) Event(maxEvent int) (Invocation, []byte, error) {
	_, body, err := readMessage(in.r, only(kindInvocation, maxControl))
	if err != nil {
		return Invocation{}, nil, fmt.Errorf("read invocation: %w", err)
	}
	var i Invocation
	if err := decode(body, &i); err != nil {
		return Invocation{}, nil, err
	}
	_, event, err := readMessage(in.r, only(kindEvent, maxEvent))
	if err != nil {
		return Invocation{}, nil, fmt.Errorf("read event: %w", err)
	}
	if i.Fresh {
		in.log.reset()
	}
	return i, event, nil
}

// Log takes what the function prints. Its head goes out at once, so that it survives a sandbox that is killed; of the
// rest the last part is kept until Finish. It never blocks on more than the limit of Setup, however much is printed.
func (in *Inside) Log() io.Writer { return in.log }

// Answer sends what is left of the log and then the answer to an event that another follows. That has a log of its own.
func (in *Inside) Answer(answer []byte) error {
	in.log.mu.Lock()
	defer in.log.mu.Unlock()
	if err := in.log.flushLocked(); err != nil {
		return err
	}
	in.log.resetLocked()
	return in.out.send(kindAnswer, answer)
}

// Finish sends what is left of the log and then the end. Nothing may be sent after it.
func (in *Inside) Finish(e End) error {
	if err := in.log.flush(); err != nil {
		return err
	}
	if e.Fault == nil {
		return in.out.send(kindAnswer, e.Answer)
	}
	if e.Document != nil {
		if err := in.out.send(kindDocument, e.Document); err != nil {
			return err
		}
	}
	return in.out.send(kindFault, encode(e.Fault))
}

func only(want kind, most int) func(kind) int {
	return func(k kind) int {
		if k == want {
			return most
		}
		return -1
	}
}

// logSender streams the head and holds the tail.
type logSender struct {
	mu   sync.Mutex
	out  *sender
	kept *HeadTail
	sent int // bytes of the head that are out
}

func (l *logSender) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, _ := l.kept.Write(p)
	for l.sent < len(l.kept.head) {
		chunk := l.kept.head[l.sent:min(len(l.kept.head), l.sent+maxLogChunk)]
		if err := l.out.send(kindLog, chunk); err != nil {
			return 0, err
		}
		l.sent += len(chunk)
	}
	return n, nil
}

func (l *logSender) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resetLocked()
}

func (l *logSender) resetLocked() {
	l.kept, l.sent = NewHeadTail(l.kept.limit), 0
}

// flush sends the tail, after how much is missing before it.
func (l *logSender) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flushLocked()
}

func (l *logSender) flushLocked() error {
	if l.kept.dropped > 0 {
		if err := l.out.send(kindDropped, binary.BigEndian.AppendUint64(nil, uint64(l.kept.dropped))); err != nil {
			return err
		}
	}
	rest := l.kept.tailBytes()
	for len(rest) > 0 {
		n := min(len(rest), maxLogChunk)
		if err := l.out.send(kindLog, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
