package httpapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/ownapi"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

func withMemory(b *engine.Budget) setting {
	return func(o *Options, eo *engine.Options) { o.Memory, eo.Memory = b, b }
}

// What a request makes the server hold is acquired first. Without memory it is told to come back, in the form of its
// interface, and nothing is stored; small requests of the same person, and all of others, go on.
func TestMemoryIsAcquiredFirst(t *testing.T) {
	const share = 96 << 20
	b := engine.NewBudget(4*share, 0)
	w := newWorld(t, withMemory(b))
	large := `["` + strings.Repeat("x", 300<<10) + `"]`
	batch := `[{"endpoint":"rumpel/batch","data":"` + strings.Repeat("y", 300<<10) + `"}]`
	var many []string
	for i := range 400 {
		many = append(many, fmt.Sprintf(`{"n":%d,"text":%q}`, i*7%400, strings.Repeat("z", 1000)))
	}
	w.post("bob", api+"/data/rumpel/many", "["+strings.Join(many, ",")+"]").want(201)
	w.post("bob", api+"/combinator/sorted", `[{"endpoint":"rumpel/many","mapping":{"a":"n","b":"text","c":"text"}}]`).want(201)
	w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"rumpel/many"}],"orderBy":"n"}}`).want(201)
	var places, roles []string
	for i := range 400 {
		places = append(places, fmt.Sprintf(`{"endpoint":"rumpel/%s/%d","data":1}`, strings.Repeat("p", 400), i))
	}
	w.post("bob", api+"/data-batch", "["+strings.Join(places, ",")+"]").want(201)
	for i := range hatapi.MaxRoles {
		roles = append(roles, fmt.Sprintf(`{"role":"namespaceread","detail":"n%d%s"}`, i, strings.Repeat("d", 250)))
	}
	for i := range 20 {
		w.post("bob", "/users/user", fmt.Sprintf(`{"email":"user%d","roles":[%s]}`, i, strings.Join(roles, ","))).want(201)
	}

	full, err := b.Acquire(t.Context(), string(w.bob.ID), share-200<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", notes, large},
		{"POST", api + "/data-batch", batch},
		{"PUT", api + "/data", batch},
		{"GET", api + "/data/rumpel/many?orderBy=n", ""},
		{"GET", api + "/data/rumpel/many", ""}, // the answer, too, is held until the client has it
		{"GET", api + "/combinator/sorted?orderBy=a", ""},
		{"GET", api + "/data-bundle/b", ""},
		{"GET", api + "/data/sources", ""},
		{"GET", "/users/user", ""},
		{"POST", api + "/data-bundle/c", `{"p":{"endpoints":[{"endpoint":"rumpel/many"}]},"` + strings.Repeat("q", 20<<10) + `":{"endpoints":[]}}`},
	} {
		a := w.call(c.method, c.path, w.token("bob"), c.body)
		a.want(503)
		if a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), `"error":"Service Unavailable"`) {
			t.Errorf("%s: %s, Retry-After %q", a.call, a.body, a.header.Get("Retry-After"))
		}
	}
	w.get("bob", ownapi.Path+"/receipts").want(503, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The server has no memory free for this request; try again"}`)
	w.post("bob", api+"/data/rumpel/small", `{"n":1}`).want(201)
	w.get("bob", api+"/data/rumpel/many?orderBy=n&take=3").want(200)
	w.call("POST", notes, w.token("eve"), large, "Host", "eve.test:9000").want(201)
	full.Release()
	w.get("bob", notes).want(200, `[]`)
	w.post("bob", notes, large).want(201)
	w.get("bob", api+"/data/rumpel/many?orderBy=n").want(200)
	w.get("bob", api+"/data-bundle/b").want(200)
	if s := b.Stats(); s.Used != 0 || s.Refused < 9 {
		t.Errorf("%+v", s)
	}
}

// Strangers have a small share of their own: when it is used up, callers with a token go on.
func TestStrangersHaveAShare(t *testing.T) {
	b := engine.NewBudget(64<<20, 0)
	w := newWorld(t, withMemory(b))
	full, err := b.Acquire(t.Context(), "", 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	w.post("bob", notes, `{"n":1}`).want(201)
	w.get("", notes).want(401)
	full.Release()
	w.get("", "/publickey").want(200)
	w.post("", "/control/v2/auth/claim", `{"email":"a@b.c"}`).want(200)
	if s := b.Stats(); s.Used != 0 {
		t.Errorf("%+v", s)
	}
}

// Whatever the route and however it ends, nothing stays held.
func TestMemoryIsGivenBack(t *testing.T) {
	b := engine.NewBudget(256<<20, 0)
	w := newWorld(t, withMemory(b), withApplications(catalogue), withFunctions(count, functionNamed("counter")))
	for _, r := range w.routesForFuzzing() {
		if r.Pattern == ownapi.Path+"/events" {
			continue // it answers for as long as somebody listens
		}
		for _, token := range []string{"", w.token("bob"), w.token("hpp")} {
			w.call(r.Method, r.Pattern, token, `{"email":"x"}`)
			w.advance(20 * time.Second)
		}
	}
	if s := b.Stats(); s.Used != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

func usersOf(t testing.TB, v *ledger.Vault) (all []vault.User) {
	t.Helper()
	err := v.EachUser(t.Context(), func(int) error { return nil }, func(u vault.User) error { all = append(all, u); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The lists that a HAT's owner and partners can make long are acquired as they are read: without memory each is refused,
// and others go on.
func TestListsAreAcquired(t *testing.T) {
	const share = 96 << 20
	b := engine.NewBudget(4*share, 0)
	w := newWorld(t, withMemory(b))
	v, release := w.open(w.bob)
	defer release()
	// Of a HAT from before roles had a bound. Who was deleted is not shown, and yet read: only what is acquired before
	// refuses the list.
	many := make([]access.Role, 20_000)
	for i := range many {
		many[i] = access.Role{Title: access.TitleValidate}
	}
	gone := hat.NewUserID()
	if err := v.CreateUser(t.Context(), vault.User{ID: gone, Username: vault.DeletedUser + gone.String(), Roles: many}); err != nil {
		t.Fatal(err)
	}
	var records []string
	for i := range 2000 {
		records = append(records, fmt.Sprintf(`{"endpoint":"rumpel/%s%d","data":{"n":%d}}`, strings.Repeat("e", 470), i, i))
	}
	w.post("bob", api+"/data-batch", "["+strings.Join(records, ",")+"]").want(201)

	full, err := b.Acquire(t.Context(), string(w.bob.ID), share-200<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"/users/user", api + "/data/sources"} {
		w.get("bob", list).want(503)
		w.call("GET", list, w.token("eve"), "", "Host", "eve.test:9000").want(200)
	}
	full.Release()
	err = v.CreateUser(t.Context(), vault.User{ID: hat.NewUserID(), Username: "many", Roles: many, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	if a := w.get("bob", "/users/user").want(200); strings.Count(a.body, "validate") < len(many) {
		t.Errorf("%d bytes of users", len(a.body))
	}
	var sources map[string][]string
	if err := json.Unmarshal([]byte(w.get("bob", api+"/data/sources").want(200).body), &sources); err != nil {
		t.Fatal(err)
	}
	if len(sources) != 1 || len(sources["rumpel"]) != len(records) || !slices.IsSorted(sources["rumpel"]) {
		t.Errorf("%d namespaces, %d endpoints", len(sources), len(sources["rumpel"]))
	}
	if s := b.Stats(); s.Used != 0 || s.Refused < 2 {
		t.Errorf("%+v", s)
	}
}

// A HAT has so many users and no more, whoever makes them; those who are there are changed, and one who is deleted makes room.
func TestUsersOfAHATAreBounded(t *testing.T) {
	w := newWorld(t)
	v, release := w.open(w.bob)
	defer release()
	var last hat.UserID
	for i := len(usersOf(t, v)); i < plan.MaxUsers; i++ {
		last = hat.NewUserID()
		if err := v.CreateUser(t.Context(), vault.User{ID: last, Username: fmt.Sprintf("u%d", i), Enabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	more := func(who string) answer {
		return w.post(who, "/users/user", `{"email":"more-`+who+`","role":"validate"}`)
	}
	for _, who := range []string{"bob", "hpp"} {
		more(who).want(507, `{"error":"Insufficient Storage","message":"The HAT would have 501 users, and may have 500; delete one first"}`)
	}
	path := "/users/user/" + last.String()
	w.call("PUT", path+"/update", w.token("bob"), `{"email":"renamed","role":"validate"}`).want(201)
	w.call("PUT", path+"/disable", w.token("bob"), "").want(200)
	more("bob").want(507)
	w.call("PUT", path+"/delete", w.token("bob"), "").want(200)
	more("bob").want(201)
	more("hpp").want(507)
}
