package hatapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/vault"
)

// An Application is one entry of the catalogue: a third party's program. Once the Owner has set it up, it
// acts for the Owner within the roles that the catalogue names.
type Application struct {
	ID      string
	Version string
	Roles   []access.Role
	// Plugs are the applications it depends on. Tools are the functions it depends on.
	Plugs, Tools []string
	// Compatible is the lowest version whose setup still counts; "" means any version.
	Compatible string
	// Asks holds the terms of the data debit it needs; nil if it needs none.
	Asks *debit.Debit
	// Elsewhere is true if only an external service can tell whether the application works.
	Elsewhere bool
	// Recent is the endpoint that holds its newest data; the zero value means none.
	Recent hat.Endpoint
	// homes are the addresses of the application. Tokens made at a login go only to these.
	homes []place
	// Description is the whole entry as clients see it, in canonical JSON.
	Description hat.Data
}

// A catalogued application holds the fields of a catalogue entry that the server uses.
type catalogued struct {
	ID   string `json:"id"`
	Kind struct {
		URL string `json:"url"`
	} `json:"kind"`
	Info struct {
		Version     string `json:"version"`
		Name        string `json:"name"`
		Purpose     string `json:"dataUsePurpose"`
		CallbackURL string `json:"callbackUrl"`
		TermsURL    string `json:"termsUrl"`
		Description struct {
			Text string `json:"text"`
		} `json:"description"`
		Graphics struct {
			Logo struct {
				Normal string `json:"normal"`
			} `json:"logo"`
		} `json:"graphics"`
	} `json:"info"`
	Permissions struct {
		Roles     []access.Role   `json:"rolesGranted"`
		Retrieved json.RawMessage `json:"dataRetrieved"`
	} `json:"permissions"`
	Dependencies struct {
		Plugs     []string `json:"plugs"`
		Tools     []string `json:"tools"`
		Contracts []string `json:"contracts"`
	} `json:"dependencies"`
	Setup  map[string]any `json:"setup"`
	Status struct {
		Kind       string `json:"kind"`
		Compatible string `json:"compatibility"`
		Recent     string `json:"recentDataCheckEndpoint"`
	} `json:"status"`
}

// application converts the entry to an Application.
func (c catalogued) application() (a Application, err error) {
	a = Application{
		ID: c.ID, Version: c.Info.Version, Roles: c.Permissions.Roles, homes: homesIn(c.Setup),
		Plugs: slices.Concat(c.Dependencies.Plugs, c.Dependencies.Contracts), Tools: c.Dependencies.Tools,
		Compatible: c.Status.Compatible, Elsewhere: c.Status.Kind == "External",
	}
	if c.Status.Recent != "" {
		if a.Recent, err = hat.ParseEndpoint(strings.Trim(c.Status.Recent, "/")); err != nil {
			return a, fmt.Errorf("status.recentDataCheckEndpoint: %w", err)
		}
	}
	if len(c.Permissions.Retrieved) == 0 || string(c.Permissions.Retrieved) == "null" {
		return a, nil
	}
	shared, err := bundle.Parse(c.Permissions.Retrieved)
	if err != nil {
		return a, fmt.Errorf("permissions.dataRetrieved: %w", err)
	}
	month, err := hat.ParsePeriod("P30D")
	if err != nil {
		return a, err
	}
	a.Asks = &debit.Debit{
		Key: access.DebitOfApplication(a.ID),
		Client: debit.Client{
			Name: c.Info.Name, URL: c.Kind.URL, LogoURL: c.Info.Graphics.Logo.Normal, CallbackURL: c.Info.CallbackURL,
			ApplicationID: a.ID, Description: c.Info.Description.Text,
		},
		Partner: partnerOfApplication(a.ID),
		Permissions: []debit.Permissions{{
			Purpose: c.Info.Purpose, Period: month, TermsURL: c.Info.TermsURL, Bundle: shared,
		}},
	}
	return a, nil
}

// ParseApplications reads the catalogue: a JSON array of applications as the HAT API describes them. The
// server uses the fields that the type catalogued names, and passes the rest on unchanged.
//
//	[{"id":"notables","kind":{…},"info":{"version":"1.0.0",…},"developer":{…},
//	  "permissions":{"rolesGranted":[{"role":"namespacewrite","detail":"rumpel"}],
//	    "dataRetrieved":{"name":"b","bundle":{…}}},
//	  "dependencies":{"plugs":["calendar"],"tools":["counter"]},"setup":{…},
//	  "status":{"kind":"Internal","compatibility":"1.0.0","recentDataCheckEndpoint":"/rumpel/notablesv1"}}]
//
// The error is a *CatalogueError that lists every fault.
func ParseApplications(text []byte) ([]Application, error) {
	data, err := hat.ParseData(text)
	if err != nil {
		return nil, &CatalogueError{[]CatalogueFault{{lineOfSyntax(text), "the catalogue of applications is no JSON: " + err.Error()}}}
	}
	if jsonb.KindOf(data.JSON()) != jsonb.Array {
		return nil, &CatalogueError{[]CatalogueFault{{1, "the catalogue of applications is no JSON array"}}}
	}
	var (
		all    []Application
		faults []CatalogueFault
		number int
	)
	lines := linesOfElements(text)
	seen := make(map[string]int)
	for element := range jsonb.Elements(data.JSON()) {
		line := 0
		if number < len(lines) {
			line = lines[number]
		}
		number++
		wrong := func(format string, args ...any) {
			faults = append(faults, CatalogueFault{line, fmt.Sprintf(format, args...)})
		}
		var c catalogued
		if err := json.Unmarshal([]byte(element), &c); err != nil {
			wrong("application %d of the catalogue: %v", number, err)
			continue
		}
		if !edge.Allowed("application", c.ID) {
			wrong("application %d of the catalogue: its id may have letters, digits and -_.~ only", number)
			continue
		}
		if first, twice := seen[c.ID]; twice {
			wrong("application %s is in the catalogue twice, first as number %d; remove one of them", c.ID, first)
			continue
		}
		seen[c.ID] = number
		a, err := c.application()
		if err != nil {
			wrong("application %s of the catalogue: %v", c.ID, err)
			continue
		}
		a.Description = hat.DataFromStoredText(strings.Clone(element))
		all = append(all, a)
	}
	if len(faults) > 0 {
		return nil, &CatalogueError{faults}
	}
	return all, nil
}

// A CatalogueError lists all faults in a catalogue of applications.
type CatalogueError struct{ Faults []CatalogueFault }

// A CatalogueFault is one fault, with the line on which its application begins.
type CatalogueFault struct {
	Line int
	Text string
}

func (e *CatalogueError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = fmt.Sprintf("line %d: %s", f.Line, f.Text)
	}
	return strings.Join(lines, "; ")
}

// linesOfElements returns the line on which each element of a JSON array begins.
func linesOfElements(text []byte) (lines []int) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	line, counted := 1, 0
	for dec.More() {
		var element json.RawMessage
		if dec.Decode(&element) != nil {
			return lines
		}
		start := int(dec.InputOffset()) - len(element)
		line += bytes.Count(text[counted:start], []byte("\n"))
		counted = start
		lines = append(lines, line)
	}
	return lines
}

// lineOfSyntax returns the line of the first JSON syntax error in text, or 1 if there is none.
func lineOfSyntax(text []byte) int {
	var whole json.RawMessage
	var at *json.SyntaxError
	if err := json.Unmarshal(text, &whole); errors.As(err, &at) {
		return 1 + bytes.Count(text[:min(int(at.Offset), len(text))], []byte("\n"))
	}
	return 1
}

// A place is an origin and a path prefix at that origin, such as "https://app.example" and "/start".
type place struct{ origin, path string }

// homesIn returns the addresses in an application's setup: url, iosUrl, androidUrl. It leaves out the
// addresses of the entry's kind, because they lead to an app store, which many applications share.
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

// placeOf returns the place that an address leads to. ok is false if the text is not an address, or if a
// client could interpret it differently.
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

// at reports whether the address is one of the application's addresses or below one.
func (a Application) at(address string) bool {
	p, ok := placeOf(address)
	return ok && slices.ContainsFunc(a.homes, p.below)
}

// agreedAt reports whether the address is one of a setup's addresses or below one. If the catalogue has new
// addresses since then, the Owner must first agree to them. A setup that kept no addresses allows all.
func agreedAt(state access.Setup, address string) bool {
	p, ok := placeOf(address)
	return state.Homes == nil || ok && slices.ContainsFunc(state.Homes, func(home string) bool {
		h, ok := placeOf(home)
		h.path = strings.TrimSuffix(h.path, "/")
		return ok && p.below(h)
	})
}

// below reports whether p is equal to home or below it.
func (p place) below(home place) bool {
	rest, below := strings.CutPrefix(p.path, home.path)
	return p.origin == home.origin && below && (rest == "" || rest[0] == '/')
}

func (s *API) application(id string) (Application, bool) {
	i := slices.IndexFunc(s.Applications, func(a Application) bool { return a.ID == id })
	if i < 0 {
		return Application{}, false
	}
	return s.Applications[i], true
}

func setupOf(q *edge.Request, c access.Caller, id string) (state access.Setup, found bool, err error) {
	d, err := documentsOf(q).Document(q.Context(), c, vault.Setups, id)
	if errors.Is(err, vault.ErrNotFound) {
		return state, false, nil
	} else if err != nil {
		return state, false, err
	}
	if err := json.Unmarshal(d.Body, &state); err != nil {
		return state, false, errors.New("the stored setup of an application can't be read")
	}
	return state, true, nil
}

// termsOf returns the digest of what the Owner agrees to when setting the application up: the catalogue
// entries of the application and of its dependencies.
func (s *API) termsOf(a Application) hat.TermsDigest {
	parts := [][]byte{a.Description.Bytes()}
	for _, id := range a.Plugs {
		plug, _ := s.application(id) // a plug that is not in the catalogue adds no text
		parts = append(parts, []byte(id), plug.Description.Bytes())
	}
	return hat.DigestTerms(parts...)
}

func (s *API) didShowApplication(q *edge.Request, a Application) {
	terms := s.termsOf(a)
	s.DidShow(q, agreement.Application, a.ID, terms, s.Terms.Changed(agreement.Application, a.ID, terms))
}

func noApplication(status int, id string) *edge.Error {
	return controller(status, "Application not Found",
		fmt.Sprintf("Application %s does not appear to be a valid application registered with the DEX", id))
}

// issueApplicationToken: GET /applications/{application}/access-token.
func (s *API) issueApplicationToken(w *edge.Recorder, q *edge.Request) error {
	id := q.Params["application"]
	a, known := s.application(id)
	if !known {
		return noApplication(http.StatusNotFound, id)
	}
	c := edge.UserClaims(q.HAT, q.User, "", "", q.Now)
	c.Application, c.ApplicationVersion = a.ID, a.Version
	text, err := s.Tokens.Sign(q.HAT, c)
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, tokenAnswer{text, q.User.ID.String()})
	return nil
}
