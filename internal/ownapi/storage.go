package ownapi

import (
	"net/http"

	"she/internal/edge"
	"she/internal/plan"
)

// getStorage: GET /api/she/v1/storage.
func (s *API) getStorage(w *edge.Recorder, q *edge.Request) error {
	held, limit, err := storageOf(q).Storage(q.Context(), q.Caller)
	if err != nil {
		return err
	}
	held = s.HeldAsSeen(q, held)
	type amounts struct {
		Bytes   int64 `json:"bytes,omitempty"`
		Records int64 `json:"records,omitempty"`
	}
	edge.WriteJSON(w, http.StatusOK, struct {
		Used  plan.Held `json:"used"`
		Limit amounts   `json:"limit"`
	}{held, amounts(limit)})
	return nil
}
