package httpapi

import (
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/receipt"
)

func TestReceiptsAreTheOwners(t *testing.T) {
	w := newWorld(t)
	w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"more"}`).want(201)

	a := w.get("bob", "/api/she/v1/receipts").want(200)
	x, err := receipt.ReadExport(strings.NewReader(a.body), &w.bob.Key.PublicKey)
	if err != nil || x.After.Number != 0 || x.End.Number != 2 {
		t.Errorf("proved %d to %d: %v", x.After.Number+1, x.End.Number, err)
	}
	if strings.Contains(a.body, canary) {
		t.Error("receipts hold data")
	}
	a = w.get("bob", "/api/she/v1/receipts?after=1").want(200)
	if x, err := receipt.ReadExport(strings.NewReader(a.body), &w.bob.Key.PublicKey); err != nil || x.After.Number != 1 {
		t.Errorf("behind the first: after %d, %v", x.After.Number, err)
	}
	if _, err := receipt.ReadExport(strings.NewReader(strings.Replace(a.body, "write", "erase", 1)), &w.bob.Key.PublicKey); err == nil {
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

// Each answer by which an owner learns what was done, or agrees to something, carries the head of the chain with all of that
// in it. Nobody else is told.
func TestAnswersCarryTheHead(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")), withApplications(catalogue))
	w.addUser("client", access.Role{Title: access.TitleDataDebit})
	w.post("client", dd, debitBody()).want(201)
	head := func(a answer) receipt.Head {
		t.Helper()
		h, err := receipt.ParseHead(a.header.Get("She-Receipts"))
		if err != nil {
			t.Errorf("%s (%d) carries %q: %v", a.call, a.status, a.header.Get("She-Receipts"), err)
		}
		return h
	}
	// last is the newest entry as the export has it, and its head.
	last := func() (receipt.Entry, receipt.Head) {
		t.Helper()
		a := w.get("bob", own+"/receipts").want(200)
		x, err := receipt.ReadExport(strings.NewReader(a.body), &w.bob.Key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if got := head(a); got != x.End.Head {
			t.Errorf("an export up to %d carries the head %s", x.End.Number, got)
		}
		lines := strings.Split(strings.TrimSpace(a.body), "\n")
		if len(lines) < 2 {
			return receipt.Entry{}, x.End.Head
		}
		e, err := receipt.Parse([]byte(lines[len(lines)-2]))
		if err != nil {
			t.Fatal(err)
		}
		return e, x.End.Head
	}

	// What changes something carries its own entry.
	for _, c := range []struct {
		do   func() answer
		kind receipt.Kind
	}{
		{func() answer { return w.get("bob", functions+"/counter/enable") }, receipt.Grant},
		{func() answer { return w.get("bob", functions+"/counter/disable") }, receipt.Grant},
		{func() answer { return w.post("bob", own+"/functions/counter/enable", `{}`) }, receipt.Grant},
		{func() answer { return w.get("bob", dd+"/enable") }, receipt.Grant},
		{func() answer { return w.get("bob", dd+"/disable?atPeriodEnd=false") }, receipt.Grant},
	} {
		_, before := last()
		a := c.do().want(200)
		e, now := last()
		if got := head(a); got != now || now.Number != before.Number+1 || e.Kind != c.kind {
			t.Errorf("%s carries %s; before %s, and now %s by an entry %s", a.call, got, before, now, e.Kind)
		}
	}
	w.get("bob", functions+"/counter/trigger").want(200)
	ran, _ := last()
	if ran.Kind != receipt.Run {
		t.Fatalf("the last entry is a %s", ran.Kind)
	}
	run := ran.Run.String()

	// What only reads carries that of now, errors too.
	_, now := last()
	for _, a := range []answer{
		w.get("bob", own+"/functions/counter/consent").want(200),
		w.get("bob", own+"/functions/counter/why").want(200),
		w.get("bob", own+"/functions/none/consent").want(404),
		w.post("bob", own+"/functions/counter/enable", `{"package":"sha256:other"}`).want(409),
		w.get("bob", own+"/runs").want(200),
		w.get("bob", own+"/runs/"+run).want(200),
		w.get("bob", own+"/runs/"+run+"/superseded").want(200),
		w.get("bob", own+"/storage").want(200),
		w.get("bob", own+"/receipts?head="+now.String()).want(200),
		w.call("POST", own+"/receipts/verify", "bob", "").want(200),
		w.get("bob", functions).want(200),
		w.get("bob", functions+"/counter").want(200),
		w.get("bob", api+"/data-debit").want(200),
		w.get("bob", dd).want(200),
		w.get("bob", api+"/applications").want(200),
	} {
		if got := head(a); got != now {
			t.Errorf("%s carries %s, want %s", a.call, got, now)
		}
		if exposed := a.header.Get("Access-Control-Expose-Headers"); !strings.HasPrefix(exposed, "X-Auth-Token") || !strings.Contains(exposed, "She-Receipts") {
			t.Errorf("%s: pages of other origins can't read it", a.call)
		}
	}
	// A consent that is kept as a file carries it in the file.
	a := w.get("bob", own+"/functions/counter/consent").want(200)
	var c access.Consent
	if a.decode(&c); c.Receipts != now.String() {
		t.Errorf("a consent carries %q", c.Receipts)
	}

	// Setting an application up accepts its data debit, if it has one; so it carries the head too.
	pds := w.appToken("pds")
	_, now = last()
	if got := head(w.get("bob", api+"/applications/pds/setup")); got.Number < now.Number {
		t.Errorf("a setup carries %s", got)
	}
	for _, a := range []answer{
		w.get("hpp", functions), w.get("hpp", own+"/storage"), w.get("hpp", own+"/runs"), w.get("client", dd),
		w.get(pds, functions), w.get(pds, own+"/functions/counter/consent"), w.get("", own+"/runs"), w.get("eve", functions),
		w.post("bob", "/api/v2.6/data/rumpel/notes", `{"text":"more"}`), w.get("bob", own+"/nothing"),
	} {
		told := a.header.Get("She-Receipts")
		if eve := strings.HasPrefix(told, "0:"); told != "" && !eve {
			t.Errorf("%s (%d) tells %s", a.call, a.status, told)
		}
	}
}
