package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/receipt"
	"she/internal/vault"
)

const dd = api + "/data-debit/dd-1"

// debitBody is a proposal that shares rumpel/notes as bundle b from nine o'clock on, week by week, changed as the
// fields say: names and JSON texts in pairs, an empty text to leave the field out.
func debitBody(changes ...string) string {
	fields := map[string]string{
		"dataDebitKey": `"dd-1"`, "purpose": `"why"`, "start": `"2026-03-04T09:00:00+0000"`, "period": `604800000`,
		"cancelAtPeriodEnd": `false`, "requestClientName": `"Client"`, "requestClientUrl": `"https://c.test"`,
		"requestClientLogoUrl": `"https://c.test/l.png"`, "requestClientCallbackUrl": `null`, "requestApplicationId": `null`,
		"requestDescription": `null`, "termsUrl": `"https://c.test/t"`,
		"bundle": `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}}`,
	}
	for i := 0; i < len(changes); i += 2 {
		if fields[changes[i]] = changes[i+1]; changes[i+1] == "" {
			delete(fields, changes[i])
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, fmt.Sprintf("%q:%s", name, fields[name]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func bundleNamed(name, endpoint string) string {
	return fmt.Sprintf(`{"name":%q,"bundle":{"p":{"endpoints":[{"endpoint":%q}]}}}`, name, endpoint)
}

type gotDebit struct {
	DataDebitKey      string
	Permissions       []struct{ Purpose string }
	Active, Accepted  bool
	Start             string
	End               *string
	PermissionsActive *struct{ Purpose string }
	PermissionsLatest struct {
		Purpose  string
		Accepted bool
		Period   json.Number
	}
}

func (a answer) debit() (d gotDebit) {
	a.t.Helper()
	a.decode(&d)
	return d
}

// values checks what a debit shares: the data of property p.
func (a answer) shares(want string) {
	a.t.Helper()
	a.want(200)
	var got struct{ Bundle map[string][]wireRecord }
	a.decode(&got)
	var all []string
	for _, r := range got.Bundle["p"] {
		all = append(all, string(r.Data))
	}
	if text := strings.Join(all, " "); text != want {
		a.t.Errorf("%s: %s, want %s", a.call, text, want)
	}
}

const notEnabled = `{"message":"Bad Request","cause":"Data Debit dd-1 not enabled"}`

func TestScenario46And47Debit(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("bob", notes, `[1,2]`).want(201)
	d := w.post("client", dd, debitBody()).want(201).debit()
	if d.DataDebitKey != "dd-1" || d.Accepted || d.Active || d.PermissionsActive != nil || d.End != nil ||
		d.PermissionsLatest.Period != "604800000" || d.Start != "2026-03-04T09:00:00+0000" {
		t.Errorf("%+v", d)
	}
	// B-50: whoever made it may use it in the very next request.
	w.get("client", dd).want(200)
	w.get("client", dd+"/values").want(400, notEnabled)
	w.get("client", dd+"/enable").want(403, accessDenied)
	w.get("client", api+"/data-debit").want(403, accessDenied)
	d = w.get("bob", dd+"/enable").want(200).debit()
	if !d.Accepted || !d.Active || d.PermissionsActive == nil {
		t.Errorf("%+v", d)
	}
	w.get("client", dd+"/values").shares("1 2")
	w.get("bob", dd+"/values").shares("1 2")
	// It shares what the debit says; the client's roles have not grown.
	w.get("client", notes).want(403, accessDenied)
	w.addUser("another", access.Role{Title: access.TitleDataDebit})
	w.get("another", dd+"/values").want(403, accessDenied)

	const exists = `{"message":"Bad Request","cause":"Data Debit request malformed: Data Debit with such ID already exists"}`
	w.post("client", dd, debitBody("bundle", bundleNamed("other", "a/b"))).want(400, exists)
	const taken = `{"message":"Bad Request","cause":"Data Debit request malformed: Data bundle with such ID already exists"}`
	w.post("client", api+"/data-debit/dd-2", debitBody()).want(400, taken)
	w.post("bob", api+"/data-bundle/mine", `{}`).want(201)
	w.post("client", api+"/data-debit/dd-2", debitBody("bundle", bundleNamed("mine", "a/b"))).want(400, taken)
	w.post("client", api+"/data-debit/dd-2", debitBody("bundle", bundleNamed("fresh", "a/b"))).want(201)
	var all []gotDebit
	w.get("bob", api+"/data-debit").want(200).decode(&all)
	if len(all) != 2 {
		t.Errorf("%+v", all)
	}
	const none = `{"message":"Not Found","cause":"Data Debit none not found"}`
	w.get("bob", api+"/data-debit/none").want(404, none)
	w.get("bob", api+"/data-debit/none/values").want(404, none)
	const unknown = `{"message":"Not Found","cause":"Data Debit with this ID does not exist"}`
	w.get("bob", api+"/data-debit/none/enable").want(400, unknown)
	w.get("bob", api+"/data-debit/none/disable?atPeriodEnd=false").want(400, unknown)
}

// disclosures are the entries of bob's receipts that say what was shown to somebody else.
func (w *world) disclosures() (all []receipt.Entry) {
	w.t.Helper()
	for line := range strings.Lines(w.get("bob", "/api/she/v1/receipts").want(200).body) {
		var e receipt.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Kind == receipt.Disclosure {
			all = append(all, e)
		}
	}
	return all
}

// B-52: what a data debit shares is in the receipts before it is sent.
func TestDebitValuesAreReceipted(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	var ids []hat.RecordID
	for _, r := range w.post("bob", notes, `[1,2]`).want(201).records() {
		ids = append(ids, must(hat.ParseRecordID(r.RecordID)))
	}
	w.post("bob", api+"/data/rumpel/diary", `"private"`).want(201)
	w.post("client", dd, debitBody()).want(201)
	w.get("client", dd+"/values").want(400, notEnabled)
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/values").shares("1 2")
	if all := w.disclosures(); len(all) != 0 {
		t.Errorf("nothing was shared yet: %+v", all)
	}
	w.get("client", dd+"/values").shares("1 2")
	all := w.disclosures()
	if len(all) != 1 {
		t.Fatalf("%d entries for one answer", len(all))
	}
	if e := all[0]; e.Debit != "dd-1" || e.User != w.users["client"].ID || *e.Read != *receipt.RecordsOf(ids) ||
		fmt.Sprint(e.Endpoints) != "[rumpel/notes]" {
		t.Errorf("%+v", e)
	}

	// Without the entry nothing goes out.
	w.disk(func(ops []string, persisted bool) error {
		if slices.Contains(ops, "disclose") && !persisted {
			return errors.New("no room")
		}
		return nil
	})
	if a := w.get("client", dd+"/values"); a.status < 500 || strings.Contains(a.body, ids[0].String()) {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.disk(nil)

	// That somebody asked is in them even if there was nothing.
	w.del("bob", notes).want(200)
	w.get("client", dd+"/values").shares("")
	if all = w.disclosures(); len(all) != 2 || all[1].Read.Count != 0 {
		t.Errorf("%+v", all)
	}
}

// An answer beyond the spool is entered piece by piece, each before it goes out.
func TestLargeDebitValuesAreReceipted(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	const records, size = 5, 1 << 20
	for i := range records {
		w.post("bob", notes, `"`+strings.Repeat(fmt.Sprint(i), size)+`"`).want(201)
	}
	w.post("client", dd, debitBody()).want(201)
	w.get("bob", dd+"/enable").want(200)
	if a := w.get("client", dd+"/values").want(200); len(a.body) < records*size {
		t.Fatalf("%d bytes", len(a.body))
	}
	all := w.disclosures()
	count := 0
	for _, e := range all {
		count += e.Read.Count
	}
	if len(all) != 2 || count != records {
		t.Errorf("%d records in %d entries, want %d in 2", count, len(all), records)
	}
}

func TestScenario48OtherTerms(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `1`).want(201)
	w.post("bob", api+"/data/rumpel/diary", `"private"`).want(201)
	w.post("bob", dd, debitBody()).want(201)
	w.get("bob", dd+"/enable").want(200)
	d := w.put("bob", dd, debitBody("purpose", `"more"`, "bundle", bundleNamed("wider", "rumpel/diary"))).want(200).debit()
	if !d.Active || d.PermissionsActive.Purpose != "why" || d.PermissionsLatest.Purpose != "more" || d.PermissionsLatest.Accepted ||
		len(d.Permissions) != 2 || d.Permissions[0].Purpose != "more" {
		t.Errorf("%+v", d)
	}
	w.get("bob", dd+"/values").shares("1")
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/values").shares(`"private"`)

	w.put("bob", api+"/data-debit/none", debitBody()).
		want(400, `{"message":"Bad Request","cause":"Data Debit request malformed: Data Debit being updated does not exist"}`)
	w.post("bob", api+"/data-debit/dd-2", debitBody("bundle", bundleNamed("theirs", "a/b"))).want(201)
	w.put("bob", dd, debitBody("bundle", bundleNamed("theirs", "a/b"))).
		want(400, `{"message":"Bad Request","cause":"Data Debit request malformed: Bundle theirs already linked and could not be reassigned to a different data debit"}`)
}

func TestScenario49Disable(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `1`).want(201)
	w.post("bob", dd, debitBody()).want(201)
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/disable").want(400, `{"error":"Bad Request","message":"Missing parameter: atPeriodEnd"}`)
	w.get("bob", dd+"/disable?atPeriodEnd=perhaps").want(400)
	w.advance(time.Hour)
	d := w.get("bob", dd+"/disable?atPeriodEnd=true").want(200).debit()
	if !d.Active || d.End == nil || *d.End != "2026-03-11T09:00:00+0000" {
		t.Errorf("%+v", d)
	}
	w.get("bob", dd+"/values").shares("1")
	w.advance(7*24*time.Hour - time.Hour)
	w.login("bob", "testing").want(200)
	w.get("bob", dd+"/values").want(400, notEnabled)
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/values").shares("1")
	w.get("bob", dd+"/disable?atPeriodEnd=false").want(200)
	w.get("bob", dd+"/values").want(400, notEnabled)
}

// A debit that is withdrawn before its start never shares anything.
func TestDisabledBeforeItsStart(t *testing.T) {
	for _, how := range []string{"false", "true"} {
		w := newWorld(t)
		w.post("bob", notes, `1`).want(201)
		w.post("bob", dd, debitBody("start", `"2026-03-05T09:00:00+0000"`)).want(201)
		w.get("bob", dd+"/enable").want(200)
		d := w.get("bob", dd+"/disable?atPeriodEnd="+how).want(200).debit()
		if d.Active || d.End == nil {
			t.Errorf("%+v", d)
		}
		for range 10 {
			w.get("bob", dd+"/values").want(400, notEnabled)
			w.advance(24 * time.Hour)
			w.login("bob", "testing").want(200)
		}
		w.get("bob", dd+"/enable").want(200)
		w.get("bob", dd+"/values").shares("1")
	}
}

func TestScenario50Conditions(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `1`).want(201)
	w.post("bob", dd, debitBody("conditions", `{"name":"c","bundle":{
		"has notes":{"endpoints":[{"endpoint":"rumpel/notes"}]},"has steps":{"endpoints":[{"endpoint":"fitbit/steps"}]}}}`)).want(201)
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/values").want(200, `{"bundle":{},"conditions":{"has notes":true,"has steps":false}}`)
	w.post("bob", api+"/data/fitbit/steps", `5`).want(201)
	a := w.get("bob", dd+"/values")
	a.shares("1")
	if !strings.Contains(a.body, `"has steps":true`) {
		t.Errorf("%s", a.body)
	}
}

func TestScenario51Start(t *testing.T) {
	w := newWorld(t)
	w.post("bob", dd, debitBody("start", `"2026-03-04T11:00:00.5+02:00"`)).want(201) // half a second ahead
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/values").want(400, notEnabled)
	w.advance(time.Second)
	w.get("bob", dd+"/values").want(200, `{"bundle":{"p":[]}}`)
}

func TestScenario52DebitsKeepTheirBundles(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `"shared"`).want(201)
	w.post("bob", api+"/data/rumpel/diary", `"private"`).want(201)
	w.post("bob", dd, debitBody()).want(201)
	w.get("bob", dd+"/enable").want(200)
	w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"rumpel/diary"}]}}`).want(201)
	w.get("bob", dd+"/values").shares(`"shared"`)
}

func TestDebitBodies(t *testing.T) {
	w := newWorld(t)
	field := func(path, why string) string {
		return fmt.Sprintf(`{"error":"Bad Request","message":{%q:[{"msg":[%q],"args":[]}]}}`, path, why)
	}
	for _, c := range []struct{ name, text, want string }{
		{"dataDebitKey", "", field("obj.dataDebitKey", "error.path.missing")},
		{"purpose", "5", field("obj.purpose", "error.expected.jsstring")},
		{"start", `"soon"`, field("obj.start", "error.expected.date.isoformat")},
		{"start", `"99999-01-01T00:00:00+0000"`, field("obj.start", "error.expected.date.isoformat")},
		{"period", `-1`, field("obj.period", "error.expected.period")},
		{"period", "", field("obj.period", "error.path.missing")},
		{"cancelAtPeriodEnd", `"no"`, field("obj.cancelAtPeriodEnd", "error.expected.jsboolean")},
		{"bundle", "", field("obj.bundle", "error.path.missing")},
		{"bundle", `{"name":"b b","bundle":{}}`, field("obj.bundle.name", "Bundle name invalid")},
		{"conditions", `{"name":"c","bundle":{"p":{"endpoints":[{"endpoint":"X"}]}}}`, field("obj.conditions.bundle.p.endpoints[0].endpoint", "Endpoint invalid")},
	} {
		w.post("bob", dd, debitBody(c.name, c.text)).want(400, c.want)
	}
	w.post("bob", dd, `[]`).want(400, field("obj", "error.expected.jsobject"))
	for i, period := range []string{`"PT604800S"`, `"P7D"`, `604800000`} {
		d := w.post("bob", fmt.Sprintf("%s-%d", dd, i), debitBody("period", period, "bundle", bundleNamed(fmt.Sprint("b", i), "a/b"))).want(201).debit()
		if d.PermissionsLatest.Period != "604800000" {
			t.Errorf("%s came back as %s", period, d.PermissionsLatest.Period)
		}
	}
	w.get("bob", "/api/v2/data-debit").want(404) // the older shapes are not spoken
}

// Partners can't pile up what is read and written whole.
func TestDebitsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.post("bob", dd, debitBody()).want(201)
	for range (hatapi.DebitLimits{}).OrDefault().Terms - 1 {
		w.put("bob", dd, debitBody()).want(200)
	}
	w.put("bob", dd, debitBody()).want(400, `{"message":"Bad Request","cause":"Data Debit request malformed: Too many changes of one Data Debit: it may have 100 terms"}`)
	w.post("bob", api+"/data-debit/large", debitBody("bundle", bundleNamed("large", "a/b"))).want(201)
	wide := func(i int) string {
		var queries []string
		for range 1000 {
			queries = append(queries, `{"endpoint":"rumpel/`+strings.Repeat("x", 450)+`"}`)
		}
		return fmt.Sprintf(`{"name":"large%d","bundle":{"p":{"endpoints":[%s]}}}`, i, strings.Join(queries, ","))
	}
	last := answer{status: 200}
	for i := 0; i < 10 && last.status == 200; i++ {
		last = w.put("bob", api+"/data-debit/large", debitBody("bundle", wide(i)))
	}
	last.want(400, `{"message":"Bad Request","cause":"Data Debit request malformed: Too large, with all its former terms: one Data Debit may have 262144 bytes"}`)
}

// wide is a bundle of about so many kilobytes.
func wide(name string, kb int) string {
	queries := strings.Repeat(`{"endpoint":"a/`+strings.Repeat("x", 490)+`"},`, 2*kb)
	return fmt.Sprintf(`{"name":%q,"bundle":{"p":{"endpoints":[%s]}}}`, name, strings.TrimSuffix(queries, ","))
}

func withDebits(l hatapi.DebitLimits) setting {
	return func(o *Options, _ *engine.Options) { o.Debits = l }
}

// What partners may pile up is counted for each of them and for the HAT; what is over it is refused with a word of it, and takes
// nothing from the owner.
func TestPartnersAreBounded(t *testing.T) {
	limits := hatapi.DebitLimits{}.OrDefault()
	limits.DebitsOfPartner, limits.Debits, limits.Terms = 2, 4, 3
	limits.BytesOfPartner, limits.Bytes = 60<<10, 90<<10
	w := newWorld(t, withDebits(limits), withApplications(catalogue))
	for _, name := range []string{"ann", "ben", "cid"} {
		w.addUser(name, access.Role{Title: access.TitleDataDebit})
	}
	refused := func(why string) string {
		return `{"message":"Bad Request","cause":"Data Debit request malformed: ` + why + `"}`
	}
	n := 0
	propose := func(who string, more ...string) answer {
		t.Helper()
		n++
		return w.post(who, fmt.Sprintf("%s/data-debit/d%d", api, n),
			debitBody(append([]string{"bundle", bundleNamed(fmt.Sprint("b", n), "a/b")}, more...)...))
	}
	propose("ann").want(201)
	propose("ann").want(201)
	propose("ann").want(400, refused("Too many Data Debits: one partner may propose 2"))
	w.post("ann", api+"/data-debit/d1", debitBody()).want(400, refused("Data Debit with such ID already exists"))
	propose("ben").want(201)
	// The owner and their application are two.
	propose("bob").want(201)
	propose(w.appToken("pds")).want(400, refused("Too many Data Debits: a HAT may have 4"))
	propose("cid").want(400, refused("Too many Data Debits: a HAT may have 4"))

	const long, short = 25, 1
	change := func(who, id string, kb int) answer {
		t.Helper()
		return w.put(who, api+"/data-debit/"+id, debitBody("bundle", wide("of-"+id, kb)))
	}
	change("ann", "d1", long).want(200)
	change("ann", "d2", long).want(200)
	change("ann", "d2", long).want(400, refused("Too large, with all Data Debits of the partner: they may have 61440 bytes"))
	change("bob", "d2", long).want(400, refused("Too large, with all Data Debits of the partner: they may have 61440 bytes"))
	change("ben", "d4", long).want(200)
	change("bob", "d5", long).want(400, refused("Too large, with all Data Debits of the HAT: they may have 92160 bytes"))
	change("ben", "d4", short).want(200)
	change("ben", "d4", short).want(400, refused(fmt.Sprintf("Too many changes of one Data Debit: it may have %d terms", limits.Terms)))
	// What is there is decided about all the same.
	w.get("bob", api+"/data-debit").want(200)
	for _, id := range []string{"d1", "d2", "d4"} {
		w.get("bob", api+"/data-debit/"+id+"/enable").want(200)
		w.get("bob", api+"/data-debit/"+id+"/disable?atPeriodEnd=false").want(200)
	}
}

// A debit that was stored with more than is allowed now is still the owner's to accept and to take back.
func TestALargeDebitIsDecidedAbout(t *testing.T) {
	limits := hatapi.DebitLimits{}.OrDefault()
	limits.BytesOfDebit = 2 << 10
	w := newWorld(t, withDebits(limits))
	d := debit.Debit{Key: "dd-1", Created: w.clock()}.Propose(debit.Permissions{
		Purpose: strings.Repeat("x", 4<<10), Start: w.clock(), Period: must(hat.ParsePeriod("P7D")), Bundle: must(bundle.Parse([]byte(bundleNamed("b", "rumpel/notes")))),
	}, w.clock())
	v, release := w.open(w.bob)
	defer release()
	owner := access.User(w.users["bob"].ID, w.users["bob"].Roles, "")
	if err := v.EditDocuments(t.Context(), owner, func(e vault.Edit) error { return e.Put(vault.Debits, d.Key, must(d.Store())) }); err != nil {
		t.Fatal(err)
	}
	w.get("bob", dd+"/enable").want(200)
	w.get("bob", dd+"/disable?atPeriodEnd=false").want(200)
	w.put("bob", dd, debitBody()).want(400, `{"message":"Bad Request","cause":"Data Debit request malformed: Too large, with all its former terms: one Data Debit may have 2048 bytes"}`)
}

// A proposal reads no other debit: not even one that can't be read stands in its way. Names are found all the same.
func TestAProposalReadsNoOthers(t *testing.T) {
	w := newWorld(t)
	v, release := w.open(w.bob)
	defer release()
	owner := access.User(w.users["bob"].ID, w.users["bob"].Roles, "")
	if err := v.EditDocuments(t.Context(), owner, func(e vault.Edit) error { return e.Put(vault.Debits, "broken", []byte(`{}`)) }); err != nil {
		t.Fatal(err)
	}
	w.post("bob", dd, debitBody("conditions", bundleNamed("c", "rumpel/notes"))).want(201)
	w.put("bob", dd, debitBody()).want(200)
	const taken = `{"message":"Bad Request","cause":"Data Debit request malformed: Data bundle with such ID already exists"}`
	for _, name := range []string{"b", "c"} {
		for _, body := range []string{
			debitBody("bundle", bundleNamed(name, "a/b")),
			debitBody("bundle", bundleNamed("fresh", "a/b"), "conditions", bundleNamed(name, "a/b")),
		} {
			w.post("bob", api+"/data-debit/dd-2", body).want(400, taken)
		}
	}
	// Its own former names stay its own.
	w.put("bob", dd, debitBody("bundle", bundleNamed("other", "a/b"))).want(200)
	w.put("bob", dd, debitBody("bundle", bundleNamed("c", "a/b"))).want(200)
}

// A list of more than is collected in memory comes debit by debit, the newest first, and counts as shown.
func TestALongListOfDebits(t *testing.T) {
	w := newWorld(t)
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	debits := 16
	if testing.Short() {
		debits = 4
	}
	for i := range debits {
		id := fmt.Sprintf("%s/data-debit/d%d", api, i)
		body := debitBody("bundle", wide(fmt.Sprint("b", i), 100))
		w.post("client", id, body).want(201)
		w.put("client", id, debitBody("bundle", bundleNamed(fmt.Sprint("b", i), "a/b"))).want(200)
	}
	a := w.get("bob", api+"/data-debit").want(200)
	if a.header.Get("Content-Length") != "" && len(a.body) > edge.SpoolSize {
		t.Errorf("%d bytes were collected before the first was sent", len(a.body))
	}
	var all []gotDebit
	a.decode(&all)
	if len(all) != debits || all[0].DataDebitKey != fmt.Sprint("d", debits-1) || all[debits-1].DataDebitKey != "d0" {
		t.Errorf("%d debits", len(all))
	}
	for i := range debits {
		w.get("bob", fmt.Sprintf("%s/data-debit/d%d/enable", api, i)).want(200)
	}
}

// Proposals beside a hundred others: what each costs does not grow with them.
func BenchmarkProposal(b *testing.B) {
	for _, others := range []int{0, 400} {
		b.Run(fmt.Sprint(others, " others"), func(b *testing.B) {
			limits := hatapi.DebitLimits{}.OrDefault()
			limits.Debits, limits.DebitsOfPartner, limits.Bytes, limits.BytesOfPartner, limits.Terms = 1<<30, 1<<30, 1<<40, 1<<40, 1<<30
			w := newWorld(b, withDebits(limits))
			for i := range others {
				w.post("bob", fmt.Sprintf("%s/data-debit/o%d", api, i), debitBody("bundle", wide(fmt.Sprint("o", i), 100))).want(201)
			}
			i := 0
			for b.Loop() {
				i++
				w.post("bob", fmt.Sprintf("%s/data-debit/d%d", api, i), debitBody("bundle", bundleNamed(fmt.Sprint("b", i), "a/b"))).want(201)
			}
		})
	}
}

// A bound that is given alone leaves the others as they are.
func TestOneBoundOfDebits(t *testing.T) {
	want := hatapi.DebitLimits{}.OrDefault()
	want.DebitsOfPartner = 1
	if got := (hatapi.DebitLimits{DebitsOfPartner: 1}).OrDefault(); got != want {
		t.Errorf("%+v", got)
	}
	w := newWorld(t, withDebits(hatapi.DebitLimits{DebitsOfPartner: 1}))
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("client", dd, debitBody()).want(201)
	if a := w.post("client", api+"/data-debit/dd-2", debitBody("bundle", bundleNamed("other", "a/b"))).want(400); !strings.Contains(a.body, "one partner may propose 1") {
		t.Error(a.body)
	}
}
