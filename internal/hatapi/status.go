package hatapi

import (
	"net/http"

	"she/internal/edge"
)

// A status is a line of system/status in the original's format.
type status struct {
	Title string     `json:"title"`
	Kind  statusKind `json:"kind"`
}

type statusKind struct {
	Metric float64 `json:"metric"`
	Units  string  `json:"units,omitempty"`
	Kind   string  `json:"kind"`
}

// systemStatus: GET /system/status. It leaves out the original's lines about files and the last login,
// because the server keeps neither. Without a limit there is no line about the limit.
func (s *API) systemStatus(w *edge.Recorder, q *edge.Request) error {
	held, limit, err := storageOf(q).Storage(q.Context(), q.Caller)
	if err != nil {
		return err
	}
	held = s.HeldAsSeen(q, held)
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
	edge.WriteJSON(w, http.StatusOK, all)
	return nil
}

// megabytes converts bytes to MB of 1,048,576 bytes, to a tenth.
func megabytes(n int64) float64 { return float64(n*10>>20) / 10 }
