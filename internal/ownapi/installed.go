package ownapi

import (
	"net/http"
	"slices"
	"strings"

	"she/internal/catalog"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/vault"
)

// An installedView is a function in the owner's list: what is known of it, and what it did at this HAT.
type installedView struct {
	ID        string     `json:"id"`
	Version   string     `json:"version,omitempty"`
	Package   string     `json:"package,omitempty"`
	Installed bool       `json:"installed"`
	Available bool       `json:"available"`
	AsOf      string     `json:"asOf,omitempty"` // when this was last known, if it has not answered since the start
	Problem   *hat.Fault `json:"problem,omitempty"`
	Enabled   bool       `json:"enabled"`
	Trigger   string     `json:"trigger,omitempty"`
	Period    string     `json:"period,omitempty"`
	Reads     []string   `json:"reads"`
	Writes    string     `json:"writes"`
	Runs      int        `json:"runs"`
	LastRun   *lastRun   `json:"lastRun,omitempty"`
}

type lastRun struct {
	ID      string     `json:"id"`
	State   string     `json:"state"`
	Claimed string     `json:"claimed"`
	Ended   string     `json:"ended,omitempty"`
	Fault   *hat.Fault `json:"fault,omitempty"`
}

// listInstalled: GET /functions: all functions that are installed or were ever enabled, by id.
func (s *API) listInstalled(w *edge.Recorder, q *edge.Request) error {
	states, err := consentsOf(q).FunctionStates(q.Context(), q.Caller)
	if err != nil {
		return err
	}
	views := []installedView{}
	known := map[hat.FunctionID]bool{}
	for _, f := range s.Functions.Functions() {
		known[f.ID] = true
		i := slices.IndexFunc(states, func(state vault.FunctionState) bool { return state.Grant.Function == f.ID })
		view := viewInstalled(f)
		view.Enabled = i >= 0 && states[i].Enabled
		if err := s.addRuns(q, &view, f.ID); err != nil {
			return err
		}
		views = append(views, view)
	}
	for _, state := range states {
		g := state.Grant
		if known[g.Function] {
			continue
		}
		view := installedView{
			ID: g.Function.String(), Version: g.Version.String(), Package: g.Digest, Enabled: state.Enabled, Writes: g.Output.String(),
		}
		view.asks(g.Trigger, g.Bundle.Endpoints())
		if err := s.addRuns(q, &view, g.Function); err != nil {
			return err
		}
		views = append(views, view)
	}
	slices.SortFunc(views, func(a, b installedView) int { return strings.Compare(a.ID, b.ID) })
	q.Cut(w, len(views), nil, "", "")
	edge.WriteJSON(w, http.StatusOK, views)
	return nil
}

func viewInstalled(f catalog.Function) installedView {
	view := installedView{
		ID: f.ID.String(), Version: f.Registered.Version.String(), Package: f.Digest(), Installed: true, Available: f.Available(),
		Problem: f.Problem, Reads: []string{}, Writes: f.Output.String(),
	}
	if !f.AsOf.IsZero() {
		view.AsOf = hat.FormatTime(f.AsOf)
	}
	if f.Manifest != nil {
		view.asks(f.Manifest.Trigger, f.Manifest.Bundle.Endpoints())
	}
	return view
}

func (v *installedView) asks(t hat.Trigger, reads []hat.Endpoint) {
	v.Trigger, v.Reads = string(t.Kind), make([]string, len(reads))
	if !t.Period.IsZero() {
		v.Period = t.Period.String()
	}
	for i, e := range reads {
		v.Reads[i] = e.String()
	}
}

// addRuns adds how often the function ran at this HAT, and its last run.
func (s *API) addRuns(q *edge.Request, v *installedView, f hat.FunctionID) error {
	page, err := runsOf(q).RunsPage(q.Context(), q.Caller, f, hat.RunID{}, 1)
	if err != nil {
		return err
	}
	v.Runs = page.Total
	for r, err := range vault.EachRun(q.Context(), runsOf(q), q.Caller, f, hat.RunID{}, page) {
		if err != nil {
			return err
		}
		last := lastRun{ID: r.Plan.Run.String(), State: string(r.State), Claimed: hat.FormatTime(r.Plan.Claimed), Fault: r.Fault}
		if !r.Ended.IsZero() {
			last.Ended = hat.FormatTime(r.Ended)
		}
		v.LastRun = &last
	}
	return nil
}
