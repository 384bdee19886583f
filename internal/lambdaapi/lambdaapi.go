// Package lambdaapi is AWS Lambda's API. Clients of that API can call functions here: the AWS CLI, the SDKs,
// an original HAT server. A request is signed with an access key. The key reaches the functions it names, and
// no HAT.
//
//	POST /2015-03-31/functions/NAME/invocations                         RequestResponse, Event, DryRun
//	POST /2021-11-15/functions/NAME/response-streaming-invocations
//	GET  /2015-03-31/functions/ …/NAME …/NAME/configuration
//
// NAME is the name of an entry: <service>-<stage>-<id>, followed by -bundle or -configuration for these
// entries.
//
// Payloads may be personal data. No log, metric or error contains them. A waiting event is encrypted, and
// erased when it is done. The package knows no HAT and no record. Each call runs in an instance of its own,
// with the sandbox and the limits of a run.
package lambdaapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"she/internal/accesskey"
	"she/internal/catalog"
	"she/internal/engine"
	"she/internal/hat"
)

// Limits of Lambda, in bytes.
const (
	maxPayload = 6 << 20 // of a synchronous call, and of its answer
	maxEvent   = 1 << 20 // of an event that waits
	maxTail    = 4 << 10 // of the log shown to the caller
)

// architecture is Lambda's name for this machine's architecture.
const architecture = "x86_64"

// A client must send a body within bodyTime and take each piece of an answer within pieceTime. drainTime is
// for the body of a refused request.
const (
	bodyTime  = time.Minute
	drainTime = 5 * time.Second
	pieceTime = 30 * time.Second
	pieceSize = 512 << 10
	firstRead = 64 << 10 // bytes of memory for a body before any of it arrives
	bodyHold  = 3        // bytes of memory per byte of a body, while it is read, checked and passed on
)

// callsAtOnce bounds the calls of one key under way: as many as may wait for a slot beside the calls for
// HATs.
const callsAtOnce = 64

// Keys finds an access key. *accesskey.Keys is one.
type Keys interface {
	Find(id string) (accesskey.Key, bool)
}

// Functions is the part of the engine that callers reach; *engine.Engine documents the methods.
type Functions interface {
	Functions() []catalog.Function
	Direct(ctx context.Context, d engine.Direct) (engine.Reply, error)
}

// Options are what a Server needs.
type Options struct {
	Functions Functions
	Keys      Keys
	Events    *Queue                    // nil: events are refused
	Memory    *engine.Budget            // bounds what calls hold at once; nil: no bound
	Known     func(ctx context.Context) // called when this request's signature is valid; may be nil
	Log       *slog.Logger              // never sees a payload; nil discards
	Now       func() time.Time          // nil: time.Now
}

// A Server answers the calls of the API.
type Server struct {
	Options
	mu   sync.Mutex
	busy map[string]int // calls under way, by key
}

// New returns the handler of all paths. It sets the deadlines of the connection itself, because a call may
// take longer than a body.
func New(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: o, busy: map[string]int{}}
	mux := http.NewServeMux()
	at := func(pattern string, do func(w http.ResponseWriter, r *http.Request, key accesskey.Key, body []byte) *failure) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.answer(w, r, func(key accesskey.Key, body []byte) *failure { return do(w, r, key, body) })
		})
	}
	at("GET /2015-03-31/functions", s.list)
	at("GET /2015-03-31/functions/{$}", s.list)
	at("GET /2015-03-31/functions/{name}", s.get)
	at("GET /2015-03-31/functions/{name}/configuration", s.getConfiguration)
	at("POST /2015-03-31/functions/{name}/invocations", s.invoke)
	at("POST /2021-11-15/functions/{name}/response-streaming-invocations", s.stream)
	unknown := func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, func(accesskey.Key, []byte) *failure {
			return fail(http.StatusNotFound, "UnknownOperationException", "This server does not have the operation "+r.Method+" "+clip(r.URL.EscapedPath()))
		})
	}
	mux.HandleFunc("/", unknown)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &paced{w, http.NewResponseController(w)}
		// A ServeMux would redirect these requests, for every client, to an address that nobody has signed.
		if r.Method == http.MethodConnect || !isClean(r.URL.EscapedPath()) {
			unknown(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func isClean(at string) bool {
	cleaned := path.Clean(at)
	return at == cleaned || at == cleaned+"/" && cleaned != "/"
}

// A paced writer gives each piece of an answer its own deadline, so that a client can't keep an answer in
// memory by not reading it.
type paced struct {
	http.ResponseWriter
	conn *http.ResponseController
}

func (w *paced) Write(b []byte) (written int, err error) {
	for {
		piece := b[written:min(written+pieceSize, len(b))]
		_ = w.conn.SetWriteDeadline(time.Now().Add(pieceTime))
		n, err := w.ResponseWriter.Write(piece)
		if written += n; err != nil || written == len(b) {
			return written, err
		}
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *paced) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answer calls do for the key that signed the request. It checks the header before it reads any byte of the
// body.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, do func(key accesskey.Key, body []byte) *failure) {
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	w.Header().Set("Cache-Control", "no-store")
	conn := http.NewResponseController(w)
	_ = conn.SetWriteDeadline(time.Time{}) // that of the connection's last answer
	if r.ContentLength != 0 {
		_ = conn.SetReadDeadline(time.Now().Add(bodyTime))
	}
	read := false
	f := s.signed(w, r, func(key accesskey.Key, body []byte) *failure {
		read = true
		_ = conn.SetReadDeadline(time.Time{}) // or it would end the call
		return do(key, body)
	})
	if f != nil && !read && r.ContentLength != 0 {
		_ = conn.SetReadDeadline(time.Now().Add(drainTime)) // net/http reads a little of what nobody wanted
	}
	if f != nil {
		f.write(w)
	}
}

func (s *Server) signed(w http.ResponseWriter, r *http.Request, do func(key accesskey.Key, body []byte) *failure) *failure {
	signature, f := parseSignature(r, s.Now())
	if f != nil {
		return f
	}
	key, found := s.Keys.Find(signature.keyID)
	if !found {
		return fail(http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if r.ContentLength > maxPayload {
		return tooLarge(maxPayload)
	}
	held, err := s.Memory.Acquire(r.Context(), "access key "+key.ID, bodyHold*firstRead)
	if err != nil {
		return noMemory()
	}
	defer held.Release()
	body, f := readBody(w, r, held)
	if f != nil {
		return f
	}
	if f := signature.check(r, body, key); f != nil {
		return f
	}
	if s.Known != nil {
		s.Known(r.Context())
	}
	return do(key, body)
}

// readBody acquires memory as the body arrives and ignores the announced length, because the signature is not
// checked yet.
func readBody(w http.ResponseWriter, r *http.Request, held *engine.Held) ([]byte, *failure) {
	from := http.MaxBytesReader(w, r.Body, maxPayload)
	body := make([]byte, 0, firstRead)
	for {
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		var tooMuch *http.MaxBytesError
		switch {
		case err == io.EOF:
			return body, nil
		case errors.As(err, &tooMuch):
			return nil, tooLarge(maxPayload)
		case err != nil:
			return nil, fail(http.StatusBadRequest, "InvalidRequestContentException", "The body of the request ended too early, or came too slowly")
		case len(body) < cap(body):
			continue
		}
		room := min(2*cap(body), maxPayload+1) // one more, to see the end
		if held.Grow(r.Context(), bodyHold*int64(room-cap(body))) != nil {
			return nil, noMemory()
		}
		body = append(make([]byte, 0, room), body...)
	}
}

func noMemory() *failure {
	return throttled("CallerRateLimitExceeded", "The server has no memory free for this call; try again")
}

func tooLarge(most int) *failure {
	return fail(http.StatusRequestEntityTooLarge, "RequestTooLargeException", fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", most))
}

// payload returns the event of a call, which must be JSON. An empty body becomes an empty object.
func payload(body []byte) ([]byte, *failure) {
	if len(body) == 0 {
		return []byte("{}"), nil
	}
	if !json.Valid(body) {
		return nil, fail(http.StatusBadRequest, "InvalidRequestContentException", "Could not parse request body into json: the payload is not JSON")
	}
	return body, nil
}

// invoke: POST /2015-03-31/functions/{name}/invocations.
func (s *Server) invoke(w http.ResponseWriter, r *http.Request, key accesskey.Key, body []byte) *failure {
	d, f := s.named(r, key, "InvokeFunction")
	if f != nil {
		return f
	}
	event, f := payload(body)
	if f != nil {
		return f
	}
	h := w.Header()
	h.Set("X-Amz-Executed-Version", latest)
	switch kind := r.Header.Get("X-Amz-Invocation-Type"); kind {
	case "DryRun":
		w.WriteHeader(http.StatusNoContent)
		return nil
	case "Event":
		if len(event) > maxEvent {
			return tooLarge(maxEvent)
		}
		if s.Events == nil {
			return fail(http.StatusBadRequest, "InvalidParameterValueException", "This server keeps no events")
		}
		if err := s.Events.Add(key.ID, d.entry.Name, h.Get("X-Amzn-Requestid"), event); errors.Is(err, ErrQueueFull) {
			return throttled("CallerRateLimitExceeded", "Too many events of this key wait")
		} else if err != nil {
			s.Log.ErrorContext(r.Context(), "an event can't be kept", "function", d.entry.Name, "error", err)
			return fail(http.StatusInternalServerError, "ServiceException", "The event could not be kept; send it again")
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	case "", "RequestResponse":
	default:
		return fail(http.StatusBadRequest, "InvalidParameterValueException", "Invocation type must be RequestResponse, Event or DryRun")
	}
	reply, f := s.call(r.Context(), key, d, h.Get("X-Amzn-Requestid"), event)
	if f != nil {
		return f
	}
	if r.Header.Get("X-Amz-Log-Type") == "Tail" {
		h.Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(tail(reply, d, h.Get("X-Amzn-Requestid"))))
	}
	answer := reply.Payload
	if reply.Fault != nil {
		h.Set("X-Amz-Function-Error", "Unhandled")
		answer = document(reply, d, h.Get("X-Amzn-Requestid"))
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(answer)
	return nil
}

// call returns the function's answer, or its failure if the function itself failed. Every other error is a
// *failure.
func (s *Server) call(ctx context.Context, key accesskey.Key, d deployed, id string, event []byte) (engine.Reply, *failure) {
	leave, ok := s.enter(key.ID)
	if !ok {
		return engine.Reply{}, throttled("ReservedFunctionConcurrentInvocationLimitExceeded", "Rate Exceeded.")
	}
	defer leave()
	held, err := s.Memory.Acquire(ctx, "access key "+key.ID, maxPayload)
	if err != nil {
		return engine.Reply{}, noMemory()
	}
	defer held.Release()
	reply, err := s.Functions.Direct(ctx, engine.Direct{Function: d.function, Entry: d.entry, Caller: key.ID, ID: id, Event: event})
	switch {
	case err != nil: // the caller hung up, or the server is stopping
		return reply, fail(http.StatusServiceUnavailable, "ServiceException", "The call was ended before there was an answer")
	case reply.Fault != nil && reply.Fault.Who != hat.Author:
		return reply, fail(http.StatusInternalServerError, "ServiceException", "The function could not be run: "+reply.Fault.Code)
	}
	return reply, nil
}

// enter counts a call of the key. If ok, leave must be called at its end.
func (s *Server) enter(key string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] >= callsAtOnce {
		return nil, false
	}
	s.busy[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy[key]--; s.busy[key] == 0 {
			delete(s.busy, key)
		}
	}, true
}

// document returns the error document of a failed call: the function's own, or Lambda's text for how it
// ended.
func document(r engine.Reply, d deployed, id string) []byte {
	if len(r.Payload) > 0 && json.Valid(r.Payload) {
		return r.Payload
	}
	said := r.Fault.Text
	if r.Fault.Code == engine.Timedout {
		said = fmt.Sprintf("Task timed out after %.2f seconds", d.entry.Timeout.Seconds())
	}
	text, _ := json.Marshal(struct { // strings always encode
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}{r.Fault.Code, "RequestId: " + id + " Error: " + said})
	return text
}

// tail returns the end of a call's log, between the lines that Lambda writes.
func tail(r engine.Reply, d deployed, id string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "START RequestId: %s Version: %s\n", id, latest)
	b.Write(r.Log)
	if n := len(r.Log); n > 0 && r.Log[n-1] != '\n' {
		b.WriteByte('\n')
	}
	millis := float64(r.Ran) / float64(time.Millisecond)
	fmt.Fprintf(&b, "END RequestId: %s\nREPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		id, id, millis, int64(millis)+1, d.entry.Memory, r.Memory>>20)
	if r.Init > 0 {
		fmt.Fprintf(&b, "Init Duration: %.2f ms\t", float64(r.Init)/float64(time.Millisecond))
	}
	b.WriteByte('\n')
	text := b.String()
	return []byte(text[max(0, len(text)-maxTail):])
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // the server's own types always encode
		status, text = http.StatusInternalServerError, []byte(`{"message":"Internal Server error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
