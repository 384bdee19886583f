package httpapi

import (
	"net/http"

	"she/internal/plan"
)

// getStorage: GET /api/she/v1/storage.
func (s *server) getStorage(w *recorder, q *request) error {
	held, limit, err := q.vault.Storage(q.Context(), q.caller)
	if err != nil {
		return err
	}
	held = s.heldAsSeen(q, held)
	type amounts struct {
		Bytes   int64 `json:"bytes,omitempty"`
		Records int64 `json:"records,omitempty"`
	}
	writeJSON(w, http.StatusOK, struct {
		Used  plan.Held `json:"used"`
		Limit amounts   `json:"limit"`
	}{held, amounts(limit)})
	return nil
}

// A status is a line of system/status, as the original has them.
type status struct {
	Title string     `json:"title"`
	Kind  statusKind `json:"kind"`
}

type statusKind struct {
	Metric float64 `json:"metric"`
	Units  string  `json:"units,omitempty"`
	Kind   string  `json:"kind"`
}

// systemStatus: GET /system/status. Of the original's lines those that there is something to say about: no files are kept,
// and the last login is not. Without a limit there is no line of it.
func (s *server) systemStatus(w *recorder, q *request) error {
	held, limit, err := q.vault.Storage(q.Context(), q.caller)
	if err != nil {
		return err
	}
	held = s.heldAsSeen(q, held)
	all := []status{}
	line := func(title string, metric float64, units string) {
		all = append(all, status{title, statusKind{metric, units, "Numeric"}})
	}
	if limit.Bytes > 0 {
		line("Database Storage", megabytes(limit.Bytes), "MB")
	}
	line("Database Storage Used", megabytes(held.Bytes), "MB")
	if limit.Bytes > 0 {
		line("Database Storage Used Share", float64(held.Bytes*100/limit.Bytes), "%")
	}
	writeJSON(w, http.StatusOK, all)
	return nil
}

// megabytes are MB of 1,048,576 bytes, to a tenth.
func megabytes(n int64) float64 { return float64(n*10>>20) / 10 }
