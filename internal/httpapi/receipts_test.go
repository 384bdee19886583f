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
