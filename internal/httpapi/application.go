package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// An Application is one entry of the catalogue: somebody else's program that acts for the Owner within the roles the
// catalogue names, once the Owner has set it up.
type Application struct {
	ID      string
	Version string
	Roles   []access.Role
	// Plugs are the applications it depends on.
	Plugs []string
	// homes are the places it lives at; tokens made at a login go to no other.
	homes []place
	// Description is the whole entry as clients are shown it, canonical JSON.
	Description hat.Data
}

// ParseApplications reads the catalogue: a JSON array of applications as the HAT API describes them. Of each, id,
// info.version, permissions.rolesGranted and the addresses in setup mean something here; the rest is handed on as it is.
//
//	[{"id":"notables","kind":{…},"info":{"version":"1.0.0",…},"developer":{…},
//	  "permissions":{"rolesGranted":[{"role":"namespacewrite","detail":"rumpel"}]},"setup":{…},"status":{…}}]
func ParseApplications(text []byte) ([]Application, error) {
	data, err := hat.ParseData(text)
	if err != nil {
		return nil, err
	}
	list, isArray, err := elements(data.Bytes())
	if err != nil {
		return nil, err
	}
	if !isArray {
		return nil, errors.New("the catalogue of applications is no JSON array")
	}
	var all []Application
	for i, element := range list {
		var a struct {
			ID   string `json:"id"`
			Info struct {
				Version string `json:"version"`
			} `json:"info"`
			Permissions struct {
				Roles []access.Role `json:"rolesGranted"`
			} `json:"permissions"`
			Dependencies struct {
				Plugs []string `json:"plugs"`
			} `json:"dependencies"`
			Setup map[string]any `json:"setup"`
		}
		if err := json.Unmarshal(element, &a); err != nil {
			return nil, fmt.Errorf("application %d of the catalogue: %w", i+1, err)
		}
		if !allowed("application", a.ID) {
			return nil, fmt.Errorf("application %d of the catalogue: its id may have letters, digits and -_.~ only", i+1)
		}
		if slices.ContainsFunc(all, func(b Application) bool { return b.ID == a.ID }) {
			return nil, fmt.Errorf("application %s is in the catalogue twice", a.ID)
		}
		description, err := hat.ParseData(element)
		if err != nil {
			return nil, err
		}
		all = append(all, Application{
			ID: a.ID, Version: a.Info.Version, Roles: a.Permissions.Roles, Plugs: a.Dependencies.Plugs,
			homes: homesIn(a.Setup), Description: description,
		})
	}
	return all, nil
}

// A place is an origin and what the paths there begin with: "https://app.example", "/start".
type place struct{ origin, path string }

// homesIn finds the addresses among the fields of an application's setup: url, iosUrl, androidUrl. Those of its kind lead
// to a shop that others share.
func homesIn(setup map[string]any) (homes []place) {
	for _, v := range setup {
		if text, isText := v.(string); isText {
			if home, ok := placeOf(text); ok {
				home.path = strings.TrimSuffix(home.path, "/")
				homes = append(homes, home)
			}
		}
	}
	return homes
}

// placeOf is where an address leads; not ok if it is none, or if a client could take it for another than we do.
func placeOf(address string) (p place, ok bool) {
	u, err := url.Parse(address)
	if err != nil || !u.IsAbs() || u.Hostname() == "" || u.User != nil || strings.Contains(u.Path, `\`) {
		return place{}, false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return place{}, false
		}
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname())
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return place{scheme + "://" + net.JoinHostPort(host, port), u.EscapedPath()}, true
}

// at says whether the application lives at the address, or the address below where it lives.
func (a Application) at(address string) bool {
	p, ok := placeOf(address)
	return ok && slices.ContainsFunc(a.homes, func(home place) bool {
		rest, below := strings.CutPrefix(p.path, home.path)
		return p.origin == home.origin && below && (rest == "" || rest[0] == '/')
	})
}

// setup is what a vault keeps of an application.
type setup struct {
	Enabled bool   `json:"enabled"`
	Version string `json:"version"` // that was set up
}

func (s *server) application(id string) (Application, bool) {
	i := slices.IndexFunc(s.Applications, func(a Application) bool { return a.ID == id })
	if i < 0 {
		return Application{}, false
	}
	return s.Applications[i], true
}

// applicationCaller is who an application token makes of its bearer. One that is unknown, not set up or disabled is a
// caller without any role: it is refused everything, not told to log in again.
func (s *server) applicationCaller(q *request) (access.Caller, error) {
	id := q.claims.Application
	powerless := access.Application(id, q.user.ID, nil)
	a, known := s.application(id)
	if !known || !access.User(q.user.ID, q.user.Roles, "").IsOwner() {
		return powerless, nil
	}
	state, found, err := setupOf(q, powerless, id)
	if err != nil || !found || !state.Enabled {
		return powerless, err
	}
	return access.Application(id, q.user.ID, a.Roles), nil
}

func setupOf(q *request, c access.Caller, id string) (state setup, found bool, err error) {
	d, err := q.vault.Document(q.Context(), c, vault.Setups, id)
	if errors.Is(err, vault.ErrNotFound) {
		return setup{}, false, nil
	} else if err != nil {
		return setup{}, false, err
	}
	if err := json.Unmarshal(d.Body, &state); err != nil {
		return setup{}, false, errors.New("the stored setup of an application can't be read")
	}
	return state, true, nil
}

// termsOf names what setting the application up agrees to: what the catalogue says of it and of what it depends on.
func (s *server) termsOf(a Application) hat.TermsDigest {
	parts := [][]byte{a.Description.Bytes()}
	for _, id := range a.Plugs {
		plug, _ := s.application(id) // one that is not there has no words
		parts = append(parts, []byte(id), plug.Description.Bytes())
	}
	return hat.DigestTerms(parts...)
}

func (s *server) didShowApplication(q *request, a Application) {
	terms := s.termsOf(a)
	s.didShow(q, applicationTerms, a.ID, terms, s.changed(applicationTerms, a.ID, terms))
}

// appendApplication writes one as clients see it: the catalogue's description and what is true of it at this HAT.
func (s *server) appendApplication(b []byte, a Application, state setup, found bool) []byte {
	b = append(b, `{"application":`...)
	b = append(b, a.Description.JSON()...)
	return fmt.Appendf(b, `,"setup":%t,"enabled":%t,"active":%t,"needsUpdating":%t,"termsDigest":%q}`,
		found, state.Enabled, state.Enabled, found && state.Version != a.Version, s.termsOf(a))
}

// listApplications: GET /applications. An application is shown those it manages, the Owner all.
func (s *server) listApplications(w *recorder, q *request) error {
	documents, err := q.vault.Documents(q.Context(), q.caller, vault.Setups)
	if err != nil {
		return err
	}
	b := []byte{'['}
	for _, a := range s.Applications {
		if !q.caller.May(access.ManageApplication(a.ID)) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		var state setup
		at := slices.IndexFunc(documents, func(d vault.Document) bool { return d.ID == a.ID })
		if at >= 0 && json.Unmarshal(documents[at].Body, &state) != nil {
			return errors.New("the stored setup of an application can't be read")
		}
		b = s.appendApplication(b, a, state, at >= 0)
	}
	writeBytes(w, http.StatusOK, append(b, ']'))
	for _, a := range s.Applications {
		s.didShowApplication(q, a) // as far as the caller manages it, which is what was listed
	}
	return nil
}

func noApplication(status int, id string) *apiError {
	return controller(status, "Application not Found",
		fmt.Sprintf("Application %s does not appear to be a valid application registered with the DEX", id))
}

// getApplication: GET /applications/{application}.
func (s *server) getApplication(w *recorder, q *request) error {
	id := q.params["application"]
	a, known := s.application(id)
	if !known {
		return noApplication(http.StatusNotFound, id)
	}
	state, found, err := setupOf(q, q.caller, id)
	if err != nil {
		return err
	}
	writeBytes(w, http.StatusOK, s.appendApplication(nil, a, state, found))
	s.didShowApplication(q, a)
	return nil
}

// setupApplication: GET /applications/{application}/setup?terms=. It switches on no function: each is a consent of its own.
func (s *server) setupApplication(w *recorder, q *request) error {
	named, err := q.named()
	if err != nil {
		return err
	}
	if a, known := s.application(q.params["application"]); known {
		terms := s.termsOf(a)
		if err := s.agrees(q, applicationTerms, a.ID, named, terms, s.changed(applicationTerms, a.ID, terms)); err != nil {
			return err
		}
	}
	return s.changeSetup(w, q, func(a Application, _ setup) setup { return setup{true, a.Version} })
}

// disableApplication: GET /applications/{application}/disable. Its tokens are worth nothing from the next request on.
func (s *server) disableApplication(w *recorder, q *request) error {
	return s.changeSetup(w, q, func(_ Application, old setup) setup { return setup{false, old.Version} })
}

func (s *server) changeSetup(w *recorder, q *request, change func(Application, setup) setup) error {
	id := q.params["application"]
	a, known := s.application(id)
	if !known {
		return noApplication(http.StatusBadRequest, id)
	}
	var state setup
	err := q.vault.EditDocuments(q.Context(), q.caller, func(e vault.Edit) error {
		var old setup
		d, err := e.Find(vault.Setups, id)
		switch {
		case err == nil && json.Unmarshal(d.Body, &old) != nil:
			return errors.New("the stored setup of an application can't be read")
		case err != nil && !errors.Is(err, vault.ErrNotFound):
			return err
		}
		state = change(a, old)
		body, err := json.Marshal(state)
		if err != nil {
			return err
		}
		return e.Put(vault.Setups, id, body)
	})
	if err != nil {
		return err
	}
	writeBytes(w, http.StatusOK, s.appendApplication(nil, a, state, true))
	s.didShowApplication(q, a)
	return nil
}

// applicationToken: GET /applications/{application}/access-token.
func (s *server) issueApplicationToken(w *recorder, q *request) error {
	id := q.params["application"]
	a, known := s.application(id)
	if !known {
		return noApplication(http.StatusNotFound, id)
	}
	c := userClaims(q.hat, q.user, "", "", q.now)
	c.Application, c.ApplicationVersion = a.ID, a.Version
	text, err := s.tokens.sign(q.hat, c)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, tokenAnswer{text, q.user.ID.String()})
	return nil
}
