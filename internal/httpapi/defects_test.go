package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/logins"
)

// The tests of this file each show one defect of the original HAT to be absent here, under its number in the list of
// its defects. B-55 is about the original's own tests.

func link(w *world, ids ...string) answer {
	w.t.Helper()
	return w.call("POST", api+"/data-link?records="+strings.Join(ids, "&records="), "bob", "")
}

// linked is what the records at one endpoint are linked with at another, one after the other.
func (w *world) linked(from, to string) string {
	w.t.Helper()
	const b = api + "/data-bundle/linked"
	w.post("bob", b, fmt.Sprintf(`{"p":{"endpoints":[{"endpoint":%q,"links":[{"endpoint":%q}]}]}}`, from, to)).want(201)
	var all []string
	for _, r := range w.get("bob", b).want(200).properties()["p"] {
		text := string(r.Data) + ":"
		if r.Links != nil {
			for _, l := range *r.Links {
				text += string(l.Data)
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func (w *world) addPartner(namespace string) {
	w.t.Helper()
	w.addUser("partner", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceWrite, Detail: namespace})
}

func TestB28DeletingKeepsOtherGroups(t *testing.T) {
	w := newWorld(t)
	w.addPartner("rumpel")
	theirs := w.post("partner", batch, `[{"endpoint":"rumpel/a","data":"p","links":[{"endpoint":"rumpel/b","data":"q"}]}]`).want(201).records()
	a, b := w.stored(api+"/data/rumpel/a", `["one","two","three","alone"]`), w.stored(api+"/data/rumpel/b", `[1,2,3]`)
	link(w, a[0], b[0]).want(201)
	link(w, a[1], b[1]).want(201)
	link(w, a[2], b[2], b[1]).want(201)
	const whole = `"p":"q" "one":1 "two":2 "three":23`
	w.del("bob", api+"/data?records="+a[3]).want(200)
	if got := w.linked("rumpel/a", "rumpel/b"); got != whole {
		t.Errorf("after a record without links: %s", got)
	}
	// Of a pair one is left, without a group; of three, two that still are one.
	w.del("bob", api+"/data?records="+b[0]).want(200)
	w.del("bob", api+"/data?records="+b[2]).want(200)
	if got := w.linked("rumpel/a", "rumpel/b"); got != `"p":"q" "one": "two":2 "three":2` {
		t.Errorf("after members of groups: %s", got)
	}
	w.del("partner", api+"/data?records="+theirs[0].RecordID).want(200)
	if got := w.linked("rumpel/a", "rumpel/b"); got != `"one": "two":2 "three":2` {
		t.Errorf("after another user's: %s", got)
	}
}

func TestB29LinkingIsChecked(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	w.addPartner("rumpel")
	mine := w.stored(api+"/data/rumpel/a", `["one","two"]`)
	elsewhere := w.stored(api+"/data/b/notes", `["other"]`)
	w.post("partner", api+"/data/rumpel/a", `["theirs"]`).want(201)
	const missing = `{"message":"Data Missing","cause":"Could not link records: Records missing for linking"}`
	link(w, mine[0], unknownID).want(400, missing)
	link(w, mine[0]).want(400)
	link(w, mine[0], "abc").want(400)
	path := api + "/data-link?records=" + mine[0] + "&records="
	w.call("POST", path+mine[1], "partner", "").want(400, missing) // somebody else's are as if they were not there
	w.call("POST", path+elsewhere[0], w.appToken("plug"), "").want(403, accessDenied)
	for _, to := range []string{"rumpel/a", "b/notes"} {
		if got := w.linked("rumpel/a", to); got != `"one": "two": "theirs":` {
			t.Errorf("linked all the same: %s", got)
		}
	}
	w.call("POST", path+mine[1], w.appToken("plug"), "").want(201)
}

func TestB30RecordsNeedReadRight(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	id := w.stored(notes, `["`+canary+`"]`)[0]
	path := api + "/data-record/" + id
	guest := must(w.tokens.Sign(w.bob, edge.UserClaims(w.bob, w.users["bob"], "https://elsewhere.test", access.TitleValidate, w.clock())))
	for _, who := range []string{guest, w.appToken("plug"), w.appToken("counter-app"), "hpp"} {
		if a := w.get(who, path); a.status != 403 || strings.Contains(a.body, canary) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	w.get("", path).want(401, notAuthenticated)
	w.get(w.appToken("rumpel-app"), path).want(200)
	w.get("bob", path).want(200)
}

func TestB31AttributesFilterBeforePages(t *testing.T) {
	w := newWorld(t)
	ids := w.stored(notes, `[{"k":"no"},{"k":5,"l":"x"},{"k":{"deep":"yes"}},{"k":["yes",7],"l":"x"},{"k":"yes","l":"y"},{"k":"yes","l":"x"}]`)
	for query, want := range map[string]string{
		"?k=yes&take=1":              `{"k":["yes",7],"l":"x"}`,
		"?k=yes&skip=2&take=1":       `{"k":"yes","l":"x"}`,
		"?k=yes&l=y":                 `{"k":"yes","l":"y"}`,
		"?l=y&k=no":                  ``,
		"?k=no&k=yes&l=y":            `{"k":"yes","l":"y"}`,
		"?k.deep=yes":                `{"k":{"deep":"yes"}}`,
		"?k.0=yes":                   `{"k":["yes",7],"l":"x"}`,
		"?k.1=7":                     ``,
		"?k.deep.deeper=yes":         ``,
		"?k=5":                       ``,
		"?l=y&X-Auth-Token=whatever": `{"k":"yes","l":"y"}`,
		"?l=y&x-auth-token=whatever": `{"k":"yes","l":"y"}`,
		"?recordId=" + ids[4]:        `{"k":"yes","l":"y"}`,
		"?l=x&recordId=" + ids[4]:    ``,
	} {
		w.get("bob", notes+query).want(200).wantData(want)
	}
}

func TestB33EndpointsAreWhole(t *testing.T) {
	w := newWorld(t)
	id := w.stored(notes, `[1]`)[0]
	for _, e := range []string{"/", "//", "", "rumpel", "rumpel/", "/rumpel", "/rumpel/notes", "rumpel//notes", "rumpel/notes/", "Rumpel/notes", "rumpel/../notes", "rumpel/no tes"} {
		w.post("bob", batch, fmt.Sprintf(`[{"endpoint":%q,"data":2}]`, e)).want(400)
		w.post("bob", batch, fmt.Sprintf(`[{"endpoint":"rumpel/ok","data":2,"links":[{"endpoint":%q,"data":3}]}]`, e)).want(400)
		w.put("bob", api+"/data", "["+change(id, e, `2`)+"]").want(400)
		w.post("bob", api+"/combinator/c", fmt.Sprintf(`[{"endpoint":%q}]`, e)).want(400)
	}
	for path, status := range map[string]int{
		"//": 404, "/rumpel/": 404, "//notes": 404, "/Rumpel/notes": 404, "/rumpel/%2e%2e": 404, "/rumpel/no%20tes": 404, // no such routes
		"/rumpel//notes": 400, "/rumpel/notes/": 400,
	} {
		w.post("bob", api+"/data"+path, `2`).want(status)
	}
	w.get("bob", api+"/data/sources").want(200, `{"rumpel":["notes"]}`)
	w.get("bob", notes).wantData(`1`)
}

func TestB35SourceFieldsAreTakenAndIgnored(t *testing.T) {
	w := newWorld(t)
	a := w.post("bob", batch, fmt.Sprintf(`[{"endpoint":"rumpel/notes","data":1,"recordId":%q,"sourceTimestamp":1709284500,"sourceUniqueId":"u-1"},
		{"endpoint":"rumpel/notes","data":2,"recordId":"no id","sourceTimestamp":"then","sourceUniqueId":{}}]`, unknownID)).want(201)
	for _, r := range a.records() {
		if r.RecordID == unknownID || r.RecordID == "no id" {
			t.Error("a client chose the id of a record")
		}
	}
	if got := a.body + w.get("bob", notes).wantData(`1 2`).body; strings.Contains(got, "source") {
		t.Errorf("source fields come back: %s", got)
	}
	page := w.get("", "/openapi.json")
	if page.status != 200 || !strings.Contains(page.body, "sourceUniqueId") {
		t.Errorf("that they are ignored is not documented: %d", page.status)
	}
}

func TestB36UnfitFiltersAreRefused(t *testing.T) {
	w := newWorld(t)
	const searchable, hour, day = `{"transformation":"searchable"}`, `{"transformation":"datetimeExtract","part":"hour"}`, `{"transformation":"timestampExtract","part":"day"}`
	for i, unfit := range []string{
		find("text", "x"), changed(`{"transformation":"identity"}`, find("text", "x")), changed(hour, find("at", "x")), changed(day, find("at", "x")),
		changed(searchable, holds("text", "contains", `"x"`)), changed(searchable, holds("text", "in", `["x"]`)), changed(searchable, between("text", "1", "2")),
	} {
		inner := `{"p":{"endpoints":[` + where(unfit) + `]}}`
		w.post("bob", api+"/combinator/c", "["+where(unfit)+"]").want(400)
		w.post("bob", api+"/data-bundle/b", inner).want(400)
		w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"demo/b","links":[`+where(unfit)+`]}]}}`).want(400)
		// In a data debit, no filter would mean that more is shared.
		debit := fmt.Sprintf("%s/data-debit/d%d", api, i)
		w.post("bob", debit, debitBody("bundle", `{"name":"b","bundle":`+inner+`}`)).want(400)
		w.post("bob", debit, debitBody("conditions", `{"name":"c","bundle":`+inner+`}`)).want(400)
		w.get("bob", debit).want(404)
	}
	w.get("bob", api+"/combinator/c").want(404)
	w.get("bob", api+"/data-bundle/b").want(404)
	fit := where(changed(searchable, find("text", "x")))
	w.post("bob", api+"/combinator/c", "["+fit+"]").want(201)
	w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"demo/b","links":[`+fit+`]}]}}`).want(201)
	w.post("bob", dd, debitBody("bundle", `{"name":"shared","bundle":{"p":{"endpoints":[`+fit+`]}}}`)).want(201)
}

func TestB37EqualKeysHaveAnOrder(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 30 {
		data := fmt.Sprintf(`{"k":%d,"n":%d}`, i%2, i)
		w.post("bob", api+"/data/demo/"+string(rune('a'+i%3)), data).want(201)
		want = append(want, data)
	}
	// By key, then by age: in both directions the older of two equals comes first.
	slices.SortStableFunc(want, func(a, b string) int { return strings.Compare(a[:6], b[:6]) })
	backward := append(slices.Clone(want[15:]), want[:15]...)
	const c = api + "/combinator/c"
	// The last asks for what the first has asked for: each record is there once for all that.
	w.post("bob", c, `[{"endpoint":"demo/a"},{"endpoint":"demo/b"},{"endpoint":"demo/c"},{"endpoint":"demo/a","filters":[`+holds("k", "contains", "1")+`]}]`).want(201)
	for ordering, want := range map[string][]string{"ascending": want, "descending": backward} {
		var got []string
		for skip := 0; skip < 33; skip += 4 {
			for _, r := range w.get("bob", fmt.Sprintf("%s?orderBy=k&ordering=%s&take=4&skip=%d", c, ordering, skip)).want(200).records() {
				got = append(got, string(r.Data))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s", ordering, got)
		}
	}
}

func TestB38OnlyUnknownIsNotFound(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/demo/a", `[{"at":"no date"},{"at":5},{"at":"2024-03-01T09:15:00Z"}]`).want(201)
	late := where(changed(`{"transformation":"datetimeExtract","part":"hour"}`, holds("at", "contains", "9")))
	const c, b = api + "/combinator/c", api + "/data-bundle/b"
	w.post("bob", c, "["+late+"]").want(201)
	w.post("bob", b, `{"p":{"endpoints":[`+late+`]}}`).want(201)
	// What the original fails on and calls not found.
	w.get("bob", c).want(200).wantData(`{"at":"2024-03-01T09:15:00Z"}`)
	if all := w.get("bob", b).want(200).properties()["p"]; len(all) != 1 {
		t.Errorf("%+v", all)
	}
	w.get("bob", c+"?take=-1").want(400)
	w.get("bob", c+"?skip=x").want(400)
	w.get("hpp", c).want(403)
	w.get("hpp", b).want(403)
	w.get("bob", c+"/none").want(404)
	w.get("bob", b+"-none").want(404)
}

func TestB40AnyKeyIsMapped(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/demo/a", `{"first-name":"Ada","@type":"Person","with space":1,"é":{"$id":[7,8]},"plain":true}`).want(201)
	w.wantAsked(`{"endpoints":[`+mapped(`{"a":"first-name","b":"@type","c":"with space","d":"é.$id[1]","e-f":"plain"}`)+`]}`,
		`{"a":"Ada","b":"Person","c":1,"d":8,"e-f":true}`)
	// One that the record lacks fails nothing.
	w.wantAsked(`{"endpoints":[`+mapped(`{"a":"last-name","b":"plain"}`)+`]}`, `{"b":true}`)
}

func TestB42BothTextsOfDuplicates(t *testing.T) {
	w := newWorld(t)
	ids := w.stored(notes, `[1,2]`)
	const batched = `{"message":"Bad Request","cause":"Could not insert data - Duplicate data"}`
	w.post("bob", notes, `1`).want(400, `{"message":"Bad Request","cause":"Duplicate data - Duplicate data"}`)
	w.post("bob", batch, `[{"endpoint":"rumpel/notes","data":1}]`).want(400, batched)
	w.put("bob", api+"/data", "["+change(ids[1], "rumpel/notes", `1`)+"]").want(400, batched)
}

func TestB46MailTokensAreNotToldToStrangers(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/control/v2/auth/passwordReset", "/control/v2/auth/claim"} {
		w.advance(logins.PairEvery)
		want := w.post("", path, `{"email":"nobody"}`).want(200).body
		for _, query := range []string{"?sendEmailToUser=false", "?sendEmailToUser=true", ""} {
			for _, email := range []string{"bob", "bob@bob.test", "nobody"} {
				w.advance(logins.PairEvery) // or the rate is what refuses
				a := w.post("", path+query, fmt.Sprintf(`{"email":%q}`, email)).want(200, want)
				if a.header.Get(edge.TokenHeader) != "" || a.header.Get("Location") != "" || len(a.header.Values("Set-Cookie")) > 0 {
					t.Errorf("%s: %v", a.call, a.header)
				}
			}
		}
	}
}

func TestB51AcceptedDebitsShareWhatWasAccepted(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("bob", notes, `"shared"`).want(201)
	w.post("bob", api+"/data/rumpel/diary", `"private"`).want(201)
	const condition = `{"name":"c","bundle":{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}}`
	w.post("client", dd, debitBody("conditions", condition)).want(201)
	w.get("bob", dd+"/enable").want(200)
	// Under its name, by whoever may write bundles; under its conditions' name; and the client's own other terms.
	const wider = `{"p":{"endpoints":[{"endpoint":"rumpel/diary"},{"endpoint":"rumpel/notes"}]}}`
	for _, who := range []string{"bob", w.appToken("pds")} {
		w.post(who, api+"/data-bundle/b", wider).want(201)
		w.post(who, api+"/data-bundle/c", `{"p":{"endpoints":[{"endpoint":"no/where"}]}}`).want(201)
		w.get("client", dd+"/values").shares(`"shared"`)
	}
	w.put("client", dd, debitBody("bundle", `{"name":"b","bundle":`+wider+`}`)).want(200)
	w.get("client", dd+"/values").shares(`"shared"`)
	w.post("client", api+"/data-bundle/b", wider).want(403)
}

func TestB52SharedRecordsAreInTheReceipts(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("bob", batch, `[{"endpoint":"rumpel/notes","data":1,"links":[{"endpoint":"rumpel/tags","data":"red"}]},{"endpoint":"rumpel/diary","data":2}]`).want(201)
	w.post("client", dd, debitBody("bundle", `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"rumpel/notes","links":[{"endpoint":"rumpel/tags"}]}]}}}`)).want(201)
	w.get("bob", dd+"/enable").want(200)
	for n := 1; n <= 2; n++ {
		w.get("client", dd+"/values").shares("1")
		all := w.disclosures()
		if len(all) != n {
			t.Fatalf("%d receipts of %d answers", len(all), n)
		}
		e := all[n-1]
		if e.Debit != "dd-1" || e.User != w.users["client"].ID || e.Read.Count != 2 || fmt.Sprint(e.Endpoints) != "[rumpel/notes rumpel/tags]" {
			t.Errorf("%+v", e)
		}
	}
	w.get("bob", dd+"/disable?atPeriodEnd=false").want(200)
	w.get("client", dd+"/values").want(400, notEnabled)
	if n := len(w.disclosures()); n != 2 {
		t.Errorf("%d receipts, and nothing more was shared", n)
	}
}

func TestB54TokensInHeadersOnly(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	w.post("bob", notes, `1`).want(201)
	valid := w.token("bob")
	w.get("", notes+"?X-Auth-Token="+url.QueryEscape(valid)).want(401, notAuthenticated)
	w.post("", notes, fmt.Sprintf(`{"X-Auth-Token":%q}`, valid)).want(401, notAuthenticated)
	// Signed with the right key, of another HAT by its own account.
	stranger := edge.UserClaims(directory.HAT{Domain: w.eve.Domain}, w.users["bob"], w.bob.Domain.String(), "owner", w.clock())
	w.get(must(w.tokens.Sign(w.bob, stranger)), notes).want(401, notAuthenticated)
	// An application is off in the very next request, and on again.
	app := w.appToken("rumpel-app")
	w.get(app, notes).want(200)
	w.get("bob", api+"/applications/rumpel-app/disable").want(200)
	w.get(app, notes).want(403, accessDenied)
	w.get("bob", api+"/applications/rumpel-app/setup").want(200)
	w.get(app, notes).want(200)
	// The body clients know, when tries are too many.
	var last answer
	for range logins.PairBurst + 1 {
		last = w.login("bob", "wrong")
	}
	last.want(400, `{"message":"Request rate exceeded","cause":"Rate of requests from your IP exceeded","details":["Request to /users/access_token"]}`)
}

func TestB61RecordsAreStoredWithTheirLinks(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/rumpel/tags", `"red"`).want(201)
	const body = `[{"endpoint":"rumpel/notes","data":1,"links":[{"endpoint":"rumpel/tags","data":"blue"},{"endpoint":"rumpel/tags","data":%q}]}]`
	for _, query := range []string{"", "?skipErrors=true"} {
		w.post("bob", batch+query, fmt.Sprintf(body, "red")).want(400)
	}
	w.disk(func(ops []string, persisted bool) error {
		if slices.Contains(ops, "append") && !persisted {
			return errors.New("no space left")
		}
		return nil
	})
	if a := w.post("bob", batch, fmt.Sprintf(body, "green")); a.status/100 != 5 {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.disk(nil)
	w.get("bob", notes).want(200, `[]`)
	w.get("bob", api+"/data/rumpel/tags").wantData(`"red"`)
	w.post("bob", batch, fmt.Sprintf(body, "green")).want(201)
	if got := w.linked("rumpel/notes", "rumpel/tags"); got != `1:"blue""green"` {
		t.Errorf("linked %s", got)
	}
}

// Bundles, combinators and the values of debits, beside TestLargeAnswersStream.
func TestB63AnswersWithoutLimitStream(t *testing.T) {
	w := newWorld(t)
	const records = 60
	var all []string
	for i := range records {
		all = append(all, fmt.Sprintf(`"%03d%s"`, i, strings.Repeat("x", 100_000)))
	}
	w.post("bob", notes, "["+strings.Join(all, ",")+"]").want(201)
	w.post("bob", api+"/combinator/c", `[{"endpoint":"rumpel/notes"}]`).want(201)
	w.post("bob", api+"/data-bundle/mine", `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}`).want(201)
	w.post("bob", dd, debitBody()).want(201)
	w.get("bob", dd+"/enable").want(200)
	for _, path := range []string{"/combinator/c?take=2147483647", "/data-bundle/mine", "/data-debit/dd-1/values"} {
		a := w.get("bob", api+path).want(200)
		// An answer that was ever whole in memory has a length.
		if got := a.header.Get("Content-Length"); got != "" || strings.Count(a.body, `"recordId"`) != records || strings.Count(a.body, "xxx\"") != records {
			t.Errorf("%s: length %q, %d bytes", path, got, len(a.body))
		}
	}
}

func TestB64LinkedRecordsRunFunctions(t *testing.T) {
	shown := make(chan []string, 10)
	w := newWorld(t, reader("tagger", "rumpel/tags", "individual", func(ids []string) { shown <- ids }))
	w.get("bob", functions+"/tagger/enable").want(200)
	all := w.post("bob", batch, `[{"endpoint":"rumpel/notes","data":1,"links":[{"endpoint":"rumpel/tags","data":"red"}]}]`).want(201).records()
	select {
	case ids := <-shown:
		if want := (*all[0].Links)[0].RecordID; !slices.Equal(ids, []string{want}) {
			t.Errorf("shown %v, want %s", ids, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the function does not run")
	}
}

func TestB65NothingIsNoRecord(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `{"k":"v"}`).want(201)
	w.post("bob", api+"/combinator/c", `[{"endpoint":"no/where","links":[{"endpoint":"rumpel/notes"}]}]`).want(201)
	w.post("bob", api+"/data-bundle/mine", `{"p":{"endpoints":[{"endpoint":"no/where"}]},"q":{"endpoints":[]}}`).want(201)
	w.post("bob", dd, debitBody("bundle", bundleNamed("b", "no/where"))).want(201)
	w.get("bob", dd+"/enable").want(200)
	for path, want := range map[string]string{
		"/data/no/where":            `[]`,
		"/data/rumpel/notes?k=w":    `[]`,
		"/data/rumpel/notes?skip=1": `[]`,
		"/combinator/c":             `[]`,
		"/data-bundle/mine":         `{"p":[],"q":[]}`,
		"/data-debit/dd-1/values":   `{"bundle":{"p":[]}}`,
	} {
		w.get("bob", api+path).want(200, want)
	}
}

func TestB66TypesAndDatesInOrder(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[{"k":{}},{"k":[0]},{"k":true},{"k":false},{"k":10},{"k":9.5},{"k":"2"},{"k":"10"},{"k":null},{"k":[]},{"n":0}]`).want(201)
	w.get("bob", notes+"?orderBy=k").wantData(`{"k":[]} {"k":null} {"k":"10"} {"k":"2"} {"k":9.5} {"k":10} {"k":false} {"k":true} {"k":[0]} {"k":{}} {"n":0}`)
	w.get("bob", notes+"?orderBy=k&ordering=descending").wantData(`{"k":{}} {"k":[0]} {"k":true} {"k":false} {"k":10} {"k":9.5} {"k":"2"} {"k":"10"} {"k":null} {"k":[]} {"n":0}`)
	// Dates are texts: the first is the later moment.
	w.post("bob", api+"/data/rumpel/dates", `[{"d":"2024-03-03T07:05:00+02:00"},{"d":"2024-03-03T06:00:00Z"}]`).want(201)
	w.get("bob", api+"/data/rumpel/dates?orderBy=d").wantData(`{"d":"2024-03-03T06:00:00Z"} {"d":"2024-03-03T07:05:00+02:00"}`)
}
