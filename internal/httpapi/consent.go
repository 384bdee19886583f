package httpapi

import (
	"errors"
	"net/http"

	"she/internal/access"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
)

// consent: GET /functions/{id}/consent.
func (s *server) consent(w *recorder, q *request) error {
	id, err := q.functionID()
	if err != nil {
		return noFunction()
	}
	asked, state, err := s.terms(q, id)
	if err != nil {
		return err
	}
	writeConsent(w, id, asked, state)
	return nil
}

// agree: POST /functions/{id}/enable {"window":…,"package":…}.
func (s *server) agree(w *recorder, q *request) error {
	var choice struct {
		Window  access.Start `json:"window"`
		Package string       `json:"package"`
	}
	if err := q.ownBody(w, &choice); err != nil {
		return err
	}
	id, err := q.functionID()
	if err != nil {
		return noFunction()
	}
	asked, state, err := s.terms(q, id)
	switch {
	case err != nil:
		return err
	case asked == nil:
		return problem(http.StatusConflict, "Function Not Available", "the function has not said yet what it asks for, or is not installed any more")
	case choice.Package != "" && choice.Package != asked.Digest:
		return problem(http.StatusConflict, "Another Package", "another package is installed by now; read again what it asks for")
	}
	if state != nil {
		asked.Since = state.Grant.Since
	}
	asked.Since = choice.Window.Since(q.now, asked.Since)
	given, err := q.vault.Enable(q.Context(), q.caller, *asked)
	if err != nil {
		return err
	}
	s.wake(q)
	writeConsent(w, id, asked, &given)
	return nil
}

// terms are what the installed version asks for, nil if it is not available, and what was granted, nil if nothing was.
func (s *server) terms(q *request, id hat.FunctionID) (asked *access.Grant, state *vault.FunctionState, err error) {
	saved, err := q.vault.Function(q.Context(), q.caller, id)
	switch {
	case err == nil:
		state = &saved
	case !errors.Is(err, vault.ErrNotFound):
		return nil, nil, err
	}
	grant, err := s.Functions.GrantFor(id)
	switch {
	case err == nil:
		asked = &grant
	case errors.Is(err, engine.ErrFunctionNotFound) && state == nil:
		return nil, nil, noFunction()
	case !errors.Is(err, engine.ErrFunctionNotFound) && !errors.Is(err, engine.ErrNotAvailable):
		return nil, nil, err
	}
	return asked, state, nil
}

func writeConsent(w *recorder, id hat.FunctionID, asked *access.Grant, state *vault.FunctionState) {
	var (
		granted *access.Grant
		enabled bool
	)
	if state != nil {
		granted, enabled = &state.Grant, state.Enabled
	}
	writeJSON(w, http.StatusOK, access.ConsentTo(id, enabled, asked, granted))
}
