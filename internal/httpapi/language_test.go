package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"she/internal/contract"
)

// demo are the records of the worked examples of the query language, in the order they are stored in. The last is
// linked with the first.
var demo = []struct{ endpoint, data string }{
	{"demo/a", `{"id":1,"kind":"note","tags":["red","blue"],"score":10,"at":"2024-03-01T09:15:00Z","ts":1709284500,"author":{"name":"Ada","age":36},"items":[{"n":"x","q":1},{"n":"y"}]}`},
	{"demo/a", `{"id":2,"kind":"Note","tags":["blue"],"score":9.5,"at":"2024-03-02T18:45:00Z","ts":1709405100,"author":{"name":"Bob"}}`},
	{"demo/a", `{"id":3,"kind":"photo","tags":[],"score":"10","at":"2024-03-03T07:05:00+02:00","ts":1709442300,"author":{"name":null}}`},
	{"demo/a", `{"id":4,"kind":"photo","score":null,"text":"Running shoes in London"}`},
	{"demo/b", `{"ref":"b1","created":"2024-03-02T00:00:00Z","title":"from b"}`},
	{"demo/b", `{"ref":"b2","title":"no date"}`},
	{"demo/n", `{"remind":"tomorrow"}`},
}

// A demoWorld knows the records of demo by name: r1 to r7.
type demoWorld struct {
	*world
	names map[string]string // by record id
	data  map[string]string // by name
}

func newDemoWorld(t *testing.T) *demoWorld {
	d := &demoWorld{newWorld(t), map[string]string{}, map[string]string{}}
	var first, last string
	for i, r := range demo {
		last = d.post("bob", api+"/data/"+r.endpoint, r.data).want(201).record().RecordID
		if i == 0 {
			first = last
		}
		name := fmt.Sprintf("r%d", i+1)
		d.names[last], d.data[name] = name, r.data
	}
	d.call("POST", api+"/data-link?records="+first+"&records="+last, "bob", "").want(201)
	return d
}

// wantRows checks records by name, a record with links as "r1+r7". data is what each then holds; without any, each
// holds what was stored.
func (d *demoWorld) wantRows(got []wireRecord, names string, data ...string) {
	d.t.Helper()
	var all []string
	for i, r := range got {
		name := d.names[r.RecordID]
		want := d.data[name]
		if len(data) > i {
			want = data[i]
		}
		if !sameJSON(string(r.Data), want) {
			d.t.Errorf("%s holds %s, want %s", name, r.Data, want)
		}
		if r.Links != nil {
			for _, link := range *r.Links {
				linked := d.names[link.RecordID]
				if !sameJSON(string(link.Data), d.data[linked]) || link.Endpoint != "demo/n" || link.Links != nil {
					d.t.Errorf("%s is linked with %+v", name, link)
				}
				name += "+" + linked
			}
		}
		all = append(all, name)
	}
	if text := strings.Join(all, " "); text != names {
		d.t.Errorf("got %q, want %q", text, names)
	}
}

// An example is one query: the endpoint queries, and the rest as a combinator's parameters. It is asked as a
// combinator and, unless it skips, as a bundle of one property.
type example struct {
	name      string
	endpoints string // JSON, the members of the array
	page      string // of orderBy, ordering, skip, take
	rows      string
	data      []string
}

func (e example) property() string {
	values := must(url.ParseQuery(e.page))
	text := `{"endpoints":[` + e.endpoints + `]`
	for _, name := range []string{"orderBy", "ordering"} {
		if values.Has(name) {
			text += fmt.Sprintf(",%q:%q", name, values.Get(name))
		}
	}
	if values.Has("take") {
		text += `,"limit":` + values.Get("take")
	}
	return text + "}"
}

const demoA = `{"endpoint":"demo/a"}`

// where asks demo/a with filters.
func where(filters ...string) string {
	return `{"endpoint":"demo/a","filters":[` + strings.Join(filters, ",") + `]}`
}

func holds(field, operator, value string) string {
	return fmt.Sprintf(`{"field":%q,"operator":{"operator":%q,"value":%s}}`, field, operator, value)
}

func between(field, lower, upper string) string {
	return fmt.Sprintf(`{"field":%q,"operator":{"operator":"between","lower":%s,"upper":%s}}`, field, lower, upper)
}

// changed puts a transformation before the operator of a filter.
func changed(transformation, filter string) string {
	return strings.Replace(filter, `"operator":{`, `"transformation":`+transformation+`,"operator":{`, 1)
}

func find(field, search string) string {
	return fmt.Sprintf(`{"field":%q,"operator":{"operator":"find","search":%q}}`, field, search)
}

func mapped(mapping string) string { return `{"endpoint":"demo/a","mapping":` + mapping + `}` }

func TestScenario38Examples(t *testing.T) {
	const (
		hourOf     = `{"transformation":"datetimeExtract","part":"hour"}`
		dayOf      = `{"transformation":"timestampExtract","part":"dow"}`
		searchable = `{"transformation":"searchable"}`
		both       = `{"endpoint":"demo/a","mapping":{"when":"at","what":"kind"}},{"endpoint":"demo/b","mapping":{"when":"created","what":"title"}}`
		of1        = `{"when":"2024-03-01T09:15:00Z","what":"note"}`
		of2        = `{"when":"2024-03-02T18:45:00Z","what":"Note"}`
		of3        = `{"when":"2024-03-03T07:05:00+02:00","what":"photo"}`
		of4        = `{"what":"photo"}`
		of5        = `{"when":"2024-03-02T00:00:00Z","what":"from b"}`
		of6        = `{"what":"no date"}`
	)
	empty := []string{`{}`, `{}`, `{}`, `{}`}
	d := newDemoWorld(t)
	for _, e := range []example{
		{"E1", demoA, "", "r1 r2 r3 r4", nil},
		{"E2", demoA, "ordering=descending", "r4 r3 r2 r1", nil},
		{"E2/DESC", demoA, "ordering=DESC", "r1 r2 r3 r4", nil},
		{"E3", demoA, "orderBy=score", "r4 r3 r2 r1", nil},
		{"E3/descending", demoA, "orderBy=score&ordering=descending", "r1 r2 r3 r4", nil},
		{"E4", demoA, "orderBy=author.name", "r3 r1 r2 r4", nil},
		{"E4/descending", demoA, "orderBy=author.name&ordering=descending", "r2 r1 r3 r4", nil},
		{"E5", where(holds("kind", "contains", `"note"`)), "", "r1", nil},
		{"E6", where(holds("tags", "contains", `"blue"`)), "", "r1 r2", nil},
		{"E6/array", where(holds("tags", "contains", `["blue","red"]`)), "", "r1", nil},
		{"E7", where(holds("author", "contains", `{"name":"Ada"}`)), "", "r1", nil},
		{"E8", where(holds("kind", "in", `["note","photo"]`)), "", "r1 r3 r4", nil},
		{"E9", where(holds("tags", "in", `["blue","green"]`)), "", "r2 r3", nil},
		{"E10", where(between("score", "9", "10")), "", "r1 r2", nil},
		{"E10/point", where(between("score", "9.5", "9.5")), "", "r2", nil},
		{"E10/types", where(between("score", "null", `"10"`)), "", "r3 r4", nil},
		{"E11", where(between("at", `"2024-03-01T09:15:00Z"`, `"2024-03-02T18:45:00Z"`)), "", "r1 r2", nil},
		{"E11b", where(between("at", `"2024-03-03T05:00:00Z"`, `"2024-03-03T06:00:00Z"`)), "", "", nil},
		{"E12", where(changed(hourOf, between("at", "5", "9"))), "", "r1 r3", nil},
		{"E12/contains", where(changed(hourOf, holds("at", "contains", "18"))), "", "r2", nil},
		{"E13", where(changed(dayOf, holds("ts", "in", "[0,6]"))), "", "r2 r3", nil},
		{"E14", where(changed(searchable, find("text", "run london"))), "", "r4", nil},
		{"E14/part", where(changed(searchable, find("text", "Lond"))), "", "", nil},
		{"E16", mapped(`{"who.name":"author.name","who.years":"author.age","firstTag":"tags[0]","second":"items[1].n","ghost":"nope.nope"}`), "", "r1 r2 r3 r4",
			[]string{`{"who":{"name":"Ada","years":36},"firstTag":"red","second":"y"}`, `{"who":{"name":"Bob"},"firstTag":"blue"}`, `{"who":{"name":null}}`, `{}`}},
		{"E17", mapped(`{"label":"kind","things[]":{"source":"items[]","mappings":{"name":"n","qty":"q"}},"person":{"source":"author","mappings":{"n":"name"}}}`), "", "r1 r2 r3 r4",
			[]string{`{"label":"note","things":[{"name":"x","qty":1},{"name":"y"}],"person":{"n":"Ada"}}`, `{"label":"Note","person":{"n":"Bob"}}`, `{"label":"photo","person":{"n":null}}`, `{"label":"photo"}`}},
		{"E18", mapped(`{}`), "", "r1 r2 r3 r4", empty},
		{"E19", mapped(`{"label":"kind","bad":true}`), "", "r1 r2 r3 r4", empty},
		{"E19/text", mapped(`"kind"`), "", "r1 r2 r3 r4", nil},
		{"E20", both, "orderBy=when", "r1 r5 r2 r3 r4 r6", []string{of1, of5, of2, of3, of4, of6}},
		{"E20b", both, "orderBy=when&ordering=descending&skip=1&take=2", "r2 r5", []string{of2, of5}},
		{"E20c", both, "orderBy=created", "r5 r1 r2 r3 r4 r6", []string{of5, of1, of2, of3, of4, of6}},
		{"E21", demoA, "skip=1&take=2", "r2 r3", nil},
		{"E21/none", demoA, "take=0", "", nil},
		{"E22", `{"endpoint":"demo/a","links":[{"endpoint":"demo/n"}]}`, "", "r1+r7 r2 r3 r4", nil},
		{"E24", where(holds("items.0.n", "contains", `"x"`)), "", "r1", nil},
		{"E24/brackets", where(holds("items[0].n", "contains", `"x"`)), "", "", nil},
		// Once for each record, as the first query that matches says.
		{"E25", `{"endpoint":"demo/a","mapping":{"k":"kind"},"filters":[` + holds("kind", "contains", `"note"`) + `]},{"endpoint":"demo/a","mapping":{"i":"id"}}`, "",
			"r1 r2 r3 r4", []string{`{"k":"note"}`, `{"i":2}`, `{"i":3}`, `{"i":4}`}},
		{"E26", where(holds("kind", "contains", `"photo"`), holds("score", "contains", "null")), "", "r4", nil},
		{"E27", where(changed(hourOf, between("kind", "0", "23"))), "", "", nil},
		{"E30", mapped(`{"s":"score"}`), "", "r1 r2 r3 r4", []string{`{"s":10}`, `{"s":9.5}`, `{"s":"10"}`, `{"s":null}`}},
		{"E31", `{"endpoint":"demo/a","mapping":{"x.a":"kind","x.b":"id","x":"author"},"filters":[` + holds("id", "contains", "1") + `]}`, "",
			"r1", []string{`{"x":{"a":"note","b":1,"age":36,"name":"Ada"}}`}},
		{"E32", where(holds("author", "in", `{"name":"Ada","age":36,"z":1}`)), "", "r1", nil},
	} {
		d.run(t, e.name, func() {
			const c, b = api + "/combinator/c", api + "/data-bundle/b"
			d.post("bob", c, "["+e.endpoints+"]").want(201)
			d.wantRows(d.get("bob", c+"?"+e.page).want(200).records(), e.rows, e.data...)
			if !strings.Contains(e.page, "skip=") {
				d.post("bob", b, `{"p":`+e.property()+`}`).want(201)
				d.wantRows(d.get("bob", b).want(200).properties()["p"], e.rows, e.data...)
			}
		})
	}

	// E28, in the form that takes any key. None of demo has one.
	d.run(t, "E28", func() {
		const c = api + "/combinator/c"
		d.post("bob", api+"/data/demo/c", `{"first-name":"Ada","last":"L"}`).want(201)
		d.post("bob", c, `[{"endpoint":"demo/c","mapping":{"a":"first-name"}},`+mapped(`{"a":"first-name"}`)+`]`).want(201)
		d.get("bob", c).want(200).wantData(`{} {} {} {} {"a":"Ada"}`)
	})

	for _, e := range []example{
		{name: "E15", endpoints: where(find("kind", "x"))},
		{name: "E15/contains", endpoints: where(changed(searchable, holds("text", "contains", `"Running"`)))},
		{name: "E29", endpoints: mapped(`{"a[0]":"kind"}`)},
		{name: "E21/negative", endpoints: demoA, page: "take=-1"},
	} {
		d.run(t, e.name, func() {
			const c, b = api + "/combinator/refused", api + "/data-bundle/refused"
			d.post("bob", b, `{"p":`+e.property()+`}`).want(400)
			d.get("bob", b).want(404)
			if e.page == "" {
				d.post("bob", c, "["+e.endpoints+"]").want(400)
				d.get("bob", c).want(404)
			} else {
				d.post("bob", api+"/combinator/c", "["+e.endpoints+"]").want(201)
				d.get("bob", api+"/combinator/c?"+e.page).want(400)
			}
		})
	}
}

// run is t.Run for a part of a test that shares its world.
func (w *world) run(t *testing.T, name string, part func()) {
	t.Run(name, func(sub *testing.T) {
		w.t = sub
		defer func() { w.t = t }()
		part()
	})
}

// properties are the answer of a bundle.
func (a answer) properties() (all map[string][]wireRecord) {
	a.t.Helper()
	a.decode(&all)
	return all
}

// reader is an installed function that reads one endpoint. When it runs, it tells shown which records it was given,
// by id, and returns nothing.
func reader(id, endpoint, trigger string, shown func(ids []string)) setting {
	atEndpoint := strings.NewReplacer("rumpel/notes", endpoint, `"triggerType":"manual"`, `"triggerType":"`+trigger+`"`)
	m, fault := contract.ParseConfiguration([]byte(atEndpoint.Replace(configurationOf(id, false))))
	if fault != nil {
		panic(fault)
	}
	f := notLoaded(id)
	f.Manifest = &m
	return withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name != id {
			answer, err := count(ctx, name, event)
			return []byte(atEndpoint.Replace(string(answer))), err
		}
		var asked struct {
			Request struct {
				Data map[string][]wireRecord
			}
		}
		if err := json.Unmarshal(event, &asked); err != nil {
			return nil, err
		}
		var ids []string
		for _, r := range asked.Request.Data["notes"] {
			ids = append(ids, r.RecordID)
		}
		shown(ids)
		return []byte(`[]`), nil
	}, f)
}

// E23: createdAfter is no part of a query that clients write. It is what a function's second run does not see again.
func TestScenario38SecondRuns(t *testing.T) {
	var shown []string
	w := newWorld(t, reader("watcher", "demo/a", "manual", func(ids []string) { shown = ids }))
	w.get("bob", functions+"/watcher/enable").want(200)
	names := map[string]string{}
	for i, r := range demo[:4] {
		id := w.post("bob", api+"/data/"+r.endpoint, r.data).want(201).record().RecordID
		names[id] = fmt.Sprintf("r%d", i+1)
		if i != 1 && i != 3 {
			continue
		}
		w.get("bob", functions+"/watcher/trigger").want(200)
		var got []string
		for _, id := range shown {
			got = append(got, names[id])
		}
		if text, want := strings.Join(got, " "), map[int]string{1: "r1 r2", 3: "r3 r4"}[i]; text != want {
			t.Errorf("shown %s, want %s", text, want)
		}
	}
}

// asked posts a bundle of one property and reads it.
func (w *world) asked(property string) string {
	w.t.Helper()
	const b = api + "/data-bundle/asked"
	w.post("bob", b, `{"p":`+property+`}`).want(201)
	var all []string
	for _, r := range w.get("bob", b).want(200).properties()["p"] {
		all = append(all, string(r.Data))
	}
	return strings.Join(all, " ")
}

func (w *world) wantAsked(property, want string) {
	w.t.Helper()
	if got := w.asked(property); got != want {
		w.t.Errorf("%s: got %s, want %s", property, got, want)
	}
}

func TestScenario39Between(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/demo/a", `[{"n":4.9},{"n":5},{"n":5.1},{"d":"2024-03-01"},{"n":null}]`).want(201)
	for bounds, want := range map[string]string{
		between("n", "5", "5"):                          `{"n":5}`,
		between("n", "5.0", "50e-1"):                    `{"n":5}`,
		between("n", "4.9", "5.1"):                      `{"n":4.9} {"n":5} {"n":5.1}`,
		between("n", "5.1", "4.9"):                      ``,
		between("n", "null", "null"):                    `{"n":null}`,
		between("d", `"2024-03-01"`, `"2024-03-01"`):    `{"d":"2024-03-01"}`,
		between("d", `"2024-03-01T00"`, `"2024-03-02"`): ``,
		between("d", `"2024-02-29"`, `"2024-03-01T00"`): `{"d":"2024-03-01"}`,
	} {
		w.wantAsked(`{"endpoints":[`+where(bounds)+`]}`, want)
	}
}

func TestScenario40ContainsMindsCase(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/demo/a", `[{"kind":"Note"},{"kind":"note"},{"kind":"notes"},{"kind":["NOTE","note"]}]`).want(201)
	w.wantAsked(`{"endpoints":[`+where(holds("kind", "contains", `"note"`))+`]}`, `{"kind":"note"} {"kind":["NOTE","note"]}`)
	w.wantAsked(`{"endpoints":[`+where(holds("kind", "contains", `"Note"`))+`]}`, `{"kind":"Note"}`)
}

func TestScenario41LimitOfOne(t *testing.T) {
	w := newWorld(t)
	for _, data := range []string{`{"n":2}`, `{"n":3}`, `{"n":1}`} {
		w.post("bob", api+"/data/demo/a", data).want(201)
	}
	w.wantAsked(`{"endpoints":[`+demoA+`],"limit":1}`, `{"n":2}`)
	w.wantAsked(`{"endpoints":[`+demoA+`],"limit":1,"ordering":"descending"}`, `{"n":1}`)
	w.wantAsked(`{"endpoints":[`+demoA+`],"limit":1,"orderBy":"n","ordering":"descending"}`, `{"n":3}`)
}

func TestScenario42MissingAndNullSources(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/demo/a", `{"empty":null,"deep":{"empty":null}}`).want(201)
	w.wantAsked(`{"endpoints":[`+mapped(`{"gone":"nowhere","none":"empty"}`)+`]}`, `{"none":null}`)
	w.wantAsked(`{"endpoints":[`+mapped(`{"a.gone":"deep.nowhere","a.none":"deep.empty","b":"empty.below"}`)+`]}`, `{"a":{"none":null}}`)
}

// A changed record is new data: it is shown again, alone.
func TestScenario82UpdateIsNewData(t *testing.T) {
	var shown []string
	w := newWorld(t, reader("watcher", "demo/a", "manual", func(ids []string) { shown = ids }))
	w.get("bob", functions+"/watcher/enable").want(200)
	first := w.post("bob", api+"/data/demo/a", `{"n":1}`).want(201).record().RecordID
	w.post("bob", api+"/data/demo/a", `{"n":2}`).want(201)
	w.get("bob", functions+"/watcher/trigger").want(200)
	if len(shown) != 2 {
		t.Fatalf("shown %d records, want 2", len(shown))
	}
	w.put("bob", api+"/data", `[{"endpoint":"demo/a","recordId":"`+first+`","data":{"n":3}}]`).want(201)
	w.get("bob", functions+"/watcher/trigger").want(200)
	if len(shown) != 1 || shown[0] != first {
		t.Errorf("shown %v after the change of %s", shown, first)
	}
}
