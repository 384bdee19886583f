package vaulttest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// fullHAT creates a HAT that is full, with a function that has pending work, a user, a document, and a
// record to erase.
func fullHAT(t *testing.T, fresh func(testing.TB) Opener) (p *person, limit *plan.Storage, g access.Grant, ballast []hat.Record) {
	p, limit = newPerson(t, fresh), &plan.Storage{}
	p.storage = func() plan.Storage { return *limit }
	g = p.grant("f", individual, "she/f", "a/x")
	p.enable(g)
	p.must(p.v.CreateUser(p.ctx(), vault.User{ID: hat.NewUserID(), Username: "bob", Enabled: true}))
	p.must(p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error { return e.Put(vault.Debits, "d", []byte(`{"terms":1}`)) }))
	ballast = p.write("a/ballast", long(1<<20))
	p.write("a/x", `1`)
	held := p.held()
	limit.Bytes = held.Bytes
	return p, limit, g, ballast
}

func refusedAsFull(t *testing.T, what string, err error, code string) {
	t.Helper()
	var over *vault.QuotaError
	if !errors.As(err, &over) || over.Fault.Code != code || over.Fault.Who != hat.Owner || !strings.Contains(over.Fault.Text, "erase") {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// big is an element that no full HAT has room for.
var big = long(64 << 10)

// testStorage tests that a HAT holds no more than it may, whoever writes. Erasing, ending and disabling
// always work, and everything else works again when there is room.
func testStorage(t *testing.T, fresh func(testing.TB) Opener) {
	for _, story := range []struct {
		name string
		do   func(*testing.T, func(testing.TB) Opener)
	}{
		{"what grows is refused in a HAT that is full, and leaves nothing", testStorageWhatGrowsIsRefusedInAHATThatIsFullAndLeavesNothing},
		{"erasing, disabling and the ends of runs go on", testStorageErasingDisablingAndTheEndsOfRunsGoOn},
		{"receipts of what is shown are bounded too", testStorageReceiptsOfWhatIsShownAreBoundedToo},
		{"work waits for room and goes on by itself", testStorageWorkWaitsForRoomAndGoesOnByItself},
		{"records are counted, and kept in number", testStorageRecordsAreCountedAndKeptInNumber},
		{"endpoints with a record are bounded", testStorageEndpointsWithARecordAreBounded},
		{"who may see it", testStorageWhoMaySeeIt},
	} {
		t.Run(story.name, func(t *testing.T) { story.do(t, fresh) })
	}
}

func testStorageWhatGrowsIsRefusedInAHATThatIsFullAndLeavesNothing(t *testing.T, fresh func(testing.TB) Opener) {
	p, _, _, ballast := fullHAT(t, fresh)
	before, last := p.held(), p.last()
	_, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/x", big)}, false)
	refusedAsFull(t, "a write by the owner", err, plan.CodeBytes)
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/x", big)}, true)
	refusedAsFull(t, "one without duplicates", err, plan.CodeBytes)
	linked := draft(t, "a/x", `"parent"`)
	linked.Links = []hat.Draft{draft(t, "a/y", big)}
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{linked}, false)
	refusedAsFull(t, "one with links", err, plan.CodeBytes)
	writer := vault.User{
		ID:       hat.NewUserID(),
		Username: "plug",
		Enabled:  true,
		Roles:    []access.Role{{Title: access.TitleNamespaceWrite, Detail: strings.Repeat("n", 8<<10)}},
	}
	refusedAsFull(t, "a user", p.v.CreateUser(p.ctx(), writer), plan.CodeBytes)
	_, err = p.v.PutUser(p.ctx(), "plug", func(u *vault.User, _ bool) error { u.Roles = writer.Roles; return nil })
	refusedAsFull(t, "a user that is put", err, plan.CodeBytes)
	bob, err := p.v.UserByName(p.ctx(), "bob")
	p.must(err)
	bob.Roles = writer.Roles
	refusedAsFull(t, "roles of a user", p.v.UpdateUser(p.ctx(), bob), plan.CodeBytes)
	_, err = p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: ballast[0].ID, Data: Data(t, long(1<<20+64<<10))}})
	refusedAsFull(t, "a change for more", err, plan.CodeBytes)
	for _, kind := range []vault.DocumentKind{vault.Bundles, vault.Combinators, vault.Debits, vault.Setups} {
		refusedAsFull(t, string(kind), p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error {
			return e.Put(kind, "d", []byte(big))
		}), plan.CodeBytes)
	}
	wide := p.grant("g", individual, "she/g", "a/x")
	wide.Manifest = []byte(big)
	_, err = p.v.Enable(p.ctx(), p.owner, wide)
	refusedAsFull(t, "a consent", err, plan.CodeBytes)
	if after := p.held(); after != before || p.last() != last {
		t.Errorf("what was refused took the HAT from %+v to %+v", before, after)
	}
	p.has("a/x", `1`)
	CheckHAT(t, p.v)
}

func testStorageErasingDisablingAndTheEndsOfRunsGoOn(t *testing.T, fresh func(testing.TB) Opener) {
	p, limit, g, ballast := fullHAT(t, fresh)
	limit.Bytes = 1 << 40
	pl := p.claim(g.Function)
	limit.Bytes = p.held().Bytes - 64<<10
	// The run's result has no room. Its end is stored, with its log.
	_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"derived"`))
	refusedAsFull(t, "a result", err, plan.CodeBytes)
	var over *vault.QuotaError
	errors.As(err, &over)
	p.must(p.v.Fail(p.ctx(), pl, vault.Output{Log: []byte(big)}, over.Fault))
	if r, err := p.v.Run(p.ctx(), p.owner, pl.Run); err != nil || r.State != vault.RunRefused || string(r.Log) != big {
		t.Errorf("the run is %s with a log of %d bytes, %v", r.State, len(r.Log), err)
	}
	// Agreements are withdrawn, passwords are changed, and disclosures get their receipts.
	p.must(p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error { return e.Put(vault.Debits, "d", []byte(`{"terms":1,"cancelled":true}`)) }))
	bob, err := p.v.UserByName(p.ctx(), "bob")
	p.must(err)
	bob.PasswordHash, bob.Enabled = []byte(strings.Repeat("h", 60)), false
	p.must(p.v.UpdateUser(p.ctx(), bob))
	p.must(p.v.Disclose(p.ctx(), p.owner, vault.Disclosure{Debit: "d", Endpoints: []hat.Endpoint{Endpoint(t, "a/x")}}))
	_, err = p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: ballast[0].ID, Data: Data(t, long(1<<20-64<<10))}})
	p.must(err)
	_, err = p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{ballast[0].ID}))
	if held := p.held(); held.Bytes > limit.Bytes-800<<10 || held.Records != 1 {
		t.Errorf("after erasing it holds %+v of %+v", held, *limit)
	}
	p.write("a/x", big)
	CheckHAT(t, p.v)
}

func testStorageReceiptsOfWhatIsShownAreBoundedToo(t *testing.T, fresh func(testing.TB) Opener) {
	p, _, _, _ := fullHAT(t, fresh)
	var err error
	shown := 0
	for ; err == nil && shown < 100_000; shown++ {
		err = p.v.Disclose(p.ctx(), p.owner, vault.Disclosure{Debit: "d", Endpoints: []hat.Endpoint{Endpoint(t, "a/x")}})
	}
	refusedAsFull(t, "a disclosure", err, plan.CodeBytes)
	if shown < 100 {
		t.Errorf("a HAT that is full shares what it holds %d times", shown)
	}
}

func testStorageWorkWaitsForRoomAndGoesOnByItself(t *testing.T, fresh func(testing.TB) Opener) {
	p, limit, g, ballast := fullHAT(t, fresh)
	// While the HAT is full, nothing is claimed and no attempt is counted.
	before := p.state(g.Function)
	_, err := p.tryClaim(g.Function, plan.ByData, false)
	refusedAsFull(t, "a claim", err, plan.CodeBytes)
	var over *vault.QuotaError
	if errors.As(err, &over); !over.Until.After(p.clock.now()) || over.Until.Sub(p.clock.now()) > 10*time.Minute {
		t.Errorf("it is looked at again at %s", over.Until)
	}
	_, err = p.tryClaim(g.Function, plan.ByRequest, false)
	refusedAsFull(t, "a claim on request", err, plan.CodeBytes)
	if after := p.state(g.Function); after.Front.Attempt != 0 || !after.Front.NotBefore.Equal(before.Front.NotBefore) {
		t.Errorf("the work is %+v", after.Front)
	}
	// A result that is too large for the HAT is the owner's fault at every attempt, and is never parked.
	for attempt := 1; attempt <= 50; attempt++ {
		limit.Bytes = p.held().Bytes + 32<<10
		pl := p.claim(g.Function)
		_, err := p.v.Commit(p.ctx(), pl, output(t, g, big))
		refusedAsFull(t, "a result", err, plan.CodeBytes)
		errors.As(err, &over)
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, over.Fault))
		s := p.state(g.Function)
		if s.Front == nil || s.Front.Parked || s.Ranges != nil || s.Front.Attempt != attempt || s.Front.NotBefore.Sub(p.clock.now()) > 10*time.Minute {
			t.Fatalf("after attempt %d: %+v", attempt, s)
		}
		if attempt < 50 {
			p.clock.move(10 * time.Minute)
		}
	}
	p.isDue()
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{ballast[0].ID}))
	p.isDue("f") // at once
	p.runOnceAfter(g.Function, big)
	p.has("she/f", big)
	CheckHAT(t, p.v)
}

func testStorageRecordsAreCountedAndKeptInNumber(t *testing.T, fresh func(testing.TB) Opener) {
	p, limit := newPerson(t, fresh), &plan.Storage{Records: 3}
	p.storage = func() plan.Storage { return *limit }
	g := p.grant("f", individual, "she/f", "a/x")
	g.Mode = hat.ReplaceOutput
	p.enable(g)
	all := p.write("a/x", `1`, `2`)
	p.runOnceAfter(g.Function, `"three"`)
	_, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/x", `4`)}, false)
	refusedAsFull(t, "a fourth", err, plan.CodeStored)
	p.restart()
	if held := p.held(); held.Records != 3 {
		t.Errorf("after a restart it holds %+v", held)
	}
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/x", `4`)}, true)
	refusedAsFull(t, "a fourth", err, plan.CodeStored)
	_, err = p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: all[0].ID, Data: Data(t, `1000000`)}})
	p.must(err)
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{all[1].ID}))
	p.write("a/x", `4`)
	limit.Records = 4
	p.runOnceAfter(g.Function, `"four"`) // replaces "three"
	if held := p.held(); held.Records != 3 {
		t.Errorf("it holds %+v", held)
	}
	p.must(p.v.EraseEndpoint(p.ctx(), p.owner, Endpoint(t, "a/x")))
	if held := p.held(); held.Records != 1 {
		t.Errorf("it holds %+v", held)
	}
	limit.Records = 1
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/y", `5`)}, false)
	refusedAsFull(t, "one more", err, plan.CodeStored)
	CheckHAT(t, p.v)
}

func testStorageEndpointsWithARecordAreBounded(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	g := p.grant("f", individual, "she/f", "a/x1")
	p.enable(g)
	drafts := make([]hat.Draft, plan.MaxEndpoints)
	for i := range drafts {
		drafts[i] = draft(t, fmt.Sprintf("a/x%d", i), `1`)
	}
	all, err := p.v.Append(p.ctx(), p.owner, drafts, false)
	p.must(err)
	last := p.last()
	for _, skip := range []bool{false, true} {
		_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/more", `1`), draft(t, "a/x2", `2`)}, skip)
		refusedAsFull(t, "one more", err, plan.CodeEndpoints)
	}
	linked := draft(t, "a/x2", `"parent"`)
	linked.Links = []hat.Draft{draft(t, "a/more", `1`)}
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{linked}, false)
	refusedAsFull(t, "one more in a link", err, plan.CodeEndpoints)
	if p.last() != last {
		t.Error("what was refused left something")
	}
	// Existing endpoints can be written to. The result of a function at a new endpoint waits for room,
	// however often it is tried.
	p.write("a/x2", `2`)
	for range 7 {
		pl := p.claim(g.Function)
		_, err = p.v.Commit(p.ctx(), pl, output(t, g, `"derived"`))
		refusedAsFull(t, "a result", err, plan.CodeEndpoints)
		var over *vault.QuotaError
		errors.As(err, &over)
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, over.Fault))
		if s := p.state(g.Function); s.Front == nil || s.Front.Parked || len(s.Ranges) > 0 {
			t.Fatalf("its work is %+v %+v", s.Front, s.Ranges)
		}
		p.clock.move(10 * time.Minute)
	}
	p.restart()
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/more", `1`)}, false)
	refusedAsFull(t, "one more in another life", err, plan.CodeEndpoints)
	// An endpoint whose last record is erased makes room at once, and counts again when it is used again.
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{all[0].ID}))
	p.runOnceAfter(g.Function, `"derived"`)
	p.has("she/f", `"derived"`)
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/x0", `1`)}, false)
	refusedAsFull(t, "a name that was used before", err, plan.CodeEndpoints)
	p.must(p.v.EraseEndpoint(p.ctx(), p.owner, Endpoint(t, "a/x1")))
	p.write("a/x0", `1`)
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "a/x1", `1`)}, false)
	refusedAsFull(t, "the name that was erased", err, plan.CodeEndpoints)
	CheckHAT(t, p.v)
}

func testStorageWhoMaySeeIt(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.storage = func() plan.Storage { return plan.Storage{Bytes: 1 << 30, Records: 7} }
	for _, c := range []access.Caller{p.owner, access.Operator()} {
		if held, limit, err := p.v.Storage(p.ctx(), c); err != nil || limit != p.storage() || held.Bytes == 0 || held.Records != 0 {
			t.Errorf("it is %+v of %+v, %v", held, limit, err)
		}
	}
	for _, c := range []access.Caller{{}, app(p, reads("a")), app(p, writes("a"))} {
		_, _, err := p.v.Storage(p.ctx(), c)
		p.wants(err, access.ErrDenied)
	}
}

// held returns what the HAT holds.
func (p *person) held() plan.Held {
	p.Helper()
	held, _, err := p.v.Storage(p.ctx(), p.owner)
	p.must(err)
	return held
}

// long returns a JSON string of n bytes.
func long(n int) string { return fmt.Sprintf(`"%s"`, strings.Repeat("x", n-2)) }
