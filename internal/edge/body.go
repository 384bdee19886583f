package edge

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"she/internal/bundle"
	"she/internal/engine"
)

// Bounds on the bodies of requests, in bytes. A route that stores records takes maxBody.
const (
	MaxBody = 10 << 20
	// MaxOpenBody is for requests without a token.
	MaxOpenBody = 4 << 10
	// MaxFormBody is for a handful of fields, or the ids of many runs.
	MaxFormBody = 64 << 10
	// MaxQueryBody is for a bundle, which has a lower bound of its own.
	MaxQueryBody = bundle.MaxDocument + 256<<10
	// MaxTermsBody is for the two bundles of a data debit.
	MaxTermsBody = 2*bundle.MaxDocument + 256<<10
	// MaxRecords of one request, links included: ten megabytes of "[0,0,0,…]" would be five million.
	MaxRecords = 50_000
)

// mostBody is how many bytes the body of a request for this route may have.
func (r *Route) mostBody() int64 {
	switch {
	case r.Needs == nil:
		return MaxOpenBody
	case r.BodyMax > 0:
		return r.BodyMax
	}
	return MaxFormBody
}

// tooLarge says how much a body may have.
func tooLarge(most int64) *Error {
	if most == MaxBody {
		return errTooLarge
	}
	return NewError(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		fmt.Sprintf("Request body exceeds the maximum size of %d KB", most>>10))
}

// JSON reads a JSON request's bytes.
func (q *Request) JSON(w *Recorder) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || kind != "application/json" && kind != "text/json" {
		return nil, errMediaType
	}
	most := q.route.mostBody()
	if q.ContentLength > most {
		return nil, tooLarge(most)
	}
	// Without a connection, as in some tests, there is nobody to wait for.
	began := time.Now()
	timed := w.Conn.SetReadDeadline(began.Add(bodyGrace)) == nil
	// MaxBytesReader closes the connection of a client that sends more; it needs the server's own writer.
	text, err := q.readBody(http.MaxBytesReader(w.ResponseWriter, q.Body, most), func(had int) {
		if timed {
			_ = w.Conn.SetReadDeadline(began.Add(min(bodyTime, bodyGrace+time.Duration(had)*time.Second/bodyRate)))
		}
	})
	var tooMuch *http.MaxBytesError
	switch {
	case errors.As(err, &tooMuch):
		return nil, tooLarge(most)
	case errors.Is(err, engine.ErrNoMemory), errors.Is(err, engine.ErrBeyondShare):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errTooSlow
	case err != nil:
		return nil, BadRequest("The request body ended too early")
	}
	w.unread = false
	if timed {
		_ = w.Conn.SetReadDeadline(time.Time{})
	}
	// A body may take a minute, in which the token may expire. Other revocations are found by the vault when
	// it writes.
	if q.clock != nil && q.Claims != (Claims{}) {
		if err := q.Claims.Hold(q.HAT, q.clock()); err != nil {
			return nil, ErrNotAuthenticated
		}
	}
	factor := int64(formFactor)
	if most == MaxBody {
		factor = DataFactor
	}
	return text, q.Hold(factor * int64(len(text)))
}

// The memory that a request holds from its beginning, and that its body takes: the most heap per byte of a
// body and per record. The values were measured with bodies of each shape: one text, many numbers, unordered
// objects, small records, links.
const (
	RequestHold  = 64 << 10
	strangerHold = 16 << 10
	DataFactor   = 6
	RecordHold   = 640
	formFactor   = 20 // of bundles, debits and forms
)

// Hold raises what the request holds to at least that many bytes.
func (q *Request) Hold(bytes int64) error { return q.Memory.Grow(q.Context(), bytes-q.Memory.Bytes()) }

const firstPiece = 64 << 10 // of a body; each further piece is as large as all before it

// readBody reads to the end. It acquires memory as the body arrives, so that a body that is only announced
// holds none, and a body of known length is copied at most twice. had is called with the bytes so far before
// each read that may wait.
func (q *Request) readBody(from io.Reader, had func(int)) ([]byte, error) {
	room := firstPiece
	if q.ContentLength >= 0 {
		room = min(room, int(q.ContentLength)+1) // one more, to see the end
	}
	text := make([]byte, 0, room)
	for {
		n, err := from.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err == io.EOF {
			return text, nil
		} else if err != nil {
			return nil, err
		}
		if len(text) == cap(text) {
			room := 4 * len(text)
			if q.ContentLength >= 0 {
				room = min(room, int(q.ContentLength)+1)
			}
			if err := q.Hold(int64(room)); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, max(room, len(text)+1)), text...)
		}
		had(len(text))
	}
}

// Ask begins a question, which takes turns with those of other HATs.
func (q *Request) Ask(properties map[string]bundle.PropertyQuery) *bundle.Question {
	return bundle.Ask(properties, q.turns)
}

// Grow adds to the memory that the request holds; it implements bundle.Within.Grow.
func (q *Request) Grow(bytes int64) error { return q.Memory.Grow(q.Context(), bytes) }
