package ownapi

import (
	"errors"
	"net/http"

	"she/internal/edge"
	"she/internal/verdict"
)

func (s *API) getSeal(w *edge.Recorder, _ *edge.Request) error {
	if s.Seal == nil {
		return problem(http.StatusNotFound, "Not Tested", verdict.ErrNone.Error())
	}
	found, err := s.Seal()
	if errors.Is(err, verdict.ErrNone) {
		return problem(http.StatusNotFound, "Not Tested", "the operator has not run she doctor --seal")
	}
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, found)
	return nil
}
