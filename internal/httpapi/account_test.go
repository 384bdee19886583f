package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"she/internal/edge"
	"she/internal/hatapi"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"
)

const password = "/control/v2/auth/password"

func TestPasswordChange(t *testing.T) {
	w := newWorld(t)
	stolen := w.token("bob")
	w.post("bob", password, `{"newPassword":"correct horse battery"}`).want(403, `{"message":"Invalid password","cause":"Old password missing"}`)
	w.post("bob", password, `{"password":"wrong","newPassword":"correct horse battery"}`).want(403, `{"message":"Invalid password","cause":"Old password invalid"}`)
	for _, weak := range []string{"password", "bob12", "", strings.Repeat("a1B!", 19)} {
		a := w.post("bob", password, fmt.Sprintf(`{"password":"testing","newPassword":%q}`, weak)).want(400)
		if weak == "password" && !strings.Contains(a.body, "Minimum password requirement strength not met") {
			t.Errorf("%s", a.body)
		}
		w.advance(20 * time.Second) // the tries are counted
	}
	w.get(stolen, notes).want(200)
	a := w.post("bob", password, `{"password":"testing","newPassword":"correct horse battery"}`).want(200, `{"message":"Password changed"}`)

	// B-67: every token of before is worthless at once, but for the one in the answer.
	w.get(stolen, notes).want(401, notAuthenticated)
	fresh := a.header.Get(edge.TokenHeader)
	w.get(fresh, notes).want(200)
	w.login("bob", "testing").want(401)
	if login := w.login("bob", url.QueryEscape("correct horse battery")).want(200); login.status == 200 {
		w.get(login.header.Get(edge.TokenHeader), notes).want(200)
	}
	w.advance(24 * time.Hour)
	w.get(fresh, notes).want(200)
	w.post("hpp", password, `{"password":"testing","newPassword":"correct horse battery"}`).want(403, accessDenied)
}

// A bodyHook does something at the moment the body is read.
type bodyHook struct {
	io.Reader
	once func()
}

func (h bodyHook) Read(b []byte) (int, error) {
	h.once()
	return h.Reader.Read(b)
}

// B-67: the session that is to end is in use while the password is changed.
func TestPasswordChangeEndsSessionInUse(t *testing.T) {
	w := newWorld(t)
	stolen, own := w.token("bob"), w.token("bob")
	refresh := sync.OnceFunc(func() {
		w.advance(5 * time.Second)
		stolen = w.get(stolen, notes).want(200).header.Get(edge.TokenHeader)
	})
	body := strings.NewReader(`{"password":"testing","newPassword":"correct horse battery"}`)
	r := httptest.NewRequest("POST", password, bodyHook{body, refresh})
	r.Host = w.bob.Domain.String()
	r.Header.Set(edge.TokenHeader, own)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	if rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	w.get(stolen, notes).want(401, notAuthenticated)
	w.get(rec.Header().Get(edge.TokenHeader), notes).want(200)
}

func TestMailFlowsWithoutMail(t *testing.T) {
	w := newWorld(t)
	known := w.post("", "/control/v2/auth/passwordReset", `{"email":"bob"}`).want(200, `{"message":"This server sends no email; ask whoever runs it"}`)
	unknown := w.post("", "/control/v2/auth/passwordReset?sendEmailToUser=false", `{"email":"nobody"}`).want(200)
	if known.body != unknown.body || strings.Contains(known.body, "ey") && strings.Count(known.body, ".") > 1 {
		t.Errorf("%s, %s", known.body, unknown.body)
	}
	w.post("", "/control/v2/auth/passwordReset", `{}`).want(400)
	w.post("", "/control/v2/auth/passwordreset/confirm/abc", `{"newPassword":"x"}`).want(401, `{"message":"Invalid Token","cause":"Token does not exist"}`)
	w.post("", "/control/v2/auth/claim", `{"email":"a"}`).want(200)
	w.post("", "/control/v2/auth/claim/complete/abc", `{}`).want(401, `{"message":"HAT claim unauthorized","cause":"No user matching token"}`)
}

func claimsIn(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	c := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTokensForServices(t *testing.T) {
	w := newWorld(t, withApplications(`[{"id":"web","info":{"version":"2.0.0"},"permissions":{"rolesGranted":[{"role":"namespaceread","detail":"rumpel"}]},
		"setup":{"kind":"External","url":"https://web.test/start"}}]`))
	w.post("bob", notes, `1`).want(201)
	w.get("bob", api+"/applications/web/setup").want(200)

	const hatlogin = "/control/v2/auth/hatlogin?name="
	target := func(name, redirect string) jwt.MapClaims {
		var body struct{ Message string }
		w.get("bob", hatlogin+name+"&redirect="+url.QueryEscape(redirect)).want(200).decode(&body)
		u := must(url.Parse(body.Message))
		if !strings.HasPrefix(body.Message, strings.SplitN(redirect, "?", 2)[0]) || strings.Contains(redirect, "?") && u.Query().Get("a") != "b" {
			t.Errorf("%s became %s", redirect, body.Message)
		}
		return claimsIn(t, u.Query().Get("token"))
	}
	if c := target("web", "https://WEB.test/start/back?a=b"); c["application"] != "web" || c["applicationVersion"] != "2.0.0" || c["accessScope"] != nil || c["resource"] != nil {
		t.Errorf("%v", c)
	}
	// Another address under the same name gets no more than a proof of who it is.
	for _, c := range []jwt.MapClaims{target("web", "https://web.test.evil.test/"), target("web", "https://web.test/"), target("other", "https://web.test/")} {
		if c["application"] != nil || c["accessScope"] != "validate" || !strings.HasPrefix(c["resource"].(string), "https://web.test") {
			t.Errorf("%v", c)
		}
	}
	for _, bad := range []string{"javascript:alert(1)", "/relative", "data:text/html,x", "file:///etc/passwd", "://"} {
		w.get("bob", hatlogin+"x&redirect="+url.QueryEscape(bad)).want(400)
	}
	w.get("bob", hatlogin+"x").want(400, `{"error":"Bad Request","message":"Missing parameter: redirect"}`)

	var got struct{ AccessToken, UserID string }
	w.get("bob", "/users/application_token?name=elsewhere&resource=https://elsewhere.test").want(200).decode(&got)
	w.get(got.AccessToken, "/users/access_token/validate").want(200)
	w.get(got.AccessToken, notes).want(403, accessDenied)
	w.get(got.AccessToken, "/users/application_token?name=a&resource=b").want(403, accessDenied)
	w.get("hpp", "/users/application_token?name=a&resource=b").want(403, accessDenied)
}

// Defect B-43.
func TestScenario12DisabledApplication(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	w.post("bob", notes, `1`).want(201)
	app, trusted := w.appToken("rumpel-app"), w.appToken("pds")
	w.get(app, notes).want(200)
	w.get(trusted, notes).want(200)
	w.get(app, api+"/data/b/notes").want(403, accessDenied)
	w.get("bob", api+"/applications/rumpel-app/disable").want(200)
	w.get("bob", api+"/applications/pds/disable").want(200)
	w.get(app, notes).want(403, accessDenied).refreshed(true)
	w.get(trusted, notes).want(403, accessDenied)
	// Nor one that was never set up, or that is in no catalogue; nor one in the name of somebody else.
	for _, c := range []struct{ app, user string }{{"plug", "bob"}, {"unheard-of", "bob"}, {"rumpel-app", "hpp"}} {
		if c.app == "rumpel-app" {
			w.get("bob", api+"/applications/rumpel-app/setup").want(200)
		}
		forged := edge.UserClaims(w.bob, w.users[c.user], "", "", w.clock())
		forged.Application = c.app
		w.get(must(w.tokens.Sign(w.bob, forged)), notes).want(403, accessDenied)
	}
}

func TestApplications(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	type listed struct {
		Application            struct{ ID string }
		Setup, Enabled, Active bool
		NeedsUpdating          bool
	}
	var all []listed
	w.get("bob", api+"/applications").want(200).decode(&all)
	if len(all) != 4 || all[0].Application.ID != "rumpel-app" || all[0].Setup || all[0].Enabled {
		t.Errorf("%+v", all)
	}
	w.get("bob", api+"/applications/plug/setup").want(200)
	var one listed
	w.get("bob", api+"/applications/plug").want(200).decode(&one)
	if !one.Setup || !one.Enabled || one.NeedsUpdating {
		t.Errorf("%+v", one)
	}
	const none = `{"message":"Application not Found","cause":"Application none does not appear to be a valid application registered with the DEX"}`
	w.get("bob", api+"/applications/none").want(404, none)
	w.get("bob", api+"/applications/none/setup").want(400, none)
	w.get("bob", api+"/applications/none/disable").want(400, none)
	w.get("bob", api+"/applications/none/access-token").want(404, none)
	var token struct{ AccessToken string }
	w.get("bob", api+"/applications/plug/access-token").want(200).decode(&token)
	w.post(token.AccessToken, notes, `1`).want(201)
	// It sees itself, and not the others.
	w.get(token.AccessToken, api+"/applications/plug").want(200)
	w.get(token.AccessToken, api+"/applications/pds").want(403)
	w.get(token.AccessToken, api+"/applications").want(403)
	w.get(w.appToken("pds"), api+"/applications/plug/access-token").want(403, accessDenied)
}

func TestCatalogueOfApplications(t *testing.T) {
	for _, bad := range []string{``, `{}`, `[1]`, `[{}]`, `[{"id":"a b"}]`, `[{"id":"a"},{"id":"a"}]`, `[{"id":5}]`} {
		if _, err := hatapi.ParseApplications([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	const users = "/users/user"
	id := "11111111-1111-4111-8111-111111111111"
	body := func(email, pass, roles string) string {
		return fmt.Sprintf(`{"userId":%q,"email":%q,"pass":%q,"name":"N","roles":%s}`, id, email, pass, roles)
	}
	a := w.post("bob", users, body("partner", "correct horse battery", `[{"role":"datacredit"},{"role":"namespacewrite","detail":"rumpel"}]`)).want(201)
	if strings.Contains(a.body, "$2") || strings.Contains(a.body, "pass") {
		t.Errorf("B-45: %s", a.body)
	}
	token := w.login("partner", url.QueryEscape("correct horse battery")).want(200).header.Get(edge.TokenHeader)
	w.post(token, notes, `1`).want(201)
	w.post("hpp", users, body("partner", "", `[]`)).want(400)
	// An existing hash is taken as it is.
	hash := string(must(bcrypt.GenerateFromPassword([]byte("their own"), bcrypt.MinCost)))
	w.put("bob", users+"/"+id+"/update", body("partner2", hash, `[{"role":"datadebit"}]`)).want(201)
	// A body names the user of the path or none.
	const another = "22222222-2222-4222-8222-222222222222"
	w.put("bob", users+"/"+id+"/update", strings.Replace(body("partner2", "", `[]`), id, another, 1)).want(404, `{"message":"No such User","cause":"User `+id+` does not exist"}`)
	w.put("bob", users+"/"+id+"/update", strings.Replace(body("partner2", "", `[{"role":"datadebit"}]`), id, "", 1)).want(201)
	w.put("bob", users+"/"+strings.ToUpper(id)+"/update", body("partner2", "", `[{"role":"datadebit"}]`)).want(201)
	w.get(token, notes).want(401)
	w.advance(time.Minute)
	w.login("partner", "their+own").want(401)
	token = w.login("partner2", "their+own").want(200).header.Get(edge.TokenHeader)
	// B-47: no right that nobody gave.
	w.post(token, notes, `2`).want(403, accessDenied)

	// B-44.
	w.put("bob", users+"/"+id+"/disable", "").want(200, `{"message":"Enabled"}`)
	w.get(token, "/users/access_token/validate").want(401)
	w.put("bob", users+"/"+id+"/enable", "").want(200, `{"message":"Enabled"}`)
	w.get(token, "/users/access_token/validate").want(200)

	var all []map[string]json.RawMessage
	w.get("hpp", users).want(200).decode(&all)
	if len(all) != 3 {
		t.Errorf("%v", all)
	}
	for _, u := range all {
		for field := range u {
			if strings.Contains(strings.ToLower(field), "pass") {
				t.Errorf("B-45: a list of users has %s", field)
			}
		}
	}
	w.get(token, users).want(403, accessDenied)
	w.post(token, users, body("x", "", `[]`)).want(403, accessDenied)

	w.put("bob", users+"/"+id+"/delete", "").want(200, `{"message":"Account deleted"}`)
	if a := w.get("bob", users).want(200); strings.Contains(a.body, id) || strings.Contains(a.body, "deleted") {
		t.Errorf("deleted, and listed: %s", a.body)
	}
	gone := `{"message":"No such User","cause":"User ` + id + ` does not exist"}`
	for _, verb := range []string{"enable", "disable", "delete"} {
		w.put("bob", users+"/"+id+"/"+verb, "").want(404, gone)
	}
	w.put("bob", users+"/"+id+"/update", body("back", "correct horse battery", `[]`)).want(404, gone)
	// Nobody can be made, or renamed, to look deleted.
	w.post("bob", users, body("deleted "+another, "correct horse battery", `[]`)).want(400)
	// The name is free.
	w.post("bob", users, strings.Replace(body("partner2", "correct horse battery", `[]`), id, another, 1)).want(201)
	w.put("bob", users+"/"+another+"/delete", "").want(200)
	w.get(token, "/users/access_token/validate").want(401)
	w.login("partner2", "their+own").want(401)

	// Owner and platform come with the HAT: nobody makes or changes them here.
	for _, role := range []string{"owner", "platform", "applicationmanage", "nonsense"} {
		w.post("hpp", users, fmt.Sprintf(`{"email":"new","pass":"correct horse battery","role":%q}`, role)).want(400)
	}
	for _, name := range []string{"bob", "hpp"} {
		for _, verb := range []string{"disable", "delete", "enable"} {
			w.put("hpp", users+"/"+w.users[name].ID.String()+"/"+verb, "").want(403)
		}
	}
	w.get("bob", notes).want(200)
	w.put("hpp", users+"/"+unknownID+"/disable", "").want(404, `{"message":"No such User","cause":"User `+unknownID+` does not exist"}`)
	w.put("hpp", users+"/abc/disable", "").want(404)
}

// A platform makes and changes partners. What shows records, or takes part in others' debits, is the Owner's to give.
func TestPlatformGivesNoMoreThanPartnersHave(t *testing.T) {
	w := newWorld(t)
	const users = "/users/user"
	const refused = `{"message":"Forbidden","cause":"Only the owner manages users with such roles"}`
	body := func(email, roles string) string {
		return fmt.Sprintf(`{"email":%q,"pass":"correct horse battery","name":"N","roles":%s}`, email, roles)
	}
	for i, role := range []string{
		`{"role":"namespaceread","detail":"rumpel"}`, `{"role":"namespacewrite","detail":"rumpel"}`, `{"role":"datadebit","detail":"dd-1"}`,
		`{"role":"datacredit","detail":"x"}`, `{"role":"applicationstatusread"}`, `{"role":"applicationlist"}`,
	} {
		email := fmt.Sprint("user", i)
		w.post("hpp", users, body(email, `[{"role":"validate"},`+role+`]`)).want(403, refused)
		w.post("hpp", users, `{"email":"x","role":"namespaceread"}`).want(403, refused)
		var made struct{ UserID string }
		w.post("bob", users, body(email, `[`+role+`]`)).want(201).decode(&made)
		// Neither its password, to log in as it, nor anything else of it.
		w.put("hpp", users+"/"+made.UserID+"/update", body("mine", `[]`)).want(403)
		w.put("hpp", users+"/"+made.UserID+"/update", `{"email":"mine","roles":[]}`).want(403, refused)
		for _, verb := range []string{"enable", "disable", "delete"} {
			w.put("hpp", users+"/"+made.UserID+"/"+verb, "").want(403, refused)
		}
		w.login(email, url.QueryEscape("correct horse battery")).want(200)
		w.put("bob", users+"/"+made.UserID+"/disable", "").want(200)
		w.advance(time.Minute) // the tries are counted
	}
	var made struct{ UserID string }
	w.post("hpp", users, body("partner", `[{"role":"validate"},{"role":"datacredit"},{"role":"datadebit"}]`)).want(201).decode(&made)
	w.put("hpp", users+"/"+made.UserID+"/update", body("partner", `[{"role":"namespaceread","detail":"rumpel"}]`)).want(403, refused)
	update := users + "/" + made.UserID + "/update"
	const withoutPass = `{"email":"partner","name":"N","roles":[{"role":"datacredit"}]}`
	w.put("hpp", update, withoutPass).want(201)
	w.put("hpp", users+"/"+made.UserID+"/disable", "").want(200)
	w.put("hpp", users+"/"+made.UserID+"/enable", "").want(200)

	// A password that a platform sets would let it log in as the partner. The Owner may set one.
	const ownersOnly = `{"message":"Forbidden","cause":"Only the owner sets the password of another user"}`
	hash := string(must(bcrypt.GenerateFromPassword([]byte("stolen by a platform"), bcrypt.MinCost)))
	for _, pass := range []string{"stolen by a platform", hash} {
		w.put("hpp", update, fmt.Sprintf(`{"email":"partner","pass":%q,"roles":[{"role":"datacredit"}]}`, pass)).want(403, ownersOnly)
		w.login("partner", url.QueryEscape("stolen by a platform")).want(401)
	}
	w.login("partner", url.QueryEscape("correct horse battery")).want(200)
	w.put("bob", update, `{"email":"partner","pass":"a gift from the owner","roles":[{"role":"datacredit"}]}`).want(201)
	w.login("partner", url.QueryEscape("a gift from the owner")).want(200)
}

func TestScenario88Feed(t *testing.T) {
	w := newWorld(t)
	at := func(d time.Duration) string { return morning.Add(d).Format(time.RFC3339) }
	for i, d := range []time.Duration{-48 * time.Hour, -24 * time.Hour, 0, -300 * 24 * time.Hour} {
		w.post("bob", api+"/data/she/insights/activity-records", fmt.Sprintf(`{"timestamp":%q,"counters":{"twitter/tweets":%d}}`, at(d), i+1)).want(201)
	}
	w.post("bob", api+"/data/she/insights/activity-records", `{"timestamp":"`+at(0)+`","counters":{"twitter/tweets":0}}`).want(201)
	w.post("bob", api+"/data/she/insights/emotions", `{"timestamp":"`+at(-time.Hour)+`","sentiment":"Positive","source":"twitter/tweets","text":"`+canary+`"}`).want(201)
	w.post("bob", api+"/data/drops/insights/sentiment-history", `{"timestamp":"`+at(-2*time.Hour)+`","summary":{"totalCount":1}}`).want(201)
	feed := func(path string) string {
		var items []struct {
			Content struct {
				Text            string
				NestedStructure map[string][]struct{ Badge string }
			}
			Title struct{ Text string }
		}
		w.get("bob", api+"/she/feed"+path).want(200).decode(&items)
		var all []string
		for _, i := range items {
			if tweets := i.Content.NestedStructure["twitter"]; tweets != nil {
				all = append(all, tweets[0].Badge)
			} else {
				all = append(all, i.Title.Text)
			}
		}
		return strings.Join(all, ", ")
	}
	for path, want := range map[string]string{
		"/she/activity-records": "3, 2, 1", // B-56: the oldest too
		"/she":                  "3, Positive Message, 2, 1",
		"/drops":                "Sentiment History", // B-25
		"":                      "3, Positive Message, Sentiment History, 2, 1",
		"/monzo":                "",
		"/she/activity-records?since=" + fmt.Sprint(morning.Add(-400*24*time.Hour).Unix()): "3, 2, 1, 4",
		"/she/activity-records?until=" + fmt.Sprint(morning.Add(-time.Hour).Unix()):        "2, 1",
	} {
		if got := feed(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	w.get("bob", api+"/she/feed?since=x").want(400)
	// The newest is the one the service says is newest, not the one that came last.
	w.post("bob", api+"/data/facebook/profile", `[{"name":"newer","hat_updated_time":"2024-02-01T00:00:00Z","home":{"city":"B"}},
		{"name":"older","hat_updated_time":"2024-01-01T00:00:00Z"},{"name":"undated"}]`).want(201)
	w.post("bob", api+"/data/facebook/likes/pages", `[{"created_time":"2024-02-01","number_of_pages_liked":2},{"created_time":"2024-01-01","number_of_pages_liked":1}]`).want(201)
	w.get("bob", api+"/she/static/facebook").want(200, `[{"name":"profile","values":{"name":"newer","hat_updated_time":"2024-02-01T00:00:00Z","home":{"city":"B"}}},
		{"name":"pages","values":{"number_of_pages_liked":2}}]`)
	w.post("bob", api+"/data/twitter/tweets", `[{"id":1000000000000000002,"user":{"name":"now"}},{"id":1000000000000000001,"user":{"name":"then"}}]`).want(201)
	w.get("bob", api+"/she/static/twitter").want(200, `[{"name":"tweets","values":{"name":"now"}}]`)
	w.post("bob", api+"/data/spotify/profile", `[{"id":"first"},{"id":"last"}]`).want(201)
	w.get("bob", api+"/she/static/spotify").want(200, `[{"name":"profile","values":{"id":"last"}}]`)
	w.get("bob", api+"/she/static/uber/profile").want(200, `[]`)
	w.get("bob", api+"/she/static/none").want(200, `[]`)
	w.get("hpp", api+"/she/feed").want(403, accessDenied)
}

// Scenario 83: the calls of hat-js, with the token taken from each answer as it does.
func TestScenario83HatJS(t *testing.T) {
	w := newWorld(t)
	token := w.login("bob", "testing").want(200).header.Get(edge.TokenHeader)
	call := func(method, path, body string, status int) answer {
		w.advance(time.Second)
		a := w.call(method, path, token, body, "Content-type", "application/json").want(status).refreshed(true)
		if next := a.header.Get(edge.TokenHeader); next == token {
			t.Error("the token does not move on")
		} else {
			token = next
		}
		return a
	}
	r := call("POST", notes, `{"n":1}`, 201).record()
	s := call("POST", notes, `{"n":2}`, 201).record()
	if len(call("GET", notes, "", 200).records()) != 2 {
		t.Error("getAll")
	}
	call("PUT", api+"/data", "["+change(r.RecordID, "rumpel/notes", `{"n":3}`)+"]", 201)
	call("DELETE", api+"/data?records="+r.RecordID+","+s.RecordID, "", 200)
	call("GET", api+"/data-debit", "", 200)
	call("GET", api+"/applications", "", 200)
	if c := claimsIn(t, token); c["iss"] != "bob.test:9000" || c["iat"] == nil {
		t.Errorf("%v", c)
	}
	w.call("GET", "/publickey", "", "").want(200) // Scenario 84: isDomainRegistered
}

// A hash is taken as it is only if bcrypt can compare with it, and if it makes no login dearer than ours do.
func TestHashesThatAreTaken(t *testing.T) {
	w := newWorld(t)
	for pass, status := range map[string]int{
		"$2a$04$" + strings.Repeat("a", 53):        201,
		"$2b$12$" + strings.Repeat("./", 26) + "A": 201,
		"$2a$13$" + strings.Repeat("a", 53):        400,
		"$2a$31$" + strings.Repeat("a", 53):        400,
		"$2a$99$" + strings.Repeat("a", 53):        400,
	} {
		body := fmt.Sprintf(`{"email":"user%s","role":"validate","pass":%q}`, pass[4:6], pass)
		if got := w.post("bob", "/users/user", body); got.status != status {
			t.Errorf("%s…: %d %s, want %d", pass[:7], got.status, got.body, status)
		}
	}
	// What only looks like one is a password, however odd, and is hashed.
	w.post("bob", "/users/user", `{"email":"odd","role":"validate","pass":"$2a$04$`+strings.Repeat("!", 53)+`"}`).want(201)
	v, release := w.open(w.bob)
	defer release()
	for _, u := range usersOf(t, v) {
		if strings.Contains(string(u.PasswordHash), "!") {
			t.Errorf("something that is no hash was stored as one: %s", u.PasswordHash)
		}
	}
}

func TestRolesOfAUserAreBounded(t *testing.T) {
	w := newWorld(t)
	with := func(email string, n, different int) answer {
		roles := make([]string, n)
		for i := range roles {
			roles[i] = fmt.Sprintf(`{"role":"namespaceread","detail":"n%d"}`, i%different)
		}
		return w.post("bob", "/users/user", `{"email":"`+email+`","roles":[`+strings.Join(roles, ",")+`]}`)
	}
	with("few", hatapi.MaxRoles, hatapi.MaxRoles).want(201)
	with("many", hatapi.MaxRoles+1, hatapi.MaxRoles+1).want(400)
	if a := with("again", 1000, 2).want(201); strings.Count(a.body, "namespaceread") != 2 {
		t.Errorf("repeated roles are kept: %s", a.body)
	}
}
