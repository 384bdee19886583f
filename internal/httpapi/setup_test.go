package httpapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/vault"
)

// wanted is an application that is shared rumpel/notes, depends on two plugs and a function, and has its data at rumpel/notes.
const wanted = `{"id":"wanted","kind":{"kind":"App","url":"https://app.test"},
	"info":{"version":"1.2.0","name":"Wanted","dataUsePurpose":"to show","termsUrl":"https://app.test/terms","description":{"text":"words"},
		"graphics":{"logo":{"normal":"https://app.test/logo.png"}}},
	"permissions":{"rolesGranted":[{"role":"datadebit","detail":"app-wanted"}],
		"dataRetrieved":{"name":"wanted","bundle":{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}}},
	"dependencies":{"plugs":["one","two"],"tools":["counter"],"contracts":[]},
	"status":{"kind":"Internal","compatibility":"1.0.0","recentDataCheckEndpoint":"/rumpel/notes"}}`

const depended = `{"id":"one","info":{"version":"1.0.0"}},{"id":"two","info":{"version":"1.0.0"},"status":{"kind":"External","statusUrl":"https://two.test","expectedStatus":200}}`

type gotApplication struct {
	Setup, Enabled      bool
	Active              *bool
	NeedsUpdating       bool
	DependenciesEnabled *bool
	MostRecentData      string
	TermsDigest         string
}

func (g gotApplication) String() string {
	said := func(b *bool) string {
		if b == nil {
			return "-"
		}
		return fmt.Sprint(*b)
	}
	return fmt.Sprintf("setup %v enabled %v active %s dependencies %s", g.Setup, g.Enabled, said(g.Active), said(g.DependenciesEnabled))
}

func (a answer) application() (g gotApplication) {
	a.t.Helper()
	a.want(200).decode(&g)
	return g
}

// Setting an application up accepts its data debit and sets up what it depends on; functions are a consent of their own.
func TestSetupOfAnApplicationWithADebitAndPlugs(t *testing.T) {
	w := newWorld(t, withApplications("["+wanted+","+depended+"]"), withFunctions(count, functionNamed("counter")))
	at := api + "/applications/wanted"
	is := func(want string) {
		t.Helper()
		for _, got := range []gotApplication{w.get("bob", at).application(), w.listed("wanted")} {
			if got.String() != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
	w.post("bob", notes, `1`).want(201)
	is("setup false enabled false active false dependencies -")
	if got := w.get("bob", at+"/setup").application().String(); got != "setup true enabled true active true dependencies false" {
		t.Errorf("set up: %s", got)
	}
	is("setup true enabled true active true dependencies false")
	w.get("bob", functions+"/counter/enable").want(200)
	is("setup true enabled true active true dependencies true")
	w.get("bob", functions+"/counter/disable").want(200)
	is("setup true enabled true active true dependencies false")

	// The debit is that of the catalogue.
	var d struct {
		gotDebit
		RequestClientName, RequestClientURL, RequestApplicationID string
	}
	debitAt := api + "/data-debit/app-wanted"
	w.get("bob", debitAt).want(200).decode(&d)
	if !d.Active || d.PermissionsActive.Purpose != "to show" || d.RequestClientName != "Wanted" || d.RequestApplicationID != "wanted" ||
		d.PermissionsLatest.Period != "2592000000" || len(d.Permissions) != 1 {
		t.Errorf("%+v", d)
	}
	var token struct{ AccessToken string }
	w.get("bob", at+"/access-token").want(200).decode(&token)
	w.get(token.AccessToken, debitAt+"/values").shares("1")

	// A plug that is off, a debit that is withdrawn: it is not active.
	w.get("bob", api+"/applications/one/disable").want(200)
	is("setup true enabled true active false dependencies false")
	w.get("bob", at+"/setup").want(200)
	is("setup true enabled true active true dependencies false")
	w.get("bob", debitAt+"/disable?atPeriodEnd=false").want(200)
	is("setup true enabled true active false dependencies false")
	w.get("bob", at+"/setup").want(200)
	is("setup true enabled true active true dependencies false")

	// Disabled, it is shared nothing, and set up once more no terms are added.
	w.get("bob", at+"/disable").want(200)
	is("setup true enabled false active false dependencies false")
	w.get("bob", debitAt+"/values").want(400)
	w.get("bob", at+"/setup").want(200)
	if d := w.get("bob", debitAt).want(200).debit(); !d.Active || len(d.Permissions) != 1 {
		t.Errorf("%+v", d)
	}
	// Other terms that somebody proposed since are not what is set up.
	w.put("bob", debitAt, debitBody("bundle", bundleNamed("wanted-more", "rumpel/diary"))).want(200)
	w.get("bob", debitAt+"/enable").want(200)
	is("setup true enabled true active false dependencies false")
	w.get("bob", at+"/setup").want(200)
	is("setup true enabled true active true dependencies false")
	w.get(token.AccessToken, debitAt+"/values").shares("1")
}

func (w *world) listed(id string) gotApplication {
	w.t.Helper()
	var all []struct {
		gotApplication
		Application struct{ ID string }
	}
	w.get("bob", api+"/applications").want(200).decode(&all)
	for _, a := range all {
		if a.Application.ID == id {
			return a.gotApplication
		}
	}
	w.t.Fatalf("%s is not listed", id)
	return gotApplication{}
}

// Only a service outside knows whether it works: then the server doesn't say.
func TestAnApplicationWithAStatusOutside(t *testing.T) {
	w := newWorld(t, withApplications("["+depended+"]"))
	at := api + "/applications/two"
	for _, c := range []struct{ path, want string }{{"", "active false"}, {"/setup", "active -"}, {"", "active -"}, {"/disable", "active false"}, {"", "active false"}} {
		if got := w.get("bob", at+c.path).application().String(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	if a := w.get("bob", at+"/setup").want(200); !strings.Contains(a.body, `"active":null`) {
		t.Error(a.body)
	}
}

// A debit of an application's name that a partner made gives the partner its values: setting the application up does not touch it.
func TestNobodyTakesAnApplicationsDebit(t *testing.T) {
	text := "[" + depended + "]"
	w := newWorld(t, withApplications("["+wanted+","+depended+"]"))
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	const taken = `{"message":"Bad Request","cause":"Data Debit request malformed: Data Debit with such ID already exists"}`
	w.post("client", api+"/data-debit/app-wanted", debitBody()).want(400, taken)
	w.post("bob", api+"/data-debit/app-wanted", debitBody()).want(400, taken)
	w.post("client", api+"/data-debit/app-one", debitBody()).want(201) // it needs none

	// Before the application was in the catalogue.
	w = newWorld(t, withApplications(text))
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("bob", notes, `1`).want(201)
	squatted := api + "/data-debit/app-wanted"
	w.post("client", squatted, debitBody()).want(201)
	later := must(hatapi.ParseApplications([]byte("[" + wanted + "," + depended + "]")))
	w.served.hat.Applications = later
	if got := w.get("bob", api+"/applications/wanted/setup").application().String(); !strings.Contains(got, "enabled true active false") {
		t.Error(got)
	}
	w.get("client", squatted+"/values").want(400)
	// A name of a bundle that another debit has.
	w.post("client", api+"/data-debit/other", debitBody("bundle", bundleNamed("of-two", "a/b"))).want(201)
	w.served.hat.Applications = must(hatapi.ParseApplications([]byte(`[{"id":"new","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[],"dataRetrieved":` + bundleNamed("of-two", "a/b") + `}}]`)))
	w.get("bob", api+"/applications/new/setup").
		want(400, `{"message":"Application malformed","cause":"Application new bundle of-two clashes with one already setup"}`)
	if got := w.get("bob", api+"/applications/new").application(); got.Setup {
		t.Error("half of it was set up")
	}
}

// An application that manages others sets up those, and shares nothing for the owner.
func TestAnApplicationSetsUpWhatItManages(t *testing.T) {
	w := newWorld(t, withApplications("["+wanted+","+depended+`,{"id":"manager","info":{"version":"1.0.0"},
		"permissions":{"rolesGranted":[{"role":"applicationmanage","detail":"wanted"},{"role":"applicationmanage","detail":"one"}]}}]`))
	manager := w.appToken("manager")
	if got := w.get(manager, api+"/applications/wanted/setup").application().String(); got != "setup true enabled true active false dependencies false" {
		t.Error(got)
	}
	if w.listed("two").Enabled || !w.listed("one").Enabled {
		t.Error("it has set up what it doesn't manage, or not what it does")
	}
	w.get("bob", api+"/data-debit/app-wanted").want(404)
	w.get("bob", api+"/applications/wanted/setup").want(200)
	w.get(manager, api+"/applications/wanted/disable").want(200)
	if w.get("bob", api+"/data-debit/app-wanted").want(200).debit().Active {
		t.Error("disabled, and shared with")
	}
}

func TestNeedsUpdating(t *testing.T) {
	entry := func(version, compatible string) string {
		return fmt.Sprintf(`[{"id":"a","info":{"version":%q},"status":{"kind":"Internal","compatibility":%q}}]`, version, compatible)
	}
	w := newWorld(t, withApplications(entry("1.9.0", "1.0.0")))
	w.get("bob", api+"/applications/a/setup").want(200)
	try := func(says, catalogue string, want bool) {
		t.Helper()
		w.served.hat.Applications = must(hatapi.ParseApplications([]byte(catalogue)))
		if got := w.get("bob", api+"/applications/a").application(); got.NeedsUpdating != want {
			t.Errorf("%s: %v", says, got.NeedsUpdating)
		}
	}
	type row struct {
		version, compatible string
		want                bool
	}
	// Whatever is said otherwise than what was agreed to; the order of members is no difference.
	for _, c := range []row{{"1.9.0", "1.0.0", false}, {"2.0.0", "1.0.0", true}, {"1.9.0", "2.0.0", true}, {"1.9.0", "", true}, {"1.8.0", "1.0.0", true}} {
		try(fmt.Sprint(c), entry(c.version, c.compatible), c.want)
	}
	const compatible = `"status":{"kind":"Internal","compatibility":"1.0.0"}`
	try("another order", `[{`+compatible+`,"info":{"version":"1.9.0"},"id":"a"}]`, false)
	try("another purpose", `[{"id":"a","info":{"version":"1.9.0","dataUsePurpose":"more"},`+compatible+`}]`, true)
	try("another plug", `[{"id":"a","info":{"version":"1.9.0"},"dependencies":{"plugs":["b"]},`+compatible+`}]`, true)
	try("another address", `[{"id":"a","info":{"version":"1.9.0"},"setup":{"url":"https://elsewhere.example"},`+compatible+`}]`, true)
	// A setup of before terms were kept: the version is all that is known.
	w.putSetup("a", `{"enabled":true,"version":"1.9.0","roles":[]}`)
	for _, c := range []row{{"1.9.0", "1.0.0", false}, {"1.9.0", "1.9.0", false}, {"1.9.0", "latest", false}, {"1.9.0", "1.10.0", true}, {"1.9.0", "1.9.0.1", true}, {"2.0.0", "1.0.0", true}, {"1.8.0", "1.0.0", true}} {
		try("formerly: "+fmt.Sprint(c), entry(c.version, c.compatible), c.want)
	}
	w.served.hat.Applications = must(hatapi.ParseApplications([]byte(entry("2.0.0", "2.0.0"))))
	w.get("bob", api+"/applications/a").want(200)
	w.get("bob", api+"/applications/a/setup").want(200)
	try("agreed to again", entry("2.0.0", "2.0.0"), false)
}

// putSetup stores what a former server has kept of an application.
func (w *world) putSetup(id, text string) {
	w.t.Helper()
	v, release := w.open(w.bob)
	defer release()
	owner := access.User(w.users["bob"].ID, w.users["bob"].Roles, access.TitleOwner)
	err := v.EditDocuments(w.t.Context(), owner, func(e vault.Edit) error { return e.Put(vault.Setups, id, []byte(text)) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// A setup of before roles were kept has those of the version that was agreed to, and no others.
func TestFormerSetupsHaveTheRolesOfTheirVersion(t *testing.T) {
	entry := func(version, roles string) []hatapi.Application {
		return must(hatapi.ParseApplications([]byte(fmt.Sprintf(`[{"id":"a","info":{"version":%q},"permissions":{"rolesGranted":[%s]}}]`, version, roles))))
	}
	const rumpel, secret = `{"role":"namespaceread","detail":"rumpel"}`, `{"role":"namespaceread","detail":"secret"}`
	w := newWorld(t)
	w.served.hat.Applications = entry("1.0.0", rumpel)
	token := w.appToken("a")
	w.putSetup("a", `{"enabled":true,"version":"1.0.0"}`)
	w.get(token, api+"/data/rumpel/x").want(200)
	w.served.hat.Applications = entry("2.0.0", rumpel+","+secret)
	w.get(token, api+"/data/rumpel/x").want(403)
	w.get(token, api+"/data/secret/x").want(403)
	// Who manages itself can't say what the owner agreed to.
	w.served.hat.Applications = entry("1.0.0", rumpel+`,{"role":"applicationmanage","detail":"a"}`)
	w.get(token, api+"/applications/a").want(200)
	w.get(token, api+"/applications/a/setup").want(200)
	w.served.hat.Applications = entry("1.0.0", rumpel+","+secret)
	w.get(token, api+"/data/secret/x").want(403)
	w.served.hat.Applications = entry("2.0.0", rumpel+","+secret)
	w.get("bob", api+"/applications/a").want(200)
	w.get("bob", api+"/applications/a/setup").want(200)
	w.get(token, api+"/data/secret/x").want(200)
}

// Tokens of an application go where it lived when the owner agreed to it, and where the catalogue has it still.
func TestTokensGoToTheAddressAgreedTo(t *testing.T) {
	at := func(address string) []hatapi.Application {
		return must(hatapi.ParseApplications([]byte(fmt.Sprintf(
			`[{"id":"a","info":{"version":"1.0.0"},"setup":{"url":%q,"iosUrl":"a-app://start/here"},"permissions":{"rolesGranted":[{"role":"applicationmanage","detail":"a"}]}}]`, address))))
	}
	w := newWorld(t)
	w.served.hat.Applications = at("https://one.example/start/")
	whole := func(says, address string, want bool) {
		t.Helper()
		var answer struct {
			AccessToken string `json:"accessToken"`
		}
		w.get("bob", "/users/application_token?name=a&resource="+url.QueryEscape(address)).want(200).decode(&answer)
		if got := w.get(answer.AccessToken, api+"/applications/a").status == 200; got != want {
			t.Errorf("%s: a token of the application is %v", says, got)
		}
	}
	agree := func(who string) {
		t.Helper()
		terms := w.get(who, api+"/applications/a").want(200).application().TermsDigest
		w.get(who, api+"/applications/a/setup?terms="+terms).want(200)
	}
	whole("before it is set up", "https://one.example/start", false)
	agree("bob")
	app := w.appToken("a")
	whole("agreed to", "https://one.example/start/x", true)
	whole("one on phones", "a-app://start/here", true)
	whole("another", "https://one.example/other", false)
	w.served.hat.Applications = at("https://two.example")
	whole("the catalogue has another", "https://two.example/", false)
	whole("and the former no more", "https://one.example/start", false)
	whole("what stayed", "a-app://start/here", true)
	agree(app)
	whole("the application agrees itself", "https://two.example/", false)
	agree("bob")
	whole("agreed to again", "https://two.example/", true)
	w.putSetup("a", `{"enabled":true,"version":"1.0.0","roles":[{"role":"applicationmanage","detail":"a"}]}`)
	whole("a former setup", "https://two.example/", true)
}

func TestMostRecentData(t *testing.T) {
	w := newWorld(t, withApplications("["+wanted+","+depended+`,{"id":"manager","info":{"version":"1.0.0"},
		"permissions":{"rolesGranted":[{"role":"applicationmanage","detail":"wanted"}]}}]`))
	at := api + "/applications/wanted"
	recent := func(who string) string { t.Helper(); return w.get(who, at).application().MostRecentData }
	w.get("bob", at+"/setup").want(200)
	if got := recent("bob"); got != "" {
		t.Errorf("nothing is there: %s", got)
	}
	w.post("bob", notes, `1`).want(201)
	w.advance(time.Hour)
	then := hat.FormatTime(w.clock())
	id := w.post("bob", notes, `2`).want(201).record().RecordID
	w.advance(time.Hour)
	if got := recent("bob"); got != then {
		t.Errorf("%s, want %s", got, then)
	}
	if got := recent(w.appToken("manager")); got != "" {
		t.Errorf("who may not read there is told %s", got)
	}
	w.del("bob", api+"/data?records="+id).want(200)
	if got := recent("bob"); got == "" || got >= then {
		t.Errorf("the newest was erased: %s", got)
	}
}

// The login page has no token.
func TestCatalogueWithoutAToken(t *testing.T) {
	w := newWorld(t, withApplications("["+wanted+","+depended+"]"))
	var all []map[string]any
	w.get("", api+"/applications/hmi").want(200).decode(&all)
	if len(all) != 3 || all[0]["id"] != "wanted" || all[0]["setup"] != nil {
		t.Errorf("%v", all)
	}
	w.get("", api+"/applications/wanted/hmi").want(200, wanted)
	w.get("", api+"/applications/none/hmi").want(404)
	w.get("", api+"/applications/wanted").want(401)
	w.call("GET", api+"/applications/hmi", "", "", "Host", "nobody.test").want(404)
	newWorld(t).get("", api+"/applications/hmi").want(200, `[]`)
}

func TestCataloguesThatAreWrong(t *testing.T) {
	for _, bad := range []string{
		`[{"id":"a","permissions":{"dataRetrieved":{"name":"b b","bundle":{}}}}]`,
		`[{"id":"a","permissions":{"dataRetrieved":5}}]`,
		`[{"id":"a","status":{"recentDataCheckEndpoint":"UPPER"}}]`,
		`[{"id":"a","dependencies":{"plugs":"one"}}]`,
	} {
		if _, err := hatapi.ParseApplications([]byte(bad)); err == nil || !strings.Contains(err.Error(), "application") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What the catalogue grants beyond what the owner agreed to waits for the owner, of plugs too; what it grants no more is
// gone at once.
func TestWiderCatalogueWaits(t *testing.T) {
	entry := func(id, roles, plugs string) string {
		return fmt.Sprintf(`{"id":%q,"info":{"version":"1.0.0"},"permissions":{"rolesGranted":[%s]},"dependencies":{"plugs":[%s],"tools":[]},"status":{"kind":"Internal","compatibility":"1.0.0"}}`, id, roles, plugs)
	}
	role := func(namespace string) string { return fmt.Sprintf(`{"role":"namespaceread","detail":%q}`, namespace) }
	catalogue := func(roles string) []hatapi.Application {
		return must(hatapi.ParseApplications([]byte("[" + entry("a", roles, `"p"`) + "," + entry("p", roles, "") + "]")))
	}
	w := newWorld(t)
	w.served.hat.Applications = catalogue(role("rumpel"))
	old := w.appToken("a")
	plug := edge.UserClaims(w.bob, w.users["bob"], "", "", w.clock())
	plug.Application, plug.ApplicationVersion = "p", "1.0.0"
	ofPlug := must(w.tokens.Sign(w.bob, plug))
	want := func(says string, rumpel, secret int, updating bool) {
		t.Helper()
		for name, token := range map[string]string{"the application": old, "its plug": ofPlug} {
			if got := w.get(token, api+"/data/rumpel/x").status; got != rumpel {
				t.Errorf("%s: %s reads what was agreed to: %d, want %d", says, name, got, rumpel)
			}
			if got := w.get(token, api+"/data/secret/x").status; got != secret {
				t.Errorf("%s: %s reads what was not: %d, want %d", says, name, got, secret)
			}
		}
		if got := w.get("bob", api+"/applications/a").application().NeedsUpdating; got != updating {
			t.Errorf("%s: needsUpdating is %v", says, got)
		}
	}
	want("as agreed", 200, 403, false)
	w.served.hat.Applications = catalogue(role("rumpel") + "," + role("secret"))
	want("the catalogue grants more", 200, 403, true)
	// Who manages itself can't agree for the owner.
	manages := `{"role":"applicationmanage","detail":"a"},{"role":"applicationmanage","detail":"p"}`
	w.served.hat.Applications = catalogue(role("rumpel") + "," + manages)
	w.get("bob", api+"/applications/a").want(200)
	w.get("bob", api+"/applications/a/setup").want(200)
	w.served.hat.Applications = catalogue(role("rumpel") + "," + manages + "," + role("secret"))
	terms := w.get(old, api+"/applications/a").want(200).application().TermsDigest
	w.get(old, api+"/applications/a/setup?terms="+terms).want(200)
	want("it agrees itself", 200, 403, true)
	w.get(old, api+"/applications/a/disable").want(200)
	w.get("bob", api+"/applications/a").want(200)
	w.get("bob", api+"/applications/a/setup").want(200)
	want("the owner agrees", 200, 200, false)
	w.served.hat.Applications = catalogue(role("rumpel"))
	w.get("bob", api+"/applications/a").want(200)
	w.get("bob", api+"/applications/a/setup").want(200)
	want("as at first", 200, 403, false)
	w.served.hat.Applications = catalogue(`{"role":"owner"}`)
	want("the catalogue grants everything", 403, 403, true)
	w.served.hat.Applications = catalogue(role("secret"))
	want("the catalogue grants something else", 403, 403, true)
	w.served.hat.Applications = catalogue(role("rumpel") + "," + role("secret"))
	w.get("bob", api+"/applications/a").want(200)
	w.get("bob", api+"/applications/a/setup").want(200)
	want("agreed to", 200, 200, false)
}
