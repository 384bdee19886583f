package edge

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A timedConn is a ResponseWriter that records the deadlines it is given.
type timedConn struct {
	*httptest.ResponseRecorder
	writes, reads []time.Time
}

func (c *timedConn) SetWriteDeadline(t time.Time) error { c.writes = append(c.writes, t); return nil }
func (c *timedConn) SetReadDeadline(t time.Time) error  { c.reads = append(c.reads, t); return nil }

// A client that reads or sends too slowly loses the connection. The next request on it begins without a
// deadline.
func TestClientsAreNotWaitedForForEver(t *testing.T) {
	conn := &timedConn{ResponseRecorder: httptest.NewRecorder()}
	w := newRecorder(conn, httptest.NewRequest("GET", "/", nil))
	text := bytes.Repeat([]byte("x"), 3*pieceSize+1)
	if n, err := w.Write(text); n != len(text) || err != nil || !bytes.Equal(conn.Body.Bytes(), text) {
		t.Fatalf("%d, %v", n, err)
	}
	w.done()
	if len(conn.writes) != 5 || conn.writes[0].IsZero() || !conn.writes[4].IsZero() {
		t.Errorf("a deadline for each of four pieces, then none: %v", conn.writes)
	}
	q := &Request{route: &Route{}, Request: httptest.NewRequest("POST", "/", strings.NewReader("{}"))}
	q.Header.Set("Content-Type", "application/json")
	if _, err := q.JSON(w); err != nil {
		t.Fatal(err)
	}
	if n := len(conn.reads); n < 2 || conn.reads[0].IsZero() || !conn.reads[n-1].IsZero() {
		t.Errorf("a deadline for the body, then none: %v", conn.reads)
	}
}

// After a panic, neither the 500 nor the log contains the panic's value. If an answer has begun, the panic
// ends the connection.
func TestPanics(t *testing.T) {
	var log bytes.Buffer
	serve := func(do func(*Recorder, *Request) error) (rec *httptest.ResponseRecorder, aborted bool) {
		s := New(Options{HATs: oneHAT{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		s.Serve(&Calls{Routes: []*Route{{Method: "GET", Pattern: "/x", Vaultless: true, Do: do}}, Write: func(w http.ResponseWriter, e *Error) { WriteJSON(w, e.Status, Message(e.Detail)) }})
		r := httptest.NewRequest("GET", "/x", nil)
		r.Host = "bob.test:9000"
		rec = httptest.NewRecorder()
		defer func() { aborted = recover() == http.ErrAbortHandler }()
		s.ServeHTTP(rec, r)
		return rec, false
	}
	rec, aborted := serve(func(*Recorder, *Request) error { panic(canary) })
	if aborted || rec.Code != 500 || strings.Contains(rec.Body.String()+log.String(), canary) || !strings.Contains(log.String(), "edge.TestPanics") {
		t.Errorf("%d %s, aborted %v, log %s", rec.Code, rec.Body, aborted, &log)
	}
	if _, aborted := serve(func(w *Recorder, _ *Request) error { _, _ = w.Write([]byte("{")); panic(canary) }); !aborted {
		t.Error("half an answer looks whole")
	}
	if _, aborted := serve(func(w *Recorder, _ *Request) error { _, _ = w.Write([]byte("{")); return io.ErrUnexpectedEOF }); !aborted {
		t.Error("half an answer looks whole")
	}
}

// Errors that no client may see, and the answers they become.
func TestErrorsInOneTable(t *testing.T) {
	for _, row := range byCause {
		wrapped := fmt.Errorf("doing something with %s: %w", canary, row.cause)
		answer, known := AnswerTo(wrapped)
		if !known || answer != row.answer {
			t.Errorf("%v: %v", row.cause, answer)
		}
	}
	answer, known := AnswerTo(fmt.Errorf("something with %s", canary))
	if known || answer.Status != 500 || strings.Contains(answer.Title+answer.Detail, canary) {
		t.Errorf("%v", answer)
	}
}
