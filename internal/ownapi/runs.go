package ownapi

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
)

// why: GET /functions/{id}/why.
func (s *API) why(w *edge.Recorder, q *edge.Request) error {
	id, err := q.FunctionID()
	if err != nil {
		return noFunction()
	}
	reasons, err := s.Functions.Why(q.Context(), factsOf(q), q.Caller, id)
	if errors.Is(err, engine.ErrFunctionNotFound) {
		return noFunction()
	}
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, viewReason(reasons[0]))
	return nil
}

// whyAll: GET /why. It covers every function that is installed or was ever enabled.
func (s *API) whyAll(w *edge.Recorder, q *edge.Request) error {
	reasons, err := s.Functions.Why(q.Context(), factsOf(q), q.Caller, hat.FunctionID{})
	if err != nil {
		return err
	}
	views := make([]Reason, len(reasons))
	for i, r := range reasons {
		views[i] = viewReason(r)
	}
	edge.WriteJSON(w, http.StatusOK, views)
	return nil
}

// A Reason says what a function at a HAT is waiting for.
type Reason struct {
	Function string         `json:"function"`
	Code     backlog.Code   `json:"code"`
	Text     string         `json:"text"`
	Until    hat.Time       `json:"until,omitzero"`
	Fault    *hat.Fault     `json:"fault,omitempty"`
	Run      string         `json:"run,omitempty"` // to replay or skip
	Notes    []backlog.Note `json:"notes,omitempty"`
}

func viewReason(r engine.Reason) Reason {
	v := Reason{Function: r.Function.String(), Code: r.Code, Text: r.Text, Until: hat.Time{Time: r.Until}, Fault: r.Fault, Notes: r.Notes}
	if !r.Run.IsZero() {
		v.Run = r.Run.String()
	}
	return v
}

// FunctionNotFound is the title of the error for an unknown function.
const FunctionNotFound = "Function Not Found"

func noFunction() error {
	return problem(http.StatusNotFound, FunctionNotFound, "no function of this id is installed or was ever switched on")
}

// A Run is a run as its owner sees it.
type Run struct {
	ID         string      `json:"id"`
	Function   string      `json:"function"`
	Version    string      `json:"version"`
	Package    string      `json:"package"`
	State      string      `json:"state"`
	Cause      string      `json:"cause"`
	Attempt    int         `json:"attempt"`
	Fault      *hat.Fault  `json:"fault,omitempty"`
	After      hat.Seq     `json:"after"`
	Upto       hat.Seq     `json:"upto"`
	Due        hat.Time    `json:"due"`
	Claimed    hat.Time    `json:"claimed"`
	Ended      hat.Time    `json:"ended,omitzero"`
	Stats      vault.Stats `json:"stats"`
	Output     string      `json:"output"`
	Written    []string    `json:"written"`
	Kept       int         `json:"kept,omitempty"`
	Superseded int         `json:"superseded,omitempty"`
	Duplicates int         `json:"duplicates"`
	// The run whose output this run replaced, and the newest run that replaced this one's.
	Replaces     string  `json:"replaces,omitempty"`
	SupersededBy string  `json:"supersededBy,omitempty"`
	Log          *string `json:"log,omitempty"`
	// Receipts is the head of the receipts, for commands that show one run. Over HTTP it is in a header.
	Receipts string `json:"receipts,omitempty"`
}

func viewRun(r vault.Run) Run {
	g := r.Plan.Grant
	v := Run{
		ID:         r.Plan.Run.String(),
		Function:   g.Function.String(),
		Version:    g.Version.String(),
		Package:    g.Digest,
		State:      string(r.State),
		Cause:      string(r.Plan.Cause),
		Attempt:    r.Plan.Attempt,
		Fault:      r.Fault,
		After:      r.Plan.After,
		Upto:       r.Plan.Upto,
		Due:        hat.Time{Time: r.Plan.Due},
		Claimed:    hat.Time{Time: r.Plan.Claimed},
		Ended:      hat.Time{Time: r.Ended},
		Stats:      r.Stats,
		Output:     g.Output.String(),
		Written:    make([]string, len(r.Written)),
		Duplicates: r.Duplicates,
		Kept:       r.Kept,
		Superseded: r.Superseded,
	}
	if id := r.Plan.Replaces; !id.IsZero() {
		v.Replaces = id.String()
	}
	if id := r.SupersededBy; !id.IsZero() {
		v.SupersededBy = id.String()
	}
	for i, id := range r.Written {
		v.Written[i] = id.String()
	}
	return v
}

const mostRuns = 1000 // in one list

// listRuns: GET /runs?function=&before=&limit=100, newest first.
func (s *API) listRuns(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	var (
		f      hat.FunctionID
		before hat.RunID
	)
	if text, found := edge.First(values, "function"); found {
		if f, err = hat.ParseFunctionID(text); err != nil {
			return problem(http.StatusBadRequest, "Bad Request", "function is not the id of a function")
		}
	}
	if text, found := edge.First(values, "before"); found {
		if before, err = hat.ParseRunID(text); err != nil {
			return problem(http.StatusBadRequest, "Bad Request", "before is not the id of a run")
		}
	}
	limit, err := runLimit(values)
	if err != nil {
		return err
	}
	list, err := runsOf(q).RunsPage(q.Context(), q.Caller, f, before, limit)
	if err != nil {
		return err
	}
	next := ""
	if list.More {
		next = list.Last.String()
	}
	q.Cut(w, list.Total, values, "before", next)
	out := q.Spool(w)
	out.Begin()
	for r, err := range vault.EachRun(q.Context(), runsOf(q), q.Caller, f, before, list) {
		if err != nil {
			return err
		}
		if err := out.Element(viewRun(r), runSize(r)); err != nil {
			return err
		}
	}
	q.Release()
	return out.Finish()
}

// runSize estimates the memory of a run, before and after it is encoded.
func runSize(r vault.Run) int { return 4<<10 + 120*len(r.Written) + len(r.Log) }

func runLimit(values url.Values) (int, error) {
	text, found := edge.First(values, "limit")
	if !found {
		return 100, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > mostRuns {
		return 0, problem(http.StatusBadRequest, "Bad Request", "limit must be 1 to "+strconv.Itoa(mostRuns))
	}
	return limit, nil
}

// getRun: GET /runs/{id}. The answer includes what the function printed.
func (s *API) getRun(w *edge.Recorder, q *edge.Request) error {
	id, err := hat.ParseRunID(q.Params["run"])
	if err != nil {
		return runNotFound()
	}
	r, err := runsOf(q).Run(q.Context(), q.Caller, id)
	if errors.Is(err, vault.ErrNotFound) {
		return runNotFound()
	}
	if err != nil {
		return err
	}
	view := viewRun(r)
	if log := string(r.Log); q.Caller.May(access.SeeLogs()) {
		view.Log = &log
	}
	edge.WriteJSON(w, http.StatusOK, view)
	return nil
}

func runNotFound() error {
	return problem(http.StatusNotFound, "Run Not Found", "there is no run of this id")
}
