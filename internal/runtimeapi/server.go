package runtimeapi

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// Address is where process 1 serves the Runtime API: the value of AWS_LAMBDA_RUNTIME_API.
const Address = "127.0.0.1:9001"

const version = "/2018-06-01/runtime/"

// Error types of Lambda that this package decides on; all others are passed on as the runtime wrote them.
const (
	responseTooLarge = "Function.ResponseSizeTooLarge"
	unhandled        = "Unhandled"
)

// An End is how the one invocation ended: an Answer, or a Fault with the function's own Document.
type End struct {
	Answer   []byte
	Document []byte
	Fault    *Fault
}

// Server speaks the Runtime API to the runtime in one sandbox, for one event at a time. The order it holds to:
//
//	init ──next──▶ ready ──Give──▶ given ──response or error──▶ ended ──Rewind──▶ init
//	  └──init/error, or the process ends──────────────────────────▲
//
// Only the first end counts; what a runtime says later is refused, so that a second response or a response to
// another request id changes nothing. Its peer is the function, so every body is bounded.
type Server struct {
	maxAnswer int

	mu         sync.Mutex
	change     chan struct{} // closed and replaced by Give and Rewind
	ready      chan struct{} // closed when a runtime first waits
	ended      chan struct{} // closed when there is an end
	given      bool          // there is an event
	fetched    bool          // and it was handed out
	invocation Invocation
	event      []byte
	end        End
	dead       *Fault // the process is gone, for this event and all others
}

// NewServer refuses answers of more than maxAnswer bytes.
func NewServer(maxAnswer int) *Server {
	return &Server{maxAnswer: maxAnswer, change: make(chan struct{}), ready: make(chan struct{}), ended: make(chan struct{})}
}

// Ready is closed when the runtime asks for an event: INIT is over.
func (s *Server) Ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Ended is closed when there is an End.
func (s *Server) Ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// End is what happened first; it is there once Ended is closed.
func (s *Server) End() End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// Give hands in an event. It may be called once before Rewind.
func (s *Server) Give(i Invocation, event []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given, s.invocation, s.event = true, i, event
	s.changed()
}

// changed wakes all who wait for an event. The lock is held.
func (s *Server) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

// Finish ends the invocation from outside, unless it has ended already: the process died, the time is over.
func (s *Server) Finish(f Fault) {
	if f.Exited {
		s.mu.Lock()
		s.dead = &f
		s.mu.Unlock()
	}
	s.finish(End{Fault: &f})
}

// Rewind makes ready for another event, once one has ended: it was a rehearsal, or another follows.
func (s *Server) Rewind() {
	s.mu.Lock()
	s.ready, s.ended = make(chan struct{}), make(chan struct{})
	s.given, s.fetched, s.invocation, s.event, s.end = false, false, Invocation{}, nil, End{}
	s.changed()
	dead := s.dead
	s.mu.Unlock()
	if dead != nil {
		s.finish(End{Fault: dead})
	}
}

func (s *Server) finish(e End) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if closed(s.ended) {
		return false
	}
	if e.Fault != nil {
		e.Fault.Init = !s.fetched
	}
	s.end = e
	close(s.ended)
	return true
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, version)
	if !ok {
		refuse(w, http.StatusNotFound, "InvalidPath", "there is nothing here but the Runtime API "+version)
		return
	}
	get := r.Method == http.MethodGet
	post := r.Method == http.MethodPost
	id, verb, _ := strings.Cut(strings.TrimPrefix(path, "invocation/"), "/")
	switch {
	case path == "invocation/next" && get:
		s.next(w, r)
	case path == "restore/next" && get:
		// A runtime with restore hooks waits here while its copy is made, and runs them before it asks for the event.
		s.wait(r, false)
		w.WriteHeader(http.StatusOK)
	case (path == "init/error" || path == "restore/error") && post:
		s.initError(w, r)
	case strings.HasPrefix(path, "invocation/") && (verb == "response" || verb == "error") && post:
		if !s.checkID(w, r, id) {
			return
		}
		if verb == "error" {
			s.fail(w, r)
		} else {
			s.respond(w, r)
		}
	default:
		refuse(w, http.StatusNotFound, "InvalidPath", "unknown path or method")
	}
}

// wait says INIT is over and blocks until there is an event nobody has fetched, and fetches it if it should. A client
// that gave up gets false.
func (s *Server) wait(r *http.Request, fetch bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		// A runtime that has fetched its event and asks again waits for the next one, if there will be one.
		if !s.fetched && !closed(s.ready) {
			close(s.ready)
		}
		if s.given && !s.fetched {
			s.fetched = fetch
			return true
		}
		change := s.change
		s.mu.Unlock()
		select {
		case <-change:
			s.mu.Lock()
		case <-r.Context().Done():
			s.mu.Lock()
			return false
		}
	}
}

func (s *Server) next(w http.ResponseWriter, r *http.Request) {
	if !s.wait(r, true) {
		return
	}
	s.mu.Lock()
	i, event := s.invocation, s.event
	s.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(event)))
	h.Set("Lambda-Runtime-Aws-Request-Id", i.ID)
	h.Set("Lambda-Runtime-Invocation-Id", i.ID)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.DeadlineMS, 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", i.ARN)
	if i.Entry != Own {
		h.Set("She-Entry", string(i.Entry))
	}
	if i.Trace != "" {
		h.Set("Lambda-Runtime-Trace-Id", i.Trace)
	}
	if len(event) <= maxLogChunk {
		defer gather(r, w)()
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(event)
}

// checkID lets a response or an error through only for the event that was handed out and is not answered yet.
func (s *Server) checkID(w http.ResponseWriter, r *http.Request, id string) bool {
	s.mu.Lock()
	fetched, ended, want := s.fetched, closed(s.ended), s.invocation.ID
	s.mu.Unlock()
	echo := r.Header.Get("Lambda-Runtime-Invocation-Id")
	switch {
	case !fetched || subtle.ConstantTimeCompare([]byte(id), []byte(want)) != 1:
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "no such request is open")
	case echo != "" && echo != want:
		refuse(w, http.StatusGone, "InvocationGone", "that invocation is over")
	case ended:
		refuse(w, http.StatusBadRequest, "InvalidStateTransition", "the request has its answer")
	default:
		return true
	}
	return false
}

func (s *Server) respond(w http.ResponseWriter, r *http.Request) {
	body, err := readAtMost(r, s.maxAnswer)
	switch {
	case errors.Is(err, errTooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			"Exceeded maximum allowed payload size ("+strconv.Itoa(s.maxAnswer)+" bytes).")
		flush(w)
		s.finish(End{Fault: &Fault{Type: responseTooLarge}})
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, "TruncatedResponse", "the body ended early")
		return
	}
	// A streamed answer says in its trailer that it broke off.
	if t := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); t != "" {
		s.accept(w, End{Fault: &Fault{Type: shorten(t)}})
		return
	}
	s.accept(w, End{Answer: body})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request) {
	s.accept(w, failure(r))
}

func (s *Server) initError(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fetched := s.fetched
	s.mu.Unlock()
	if fetched {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "INIT is over")
		return
	}
	s.accept(w, failure(r))
}

func (s *Server) accept(w http.ResponseWriter, e End) {
	if !s.finish(e) {
		refuse(w, http.StatusBadRequest, "InvalidStateTransition", "the request has its answer")
		return
	}
	runtime.Gosched() // whoever waits for the end goes first: the host's answer is urgent, the runtime's is not
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

// failure reads an error report: the type from its header or else from the document.
func failure(r *http.Request) End {
	document, err := readAtMost(r, maxDocument)
	if err != nil {
		document = nil // too long to show; the type says what there is to say
	}
	var d struct {
		Type string `json:"errorType"`
	}
	_ = json.Unmarshal(document, &d)
	t := r.Header.Get("Lambda-Runtime-Function-Error-Type")
	if t == "" || strings.EqualFold(t, unhandled) {
		t = d.Type
	}
	return End{Document: document, Fault: &Fault{Type: shorten(t)}}
}

// shorten bounds a name from the function so that a Fault always fits its message.
func shorten(s string) string {
	const most = 128
	if len(s) > most {
		return unhandled
	}
	return s
}

var errTooLarge = errors.New("body too large")

func readAtMost(r *http.Request, most int) ([]byte, error) {
	if r.ContentLength > int64(most) {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if len(body) > most {
		return nil, errTooLarge
	}
	return body, nil
}

func refuse(w http.ResponseWriter, status int, errorType, message string) {
	body := encode(map[string]string{"errorType": errorType, "errorMessage": message})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
