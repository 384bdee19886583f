package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/directory"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/vault"
)

// An apiError is an error as the client sees it. The HAT API has two families: the framework's
// {"error","message"} and the controllers' {"message","cause"}.
type apiError struct {
	status     int
	body       any
	retryAfter string
	link       string // to what tells more, for clients that may see it
}

type frameworkBody struct {
	Error   string `json:"error"`
	Message any    `json:"message"`
}

type controllerBody struct {
	Message string   `json:"message"`
	Cause   string   `json:"cause"`
	Details []string `json:"details,omitempty"`
}

func (e *apiError) Error() string { return fmt.Sprintf("answered with status %d", e.status) }

func framework(status int, title string, message any) *apiError {
	return &apiError{status: status, body: frameworkBody{title, message}}
}

func controller(status int, message, cause string, details ...string) *apiError {
	return &apiError{status: status, body: controllerBody{message, cause, details}}
}

func badRequest(message any) *apiError {
	return framework(http.StatusBadRequest, "Bad Request", message)
}

func noHandler(r *http.Request) *apiError {
	return framework(http.StatusNotFound, "Handler Not Found",
		fmt.Sprintf("Request handler at %s:%s does not exist", r.Method, r.URL.EscapedPath()))
}

// TermsChanged is the title of the answer to who agrees to other terms than they were shown.
const TermsChanged = "Terms Changed"

var (
	errNotAuthenticated = framework(http.StatusUnauthorized, "Not Authenticated", "Not Authenticated")
	errForbidden        = framework(http.StatusForbidden, "Forbidden", "Access Denied")
	errNoHAT            = framework(http.StatusNotFound, "Not Found", "HAT unavailable")
	errMediaType        = framework(http.StatusUnsupportedMediaType, "Unsupported Media Type",
		"Expecting text/json or application/json body")
	errTooLarge = framework(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		"Request body exceeds the maximum size of 10 MB")
	errTooSlow = framework(http.StatusRequestTimeout, "Request Timeout", "The request body took too long")
	errTooMany = framework(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		fmt.Sprintf("More than %d records in one request", maxRecords))
	errClosed = &apiError{
		status: http.StatusServiceUnavailable, retryAfter: "1",
		body: frameworkBody{"Service Unavailable", "The HAT's storage is being opened anew"},
	}
	errNoMemory = &apiError{
		status: http.StatusServiceUnavailable, retryAfter: "2",
		body: frameworkBody{"Service Unavailable", "The server has no memory free for this request; try again"},
	}
	errBeyondShare = framework(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		"The request needs more memory than this server gives one HAT")
	errTooMuch = controller(http.StatusBadRequest, "Bad Request", bundle.ErrTooMuch.Error())
	errTerms   = controller(http.StatusConflict, TermsChanged,
		"What would be agreed to is not what was shown last; read it again, then agree")
	errNoRoom = framework(http.StatusInsufficientStorage, "Insufficient Storage", "No room left to store data")
)

// byCause is the one table from what went wrong to what the client is told. Handlers whose clients expect a text of
// their own answer an *apiError before it comes to this.
var byCause = []struct {
	cause  error
	answer *apiError
}{
	{directory.ErrNotFound, errNoHAT},
	{access.ErrDenied, errForbidden},
	{access.ErrRevoked, errForbidden},
	{access.ErrWithdrawn, errNotAuthenticated},
	{access.ErrTermsChanged, errTerms},
	{vault.ErrFull, errNoRoom},
	{vault.ErrClosed, errClosed},
	{engine.ErrNoMemory, errNoMemory},
	{engine.ErrBeyondShare, errBeyondShare},
	{bundle.ErrTooMuch, errTooMuch},
	{vault.ErrDuplicate, controller(http.StatusBadRequest, "Bad Request", "Duplicate data - Duplicate data")},
	{jsonb.ErrNumberTooLarge, badRequest("Invalid Json: " + jsonb.ErrNumberTooLarge.Error())},
	{jsonb.ErrTooDeep, badRequest("Invalid Json: " + jsonb.ErrTooDeep.Error())},
	{jsonb.ErrTooMany, errTooMany},
	{hat.ErrEndpointInvalid, badRequest(hat.ErrEndpointInvalid.Error())},
}

// answerTo finds the answer; what it has no name for is a 500 that says nothing but an id.
func answerTo(err error) (answer *apiError, known bool) {
	if errors.As(err, &answer) {
		return answer, true
	}
	var field *hat.FieldError
	if errors.As(err, &field) {
		return badField(field), true
	}
	var over *vault.QuotaError
	if errors.As(err, &over) {
		return framework(http.StatusInsufficientStorage, "Insufficient Storage", sentence(over.Fault.Text)), true
	}
	if errors.Is(err, jsonb.ErrNotJSON) {
		return badRequest("Invalid Json: " + err.Error()), true // hat says where, never what
	}
	var fuel *bundle.FuelError
	if errors.As(err, &fuel) {
		return controller(http.StatusBadRequest, "Bad Request", fuel.Error()), true
	}
	for _, row := range byCause {
		if errors.Is(err, row.cause) {
			return row.answer, true
		}
	}
	id := rand.Text()[:10]
	return framework(http.StatusInternalServerError, "Internal Server error", "Server error occurred: "+id), false
}

// sentence is a text with a capital letter.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// badField is the framework's form for a JSON document that does not fit: path → what is wrong there.
func badField(e *hat.FieldError) *apiError {
	type detail struct {
		Msg  []string `json:"msg"`
		Args []string `json:"args"`
	}
	return badRequest(map[string][]detail{e.Path: {{Msg: []string{e.Message}, Args: []string{}}}})
}

func (s *server) fail(w *recorder, r *http.Request, err error) {
	answer, known := answerTo(err)
	if !known && r.Context().Err() == nil {
		var said any = "-"
		if b, ok := answer.body.(frameworkBody); ok {
			said = b.Message
		}
		s.Log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "request failed",
			slog.String("method", r.Method), slog.Any("answer", said), slog.Any("error", err))
	}
	if w.started {
		// Half an answer is out; cutting the connection is the only way to say that it is not whole.
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	if answer.status == http.StatusUnauthorized {
		h.Del(tokenHeader)
	}
	if answer.retryAfter != "" {
		h.Set("Retry-After", answer.retryAfter)
	}
	h.Del("Link") // of a list that came to nothing
	h.Del(TotalHeader)
	if answer.link != "" {
		h.Set("Link", "<"+answer.link+`>; rel="describedby"`)
		expose(h, "Link")
	}
	if isOwn(r) {
		writeProblem(w, answer)
		return
	}
	writeJSON(w, answer.status, answer.body)
}

// jsonHeaders: what the API says is personal, so nobody on the way may keep it or take it for a page.
func jsonHeaders(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only values of our own types get here; one that can't be encoded is a bug, and must not become a 200.
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":"Internal Server error","message":"Server error occurred"}`)
	}
	writeBytes(w, status, bytes.TrimRight(b.Bytes(), "\n"))
}

func writeBytes(w http.ResponseWriter, status int, body []byte) {
	jsonHeaders(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is nobody's error
}

func message(text string) map[string]string { return map[string]string{"message": text} }
