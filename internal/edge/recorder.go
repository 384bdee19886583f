package edge

import (
	"io"
	"net/http"
	"time"
)

// A Recorder is the way to the client. It knows whether an answer has begun, and it does not wait for ever: while a
// handler waits for a client, it holds on to a vault of which only so many are open, perhaps to a snapshot of it.
type Recorder struct {
	http.ResponseWriter
	Conn    *http.ResponseController
	request *http.Request
	Started bool
	sent    int  // bytes
	timed   bool // a deadline is set
	// unread: the request has a body that no handler has read to its end. known: the request's token is valid.
	unread, known bool

	// begins is called before the answer begins; nil: nobody needs to know.
	begins func()
	// waits is called before a piece is sent: the client may take its time. nil: nobody needs to know.
	waits func()
	// Still says whether the client may have what is not sent yet; nil: nobody asks.
	Still   func() error
	refused bool // it said no

	route  string // the pattern of the request's route; "": none
	status int    // 0: no answer has begun
}

// A client must take each piece, and send a body, in this time: some 17 KB and 170 KB per second. bodyGrace is what it
// has for the beginning of a body; from then on at least bodyRate bytes must have come for each second.
const (
	pieceSize = 512 << 10
	pieceTime = 30 * time.Second
	bodyTime  = time.Minute
	bodyGrace = 10 * time.Second
	bodyRate  = 4 << 10
	// drainTime and drainSize are for a body that no handler wanted, of a caller with a valid token.
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

// leaveBody keeps net/http from reading, before and after an answer, a body that nobody wanted: of a stranger not a
// byte, and the connection ends with the answer; of others a little, so that it may go on.
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

// ask is called before a piece goes out. An answer of one piece was made under the rights the request was let in with;
// one that takes longer is for a client who may have lost them meanwhile, as a stream of events is.
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

// Unwrap lets http.ResponseController reach the connection.
func (w *Recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// done takes the deadline away: the connection's next request has its own.
func (w *Recorder) done() {
	if w.timed {
		_ = w.Conn.SetWriteDeadline(time.Time{})
	}
}
