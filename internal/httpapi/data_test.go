package httpapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/hat"
)

const (
	api       = "/api/v2.6"
	notes     = api + "/data/rumpel/notes"
	duplicate = `{"message":"Bad Request","cause":"Duplicate data - Duplicate data"}`
)

func TestScenario13PostOne(t *testing.T) {
	w := newWorld(t)
	a := w.post("bob", notes, `{"a":1}`).want(201).refreshed(true)
	r := a.record()
	if r.Endpoint != "rumpel/notes" || string(r.Data) != `{"a":1}` || r.Links == nil || len(*r.Links) != 0 {
		t.Errorf("got %s", a.body)
	}
	if _, err := hat.ParseRecordID(r.RecordID); err != nil {
		t.Error(err)
	}
	for _, prefix := range []string{"/api/v2", "/api/v2.0"} {
		w.get("bob", prefix+"/data/rumpel/notes").want(200).wantData(`{"a":1}`)
	}
}

func TestScenario14PostAnything(t *testing.T) {
	w := newWorld(t)
	if all := w.post("bob", notes, `[{"a":2},{"a":3}]`).want(201).records(); len(all) != 2 || all[0].Links == nil {
		t.Errorf("got %v", all)
	}
	w.post("bob", notes, `[]`).want(201, `[]`)
	for _, scalar := range []string{`"text"`, `5`, `null`, `true`, `""`} {
		if r := w.post("bob", notes, scalar).want(201).record(); string(r.Data) != scalar {
			t.Errorf("%s came back as %s", scalar, r.Data)
		}
	}
	// An array inside an array is an element like any other.
	w.post("bob", notes, `[[1,2]]`).want(201)
	w.get("bob", notes).wantData(`{"a":2} {"a":3} "text" 5 null true "" [1,2]`)
}

func TestScenario15To17Duplicates(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `{"a":1,"b":[1.50]}`).want(201)
	w.post("bob", notes, `{ "b" : [1.5], "a" : 1.0 }`).want(400, duplicate)
	w.post("bob", notes, `[{"a":9},{"a":1,"b":[15e-1]}]`).want(400, duplicate)
	w.post("bob", notes, `[{"a":7},{"a":7}]`).want(400, duplicate)
	w.get("bob", notes).wantData(`{"a":1,"b":[1.5]}`)
	w.post("bob", notes+"?skipErrors=true", `[{"a":9},{"a":1,"b":[1.5]}]`).want(201).wantData(`{"a":9}`)
	w.post("bob", notes+"?skipErrors=true", `[{"a":9},{"a":1,"b":[1.5]}]`).want(201, `[]`)
	w.post("bob", notes+"?skipErrors=maybe", `[]`).want(400)
	// B-34: the same elsewhere is something else.
	w.post("bob", api+"/data/rumpel/others", `{"a":1,"b":[1.5]}`).want(201)
}

func TestScenario18StorageFailureIsNoSuccess(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `{"a":1}`).want(201)
	w.disk(func(ops []string, persisted bool) error {
		if slices.Contains(ops, "append") && !persisted {
			return errors.New("disk on fire")
		}
		return nil
	})
	a := w.post("bob", notes+"?skipErrors=true", `["`+canary+`"]`)
	if a.status/100 != 5 || strings.Contains(a.body, "fire") || strings.Contains(a.body, canary) {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.disk(nil)
	w.get("bob", notes).want(200).wantData(`{"a":1}`)
	w.post("bob", notes, `["`+canary+`"]`).want(201)
}

func TestScenario19Paging(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[{"n":1},{"n":2},{"n":3}]`).want(201)
	for query, want := range map[string]string{
		"":                           `{"n":1} {"n":2} {"n":3}`,
		"?take=1":                    `{"n":1}`,
		"?skip=1&take=1":             `{"n":2}`,
		"?ordering=descending":       `{"n":3} {"n":2} {"n":1}`,
		"?ordering=DESCENDING":       `{"n":1} {"n":2} {"n":3}`,
		"?ordering=desc&orderBy=n":   `{"n":1} {"n":2} {"n":3}`,
		"?take=0":                    ``,
		"?skip=5":                    ``,
		"?skip=2147483647&take=1000": ``,
	} {
		a := w.get("bob", notes+query).want(200).wantData(want)
		for _, r := range a.records() {
			if r.Links != nil {
				t.Error("a read record has links")
			}
		}
	}
	w.get("bob", api+"/data/rumpel/nowhere").want(200, `[]`)
}

func TestScenario20OrderBy(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[{"x":2},{"x":"b"},{"x":null},{"y":0}]`).want(201)
	w.get("bob", notes+"?orderBy=x").wantData(`{"x":null} {"x":"b"} {"x":2} {"y":0}`)
	w.get("bob", notes+"?orderBy=x&ordering=descending").wantData(`{"x":2} {"x":"b"} {"x":null} {"y":0}`)
	w.get("bob", notes+"?orderBy="+strings.Repeat("x", 2000)).want(400)
}

func TestScenario21DefaultTake(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range 1500 {
		all = append(all, fmt.Sprint(i))
	}
	w.post("bob", notes, "["+strings.Join(all, ",")+"]").want(201)
	if n := len(w.get("bob", notes).records()); n != 1000 {
		t.Errorf("%d records without take", n)
	}
	if n := len(w.get("bob", notes+"?take=100000").records()); n != 1500 {
		t.Errorf("%d records with a large take", n)
	}
}

func TestScenario22BadPaging(t *testing.T) {
	w := newWorld(t)
	var body struct{ Error, Message string }
	w.get("bob", notes+"?take=-1").want(400)
	w.get("bob", notes+"?skip=-1").want(400)
	w.get("bob", notes+"?take=x").want(400).decode(&body)
	if body.Error != "Bad Request" || !strings.HasPrefix(body.Message, "Cannot parse parameter take as Int") {
		t.Errorf("%+v", body)
	}
	w.get("bob", notes+"?take=%zz").want(400)
}

func TestScenario23AttributeFilter(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `[1,2,3,4,5,6,7,8,{"m":{"k":5}},{"m":{"k":"v"}}]`).want(201)
	found := `{"m":{"k":"v"}}`
	w.get("bob", notes+"?k=v&take=5").wantData(found)
	w.get("bob", notes+"?m.k=v").wantData(found)
	w.get("bob", notes+"?m.k=w").wantData(``)
	w.get("bob", notes+"?m.k=5").wantData(``)
	w.get("bob", notes+"?m.k=v&X-Auth-Token=abc").wantData(found)
	id := w.get("bob", notes+"?k=v").records()[0].RecordID
	w.get("bob", notes+"?recordId="+id).wantData(found)
	w.get("bob", notes+"?recordId="+strings.ToUpper(id)).wantData(found)
	w.get("bob", notes+"?recordId=none").wantData(``)
}

func TestScenario35Numbers(t *testing.T) {
	w := newWorld(t)
	const exact = `{"big":12345678901234567890,"tenth":0.1,"long":3.14159265358979323846264338327950288}`
	a := w.post("bob", notes, exact).want(201)
	if !strings.Contains(a.body, "12345678901234567890") || !strings.Contains(w.get("bob", notes).body, "3.14159265358979323846264338327950288") {
		t.Errorf("%s", a.body)
	}
}

func TestWhoReadsAndWritesWhat(t *testing.T) {
	w := newWorld(t)
	w.addUser("reader", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceRead, Detail: "rumpel"})
	w.addUser("writer", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceWrite, Detail: "rumpel"})
	w.post("bob", notes, `1`).want(201)
	w.get("reader", notes).want(200).wantData(`1`)
	w.post("reader", notes, `2`).want(403, accessDenied)
	w.get("writer", notes).want(403, accessDenied)
	w.post("writer", notes, `3`).want(201)
	w.post("writer", api+"/data/other/notes", `3`).want(403, accessDenied)
	w.get("hpp", notes).want(403, accessDenied)
	w.get("bob", notes).wantData(`1 3`)
	// Another HAT's token is no token.
	w.call("GET", notes, w.token("eve"), "").want(401, notAuthenticated)
	w.get("eve", notes).want(200, `[]`)
}

// An answer larger than what is collected in memory comes whole, in order, and lets the connection live on.
func TestLargeAnswersStream(t *testing.T) {
	w := newWorld(t)
	const each, count = 100_000, 90 // 9 MB
	text := strings.Repeat("x", each)
	for i := range 3 {
		var all []string
		for j := range count / 3 {
			all = append(all, fmt.Sprintf(`"%04d%s"`, i*count/3+j, text))
		}
		w.post("bob", notes, "["+strings.Join(all, ",")+"]").want(201)
	}
	for range 2 {
		all := w.get("bob", notes).want(200).records()
		if len(all) != count {
			t.Fatalf("%d records, want %d", len(all), count)
		}
		for i, r := range all {
			if want := fmt.Sprintf(`"%04d`, i); !strings.HasPrefix(string(r.Data), want) || len(r.Data) != each+6 {
				t.Fatalf("record %d is %.10s…, %d bytes", i, r.Data, len(r.Data))
			}
		}
	}
}
