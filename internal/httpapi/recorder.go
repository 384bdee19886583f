package httpapi

import (
	"net/http"
	"time"
)

// A recorder is the way to the client. It knows whether an answer has begun, and it does not wait for ever: while a
// handler waits for a client, it holds on to a vault of which only so many are open, perhaps to a snapshot of it.
type recorder struct {
	http.ResponseWriter
	conn    *http.ResponseController
	started bool
	timed   bool // a deadline is set

	route  string // the pattern of the request's route; "": none
	status int    // 0: no answer has begun
}

// A client must take each piece, and send a body, in this time: some 17 KB and 170 KB per second.
const (
	pieceSize = 512 << 10
	pieceTime = 30 * time.Second
	bodyTime  = time.Minute
)

func newRecorder(w http.ResponseWriter) *recorder {
	return &recorder{ResponseWriter: w, conn: http.NewResponseController(w)}
}

func (w *recorder) WriteHeader(status int) {
	if !w.started {
		w.status = status
	}
	w.started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (written int, err error) {
	if !w.started {
		w.status = http.StatusOK
	}
	w.started = true
	for {
		piece := b[written:min(written+pieceSize, len(b))]
		w.timed = w.conn.SetWriteDeadline(time.Now().Add(pieceTime)) == nil || w.timed
		n, err := w.ResponseWriter.Write(piece)
		if written += n; err != nil || written == len(b) {
			return written, err
		}
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// done takes the deadline away: the connection's next request has its own.
func (w *recorder) done() {
	if w.timed {
		_ = w.conn.SetWriteDeadline(time.Time{})
	}
}
