package httpapi

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/bundle"
	"she/internal/catalog"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
)

const (
	termsChanged    = `{"message":"Terms Changed","cause":"What would be agreed to is not what was shown last; read it again, then agree"}`
	termsChangedOwn = `{"type":"about:blank","title":"Terms Changed","status":409,"detail":"What would be agreed to is not what was shown last; read it again, then agree"}`
)

// latest is the digest of the newest terms of a debit, as an answer shows it.
func (a answer) latest() string {
	a.t.Helper()
	var d struct{ PermissionsLatest struct{ TermsDigest string } }
	a.decode(&d)
	if _, err := hat.ParseTermsDigest(d.PermissionsLatest.TermsDigest); err != nil {
		a.t.Fatal(err)
	}
	return d.PermissionsLatest.TermsDigest
}

// A partner replaces the terms between the owner's reading and enabling.
func TestADebitIsAcceptedAsItWasShown(t *testing.T) {
	const list = api + "/data-debit"
	wider := debitBody("bundle", bundleNamed("wider", "rumpel/diary"))
	for name, c := range map[string]struct {
		reads   string // what the owner reads
		replace []string
		agrees  bool
	}{
		"one, unchanged":           {dd, nil, true},
		"the list, unchanged":      {list, nil, true},
		"nothing, unchanged":       {"", nil, true},
		"the same terms again":     {dd, []string{debitBody()}, true},
		"nothing, the same again":  {"", []string{debitBody(), debitBody()}, true},
		"one, another bundle":      {dd, []string{wider}, false},
		"the list, another bundle": {list, []string{wider}, false},
		"nothing, another bundle":  {"", []string{wider}, false},
		"values, another bundle":   {dd + "/values", []string{wider}, false},
		"another purpose":          {dd, []string{debitBody("purpose", `"else"`)}, false},
		"another start":            {dd, []string{debitBody("start", `"2026-03-04T09:00:00.25+0000"`)}, false},
		"a month of as many days":  {dd, []string{debitBody("period", `"P1M"`)}, false},
		"it rolls on":              {dd, []string{debitBody("cancelAtPeriodEnd", `true`)}, false},
		"other terms of use":       {dd, []string{debitBody("termsUrl", `"https://c.test/other"`)}, false},
		"conditions":               {dd, []string{debitBody("conditions", bundleNamed("c", "rumpel/notes"))}, false},
		"there and back":           {"", []string{wider, debitBody()}, false},
		"there and back, read":     {dd, []string{wider, debitBody()}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for the disk most of the time
			w := newWorld(t)
			w.addUser("client", access.Role{Title: access.TitleDataDebit})
			w.post("bob", api+"/data/rumpel/diary", `"private"`).want(201)
			w.post("client", dd, debitBody()).want(201)
			if c.reads != "" {
				w.get("bob", c.reads)
			}
			for _, body := range c.replace {
				w.put("client", dd, body).want(200)
			}
			if !c.agrees {
				w.get("bob", dd+"/enable").want(409, termsChanged)
				w.get("client", dd+"/values").want(400, notEnabled)
				if w.get("client", dd).debit().Accepted {
					t.Fatal("something was accepted")
				}
				// Another login that has read does not help this one.
				w.get(w.another("bob"), dd).want(200)
				w.get("bob", dd+"/enable").want(409, termsChanged)
				w.get("bob", dd).want(200)
			}
			if d := w.get("bob", dd+"/enable").want(200).debit(); !d.Accepted {
				t.Errorf("%+v", d)
			}
		})
	}
}

// A call may name the terms, whatever its login was shown.
func TestADebitIsAcceptedAsItIsNamed(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	first := w.post("client", dd, debitBody()).want(201).latest()
	w.get("bob", dd).want(200)
	second := w.put("client", dd, debitBody("purpose", `"more"`)).want(200).latest()
	enable := func(terms string) answer { return w.get("bob", dd+"/enable?terms="+terms) }
	enable(first).want(409, termsChanged)
	enable("sha256:"+strings.Repeat("0", 64)).want(409, termsChanged)
	for _, bad := range []string{"x", second[:70], strings.ToUpper(second), second + "0"} {
		enable(bad).want(400)
	}
	if w.get("client", dd).debit().Accepted {
		t.Fatal("something was accepted")
	}
	enable(second).want(200)
	// Shown the newest, and naming others: what is named counts.
	w.get("bob", dd).want(200)
	enable(first).want(409, termsChanged)
	// The same terms of another debit are other terms.
	other := w.post("client", api+"/data-debit/dd-2", debitBody("purpose", `"more"`, "bundle", bundleNamed("fresh", "a/b"))).want(201).latest()
	enable(other).want(409, termsChanged)
}

// What was shown goes with the login, not with the text of its token; and an application with role owner is one of its own.
func TestTheLoginIsWhatWasShown(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	token := w.login("bob", "testing").want(200).header.Get(edge.TokenHeader)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("client", dd, debitBody()).want(201)
	w.put("client", dd, debitBody("purpose", `"two"`)).want(200)
	pds := w.appToken("pds")
	w.get(token, dd+"/enable").want(409, termsChanged)
	w.get(pds, dd+"/enable").want(409, termsChanged)
	w.advance(1e9)
	renewed := w.get(token, dd).want(200).header.Get(edge.TokenHeader)
	if renewed == token {
		t.Fatal("the token was not renewed")
	}
	w.get(pds, dd+"/enable").want(409, termsChanged)
	w.get(renewed, dd+"/enable").want(200)
	w.put("client", dd, debitBody("purpose", `"three"`)).want(200)
	w.get(pds, api+"/data-debit").want(200)
	w.get(renewed, dd+"/enable").want(409, termsChanged)
	w.get(pds, dd+"/enable").want(200)
	// The answer to a call that agrees, or takes back, shows what there is.
	w.get(pds, dd+"/disable?atPeriodEnd=false").want(200)
	w.get(pds, dd+"/enable").want(200)
}

// While a partner proposes without end, what is accepted is always what was read last.
func TestNoGapBetweenComparingAndAccepting(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("client", dd, debitBody("purpose", `"0"`)).want(201)
	var partner sync.WaitGroup
	partner.Go(func() {
		for i := range 40 {
			w.put("client", dd, debitBody("purpose", fmt.Sprintf(`"%d"`, i+1)))
		}
	})
	for range 40 {
		read := w.get("bob", dd).want(200).debit().PermissionsLatest.Purpose
		if a := w.get("bob", dd+"/enable"); a.status == 200 {
			if got := a.debit().PermissionsActive.Purpose; got != read {
				t.Errorf("read %s, accepted %s", read, got)
			}
		} else {
			a.want(409)
		}
	}
	partner.Wait()
}

// replacedFunctions are the engine's, some of them in another version.
type replacedFunctions struct {
	*engine.Engine
	mu  sync.Mutex
	now map[hat.FunctionID]catalog.Function
}

func withReplaced(o *Options, _ *engine.Options) {
	o.Functions = &replacedFunctions{now: map[hat.FunctionID]catalog.Function{}}
}

func (r *replacedFunctions) replace(f catalog.Function) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[f.ID] = f
}

func (r *replacedFunctions) Function(id hat.FunctionID) (catalog.Function, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, replaced := r.now[id]; replaced {
		return f, true
	}
	return r.Engine.Function(id)
}

func (r *replacedFunctions) GrantFor(id hat.FunctionID) (access.Grant, error) {
	f, known := r.Function(id)
	if !known {
		return access.Grant{}, engine.ErrFunctionNotFound
	}
	return r.GrantOf(f), nil
}

func (r *replacedFunctions) Functions() []catalog.Function {
	all := r.Engine.Functions()
	for i := range all {
		all[i], _ = r.Function(all[i].ID)
	}
	return all
}

// A function is replaced between the owner's reading and enabling.
func TestAFunctionIsAgreedToAsItWasShown(t *testing.T) {
	const f = functions + "/counter"
	consented := own + "/functions/counter/consent"
	agree := own + "/functions/counter/enable"
	all := []string{functions, f, consented, ""} // what is read before
	turn := 0
	for name, change := range map[string]func(*catalog.Function){
		"nothing":  nil,
		"package":  func(f *catalog.Function) { f.Process.Package.Digest = "sha256:other" },
		"version":  func(f *catalog.Function) { f.Version = must(hat.ParseVersion("1.0.1")) },
		"endpoint": func(f *catalog.Function) { f.Output = must(hat.ParseEndpoint("drops/elsewhere")) },
		"texts": func(f *catalog.Function) {
			f.Manifest.Developer = []byte(`{"id":"x","name":"somebody else","url":"y"}`)
		},
		"order":  func(f *catalog.Function) { f.InOrder = true },
		"output": func(f *catalog.Function) { f.Mode = hat.ReplaceOutput },
		"equal":  func(f *catalog.Function) { f.Equal = hat.KeepEqual },
		"bundle": func(f *catalog.Function) {
			f.Manifest.Bundle = must(bundle.Parse([]byte(bundleNamed("counter", "rumpel/diary"))))
		},
		"a long value of a filter": func(f *catalog.Function) {
			f.Manifest.Bundle = must(bundle.Parse([]byte(`{"name":"counter","bundle":{"notes":{"endpoints":[{"endpoint":"rumpel/notes",
				"filters":[{"field":"a","operator":{"operator":"contains","value":"` + strings.Repeat("x", 500) + `"}}]}]}}}`)))
		},
	} {
		pairs := all
		if testing.Short() && change != nil {
			pairs = all[turn%len(all):][:1] // by turns; each pair takes a server of its own
			turn++
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, reads := range pairs {
				w := newWorld(t, withFunctions(count, functionNamed("counter")), withReplaced)
				if reads != "" {
					w.get("bob", reads).want(200)
				}
				if change == nil {
					w.get("bob", f+"/enable").want(200)
					w.post(w.another("bob"), agree, `{}`).want(200)
					continue
				}
				var before access.Consent
				w.get(w.another("bob"), consented).want(200).decode(&before)
				other := functionNamed("counter")
				manifest := *other.Manifest
				other.Manifest = &manifest
				change(&other)
				w.replaced.replace(other)
				w.get("bob", f+"/enable").want(409, termsChanged)
				w.get("bob", f+"/enable?terms="+before.Asks.Digest.String()).want(409, termsChanged)
				w.post("bob", agree, `{}`).want(409, termsChangedOwn)
				w.post("bob", agree, `{"window":"new","terms":"`+before.Asks.Digest.String()+`"}`).want(409, termsChangedOwn)
				w.post("bob", agree, `{"terms":"x"}`).want(400)
				var now access.Consent
				w.get(w.another("bob"), consented).want(200).decode(&now)
				if now.Enabled || now.Granted != nil || now.Asks.Digest == before.Asks.Digest {
					t.Fatalf("%+v", now)
				}
				switch reads {
				case "": // named
					w.post("bob", agree, `{"terms":"`+now.Asks.Digest.String()+`"}`).want(200)
				case f:
					w.get("bob", f+"/enable?terms="+now.Asks.Digest.String()).want(200)
				default:
					w.get("bob", reads).want(200)
					w.get("bob", f+"/enable").want(200)
				}
				var after access.Consent
				w.get("bob", consented).want(200).decode(&after)
				if after.Granted == nil || after.Granted.Digest != now.Asks.Digest {
					t.Errorf("granted %+v", after.Granted)
				}
			}
		})
	}
}

// An application is set up as it, and what it depends on, was shown.
func TestAnApplicationIsSetUpAsItWasShown(t *testing.T) {
	const before = `[{"id":"a","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"namespaceread","detail":"x"}]},"dependencies":{"plugs":["p"]}},
		{"id":"p","info":{"version":"1.0.0"}}]`
	for name, after := range map[string]string{
		"roles":   strings.Replace(before, "namespaceread", "owner", 1),
		"version": strings.Replace(before, "1.0.0", "1.0.1", 1),
		"a plug":  strings.Replace(before, `"id":"p","info":{"version":"1.0.0"}`, `"id":"p","info":{"version":"2.0.0"}`, 1),
	} {
		remembered := agreement.Held()
		keep := func(o *Options, _ *engine.Options) { o.Terms = agreement.New(remembered, nil) }
		var shown struct{ TermsDigest string }
		w := newWorld(t, withApplications(before), keep)
		w.get("bob", api+"/applications/a").want(200).decode(&shown)
		w = newWorld(t, withApplications(after), keep)
		setup := api + "/applications/a/setup"
		w.get("bob", setup).want(409, termsChanged)
		w.get("bob", setup+"?terms="+shown.TermsDigest).want(409, termsChanged)
		w.get("bob", api+"/applications/p").want(200)
		w.get("bob", setup).want(409, termsChanged)
		if a := w.get("bob", api+"/applications"); strings.Contains(a.body, `"setup":true`) {
			t.Errorf("%s: %s", name, a.body)
		}
		w.get("bob", setup).want(200)
		// It did not change for who has read nothing of a server where it never did.
		newWorld(t, withApplications(after)).get("bob", setup).want(200)
	}
}
