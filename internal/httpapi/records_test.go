package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/edge"
)

const batch = api + "/data-batch"

func TestScenario10BatchFieldErrors(t *testing.T) {
	w := newWorld(t)
	field := func(path, why string) string {
		return fmt.Sprintf(`{"error":"Bad Request","message":{%q:[{"msg":[%q],"args":[]}]}}`, path, why)
	}
	for body, want := range map[string]string{
		`[{"data":1}]`: field("obj[0].endpoint", "error.path.missing"),
		`[{"endpoint":"a/b","data":1},{"endpoint":"a/b"}]`:   field("obj[1].data", "error.path.missing"),
		`[{"endpoint":5,"data":1}]`:                          field("obj[0].endpoint", "error.expected.jsstring"),
		`[{"endpoint":"A/b","data":1}]`:                      field("obj[0].endpoint", "Endpoint invalid"),
		`[{"endpoint":"/","data":1}]`:                        field("obj[0].endpoint", "Endpoint invalid"),
		`[{"endpoint":"a/b/","data":1}]`:                     field("obj[0].endpoint", "Endpoint invalid"),
		`[{"endpoint":"a/b","data":1,"links":{}}]`:           field("obj[0].links", "error.expected.jsarray"),
		`[{"endpoint":"a/b","data":1,"links":[{"data":1}]}]`: field("obj[0].links[0].endpoint", "error.path.missing"),
		`[1]`:                         field("obj[0]", "error.expected.jsobject"),
		`{"endpoint":"a/b","data":1}`: field("obj", "error.expected.jsarray"),
	} {
		w.post("bob", batch, body).want(400, want).refreshed(true)
	}
	w.get("bob", api+"/data/sources").want(200, `{}`)
}

func TestScenario24Batch(t *testing.T) {
	w := newWorld(t)
	all := w.post("bob", batch, `[
		{"endpoint":"rumpel/notes","data":{"n":1},"recordId":"ignored","sourceTimestamp":5,"links":[
			{"endpoint":"rumpel/tags","data":"red","links":[{"endpoint":"rumpel/deep","data":1}]},{"endpoint":"rumpel/tags","data":"blue"}]},
		{"endpoint":"other/place","data":null,"links":[]}]`).want(201).records()
	if len(all) != 2 || all[0].Endpoint != "rumpel/notes" || all[1].Endpoint != "other/place" || string(all[1].Data) != "null" {
		t.Fatalf("%+v", all)
	}
	if links := *all[0].Links; len(links) != 2 || links[0].Endpoint != "rumpel/tags" || links[0].RecordID == all[0].RecordID || links[0].Links != nil {
		t.Errorf("links %+v", links)
	}
	if links := all[1].Links; links == nil || len(*links) != 0 {
		t.Errorf("B-32: no links are an empty list: %+v", links)
	}
	w.get("bob", api+"/data/rumpel/tags").wantData(`"red" "blue"`)
	w.get("bob", api+"/data/rumpel/deep").want(200, `[]`)
}

func TestScenario25BatchRights(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	plug := w.appToken("plug")
	const denied = `{"message":"Forbidden","cause":"Access Denied - No rights to insert some or all of the data in the batch"}`
	w.post(plug, batch, `[{"endpoint":"rumpel/notes","data":1}]`).want(201)
	w.post(plug, batch, `[{"endpoint":"rumpel/notes","data":2},{"endpoint":"b/notes","data":2}]`).want(403, denied).refreshed(true)
	w.post(plug, batch, `[{"endpoint":"rumpel/notes","data":3,"links":[{"endpoint":"b/notes","data":3}]}]`).want(403, denied)
	w.get("bob", notes).wantData(`1`)
	w.addUser("partner", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceWrite, Detail: "rumpel"})
	w.post("partner", batch, `[{"endpoint":"rumpel/notes","data":4}]`).want(201)
	w.post("partner", batch, `[{"endpoint":"b/notes","data":4}]`).want(403, denied)
	w.addUser("debitor", access.Role{Title: access.TitleDataDebit})
	w.post("debitor", batch, `[]`).want(403, accessDenied)
}

func TestScenario26BatchDuplicates(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `{"a":1}`).want(201)
	w.post("bob", batch, `[{"endpoint":"rumpel/notes","data":2},{"endpoint":"rumpel/notes","data":{"a":1.0}}]`).
		want(400, `{"message":"Bad Request","cause":"Could not insert data - Duplicate data"}`)
	w.get("bob", notes).wantData(`{"a":1}`)
	w.post("bob", batch, `[]`).want(201, `[]`)
}

func (w *world) stored(path, body string) (ids []string) {
	w.t.Helper()
	for _, r := range w.post("bob", path, body).want(201).records() {
		ids = append(ids, r.RecordID)
	}
	return ids
}

func change(id, endpoint, data string) string {
	return fmt.Sprintf(`{"endpoint":%q,"recordId":%q,"data":%s}`, endpoint, id, data)
}

const unknownID = "00000000-0000-4000-8000-000000000000"

func TestScenario27Update(t *testing.T) {
	w := newWorld(t)
	ids := w.stored(notes, `[{"n":1},{"n":2}]`)
	a := w.put("bob", api+"/data", "["+change(ids[1], "rumpel/notes", `{"n":20}`)+","+change(ids[0], "rumpel/notes", `{"n":10}`)+"]").want(201)
	if all := a.records(); len(all) != 2 || all[0].RecordID != ids[1] || all[0].Links != nil || string(all[0].Data) != `{"n":20}` {
		t.Errorf("%s", a.body)
	}
	// B-62: the order of creation stays.
	w.get("bob", notes).wantData(`{"n":10} {"n":20}`)

	const missing = `{"message":"Data Missing","cause":"Could not update records: Records missing for updating"}`
	w.put("bob", api+"/data", "["+change(ids[0], "rumpel/notes", `1`)+","+change(unknownID, "rumpel/notes", `2`)+"]").want(400, missing)
	w.put("bob", api+"/data", `[{"endpoint":"rumpel/notes","data":1}]`).want(400, missing)
	w.put("bob", api+"/data", "["+change("abc", "rumpel/notes", `2`)+"]").want(400)
	// B-27: where it claims to be must be where it is.
	w.put("bob", api+"/data", "["+change(ids[0], "rumpel/others", `1`)+"]").want(400)
	w.put("bob", api+"/data", "["+change(ids[0], "rumpel/notes", `{"n":20}`)+"]").
		want(400, `{"message":"Bad Request","cause":"Could not insert data - Duplicate data"}`)
	w.put("bob", api+"/data", "["+change(ids[0], "rumpel/notes", `{"n":10}`)+"]").want(201)
	w.put("bob", api+"/data", `[]`).want(201, `[]`)
	w.get("bob", notes).wantData(`{"n":10} {"n":20}`)
}

func TestScenario28UpdateWithoutRight(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	ids := w.stored(api+"/data/b/notes", `["secret"]`)
	plug := w.appToken("plug")
	const denied = `{"message":"Forbidden","cause":"Access Denied - No rights to update some or all of the data requested"}`
	w.put(plug, api+"/data", "["+change(ids[0], "rumpel/x", `"taken"`)+"]").want(403, denied)
	w.put(plug, api+"/data", "["+change(ids[0], "b/notes", `"taken"`)+"]").want(403, denied)
	w.get("bob", api+"/data/b/notes").wantData(`"secret"`)
}

func TestScenario29Delete(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	ids := w.stored(notes, `[1,2,3,4,5,6]`)
	const deleted = `{"message":"All records deleted"}`
	const missing = `{"message":"Data Missing","cause":"Could not delete records: Records missing for deleting"}`
	w.del("bob", api+"/data?records="+ids[0]+"&records="+unknownID).want(400, missing)
	w.get("bob", notes).wantData(`1 2 3 4 5 6`)
	w.del("bob", api+"/data?records="+ids[0]+"&records="+ids[1]+"&records="+ids[0]).want(200, deleted)
	w.del("bob", api+"/data?records="+ids[2]+","+ids[3]).want(200, deleted) // hat-js, B-39
	w.get("bob", notes).wantData(`5 6`)
	w.del("bob", api+"/data").want(200, deleted)
	w.del("bob", api+"/data?records=").want(200, deleted)
	var body struct{ Message string }
	w.del("bob", api+"/data?records=abc").want(400).decode(&body)
	if !strings.HasPrefix(body.Message, "Cannot parse parameter records as UUID") {
		t.Errorf("%+v", body)
	}
	foreign := w.stored(api+"/data/b/notes", `[1]`)
	w.del(w.appToken("plug"), api+"/data?records="+foreign[0]).
		want(403, `{"message":"Forbidden","cause":"Access Denied - Permissions to modify records in some of the namespaces missing"}`)
	// Somebody else's records are missing, not forbidden.
	w.addUser("partner", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceWrite, Detail: "rumpel"})
	w.del("partner", api+"/data?records="+ids[4]).want(400, missing)
}

func TestScenario30DeletingLeavesOtherGroups(t *testing.T) {
	w := newWorld(t)
	w.addUser("partner", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceWrite, Detail: "rumpel"})
	w.post("bob", batch, `[{"endpoint":"rumpel/notes","data":"bob's","links":[{"endpoint":"rumpel/tags","data":"red"}]}]`).want(201)
	theirs := w.post("partner", batch, `[{"endpoint":"rumpel/notes","data":"partner's","links":[{"endpoint":"rumpel/tags","data":"blue"}]}]`).want(201).records()
	w.del("partner", api+"/data?records="+theirs[0].RecordID).want(200)
	w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"rumpel/notes","links":[{"endpoint":"rumpel/tags"}]}]}}`).want(201)
	a := w.get("bob", api+"/data-bundle/b").want(200)
	var got struct{ P []wireRecord }
	a.decode(&got)
	if len(got.P) != 1 || got.P[0].Links == nil || string((*got.P[0].Links)[0].Data) != `"red"` {
		t.Errorf("%s", a.body)
	}
	// B-41: at an endpoint, others remove their own only, and the Owner all.
	w.post("partner", notes, `"partner's second"`).want(201)
	w.del("partner", notes).want(200)
	w.get("bob", notes).wantData(`"bob's"`)
	w.del("bob", notes).want(200)
	w.get("bob", notes).want(200, `[]`)
}

func TestScenario31DeleteEndpoint(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[1,2]`).want(201)
	w.post("bob", notes+"/sub", `3`).want(201)
	const deleted = `{"message":"All records deleted"}`
	w.del("bob", notes).want(200, deleted)
	w.get("bob", notes).want(200, `[]`)
	w.get("bob", notes+"/sub").wantData(`3`)
	w.del("bob", notes).want(200, deleted)
}

func TestScenario32Sources(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/rumpel/locations/ios", `1`).want(201)
	w.post("bob", notes, `1`).want(201)
	w.post("bob", api+"/data/she/insights/emotions", `1`).want(201)
	const want = `{"rumpel":["locations/ios","notes"],"she":["insights/emotions"]}`
	w.get("bob", api+"/data/sources").want(200, want)
	w.get("hpp", api+"/data/sources").want(200, want)
	w.addUser("debitor", access.Role{Title: access.TitleDataDebit})
	w.get("debitor", api+"/data/sources").want(403, accessDenied)
}

func TestScenario33Link(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	r, s := w.stored(notes, `["r"]`)[0], w.stored(api+"/data/rumpel/tags", `["s"]`)[0]
	w.call("POST", api+"/data-link?records="+r+"&records="+s, "bob", "").want(201, `{"message":"Grouping registered"}`)
	w.post("bob", api+"/data-bundle/b", `{"notes":{"endpoints":[{"endpoint":"rumpel/notes","links":[{"endpoint":"rumpel/tags"}]}]},
		"tags":{"endpoints":[{"endpoint":"rumpel/tags","links":[{"endpoint":"rumpel/notes"}]}]}}`).want(201)
	var got map[string][]wireRecord
	w.get("bob", api+"/data-bundle/b").want(200).decode(&got)
	if (*got["notes"][0].Links)[0].RecordID != s || (*got["tags"][0].Links)[0].RecordID != r {
		t.Errorf("%+v", got)
	}
	link := api + "/data-link?records="
	w.call("POST", link+r+","+unknownID, "bob", "").want(400, `{"message":"Data Missing","cause":"Could not link records: Records missing for linking"}`)
	w.call("POST", link+r+","+r, "bob", "").want(400)
	w.call("POST", api+"/data-link", "bob", "").want(400)
	b := w.stored(api+"/data/b/notes", `["b"]`)[0]
	w.call("POST", link+r+","+b, w.appToken("plug"), "").want(403, accessDenied)
}

func TestScenario34Record(t *testing.T) {
	w := newWorld(t, withApplications(catalogue))
	id := w.stored(notes, `[{"n":1}]`)[0]
	w.get("bob", api+"/data-record/"+id).want(200, change(id, "rumpel/notes", `{"n":1}`))
	w.get("bob", api+"/data-record/"+unknownID).want(400, `{"message":"Data Missing","cause":"Could not find unique record: No single record found for provided ID"}`)
	w.get("bob", api+"/data-record/abc").want(400)
	w.get("", api+"/data-record/"+id).want(401, notAuthenticated)
	w.get(w.appToken("rumpel-app"), api+"/data-record/"+id).want(200)
	w.get(w.appToken("plug"), api+"/data-record/"+id).want(403, accessDenied)
	guest := edge.UserClaims(w.bob, w.users["bob"], "https://elsewhere.test", access.TitleValidate, w.clock())
	w.get(must(w.tokens.Sign(w.bob, guest)), api+"/data-record/"+id).want(403, accessDenied)
	w.get("bob", "/api/v2/data-record/"+id).want(404) // v2.6 only
}

func TestScenario36Combinator(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/a/x", `[{"at":3,"from":"a"},{"at":1,"from":"a"}]`).want(201)
	w.post("bob", api+"/data/b/x", `[{"created":2,"from":"b"}]`).want(201)
	const c = api + "/combinator/merged/list"
	w.post("bob", c, `[{"endpoint":"a/x","mapping":{"when":"at"}},{"endpoint":"b/x","mapping":{"when":"created"}}]`).
		want(201, `{"message":"Combinator merged/list registered"}`)
	w.get("bob", c+"?orderBy=when").want(200).wantData(`{"when":1} {"when":2} {"when":3}`)
	w.get("bob", c+"?orderBy=when&ordering=descending&skip=1&take=1").wantData(`{"when":2}`)
	w.get("bob", api+"/combinator/none").want(404, `{"message":"Combinator Not Found","cause":"Combinator none not found"}`)
	w.post("bob", c, `[]`).want(201)
	w.get("bob", c).want(200, `[]`) // B-32
	w.post("bob", c, `[{"endpoint":"a/x","filters":[{"field":"f","operator":{"operator":"near","value":1}}]}]`).want(400)
	w.get("hpp", c).want(403, accessDenied)
}

func TestScenario37Bundles(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[{"n":1},{"n":2},{"n":3}]`).want(201)
	const b = api + "/data-bundle/My-Bundle1"
	const inner = `{"all":{"endpoints":[{"endpoint":"rumpel/notes"}]},"she/odd \"name\"":{"endpoints":[{"endpoint":"rumpel/notes"}],"orderBy":"n","ordering":"descending","limit":1},"none":{"endpoints":[{"endpoint":"x/y"}]}}`
	w.post("bob", b, inner).want(201, `{"message":"Bundle My-Bundle1 registered"}`)
	var got map[string][]wireRecord
	w.get("bob", b).want(200).decode(&got)
	if len(got) != 3 || len(got["all"]) != 3 || len(got[`she/odd "name"`]) != 1 || string(got[`she/odd "name"`][0].Data) != `{"n":3}` || got["none"] == nil {
		t.Errorf("%+v", got)
	}
	w.get("bob", b+"/structure").want(200, `{"name":"My-Bundle1","bundle":`+inner+`}`)
	w.post("bob", b, `{}`).want(201)
	w.get("bob", b).want(200, `{}`)
	const none = `{"message":"Bundle Not Found","cause":"Bundle none not found"}`
	w.get("bob", api+"/data-bundle/none").want(404, none)
	w.get("bob", api+"/data-bundle/none/structure").want(404, none)
	w.get("bob", b+"/values").want(404)
	// A HAT's bundles are its own.
	w.get("eve", b).want(404)
}

func TestScenario43To45BundleRegistration(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[{"d":"2024-01-01"},{"d":"2024-02-01"}]`).want(201)
	const b = api + "/data-bundle/b"
	filter := func(f string) string {
		return `{"p":{"endpoints":[{"endpoint":"rumpel/notes","filters":[` + f + `]}]}}`
	}
	for _, bad := range []string{
		`{"field":"t","operator":{"operator":"find","search":"x"}}`,
		`{"field":"t","transformation":{"transformation":"searchable"},"operator":{"operator":"contains","value":"x"}}`,
		`{"field":"t","transformation":{"transformation":"datetimeExtract","part":"fortnight"},"operator":{"operator":"contains","value":1}}`,
		`{"field":"t","operator":{"operator":"almost","value":1}}`,
		`{"field":"t","operator":{"value":1}}`,
	} {
		w.post("bob", b, filter(bad)).want(400)
	}
	w.post("bob", b, `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}],"limit":-1}}`).want(400)
	w.post("bob", b, `{"p":{"endpoints":[{"endpoint":"Rumpel/notes"}]}}`).
		want(400, `{"error":"Bad Request","message":{"obj.p.endpoints[0].endpoint":[{"msg":["Endpoint invalid"],"args":[]}]}}`)
	w.post("bob", b, filter(`{"field":"d","operator":{"operator":"between","lower":"2024-01-01","upper":"2024-01-01"}}`)).want(201)
	var got map[string][]wireRecord
	w.get("bob", b).want(200).decode(&got)
	if len(got["p"]) != 1 { // scenario 39
		t.Errorf("%+v", got)
	}
	w.post("bob", b, filter(`{"field":"d","operator":{"operator":"between","lower":"2024","upper":null}}`)).want(201)
	w.get("bob", b).want(200, `{"p":[]}`)
}

func TestScenario44StablePages(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprintf(`{"k":1,"n":%d}`, i))
	}
	w.post("bob", notes, "["+strings.Join(all, ",")+"]").want(201)
	seen := map[string]int{}
	for skip := 0; skip < 100; skip += 7 {
		for _, r := range w.get("bob", fmt.Sprintf("%s?orderBy=k&take=7&skip=%d", notes, skip)).want(200).records() {
			seen[string(r.Data)]++
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d different records", len(seen))
	}
	for r, n := range seen {
		if n != 1 {
			t.Errorf("%s %d times", r, n)
		}
	}
}

// B-19: switching a function on stores no bundle where the Owner's are.
func TestScenario79FunctionBundlesAreTheirOwn(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	const b = api + "/data-bundle/counter" // the name of the function's bundle
	w.post("bob", b, `{"mine":{"endpoints":[{"endpoint":"my/own"}]}}`).want(201)
	w.get("bob", functions+"/counter/enable").want(200)
	w.get("bob", b).want(200, `{"mine":[]}`)
	w.post("bob", b, `{"other":{"endpoints":[{"endpoint":"my/other"}]}}`).want(201)
	var f struct{ DataBundle json.RawMessage }
	w.get("bob", functions+"/counter").decode(&f)
	if !sameJSON(string(f.DataBundle), bundleOf("counter")) {
		t.Errorf("%s", f.DataBundle)
	}
}
