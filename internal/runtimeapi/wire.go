package runtimeapi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// The channel between the host and process 1 is a pair of pipes. One message is
//
//	kind 1 byte | length 4 bytes, big endian | body
//
// From the host: Setup, once; then an Invocation and the event itself, once, or before that another time as a
// rehearsal, or as an event that another follows. From inside: any number of Log; Ready whenever the runtime asks for an
// event; an Answer to an event that another follows; and in the end either Answer, or perhaps Document and then Fault. A
// copy of a sandbox goes on where its original stood.
type kind byte

const (
	kindSetup      kind = 'S' // Setup as JSON
	kindInvocation kind = 'I' // Invocation as JSON, followed by
	kindEvent      kind = 'E' // the event's bytes

	kindReady    kind = 'R' // empty
	kindLog      kind = 'L' // bytes the function printed
	kindDropped  kind = 'D' // 8 bytes, big endian: how many printed bytes were left out at this point
	kindAnswer   kind = 'A' // the answer's bytes; the end, unless another event follows
	kindDocument kind = 'X' // the function's own error document, JSON
	kindFault    kind = 'F' // Fault as JSON; the end
)

const (
	maxControl  = 1 << 20  // a JSON message: environment and all
	maxFault    = 4 << 10  // a Fault
	maxLogChunk = 64 << 10 // one Log
	maxDocument = 256 << 10
)

// ErrProtocol is wrapped by every error about a message that must not be. Its text never quotes the message.
var ErrProtocol = errors.New("broken protocol")

// Setup tells process 1 what to run. It carries no data.
type Setup struct {
	Command   []string `json:"command"`
	Env       []string `json:"env"`
	Dir       string   `json:"dir"`
	UID       int      `json:"uid"` // of the function
	GID       int      `json:"gid"`
	OwnUID    int      `json:"ownUid"` // what process 1 becomes once the function runs; another one
	Processes int      `json:"processes"`
	Memory    int64    `json:"memory,omitempty"` // bytes, where process 1 itself hands it out
	MaxAnswer int      `json:"maxAnswer"`
	MaxLog    int      `json:"maxLog"`
}

// An Invocation is all about the event but its bytes.
type Invocation struct {
	ID         string `json:"id"`
	ARN        string `json:"arn"`
	DeadlineMS int64  `json:"deadlineMs"` // Unix time
	Trace      string `json:"trace,omitempty"`
	Warm       bool   `json:"warm,omitempty"`  // a rehearsal: no answer goes out, and Ready is said again
	Again      bool   `json:"again,omitempty"` // another event follows once this one has its answer
	Entry      Entry  `json:"entry,omitempty"` // whose handler the event is for
	Fresh      bool   `json:"fresh,omitempty"` // what was printed before is of INIT or a rehearsal, perhaps of the instance this is a copy of
}

// Entry names a handler of a process that has loaded two.
type Entry string

const (
	Own   Entry = ""      // of _HANDLER
	First Entry = "first" // of FirstHandler; header "She-Entry: first"
)

// Environment variables by which a bootstrap knows its first entry. Without them there is none.
const (
	FirstHandler = "SHE_FIRST_HANDLER"
	FirstName    = "SHE_FIRST_NAME"
)

// Deadline is DeadlineMS as a time.
func (i Invocation) Deadline() time.Time { return time.UnixMilli(i.DeadlineMS) }

// A Fault is why there is no answer, as process 1 saw it. Type is what the function's runtime reported and thus
// foreign text; it is only good for comparison with known names. Exited, Status and Signal are process 1's own.
type Fault struct {
	Type   string `json:"type"`
	Init   bool   `json:"init,omitempty"` // the event was not handed out yet
	Exited bool   `json:"exited,omitempty"`
	Status int    `json:"status,omitempty"` // exit status
	Signal int    `json:"signal,omitempty"` // or the signal that ended it
}

type message struct {
	kind kind
	body []byte
}

// writeMessages writes with one Write where that is not much: each wakes the other side, which costs it more than the
// copy does.
func writeMessages(w io.Writer, messages ...message) error {
	var buf []byte
	for _, m := range messages {
		buf = binary.BigEndian.AppendUint32(append(buf, byte(m.kind)), uint32(len(m.body)))
		if len(buf)+len(m.body) <= maxLogChunk {
			buf = append(buf, m.body...)
			continue
		}
		for _, part := range [][]byte{buf, m.body} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		buf = buf[:0]
	}
	if len(buf) == 0 {
		return nil
	}
	_, err := w.Write(buf)
	return err
}

// readMessage reads one message. limit says how long a body of each kind may be; a kind it has no positive answer
// for is refused. Memory grows with what arrives, not with what the length promises.
func readMessage(r io.Reader, limit func(kind) int) (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err // io.EOF: a clean end between two messages
	}
	k, n := kind(head[0]), int64(binary.BigEndian.Uint32(head[1:]))
	most := limit(k)
	if most < 0 {
		return 0, nil, fmt.Errorf("%w: a message of kind %d is not expected here", ErrProtocol, k)
	}
	if n > int64(most) {
		return 0, nil, fmt.Errorf("%w: a message of kind %d has %d bytes, at most %d are allowed", ErrProtocol, k, n, most)
	}
	var body bytes.Buffer
	body.Grow(int(min(n, maxLogChunk)) + bytes.MinRead)
	if _, err := io.CopyN(&body, r, n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return k, body.Bytes(), nil
}

// decode reads a JSON message strictly: an unknown field is an error, and so is anything behind the value.
func decode(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: a control message does not parse", ErrProtocol)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows a control message", ErrProtocol)
	}
	return nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own plain structs
	}
	return b
}

// sender serialises what process 1 writes.
type sender struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sender) send(k kind, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeMessages(s.w, message{k, body})
}
