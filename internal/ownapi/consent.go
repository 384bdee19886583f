package ownapi

import (
	"errors"
	"net/http"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
)

// consent: GET /functions/{id}/consent.
func (s *API) consent(w *edge.Recorder, q *edge.Request) error {
	id, err := q.FunctionID()
	if err != nil {
		return noFunction()
	}
	asked, state, err := s.terms(q, id)
	if err != nil {
		return err
	}
	s.writeConsent(w, q, id, asked, state)
	return nil
}

// agree: POST /functions/{id}/enable {"window":…,"package":…,"terms":…}.
func (s *API) agree(w *edge.Recorder, q *edge.Request) error {
	var choice struct {
		Window  access.Start    `json:"window"`
		Package string          `json:"package"`
		Terms   hat.TermsDigest `json:"terms"`
	}
	if err := ownBody(q, w, &choice); err != nil {
		return err
	}
	id, err := q.FunctionID()
	if err != nil {
		return noFunction()
	}
	asked, _, err := s.terms(q, id)
	switch {
	case err != nil:
		return err
	case asked == nil:
		return problem(http.StatusConflict, "Function Not Available", "the function has not said yet what it asks for, or is not installed any more")
	case choice.Package != "" && choice.Package != asked.Digest:
		return problem(http.StatusConflict, "Another Package", "another package is installed by now; read again what it asks for")
	}
	if err := s.AgreesToFunction(q, choice.Terms, *asked); err != nil {
		return err
	}
	given, err := consentsOf(q).Agree(q.Context(), q.Caller, id, func(saved *vault.FunctionState) (access.Grant, error) {
		grant := *asked
		if saved != nil {
			grant.Since = saved.Grant.Since
		}
		grant.Since = choice.Window.Since(q.Now, grant.Since)
		return grant, nil
	})
	if err != nil {
		return err
	}
	s.Committed(q)
	s.writeConsent(w, q, id, asked, &given)
	return nil
}

// terms returns what the installed version asks for, or nil if it is not available, and what was granted, or
// nil.
func (s *API) terms(q *edge.Request, id hat.FunctionID) (asked *access.Grant, state *vault.FunctionState, err error) {
	saved, err := consentsOf(q).Function(q.Context(), q.Caller, id)
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

func (s *API) writeConsent(w *edge.Recorder, q *edge.Request, id hat.FunctionID, asked *access.Grant, state *vault.FunctionState) {
	edge.TellHead(w, q)
	var (
		granted *access.Grant
		enabled bool
	)
	if state != nil {
		granted, enabled = &state.Grant, state.Enabled
	}
	c := access.ConsentTo(id, enabled, asked, granted)
	c.Receipts = w.Header().Get(edge.HeadHeader)
	edge.WriteJSON(w, http.StatusOK, c)
	if asked != nil {
		s.DidShowFunction(q, *asked)
	}
}
