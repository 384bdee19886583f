package edge

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
	"she/internal/logins"
	"she/internal/vault"
)

// An Error is what a client is told about an error. Each API has its own form for it.
type Error struct {
	Status        int
	Title, Detail string
	Body          any    // in an API's own form; nil: it is made of title and detail
	RetryAfter    string // seconds; "": nothing is said of it
	Link          string // to what tells more, for clients that may see it
}

func (e *Error) Error() string { return fmt.Sprintf("answered with status %d", e.Status) }

func NewError(status int, title, detail string) *Error {
	return &Error{Status: status, Title: title, Detail: detail}
}

func BadRequest(detail string) *Error {
	return NewError(http.StatusBadRequest, "Bad Request", detail)
}

func noHandler(r *http.Request) *Error {
	return NewError(http.StatusNotFound, "Handler Not Found",
		fmt.Sprintf("Request handler at %s:%s does not exist", r.Method, r.URL.EscapedPath()))
}

// TermsChanged is the title of the answer to a call that agrees to other terms than were shown.
const TermsChanged = "Terms Changed"

var (
	ErrNotAuthenticated = NewError(http.StatusUnauthorized, "Not Authenticated", "Not Authenticated")
	errForbidden        = NewError(http.StatusForbidden, "Forbidden", "Access Denied")
	errNoHAT            = NewError(http.StatusNotFound, "Not Found", "HAT unavailable")
	errMediaType        = NewError(http.StatusUnsupportedMediaType, "Unsupported Media Type",
		"Expecting text/json or application/json body")
	errTooLarge = NewError(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		"Request body exceeds the maximum size of 10 MB")
	errTooSlow = NewError(http.StatusRequestTimeout, "Request Timeout", "The request body took too long")
	ErrTooMany = NewError(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		fmt.Sprintf("More than %d records in one request", MaxRecords))
	errClosed = &Error{
		Status:     http.StatusServiceUnavailable,
		RetryAfter: "1",
		Title:      "Service Unavailable",
		Detail:     "The HAT's storage is being opened anew",
	}
	errNoMemory = &Error{
		Status:     http.StatusServiceUnavailable,
		RetryAfter: "2",
		Title:      "Service Unavailable",
		Detail:     "The server has no memory free for this request; try again",
	}
	errBeyondShare = NewError(http.StatusRequestEntityTooLarge, "Request Entity Too Large",
		"The request needs more memory than this server gives one HAT")
	errTooMuch = NewError(http.StatusBadRequest, "Bad Request", bundle.ErrTooMuch.Error())
	errTerms   = NewError(http.StatusConflict, TermsChanged,
		"What would be agreed to is not what was shown last; read it again, then agree")
	errRate       = NewError(http.StatusTooManyRequests, "Too Many Requests", logins.ErrTooOften.Error())
	errCrowdedOut = &Error{
		Status: http.StatusServiceUnavailable, RetryAfter: "5",
		Title: "Service Unavailable", Detail: "Too many logins at once, try again in a few seconds",
	}
	errNoRoom = NewError(http.StatusInsufficientStorage, "Insufficient Storage", "No room left to store data")
)

// byCause is the one table from errors to answers. Handlers whose clients expect a special text return an
// *Error instead.
var byCause = []struct {
	cause  error
	answer *Error
}{
	{directory.ErrNotFound, errNoHAT},
	{access.ErrDenied, errForbidden},
	{access.ErrRevoked, errForbidden},
	{access.ErrWithdrawn, ErrNotAuthenticated},
	{access.ErrTermsChanged, errTerms},
	{vault.ErrFull, errNoRoom},
	{vault.ErrClosed, errClosed},
	{engine.ErrNoMemory, errNoMemory},
	{engine.ErrBeyondShare, errBeyondShare},
	{bundle.ErrTooMuch, errTooMuch},
	{logins.ErrTooOften, errRate},
	{logins.ErrCrowded, errCrowdedOut},
	{vault.ErrDuplicate, BadRequest("Duplicate data")},
	{jsonb.ErrNumberTooLarge, BadRequest("Invalid Json: " + jsonb.ErrNumberTooLarge.Error())},
	{jsonb.ErrTooDeep, BadRequest("Invalid Json: " + jsonb.ErrTooDeep.Error())},
	{jsonb.ErrTooMany, ErrTooMany},
	{hat.ErrEndpointInvalid, BadRequest(hat.ErrEndpointInvalid.Error())},
}

// AnswerTo returns the answer. For an unknown error it is a 500 that contains only an id.
func AnswerTo(err error) (answer *Error, known bool) {
	if errors.As(err, &answer) {
		return answer, true
	}
	var field *hat.FieldError
	if errors.As(err, &field) {
		return BadRequest(field.Path + ": " + field.Message), true
	}
	var over *vault.QuotaError
	if errors.As(err, &over) {
		return NewError(http.StatusInsufficientStorage, "Insufficient Storage", sentence(over.Fault.Text)), true
	}
	if errors.Is(err, jsonb.ErrNotJSON) {
		return BadRequest("Invalid Json: " + err.Error()), true // hat says where, never what
	}
	var fuel *bundle.FuelError
	if errors.As(err, &fuel) {
		return BadRequest(fuel.Error()), true
	}
	for _, row := range byCause {
		if errors.Is(err, row.cause) {
			return row.answer, true
		}
	}
	id := rand.Text()[:10]
	return NewError(http.StatusInternalServerError, "Internal Server error", "Server error occurred: "+id), false
}

// sentence returns the text with a capital letter.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// fail sends what a client is told of an error, in the form of the API that the path belongs to.
func (s *Server) fail(w *Recorder, r *http.Request, err error) {
	calls := s.callsAt(r.URL.Path)
	var answer *Error
	if calls.Explain != nil {
		answer = calls.Explain(r, err)
	}
	if known := answer != nil; !known {
		if answer, known = AnswerTo(err); !known && r.Context().Err() == nil {
			s.Log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "request failed",
				slog.String("method", r.Method), slog.String("answer", answer.Detail), slog.Any("error", err))
		}
	}
	if w.Started {
		// Half an answer is out; cutting the connection is the only way to say that it is not whole.
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	if answer.Status == http.StatusUnauthorized {
		h.Del(TokenHeader)
	}
	if answer.RetryAfter != "" {
		h.Set("Retry-After", answer.RetryAfter)
	}
	h.Del("Link") // of a list that came to nothing
	h.Del(TotalHeader)
	if answer.Link != "" {
		h.Set("Link", "<"+answer.Link+`>; rel="describedby"`)
		expose(h, "Link")
	}
	calls.Write(w, answer)
}

// JSONHeaders: what the API says is personal, so nobody on the way may keep it or take it for a page.
func JSONHeaders(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

func WriteJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only values of our own types get here; one that can't be encoded is a bug, and must not become a 200.
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":"Internal Server error","message":"Server error occurred"}`)
	}
	WriteBytes(w, status, bytes.TrimRight(b.Bytes(), "\n"))
}

func WriteBytes(w http.ResponseWriter, status int, body []byte) {
	JSONHeaders(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is nobody's error
}

func Message(text string) map[string]string { return map[string]string{"message": text} }
