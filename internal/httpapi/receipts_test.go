package httpapi

import (
	"strings"
	"testing"

	"she/internal/receipt"
)

func TestReceiptsAreTheOwners(t *testing.T) {
	w := newWorld(t)
	w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"more"}`).want(201)

	a := w.get("bob", "/api/she/v1/receipts").want(200)
	first, head, err := receipt.ProveExport(strings.NewReader(a.body), &w.bob.Key.PublicKey)
	if err != nil || first != 1 || head.Number != 2 {
		t.Errorf("proved %d to %d: %v", first, head.Number, err)
	}
	if strings.Contains(a.body, canary) {
		t.Error("receipts hold data")
	}
	a = w.get("bob", "/api/she/v1/receipts?after=1").want(200)
	if first, _, err := receipt.ProveExport(strings.NewReader(a.body), &w.bob.Key.PublicKey); err != nil || first != 2 {
		t.Errorf("behind the first: from %d, %v", first, err)
	}
	if _, _, err := receipt.ProveExport(strings.NewReader(strings.Replace(a.body, "write", "erase", 1)), &w.bob.Key.PublicKey); err == nil {
		t.Error("a changed export proves itself")
	}
	var proof struct {
		Whole      bool
		Checkpoint receipt.Checkpoint
	}
	w.call("POST", "/api/she/v1/receipts/verify", "bob", "").want(200).decode(&proof)
	if !proof.Whole || proof.Checkpoint.Number != 2 || !proof.Checkpoint.SignedBy(&w.bob.Key.PublicKey) {
		t.Errorf("%+v", proof)
	}

	for path, method := range map[string]string{"/api/she/v1/receipts": "GET", "/api/she/v1/receipts/verify": "POST"} {
		for who, status := range map[string]int{"": 401, "hpp": 403} {
			a := w.call(method, path, who, "").want(status)
			if got := a.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("%s of %q answers %s", path, who, got)
			}
		}
	}
	w.get("bob", "/api/she/v1/receipts?after=-1").want(400, `{"type":"about:blank","title":"Bad Request","status":400,"detail":"after must be the number of an entry, or 0"}`)
	w.get("bob", "/api/she/v1/nothing").want(404)
}

// An owner keeps a head, and asks later whether all that led to it is still there.
func TestAHeadThatWasKept(t *testing.T) {
	w := newWorld(t)
	type answer struct {
		Holds  bool
		Head   string
		Broken *struct{ Number int64 }
	}
	ask := func(head string) (a answer) {
		t.Helper()
		w.get("bob", "/api/she/v1/receipts?head="+head).want(200).decode(&a)
		if _, err := receipt.ParseHead(a.Head); err != nil {
			t.Errorf("the head %q: %v", a.Head, err)
		}
		return a
	}
	empty := receipt.Head{}.String()
	if a := ask(empty); !a.Holds || a.Head != empty {
		t.Errorf("of the empty chain: %+v", a)
	}
	w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"one"}`).want(201)
	kept := ask(empty).Head
	if a := ask(kept); !a.Holds || a.Head != kept {
		t.Errorf("of the head of now: %+v", a)
	}
	w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"two"}`).want(201)
	if a := ask(kept); !a.Holds || !strings.HasPrefix(a.Head, "2:") {
		t.Errorf("of a head before: %+v", a)
	}
	other := "1:" + strings.Repeat("0", 63) + "1"
	if a := ask(other); a.Holds || a.Broken == nil || a.Broken.Number != 1 {
		t.Errorf("of another chain: %+v", a)
	}
	if a := ask("7" + kept[1:]); a.Holds || a.Broken == nil || a.Broken.Number != 3 {
		t.Errorf("of a longer chain: %+v", a)
	}
	for _, bad := range []string{"", "1", "1:ab", "-1:" + kept[2:], "01:" + kept[2:], kept + "0", "0" + kept[1:]} {
		w.get("bob", "/api/she/v1/receipts?head="+bad).want(400)
	}
	w.get("bob", "/api/she/v1/receipts?after=0&head="+kept).want(400)
	w.get("hpp", "/api/she/v1/receipts?head="+kept).want(403)
}
