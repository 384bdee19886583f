package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/plan"
)

func (w *world) mayHold(limit plan.Storage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = limit
}

type storageOf struct {
	Used  plan.Held
	Limit plan.Held
}

// A HAT that is full says so, in the form of the interface that is asked, with what it holds, what it may and what to do;
// erasing makes room; other HATs are not concerned.
func TestAHATThatIsFull(t *testing.T) {
	w := newWorld(t)
	w.addUser("plug", access.Role{Title: access.TitleNamespaceWrite, Detail: "plug"}, access.Role{Title: access.TitleDataCredit})
	ballast := `{"v":"` + strings.Repeat("x", 1<<20) + `"}`
	w.post("bob", "/api/v2.6/data/a/ballast", ballast).want(201)
	w.post("plug", "/api/v2.6/data/plug/x", `{"v":1}`).want(201)
	w.mayHold(plan.Storage{Bytes: 1 << 20, Records: 1000})

	const full = `{"error":"Insufficient Storage","message":"The HAT would hold 1.`
	for what, a := range map[string]answer{
		"the owner's":        w.post("bob", "/api/v2.6/data/a/x", `{"v":2}`),
		"a plug's":           w.post("plug", "/api/v2.6/data/plug/x", `{"v":2}`),
		"an older version's": w.post("bob", "/api/v2/data/a/x", `{"v":2}`),
		"a batch":            w.post("bob", "/api/v2.6/data-batch", `[{"endpoint":"a/x","data":{"v":2}}]`),
		"a bundle":           w.post("bob", "/api/v2.6/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"a/x"}]}}`),
		"a combinator":       w.post("bob", "/api/v2.6/combinator/c", `[{"endpoint":"a/x"}]`),
		"a user":             w.post("bob", "/users/user", `{"userId":"5f1d3e4e-30f2-4e3a-9e8b-2f5f0e6d8f00","email":"new","pass":"correct horse battery","name":"N","roles":[{"role":"datadebit"}]}`),
	} {
		if a.status != http.StatusInsufficientStorage || !strings.HasPrefix(string(a.body), full) ||
			!strings.Contains(string(a.body), "and may hold 1.0 MB; erase what is not needed any more, or ask the operator to raise limits.hatMB") {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}

	var s storageOf
	w.get("bob", "/api/she/v1/storage").want(200).decode(&s)
	if s.Used.Bytes < 1<<20 || s.Used.Bytes > 2<<20 || s.Used.Records != 2 || s.Limit != (plan.Held{Bytes: 1 << 20, Records: 1000}) {
		t.Errorf("it is shown as %+v", s)
	}
	w.get("hpp", "/api/she/v1/storage").want(200)
	w.get("hpp", "/api/v2.6/system/status").want(200)
	w.get("plug", "/api/she/v1/storage").want(403)
	w.get("plug", "/api/v2.6/system/status").want(403)
	w.get("", "/api/she/v1/storage").want(401)
	body := string(w.get("bob", "/api/v2/system/status").want(200).body)
	for _, line := range []string{
		`{"title":"Database Storage","kind":{"metric":1,"units":"MB","kind":"Numeric"}}`,
		`{"title":"Database Storage Used","kind":{"metric":1.`,
		`{"title":"Database Storage Used Share","kind":{"metric":1`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s in %s", line, body)
		}
	}

	w.del("bob", "/api/v2.6/data/a/ballast").want(200)
	w.post("bob", "/api/v2.6/data/a/x", `{"v":2}`).want(201)
	w.get("bob", "/api/she/v1/storage").want(200).decode(&s)
	if s.Used.Bytes >= 1<<20 || s.Used.Records != 2 {
		t.Errorf("after erasing it is %+v", s)
	}

	// As many records as it may have.
	w.mayHold(plan.Storage{Records: 2})
	a := w.post("bob", "/api/v2.6/data/a/x", `{"v":3}`)
	a.want(507, `{"error":"Insufficient Storage","message":"The HAT would hold 3 records, and may hold 2; erase what is not needed any more, or ask the operator to raise limits.hatRecords"}`)
	w.mayHold(plan.Storage{})
	w.post("bob", "/api/v2.6/data/a/x", `{"v":3}`).want(201)
	w.get("bob", "/api/v2.6/system/status").want(200)
	body = string(w.get("bob", "/api/she/v1/storage").want(200).body)
	if !strings.HasSuffix(body, `"records":3},"limit":{}}`) {
		t.Errorf("without limits: %s", body)
	}
}
