package hatapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
)

func ofTrigger(q *edge.Request) (*access.Permission, error) {
	id, err := q.FunctionID()
	if err != nil {
		// No function has such an id. A caller who may not trigger every function gets the same 403 as for an
		// existing one.
		id = hat.FunctionID{}
	}
	p := access.TriggerFunction(id)
	return &p, nil
}

func functionNotFound(id string) *edge.Error {
	return controller(http.StatusNotFound, "Function Not Found", fmt.Sprintf("Function %s not found", id))
}

// configuration returns what clients see of a function: its manifest, or the grant if the function is not
// registered or not registered yet, with its status at this HAT. known is false if the function is neither
// registered nor saved.
func configuration(f catalog.Function, registered bool, state *vault.FunctionState) (body []byte, known bool) {
	var status contract.Status
	if state != nil {
		status.Enabled = state.Enabled
		status.LastExecution, status.ExecutionStarted = state.LastExecution, state.Started
	}
	switch {
	case registered && f.Manifest != nil:
		status.Available = f.Available()
		return contract.Configuration(*f.Manifest, status), true
	case state != nil:
		return contract.Configuration(contract.ManifestOf(state.Grant), status), true
	}
	return nil, false
}

// listFunctions: GET /she/function.
func (s *API) listFunctions(w *edge.Recorder, q *edge.Request) error {
	states, err := functionsOf(q).FunctionStates(q.Context(), q.Caller)
	if err != nil {
		return err
	}
	saved := map[hat.FunctionID]*vault.FunctionState{}
	ids := map[hat.FunctionID]bool{}
	for i := range states {
		id := states[i].Grant.Function
		saved[id], ids[id] = &states[i], true
	}
	registered := map[hat.FunctionID]catalog.Function{}
	for _, f := range s.Functions.Functions() {
		registered[f.ID], ids[f.ID] = f, true
	}
	sorted := make([]hat.FunctionID, 0, len(ids))
	for id := range ids {
		sorted = append(sorted, id)
	}
	slices.SortFunc(sorted, func(a, b hat.FunctionID) int { return strings.Compare(a.String(), b.String()) })
	b := []byte{'['}
	for _, id := range sorted {
		f, isRegistered := registered[id]
		if body, known := configuration(f, isRegistered, s.asSeen(q, saved[id])); known {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(b, body...)
		}
	}
	edge.WriteBytes(w, http.StatusOK, append(b, ']'))
	for _, f := range registered {
		s.didShowConfiguration(q, f)
	}
	return nil
}

// didShowConfiguration notes that this function's configuration was sent, if the configuration is what the
// function asks for now.
func (s *API) didShowConfiguration(q *edge.Request, f catalog.Function) {
	if f.Available() {
		s.DidShowFunction(q, s.Functions.GrantOf(f))
	}
}

// found returns the function in the path and its state at this HAT. The state is nil if it was never enabled.
func (s *API) found(q *edge.Request) (f catalog.Function, registered bool, state *vault.FunctionState, err error) {
	id, err := q.FunctionID()
	if err != nil {
		return f, false, nil, functionNotFound(q.Params["function"])
	}
	f, registered = s.Functions.Function(id)
	saved, err := functionsOf(q).Function(q.Context(), q.Caller, id)
	switch {
	case err == nil:
		state = &saved
	case !errors.Is(err, vault.ErrNotFound):
		return f, registered, nil, err
	}
	if _, known := configuration(f, registered, state); !known {
		return f, registered, nil, functionNotFound(id.String())
	}
	return f, registered, state, nil
}

// getFunction: GET /she/function/{id}.
func (s *API) getFunction(w *edge.Recorder, q *edge.Request) error {
	f, registered, state, err := s.found(q)
	if err != nil {
		return err
	}
	body, _ := configuration(f, registered, s.asSeen(q, state))
	edge.WriteBytes(w, http.StatusOK, body)
	s.didShowConfiguration(q, f)
	return nil
}

// enableFunction: GET /she/function/{id}/enable?terms=. It stores a grant for what the function asks for now,
// which must be what the caller has seen or names. Later demands of the function need a new consent. The date
// from which the function sees records stays as in the former grant, so a client that does not know windows
// can't widen one.
func (s *API) enableFunction(w *edge.Recorder, q *edge.Request) error {
	named, err := q.Named()
	if err != nil {
		return err
	}
	f, registered, _, err := s.found(q)
	if err != nil {
		return err
	}
	if !registered || !f.Available() {
		return notAvailable(q.Params["function"]) // saved earlier, or not loaded yet
	}
	grant := s.Functions.GrantOf(f)
	if err := s.AgreesToFunction(q, named, grant); err != nil {
		return err
	}
	state, err := functionsOf(q).Agree(q.Context(), q.Caller, f.ID, func(saved *vault.FunctionState) (access.Grant, error) {
		given := grant
		if saved != nil {
			given.Since = saved.Grant.Since
		}
		return given, nil
	})
	if err != nil {
		return err
	}
	s.Committed(q)
	body, _ := configuration(f, registered, &state)
	edge.WriteBytes(w, http.StatusOK, body)
	s.didShowConfiguration(q, f)
	return nil
}

// disableFunction: GET /she/function/{id}/disable. Disabling a function that was never enabled is no error.
func (s *API) disableFunction(w *edge.Recorder, q *edge.Request) error {
	f, registered, state, err := s.found(q)
	if err != nil {
		return err
	}
	if state != nil {
		disabled, err := functionsOf(q).Disable(q.Context(), q.Caller, state.Grant.Function)
		if err != nil {
			return err
		}
		state = &disabled
	}
	body, _ := configuration(f, registered, state)
	edge.WriteBytes(w, http.StatusOK, body)
	s.didShowConfiguration(q, f)
	return nil
}

func notAvailable(id string) *edge.Error {
	return controller(http.StatusBadRequest, "Function Not Available", fmt.Sprintf("Function %s not available for execution", id))
}

// triggerFunction: GET /she/function/{id}/trigger?useAll=false. It answers when the run is over. Callers
// other than the Owner get the answer at the next of a few steps. If they are told that the function
// is busy, they get this answer until the next full minute. So they can't learn how long a run took.
func (s *API) triggerFunction(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	useAll, _, err := edge.BoolParam(values, "useAll")
	if err != nil {
		return err
	}
	name := q.Params["function"]
	id, err := q.FunctionID()
	if err != nil {
		return functionNotFound(name)
	}
	q.Release() // a run may take minutes
	run := func() error { return s.Functions.Trigger(q.Context(), q.HAT.ID, q.Caller, id, useAll) }
	if q.Caller.IsOwner() {
		err = run()
	} else {
		key := seenKey{q.HAT.ID, id.String()}
		var ran bool
		if ran, err = s.triggers.try(q.Context(), key, s.Now, run); ran {
			s.seen.forget(key)
		}
	}
	switch {
	case err == nil:
		edge.WriteJSON(w, http.StatusOK, edge.Message("Function Executed"))
		return nil
	case errors.Is(err, engine.ErrFunctionNotFound):
		return functionNotFound(name)
	case errors.Is(err, engine.ErrNotAvailable):
		return notAvailable(name)
	case errors.Is(err, engine.ErrNotEnabled):
		return controller(http.StatusBadRequest, "Function Not Enabled", fmt.Sprintf("Function %s not enabled for execution", name))
	case errors.Is(err, access.ErrDenied), errors.Is(err, access.ErrRevoked), errors.Is(err, access.ErrWithdrawn):
		return err
	case q.Context().Err() != nil:
		return q.Context().Err() // the client is gone; the run goes on
	}
	failed := *controller(http.StatusInternalServerError, "Function Execution Failed",
		fmt.Sprintf("Function %s execution errored with %s function %s failed", name, q.HAT.Domain, name))
	if errors.Is(err, engine.ErrBusy) || errors.Is(err, engine.ErrStopped) {
		failed.RetryAfter = "5"
		if !q.Caller.IsOwner() {
			failed.RetryAfter = toNextMinute(s.Now())
		}
	}
	var ran *engine.FailedError
	known := errors.As(err, &ran)
	switch {
	case !q.Caller.May(access.SeeRuns()): // a service may trigger, but not see runs
	case known && ran.Run != (hat.RunID{}):
		failed.Link = s.OwnPath + "/runs/" + ran.Run.String()
	default: // such as over quota or busy
		failed.Link = s.OwnPath + "/functions/" + id.String() + "/why"
	}
	if !known && failed.RetryAfter == "" {
		s.Log.ErrorContext(q.Context(), "trigger failed", "function", name, "error", err)
	}
	return &failed
}
