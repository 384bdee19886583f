package httpapi

import (
	"errors"
	"net/http"

	"she/internal/verdict"
)

func (s *server) getSeal(w *recorder, _ *request) error {
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
	writeJSON(w, http.StatusOK, found)
	return nil
}
