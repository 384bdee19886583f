package httpapi

import (
	"context"
	"errors"
	"net/http"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// replayRun: POST /runs/{id}/replay. 202: the work is due, and the run that does it is another one.
func (s *server) replayRun(w *recorder, q *request) error {
	return s.steer(w, q, s.Functions.Replay, http.StatusAccepted, "Due")
}

// cancelRun: POST /runs/{id}/cancel. 200: nothing of the run will be saved.
func (s *server) cancelRun(w *recorder, q *request) error {
	return s.steer(w, q, s.Functions.Cancel, http.StatusOK, "Cancelled")
}

func (s *server) steer(w *recorder, q *request,
	do func(context.Context, string, vault.Vault, access.Caller, hat.RunID) error, status int, said string,
) error {
	id, err := hat.ParseRunID(q.params["run"])
	if err != nil {
		return runNotFound()
	}
	err = do(q.Context(), q.hat.ID, q.vault, q.caller, id)
	switch {
	case err == nil:
		writeJSON(w, status, message(said))
		return nil
	case errors.Is(err, vault.ErrNotFound):
		return runNotFound()
	case errors.Is(err, vault.ErrNothingDue):
		return problem(http.StatusConflict, "Nothing To Do", "what the run was to do has been done")
	case errors.Is(err, vault.ErrNotEnabled):
		return problem(http.StatusConflict, "Function Not Enabled", "the function is switched off")
	case errors.Is(err, vault.ErrBusy):
		return problem(http.StatusConflict, "Function Running", "the function is running")
	case errors.Is(err, vault.ErrEnded):
		return problem(http.StatusConflict, "Run Ended", "the run is not in flight")
	}
	return err
}
