package ownapi

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
)

// replayRun: POST /runs/{id}/replay. 202 means that the work is due and another run will do it.
func (s *API) replayRun(w *edge.Recorder, q *edge.Request) error {
	return s.steer(w, q, s.Functions.Replay, http.StatusAccepted, "Due")
}

// cancelRun: POST /runs/{id}/cancel. 200 means that nothing of the run will be saved.
func (s *API) cancelRun(w *edge.Recorder, q *edge.Request) error {
	return s.steer(w, q, s.Functions.Cancel, http.StatusOK, "Cancelled")
}

// skipRun: POST /runs/{id}/skip. 200 means that the run's work is given up.
func (s *API) skipRun(w *edge.Recorder, q *edge.Request) error {
	return s.steer(w, q, s.Functions.Skip, http.StatusOK, "Skipped")
}

// replayRuns: POST /functions/{id}/replay. 202 means that at least the returned number of runs will follow.
func (s *API) replayRuns(w *edge.Recorder, q *edge.Request) error {
	var which struct {
		Failed bool      `json:"failed"`
		Since  time.Time `json:"since"`
	}
	if err := ownBody(q, w, &which); err != nil {
		return err
	}
	if !which.Failed && which.Since.IsZero() {
		return problem(http.StatusBadRequest, "Bad Request", "want failed, since, or both")
	}
	id, err := q.FunctionID()
	if err != nil {
		return noFunction()
	}
	due, err := s.Functions.ReplayMany(q.Context(), q.HAT.ID, steered(q), q.Caller, id, vault.ReplayFilter{Failed: which.Failed, Since: which.Since})
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return noFunction()
	case errors.Is(err, vault.ErrNotEnabled):
		return problem(http.StatusConflict, "Function Not Enabled", "the function is switched off")
	case errors.Is(err, vault.ErrTooMany):
		return problem(http.StatusConflict, "Too Many Runs", "more runs have committed since than can be replayed at once: "+strconv.Itoa(vault.MostReplays))
	case err != nil:
		return err
	}
	edge.WriteJSON(w, http.StatusAccepted, struct {
		Due int `json:"due"`
	}{due})
	return nil
}

// replayEach: POST /runs/replay. 200 returns a result for each of the runs, in order. Runs in the state due
// will run.
func (s *API) replayEach(w *edge.Recorder, q *edge.Request) error {
	var named struct {
		Runs []string `json:"runs"`
	}
	if err := ownBody(q, w, &named); err != nil {
		return err
	}
	if len(named.Runs) == 0 || len(named.Runs) > vault.MostReplays {
		return problem(http.StatusBadRequest, "Bad Request", "want runs: the ids of 1 to "+strconv.Itoa(vault.MostReplays)+" runs")
	}
	type outcome struct {
		Run    string `json:"run"`
		State  string `json:"state"` // due or refused
		Title  string `json:"title,omitempty"`
		Detail string `json:"detail,omitempty"`
	}
	ids := make([]hat.RunID, len(named.Runs))
	for i, text := range named.Runs {
		ids[i], _ = hat.ParseRunID(text) // no run has the zero id
	}
	errs, err := s.Functions.ReplayEach(q.Context(), q.HAT.ID, steered(q), q.Caller, ids)
	if err != nil {
		return err
	}
	outcomes := make([]outcome, len(errs))
	for i, err := range errs {
		outcomes[i] = outcome{Run: named.Runs[i], State: "due"}
		if err != nil {
			var e *edge.Error
			if !errors.As(steeringProblem(err), &e) {
				return err
			}
			outcomes[i].State, outcomes[i].Title, outcomes[i].Detail = "refused", e.Title, e.Detail
		}
	}
	edge.WriteJSON(w, http.StatusOK, struct {
		Runs []outcome `json:"runs"`
	}{outcomes})
	return nil
}

// ownBody reads the JSON object of a call of this API; an unknown key is an error.
func ownBody(q *edge.Request, w *edge.Recorder, into any) error {
	text, err := q.JSON(w)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return problem(http.StatusBadRequest, "Bad Request", "the body is not the JSON object that this call expects")
	}
	if _, err := dec.Token(); err != io.EOF {
		return problem(http.StatusBadRequest, "Bad Request", "there is text after the JSON object")
	}
	return nil
}

// A supersededView is a derived record that a later run replaced, as its owner sees it.
type supersededView struct {
	Number   int64           `json:"number"`
	ID       string          `json:"id"`
	Endpoint string          `json:"endpoint"`
	Digest   string          `json:"digest"`
	Run      string          `json:"run"`
	By       string          `json:"by"`
	At       string          `json:"at"`
	Created  string          `json:"created"`
	Data     json.RawMessage `json:"data"`
}

// superseded: GET /runs/{id}/superseded?after=0&limit=100.
func (s *API) superseded(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	id, err := hat.ParseRunID(q.Params["run"])
	if err != nil {
		return runNotFound()
	}
	var after int64
	if text, found := edge.First(values, "after"); found {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return problem(http.StatusBadRequest, "Bad Request", "after must be the number of a superseded record, or 0")
		}
	}
	limit, err := runLimit(values)
	if err != nil {
		return err
	}
	if _, err := runsOf(q).Run(q.Context(), q.Caller, id); errors.Is(err, vault.ErrNotFound) {
		return runNotFound()
	} else if err != nil {
		return err
	}
	list, err := runsOf(q).SupersededPage(q.Context(), q.Caller, id, after, limit)
	if err != nil {
		return err
	}
	next := ""
	if list.More {
		next = strconv.FormatInt(list.Last, 10)
	}
	q.Cut(w, list.Total, values, "after", next)
	out := q.Spool(w)
	out.Begin()
	for limit = list.Count; limit > 0; {
		page := min(limit, supersededPage)
		all, err := runsOf(q).Superseded(q.Context(), q.Caller, id, after, page)
		if err != nil {
			return err
		}
		for _, r := range all {
			view := supersededView{
				Number:   r.Number,
				ID:       r.ID.String(),
				Endpoint: r.Endpoint.String(),
				Digest:   hex.EncodeToString(r.Digest[:]),
				Run:      r.Run.String(),
				By:       r.By.String(),
				At:       hat.FormatTime(r.At),
				Created:  hat.FormatTime(r.Created),
				Data:     r.Data.Bytes(),
			}
			if err := out.Element(view, 1<<10+2*len(view.Data)); err != nil {
				return err
			}
			after = r.Number
		}
		if len(all) < page {
			break
		}
		limit -= page
	}
	q.Release()
	return out.Finish()
}

// supersededPage is the number of records in memory at once; each can have several megabytes.
const supersededPage = 8

func (s *API) steer(w *edge.Recorder, q *edge.Request,
	do func(context.Context, hat.ID, engine.Steered, access.Caller, hat.RunID) error, status int, said string,
) error {
	id, err := hat.ParseRunID(q.Params["run"])
	if err != nil {
		return runNotFound()
	}
	if err = do(q.Context(), q.HAT.ID, steered(q), q.Caller, id); err != nil {
		return steeringProblem(err)
	}
	edge.WriteJSON(w, status, edge.Message(said))
	return nil
}

// steeringProblem says why a run can't be replayed, skipped or cancelled. Other errors are returned
// unchanged.
func steeringProblem(err error) error {
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return runNotFound()
	case errors.Is(err, vault.ErrNothingDue):
		return problem(http.StatusConflict, "Nothing To Do", "nothing to do: what the run was to do has been done")
	case errors.Is(err, vault.ErrNotEnabled):
		return problem(http.StatusConflict, "Function Not Enabled", "the function is switched off")
	case errors.Is(err, vault.ErrBusy):
		return problem(http.StatusConflict, "Function Running", "the function is running")
	case errors.Is(err, vault.ErrEnded):
		return problem(http.StatusConflict, "Run Ended", "the run has ended: it is not in flight")
	}
	return err
}
