package edge

import (
	"io"
	"net/http"
	"time"
)

// A Recorder writes to the client. It knows whether the answer has begun, and it waits for the client only
// for a limited time. The limit is needed because a waiting handler holds a vault, and perhaps a snapshot of
// it, and only a limited number of vaults can be open.
type Recorder struct {
	http.ResponseWriter
	Conn    *http.ResponseController
	request *http.Request
	Started bool
	sent    int  // bytes
	timed   bool // a deadline is set
	// unread is true if the request has a body that no handler has read to its end. known is true if its
	// token is valid.
	unread, known bool

	// begins is called before the answer begins, unless it is nil.
	begins func()
	// waits is called before a piece is sent, because the client may be slow. It may be nil.
	waits func()
	// Still returns an error if the client may not have what is not sent yet; nil means no check.
	Still   func() error
	refused bool // Still returned an error

	route  string // the pattern of the route; "": none
	status int    // 0: no answer has begun
}

// A client must take each piece, and send a body, within this time: about 17 KB and 170 KB per second.
// bodyGrace is the time for the beginning of a body. After it, at least bodyRate bytes must have arrived for
// each second.
const (
	pieceSize = 512 << 10
	pieceTime = 30 * time.Second
	bodyTime  = time.Minute
	bodyGrace = 10 * time.Second
	bodyRate  = 4 << 10
	// drainTime and drainSize bound the reading of an unwanted body from a caller with a valid token.
	drainTime = 5 * time.Second
	drainSize = 256 << 10
)

func newRecorder(w http.ResponseWriter, r *http.Request) *Recorder {
	return &Recorder{ResponseWriter: w, Conn: http.NewResponseController(w), request: r, unread: r.ContentLength != 0}
}

func (w *Recorder) WriteHeader(status int) {
	if !w.Started {
		w.status = status
		w.begin()
	}
	w.Started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *Recorder) Write(b []byte) (written int, err error) {
	if !w.Started {
		w.status = http.StatusOK
		w.begin()
	}
	w.Started = true
	if w.waits != nil {
		w.waits()
	}
	for {
		piece := b[written:min(written+pieceSize, len(b))]
		if err := w.ask(len(piece)); err != nil {
			return written, err
		}
		w.timed = w.Conn.SetWriteDeadline(time.Now().Add(pieceTime)) == nil || w.timed
		n, err := w.ResponseWriter.Write(piece)
		if written += n; err != nil || written == len(b) {
			return written, err
		}
	}
}

func (w *Recorder) begin() {
	if w.begins != nil {
		w.begins()
	}
	w.leaveBody()
}

// leaveBody keeps net/http from reading an unwanted body before and after the answer. Of a stranger's body it
// reads nothing, and the connection ends with the answer. Of other bodies it reads a little, so that the
// connection can be used again.
func (w *Recorder) leaveBody() {
	if !w.unread {
		return
	}
	w.unread = false
	if w.known && w.request.ContentLength <= drainSize && w.Conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		if _, err := io.CopyN(io.Discard, w.request.Body, drainSize+1); err == io.EOF {
			_ = w.Conn.SetReadDeadline(time.Time{})
			return
		}
	}
	w.Header().Set("Connection", "close")
	_ = w.Conn.SetReadDeadline(time.Now())
}

// ask is called before a piece goes out. An answer in one piece was made under the rights checked at the
// beginning. During a longer answer, such as a stream of events, the client may have lost these rights, so
// ask checks them again.
func (w *Recorder) ask(size int) error {
	first := w.sent == 0
	w.sent += size
	if w.Still == nil || first || w.status >= http.StatusBadRequest {
		return nil
	}
	err := w.Still()
	w.refused = w.refused || err != nil
	return err
}

// Unwrap gives http.ResponseController access to the connection.
func (w *Recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// done removes the deadline, because the next request on the connection has its own.
func (w *Recorder) done() {
	if w.timed {
		_ = w.Conn.SetWriteDeadline(time.Time{})
	}
}
