package httpapi

import (
	"errors"
	"net/http"

	"she/internal/engine"
	"she/internal/hat"
	"she/internal/trigger"
)

// why: GET /functions/{id}/why.
func (s *server) why(w *recorder, q *request) error {
	notThere := problem(http.StatusNotFound, "Function Not Found", "no function of this id is installed or was ever switched on")
	id, err := q.functionID()
	if err != nil {
		return notThere
	}
	reasons, err := s.Functions.Why(q.Context(), q.vault, q.caller, id)
	if errors.Is(err, engine.ErrFunctionNotFound) {
		return notThere
	}
	if err != nil {
		return err
	}
	answer := struct {
		Function string       `json:"function"`
		Code     trigger.Code `json:"code"`
		Text     string       `json:"text"`
		Until    string       `json:"until,omitempty"`
		Fault    *hat.Fault   `json:"fault,omitempty"`
	}{Function: id.String(), Code: reasons[0].Code, Text: reasons[0].Text, Fault: reasons[0].Fault}
	if until := reasons[0].Until; !until.IsZero() {
		answer.Until = hat.FormatTime(until)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
