package hatapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/vault"
)

// partnerOfApplication returns the partner of a data debit that the setup of an application created.
func partnerOfApplication(id string) string { return "application/" + id }

// wireApplication is an application as clients see it: the catalogue's description and its status at this
// HAT.
type wireApplication struct {
	Application json.RawMessage `json:"application"`
	Setup       bool            `json:"setup"`
	Enabled     bool            `json:"enabled"`
	// Active is true if the application, its data debit and the applications it depends on are enabled. It is
	// nil if only an external service could tell; the server asks no such service.
	Active              *bool           `json:"active"`
	NeedsUpdating       bool            `json:"needsUpdating"`
	DependenciesEnabled *bool           `json:"dependenciesEnabled,omitempty"` // with functions; nil: no dependencies
	MostRecentData      string          `json:"mostRecentData,omitempty"`
	Terms               hat.TermsDigest `json:"termsDigest"`
}

// A standing is what is set up at a HAT, as far as the applications in question need it.
type standing struct {
	setups    map[string]access.Setup
	functions map[string]bool // the enabled ones
	shared    map[string]debit.Debit
	recent    map[hat.Endpoint]time.Time
}

// standingOf reads what the applications need.
func (s *API) standingOf(q *edge.Request, applications []Application) (standing, error) {
	st := standing{
		setups:    map[string]access.Setup{},
		functions: map[string]bool{},
		shared:    map[string]debit.Debit{},
		recent:    map[hat.Endpoint]time.Time{},
	}
	for _, a := range applications {
		for _, id := range append([]string{a.ID}, a.Plugs...) {
			if _, known := st.setups[id]; known {
				continue
			}
			// A caller who may see the application may also know that it depends on this one.
			state, found, err := setupOf(q, access.Application(id, q.User.ID, nil), id)
			if err != nil {
				return st, err
			}
			if found {
				st.setups[id] = state
			}
		}
		if a.Asks == nil || !st.setups[a.ID].Enabled {
			continue
		}
		document, err := documentsOf(q).Document(q.Context(), ofDebit(a.Asks.Key), vault.Debits, a.Asks.Key)
		if errors.Is(err, vault.ErrNotFound) {
			continue
		} else if err != nil {
			return st, err
		}
		if st.shared[a.ID], err = debit.FromStore(document.Body); err != nil {
			return st, err
		}
	}
	if slices.ContainsFunc(applications, func(a Application) bool { return len(a.Tools) > 0 }) {
		states, err := functionsOf(q).FunctionStates(q.Context(), access.Operator()) // only to see whether they are enabled
		if err != nil {
			return st, err
		}
		for _, f := range states {
			st.functions[f.Grant.Function.String()] = f.Enabled
		}
	}
	return st, s.readRecent(q, applications, &st)
}

// ofDebit returns a caller that may read one data debit. The server uses it to see whether the debit is in
// force.
func ofDebit(id string) access.Caller {
	return access.User(hat.UserID{}, []access.Role{{Title: access.TitleDataDebit, Detail: id}}, "")
}

// readRecent finds the time of the newest record of each enabled application whose data the caller may read.
func (s *API) readRecent(q *edge.Request, applications []Application, st *standing) error {
	newest := map[hat.Endpoint]hat.RecordID{}
	for _, a := range applications {
		if !a.Recent.IsZero() && st.setups[a.ID].Enabled && q.Caller.May(access.ReadRecords(a.Recent)) {
			newest[a.Recent] = hat.RecordID{}
		}
	}
	if len(newest) == 0 {
		return nil
	}
	one := 1
	err := reading(q).Read(q.Context(), q.Caller, func(src bundle.Source, _ hat.Seq) error {
		for e := range newest {
			query := bundle.PropertyQuery{Endpoints: []bundle.EndpointQuery{{Endpoint: e}}, Ordering: "descending", Limit: &one}
			ask := q.Ask(map[string]bundle.PropertyQuery{"": query})
			_, err := ask.Evaluate(q.Context(), "", src, bundle.Within{}, func(r bundle.Row) error {
				newest[e] = r.ID
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for e, id := range newest {
		if id == (hat.RecordID{}) {
			continue
		}
		r, err := recordsOf(q).Record(q.Context(), q.Caller, id)
		if errors.Is(err, vault.ErrNotFound) {
			continue // erased in the meantime
		} else if err != nil {
			return err
		}
		if st.recent[e] = r.Created; r.Updated.After(r.Created) {
			st.recent[e] = r.Updated
		}
	}
	return nil
}

// status returns an application with its status.
func (s *API) status(a Application, st standing, now time.Time) wireApplication {
	state, found := st.setups[a.ID]
	wire := wireApplication{
		Application: a.Description.Bytes(), Setup: found, Enabled: state.Enabled, Terms: s.termsOf(a),
	}
	wire.NeedsUpdating = found && (newer(a.Compatible, state.Version) || state.Needs(wire.Terms, a.Version) ||
		len(state.Agreed(a.Roles)) < len(a.Roles))
	plugs := !slices.ContainsFunc(a.Plugs, func(id string) bool {
		_, known := s.application(id)
		return !known || !st.setups[id].Enabled
	})
	tools := !slices.ContainsFunc(a.Tools, func(id string) bool { return !st.functions[id] })
	if len(a.Plugs)+len(a.Tools) > 0 && found {
		all := plugs && tools
		wire.DependenciesEnabled = &all
	}
	if at, known := st.recent[a.Recent]; known && state.Enabled {
		wire.MostRecentData = hat.FormatTime(at)
	}
	active := state.Enabled && plugs && (a.Asks == nil || shares(st.shared[a.ID], *a.Asks, now))
	if !active || !a.Elsewhere {
		wire.Active = &active
	}
	return wire
}

// shares reports whether the debit in force shares what an application asks for.
func shares(d, asks debit.Debit, now time.Time) bool {
	if len(d.Permissions) == 0 {
		return false
	}
	inForce := d.Active(now)
	return inForce != nil && inForce.Bundle.Digest() == asks.Permissions[0].Bundle.Digest()
}

// newer compares versions number by number. A text that is not a version is older than every version.
func newer(a, b string) bool {
	return slices.Compare(numbers(a), numbers(b)) > 0
}

func numbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// hmiList: GET /applications/hmi. It sends the catalogue to pages without a login. The list is not collected
// in memory first, because strangers may ask as often as they like.
func (s *API) hmiList(w *edge.Recorder, _ *edge.Request) error {
	edge.JSONHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	before := "["
	for _, a := range s.Applications {
		for _, text := range []string{before, a.Description.JSON()} {
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
		before = ","
	}
	if before == "[" {
		before = "[]"
	} else {
		before = "]"
	}
	_, err := io.WriteString(w, before)
	return err
}

// hmi: GET /applications/{application}/hmi.
func (s *API) hmi(w *edge.Recorder, q *edge.Request) error {
	a, known := s.application(q.Params["application"])
	if !known {
		return controller(http.StatusNotFound, "Not Found", fmt.Sprintf(
			"Application configuration for ID %s could not be found. Make sure application is correctly registered", q.Params["application"]))
	}
	edge.WriteBytes(w, http.StatusOK, a.Description.Bytes())
	return nil
}

// listApplications: GET /applications. An application sees the applications it manages; the Owner sees all.
func (s *API) listApplications(w *edge.Recorder, q *edge.Request) error {
	theirs := slices.DeleteFunc(slices.Clone(s.Applications), func(a Application) bool {
		return !q.Caller.May(access.ManageApplication(a.ID))
	})
	st, err := s.standingOf(q, theirs)
	if err != nil {
		return err
	}
	wire := make([]wireApplication, len(theirs))
	for i, a := range theirs {
		wire[i] = s.status(a, st, q.Now)
	}
	edge.WriteJSON(w, http.StatusOK, wire)
	for _, a := range theirs {
		s.didShowApplication(q, a)
	}
	return nil
}

// getApplication: GET /applications/{application}.
func (s *API) getApplication(w *edge.Recorder, q *edge.Request) error {
	a, known := s.application(q.Params["application"])
	if !known {
		return noApplication(http.StatusNotFound, q.Params["application"])
	}
	return s.answerApplication(w, q, a)
}

func (s *API) answerApplication(w *edge.Recorder, q *edge.Request, a Application) error {
	st, err := s.standingOf(q, []Application{a})
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, s.status(a, st, q.Now))
	s.didShowApplication(q, a)
	return nil
}

// setupApplication: GET /applications/{application}/setup?terms=. One agreement and one transaction cover the
// application, its data debit and the applications it depends on. It enables no function, because each
// function needs its own consent.
func (s *API) setupApplication(w *edge.Recorder, q *edge.Request) error {
	named, err := q.Named()
	if err != nil {
		return err
	}
	a, known := s.application(q.Params["application"])
	if !known {
		return noApplication(http.StatusBadRequest, q.Params["application"])
	}
	terms := s.termsOf(a)
	if err := s.Agrees(q, agreement.Application, a.ID, named, terms, s.Terms.Changed(agreement.Application, a.ID, terms)); err != nil {
		return err
	}
	err = documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		if err := enableSetup(e, a, terms); err != nil {
			return err
		}
		for _, id := range a.Plugs {
			plug, known := s.application(id)
			// A caller who may not set up a plug sets up the application without it; dependenciesEnabled is
			// then false.
			if !known || !e.Caller().May(access.ManageApplication(id)) {
				continue
			}
			if err := enableSetup(e, plug, s.termsOf(plug)); err != nil {
				return err
			}
		}
		// Only the Owner decides to share data, not an application that manages this one.
		if a.Asks == nil || !e.Caller().May(access.DecideDebits()) {
			return nil
		}
		return acceptDebit(e, a, partnerOf(e.Caller()), q.Now.UTC())
	})
	if err != nil {
		return err
	}
	return s.answerApplication(w, q, a)
}

// storedSetup returns the setup of an application as the transaction sees it.
func storedSetup(e vault.Edit, id string) (state access.Setup, found bool, err error) {
	d, err := e.Find(vault.Setups, id)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return access.Setup{}, false, nil
	case err != nil:
		return access.Setup{}, false, err
	case json.Unmarshal(d.Body, &state) != nil:
		return access.Setup{}, false, errors.New("the stored setup of an application can't be read")
	}
	return state, true, nil
}

func storeSetup(e vault.Edit, id string, state access.Setup) error {
	body, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return e.Put(vault.Setups, id, body)
}

// enableSetup sets an application up as the catalogue describes it. Only the Owner can agree to more than
// before. If another application or the application itself calls, the roles, terms and addresses stay as
// agreed before.
func enableSetup(e vault.Edit, a Application, terms hat.TermsDigest) error {
	state := access.Setup{Enabled: true, Version: a.Version, Roles: append([]access.Role{}, a.Roles...), Terms: terms, Homes: homesOf(a)}
	if !e.Caller().IsOwner() {
		before, found, err := storedSetup(e, a.ID)
		switch {
		case err != nil:
			return err
		case found && before.Roles == nil && before.Version != a.Version:
			state = before // it is unknown what was agreed to
			state.Enabled = true
		case found:
			state.Roles = append([]access.Role{}, before.Agreed(a.Roles)...)
			state.Terms, state.Homes = before.Terms, before.Homes
			if before.Terms.IsZero() {
				state.Version = before.Version
			}
		}
	}
	return storeSetup(e, a.ID, state)
}

// homesOf returns the addresses of an application in the form that a setup stores.
func homesOf(a Application) []string {
	homes := []string{}
	for _, home := range a.homes {
		homes = append(homes, home.origin+home.path)
	}
	slices.Sort(homes)
	return slices.Compact(homes)
}

// acceptDebit puts the data debit that the application asks for in force. It does not propose terms again
// that are already the newest. If a partner proposed a debit under this name, the debit gives its values to
// that partner and stays unchanged. The application is then active only if the owner has accepted the same
// terms there.
func acceptDebit(e vault.Edit, a Application, owner string, now time.Time) error {
	asked := a.Asks.Permissions[0]
	asked.Start = now
	d := *a.Asks
	d.Created, d.Permissions = now, nil
	document, err := e.Find(vault.Debits, d.Key)
	switch {
	case err == nil:
		if d, err = debit.FromStore(document.Body); err != nil {
			return err
		}
		if d.Partner != a.Asks.Partner && d.Partner != owner {
			return nil
		}
		d.Client, d.Partner = a.Asks.Client, a.Asks.Partner
	case !errors.Is(err, vault.ErrNotFound):
		return err
	}
	if name, taken, err := takenBy(e, d.Key, asked.BundleNames()); err != nil {
		return err
	} else if taken {
		return controller(http.StatusBadRequest, "Application malformed",
			fmt.Sprintf("Application %s bundle %s clashes with one already setup", a.ID, name))
	}
	if len(d.Permissions) > 0 {
		newest := asked
		newest.Start = d.Latest().Start
		if d.Terms(newest).Digest == d.Terms(*d.Latest()).Digest {
			if d.Active(now) == d.Latest() {
				return nil
			}
			return storeDebit(e, d.Accept())
		}
	}
	return storeDebit(e, d.Propose(asked, now).Accept())
}

// disableApplication: GET /applications/{application}/disable. From the next request on, its tokens are
// refused and no data is shared with it.
func (s *API) disableApplication(w *edge.Recorder, q *edge.Request) error {
	a, known := s.application(q.Params["application"])
	if !known {
		return noApplication(http.StatusBadRequest, q.Params["application"])
	}
	err := documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		state, _, err := storedSetup(e, a.ID)
		if err != nil {
			return err
		}
		state.Enabled = false
		if err := storeSetup(e, a.ID, state); err != nil {
			return err
		}
		document, err := e.Find(vault.Debits, access.DebitOfApplication(a.ID))
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		d, err := debit.FromStore(document.Body)
		if err != nil {
			return err
		}
		return storeDebit(e, d.Cancel(false, q.Now.UTC()))
	})
	if err != nil {
		return err
	}
	return s.answerApplication(w, q, a)
}
