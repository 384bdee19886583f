package hatapi

import (
	"errors"
	"net/http"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/logins"
	"she/internal/vault"
)

// The HAT API has two families of errors: the framework's {"error","message"} and the controllers'
// {"message","cause"}.

type frameworkBody struct {
	Error   string `json:"error"`
	Message any    `json:"message"`
}

type controllerBody struct {
	Message string   `json:"message"`
	Cause   string   `json:"cause"`
	Details []string `json:"details,omitempty"`
}

func controller(status int, message, cause string, details ...string) *edge.Error {
	return &edge.Error{Status: status, Title: message, Detail: cause, Body: controllerBody{message, cause, details}}
}

// explain returns the HAT API's own answer where it differs from the edge's.
func explain(r *http.Request, err error) *edge.Error {
	var known *edge.Error
	var field *hat.FieldError
	var fuel *bundle.FuelError
	switch {
	case errors.As(err, &known):
		return nil
	case errors.As(err, &field):
		return badField(field)
	case errors.Is(err, vault.ErrDuplicate):
		return controller(http.StatusBadRequest, "Bad Request", "Duplicate data - Duplicate data")
	case errors.Is(err, access.ErrTermsChanged), errors.Is(err, bundle.ErrTooMuch), errors.As(err, &fuel):
		said, _ := edge.AnswerTo(err)
		return controller(said.Status, said.Title, said.Detail)
	case errors.Is(err, logins.ErrTooOften):
		// 429 would be usual for a used-up budget. The original answers 400, and its clients expect that.
		return controller(http.StatusBadRequest, "Request rate exceeded", "Rate of requests from your IP exceeded",
			"Request to "+r.URL.EscapedPath())
	}
	return nil
}

// badField returns the framework's form for a JSON document with a wrong field: the path, and what is wrong
// there.
func badField(e *hat.FieldError) *edge.Error {
	type detail struct {
		Msg  []string `json:"msg"`
		Args []string `json:"args"`
	}
	bad := edge.BadRequest(e.Path + ": " + e.Message)
	bad.Body = frameworkBody{bad.Title, map[string][]detail{e.Path: {{Msg: []string{e.Message}, Args: []string{}}}}}
	return bad
}

// writeError writes an error without a body of its own in the framework's form.
func writeError(w http.ResponseWriter, e *edge.Error) {
	body := e.Body
	if body == nil {
		body = frameworkBody{e.Title, e.Detail}
	}
	edge.WriteJSON(w, e.Status, body)
}
