// Package vaulttest tests stores of vaults against the promises of package vault: call Run from the store's
// tests. CheckHAT verifies for any vault that nothing was lost or done twice; stories and crash tests end
// with it.
package vaulttest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// A Store creates and opens vaults.
type Store interface {
	Create(ctx context.Context, id hat.ID, owner vault.User) error
	Open(ctx context.Context, id hat.ID) (*ledger.Vault, func(), error)
	Close() error
}

// A Setup holds what a test decides about a store. The store calls AtCommit, if set, before and after each
// commit with the names of its transactions ("append", "claim", "commit", …), and treats its error as one
// of the disk.
type Setup struct {
	Now      func() time.Time
	AtCommit func(ops []string, persisted bool) error
	Storage  func() plan.Storage // what a HAT may hold; nil: no bound
}

// An Opener opens a store over the same vaults each time: calling it again is a restart of the server.
type Opener func(s Setup) (Store, error)

// Run tests a store. fresh returns an Opener over an empty folder.
func Run(t *testing.T, fresh func(t testing.TB) Opener) {
	for _, group := range []struct {
		name string
		run  func(*testing.T, func(testing.TB) Opener)
	}{
		{"store", testStore}, {"users", testUsers}, {"putting a user", testPutUser}, {"documents", testDocuments}, {"the next sees", testTheNextSees},
		{"records", testRecords}, {"reading", testReading}, {"fields", testFields},
		{"functions", testFunctions}, {"work", testWork}, {"chains", testChains}, {"rights", testRights}, {"rights of functions", testFunctionRights}, {"receipts", testReceipts}, {"run changes", testRunChanges}, {"steering", testSteering}, {"quota", testQuota}, {"storage", testStorage}, {"clock", testClock},
		{"ranges", testRanges}, {"walk", testWalk}, {"generations", testGenerations}, {"equal results", testEqualResults}, {"model", testModel},
		{"interleavings", testInterleavings}, {"crashes", testCrashes},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, fresh) })
	}
}

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A person is a HAT under test with its Owner.
type person struct {
	testing.TB
	open     Opener
	atCommit func(ops []string, persisted bool) error
	storage  func() plan.Storage
	store    Store
	v        *ledger.Vault
	release  func()
	user     vault.User
	owner    access.Caller
	clock    *clock
}

const hatID = "alice"

func newPerson(t testing.TB, fresh func(testing.TB) Opener) *person {
	t.Helper()
	p := &person{TB: t, open: fresh(t), clock: &clock{at: time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)}}
	p.user = vault.User{
		ID: hat.NewUserID(), Username: "alice", PasswordHash: []byte("hash"), Enabled: true,
		Roles: []access.Role{{Title: access.TitleOwner}},
	}
	p.owner = access.User(p.user.ID, p.user.Roles, access.TitleOwner)
	p.openStore()
	if err := p.store.Create(p.ctx(), hatID, p.user); err != nil {
		t.Fatal(err)
	}
	p.openVault()
	t.Cleanup(func() { p.release(); p.store.Close() })
	return p
}

// stories returns a function that runs a test with a person. At the end, and after a restart, CheckHAT
// checks the HAT.
func stories(t *testing.T, fresh func(testing.TB) Opener) func(name string, f func(t *testing.T, p *person)) {
	return func(name string, f func(t *testing.T, p *person)) {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, fresh)
			f(t, p)
			CheckHAT(t, p.v)
			p.restart()
			CheckHAT(t, p.v)
		})
	}
}

// grantedStories is stories with the grant of a function that reads a/x and writes she/f.
func grantedStories(t *testing.T, fresh func(testing.TB) Opener) func(name string, f func(t *testing.T, p *person, g access.Grant)) {
	run := stories(t, fresh)
	return func(name string, f func(t *testing.T, p *person, g access.Grant)) {
		run(name, func(t *testing.T, p *person) { f(t, p, p.grant("f", individual, "she/f", "a/x")) })
	}
}

func (p *person) ctx() context.Context { return context.Background() }

func (p *person) openStore() {
	p.Helper()
	var err error
	p.store, err = p.open(Setup{Now: p.clock.now, AtCommit: func(ops []string, persisted bool) error {
		if p.atCommit == nil {
			return nil
		}
		return p.atCommit(ops, persisted)
	}, Storage: func() plan.Storage {
		if p.storage == nil {
			return plan.Storage{}
		}
		return p.storage()
	}})
	if err != nil {
		p.Fatal(err)
	}
}

func (p *person) openVault() {
	p.Helper()
	var err error
	if p.v, p.release, err = p.store.Open(p.ctx(), hatID); err != nil {
		p.Fatal(err)
	}
}

// reopen opens the vault again, as a caller does after it closed itself.
func (p *person) reopen() {
	p.Helper()
	p.release()
	p.openVault()
}

// restart starts the server again.
func (p *person) restart() {
	p.Helper()
	p.release()
	if err := p.store.Close(); err != nil {
		p.Fatal(err)
	}
	p.openStore()
	p.openVault()
}

func (p *person) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *person) wants(got, want error) {
	p.Helper()
	if !errors.Is(got, want) {
		p.Errorf("got error %v, want %v", got, want)
	}
}

func parsed[T any](t testing.TB, parse func(string) (T, error), s string) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func draft(t testing.TB, e, text string) hat.Draft {
	return hat.Draft{Endpoint: Endpoint(t, e), Data: Data(t, text)}
}

// write stores texts as the Owner.
func (p *person) write(e string, texts ...string) []hat.Record {
	p.Helper()
	var drafts []hat.Draft
	for _, text := range texts {
		drafts = append(drafts, draft(p, e, text))
	}
	records, err := p.v.Append(p.ctx(), p.owner, drafts, false)
	p.must(err)
	return records
}

// scan reads an endpoint as a caller, with a hint.
func (p *person) scan(c access.Caller, e string, want bundle.Want) (all []hat.Record, err error) {
	err = p.v.Read(p.ctx(), c, func(src bundle.Source, _ hat.Seq) error {
		for r, err := range src.Scan(p.ctx(), Endpoint(p, e), want).Records {
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		return nil
	})
	return all, err
}

// texts returns the data at an endpoint, in order of creation.
func (p *person) texts(e string) []string {
	p.Helper()
	records, err := p.scan(p.owner, e, bundle.Want{})
	p.must(err)
	texts := []string{}
	for _, r := range records {
		texts = append(texts, r.Data.JSON())
	}
	return texts
}

func (p *person) has(e string, want ...string) {
	p.Helper()
	if got := p.texts(e); !slices.Equal(got, want) {
		p.Errorf("%s has %d records, want %d: %s", e, len(got), len(want), got)
	}
}

// grant returns the grant of a function that reads the endpoints and writes to out.
func (p *person) grant(function string, trigger hat.Trigger, out string, reads ...string) access.Grant {
	p.Helper()
	b := bundle.Bundle{Name: function, Properties: map[string]bundle.PropertyQuery{}}
	for _, e := range reads {
		b.Properties[e] = bundle.PropertyQuery{Endpoints: []bundle.EndpointQuery{{Endpoint: Endpoint(p, e)}}}
	}
	return access.Grant{
		Function: parsed(p, hat.ParseFunctionID, function), Version: parsed(p, hat.ParseVersion, "1.0.0"),
		Digest: "sha256:00", Bundle: b, Output: Endpoint(p, out), Trigger: trigger,
	}
}

// onlyOdd returns a query for the records at an endpoint whose second element is "odd".
func onlyOdd(t testing.TB, e string) bundle.PropertyQuery {
	return bundle.PropertyQuery{Endpoints: []bundle.EndpointQuery{{
		Endpoint: Endpoint(t, e),
		Filters:  []bundle.Filter{{Field: "1", Operator: bundle.Operator{Kind: bundle.In, Value: Data(t, `["odd"]`)}}},
	}}}
}

var (
	individual = hat.Trigger{Kind: hat.Individual}
	manual     = hat.Trigger{Kind: hat.Manual}
)

func daily(t testing.TB) hat.Trigger {
	return hat.Trigger{Kind: hat.Periodic, Period: parsed(t, hat.ParsePeriod, "P1D")}
}

func (p *person) enable(g access.Grant) vault.FunctionState {
	p.Helper()
	s, err := p.v.Enable(p.ctx(), p.owner, g)
	p.must(err)
	return s
}

func (p *person) state(f hat.FunctionID) vault.FunctionState {
	p.Helper()
	s, err := p.v.Function(p.ctx(), p.owner, f)
	p.must(err)
	return s
}

// due lists the functions that are due by now.
func (p *person) due() (names []string) {
	p.Helper()
	all, err := p.v.Due(p.ctx())
	p.must(err)
	for _, d := range all {
		if !d.At.After(p.clock.now()) {
			names = append(names, d.Function.String())
		}
	}
	return names
}

func (p *person) isDue(want ...string) {
	p.Helper()
	if got := p.due(); !slices.Equal(got, want) {
		p.Errorf("due are %v, want %v", got, want)
	}
}

func (p *person) tryClaim(f hat.FunctionID, cause plan.Cause, useAll bool) (plan.Plan, error) {
	return p.v.Claim(p.ctx(), vault.Claim{
		Function: f, Run: hat.NewRunID(), Cause: cause, UseAll: useAll,
		Now: p.clock.now(), Expires: p.clock.now().Add(5 * time.Minute),
	})
}

func (p *person) claim(f hat.FunctionID) plan.Plan {
	p.Helper()
	pl, err := p.tryClaim(f, plan.ByData, false)
	p.must(err)
	return pl
}

// shown returns what a function would be given under a plan, queried as the engine does.
func (p *person) shown(pl plan.Plan) (ids []hat.RecordID, texts []string) {
	p.Helper()
	as := access.AsFunction(p.user.ID, pl.Grant)
	meant, err := pl.Part.Filter(bundle.Bundle.Matcher)
	p.must(err)
	within := bundle.Within{
		After: pl.After, Upto: pl.Upto, NotBy: pl.Grant.Function,
		Keep: meant,
	}
	p.must(p.v.Read(p.ctx(), as, func(src bundle.Source, _ hat.Seq) error {
		_, err := bundle.EvaluateBundle(p.ctx(), pl.Grant.Bundle, src, within, func(_ string, r bundle.Row) error {
			ids, texts = append(ids, r.ID), append(texts, r.Data.JSON())
			return nil
		})
		return err
	}))
	return ids, texts
}

func output(t testing.TB, g access.Grant, texts ...string) vault.Output {
	r := contract.Response{}
	for _, text := range texts {
		r.Drafts = append(r.Drafts, hat.Draft{Endpoint: g.Output, Data: Data(t, text)})
	}
	return vault.Output{Responses: []contract.Response{r}}
}

func (p *person) commit(pl plan.Plan, texts ...string) vault.Committed {
	p.Helper()
	done, err := p.v.Commit(p.ctx(), pl, output(p, pl.Grant, texts...))
	p.must(err)
	return done
}

// runOnce claims and commits.
func (p *person) runOnce(f hat.FunctionID, texts ...string) vault.Committed {
	p.Helper()
	return p.commit(p.claim(f), texts...)
}

// runOnceAfter claims and commits, and returns the plan.
func (p *person) runOnceAfter(f hat.FunctionID, texts ...string) plan.Plan {
	p.Helper()
	pl := p.claim(f)
	p.commit(pl, texts...)
	return pl
}

// last returns the newest position that is not an output of the function under test.
func (p *person) last() (upto hat.Seq) {
	p.Helper()
	records, err := p.scan(p.owner, "a/x", bundle.Want{})
	p.must(err)
	for _, r := range records {
		upto = max(upto, r.Seq)
	}
	return upto
}

// CheckHAT reports to t every sign that something was lost or done twice. The vault must be at rest. The
// signs are:
//   - a gap or an overlap in the positions of the log, or a broken chain of receipts;
//   - a run that ended twice or without its receipt;
//   - a record twice at an endpoint (if equal results are kept: twice from one run), or from a run that
//     did not commit;
//   - a range beyond the cursor, or one that replaces the output of a run that did not commit;
//   - a superseded record that is still a current record, or that no run replaced.
func CheckHAT(t testing.TB, v *ledger.Vault) {
	t.Helper()
	ctx := context.Background()
	user, err := v.Owner(ctx)
	if err != nil {
		t.Errorf("CheckHAT: owner: %v", err)
		return
	}
	c := checker{TB: t, v: v, owner: access.User(user.ID, user.Roles, access.TitleOwner)}
	c.receipts(ctx)
	c.runs(ctx)
	c.records(ctx)
	c.ranges(ctx)
	c.superseded(ctx)
	if held, _, err := v.Storage(ctx, c.owner); err != nil || held.Records != int64(len(c.present)) || held.Bytes <= 0 {
		t.Errorf("CheckHAT: the vault says it holds %+v (%v); there are %d records", held, err, len(c.present))
	}
	compared, err := v.Compare(ctx, c.owner, func(int64) error { return nil })
	if err != nil {
		t.Errorf("CheckHAT: compare records with receipts: %v", err)
	}
	for _, d := range compared.Differs {
		t.Errorf("CheckHAT: %s", d)
	}
}

type checker struct {
	testing.TB
	v     *ledger.Vault
	owner access.Caller

	last      hat.Seq                       // the last position in the receipts
	ended     map[hat.RunID][]receipt.Entry // receipts by run
	committed map[hat.RunID]bool
	present   map[hat.RecordID]bool
	replacing map[hat.RunID]vault.Run // runs that superseded something
	keeping   map[hat.RunID]bool      // runs whose results are kept beside equal ones
}

// receipts verifies the chain and that its positions have no gap.
func (c *checker) receipts(ctx context.Context) {
	c.ended, c.committed = map[hat.RunID][]receipt.Entry{}, map[hat.RunID]bool{}
	err := c.v.Receipts(ctx, c.owner, 0, func(texts iter.Seq2[[]byte, error], head receipt.Head) error {
		var stored [][]byte
		for text, err := range texts {
			if err != nil {
				return err
			}
			stored = append(stored, text)
			e, err := receipt.Parse(text)
			if err != nil {
				continue // Verify reports it
			}
			if e.First != 0 {
				if e.First != c.last+1 || e.Last < e.First {
					c.Errorf("CheckHAT: receipt %d takes positions %d to %d after %d", e.Number, e.First, e.Last, c.last)
				}
				c.last = e.Last
			}
			if e.Kind == receipt.Run {
				c.ended[e.Run] = append(c.ended[e.Run], e)
				c.committed[e.Run] = c.committed[e.Run] || e.Outcome == string(vault.RunCommitted)
			}
		}
		_, err := receipt.Verify(receipt.Head{}, func(yield func([]byte, error) bool) {
			for _, text := range stored {
				if !yield(text, nil) {
					return
				}
			}
		}, &head)
		return err
	})
	if err != nil {
		c.Errorf("CheckHAT: receipts: %v", err)
	}
}

func (c *checker) records(ctx context.Context) {
	endpoints, err := endpointsOf(ctx, c.v, c.owner)
	if err != nil {
		c.Errorf("CheckHAT: endpoints: %v", err)
		return
	}
	err = c.v.Read(ctx, c.owner, func(src bundle.Source, upto hat.Seq) error {
		if upto != c.last {
			c.Errorf("CheckHAT: the log ends at %d, its receipts at %d", upto, c.last)
		}
		positions := map[hat.Seq]hat.RecordID{}
		c.present = map[hat.RecordID]bool{}
		for _, e := range endpoints {
			type identity struct {
				digest [32]byte
				run    hat.RunID // zero unless equal results are kept
			}
			there := map[identity]bool{}
			for r, err := range src.Scan(ctx, e, bundle.Want{}).Records {
				if err != nil {
					return err
				}
				if r.Endpoint != e || r.Born < 1 || r.Seq < r.Born || r.Seq > upto {
					c.Errorf("CheckHAT: record %s: born at %d, at %d of %d", r.ID, r.Born, r.Seq, upto)
				}
				for _, at := range slices.Compact([]hat.Seq{r.Born, r.Seq}) {
					if other, taken := positions[at]; taken {
						c.Errorf("CheckHAT: records %s and %s share position %d", r.ID, other, at)
					}
					positions[at] = r.ID
				}
				is := identity{digest: r.Data.Digest()}
				if c.keeping[r.Run] {
					is.run = r.Run
				}
				if there[is] {
					c.Errorf("CheckHAT: record %s is twice at %s", r.ID, e)
				}
				there[is] = true
				c.present[r.ID] = true
				if !r.Run.IsZero() && !c.committed[r.Run] {
					c.Errorf("CheckHAT: record %s is from run %s, which did not commit", r.ID, r.Run)
				}
				if r.Depth != len(r.Chain) || (r.Depth > 0) == r.Function.IsZero() {
					c.Errorf("CheckHAT: record %s: depth %d, chain %v, function %s", r.ID, r.Depth, r.Chain, r.Function)
				}
			}
		}
		return nil
	})
	if err != nil {
		c.Errorf("CheckHAT: records: %v", err)
	}
}

func (c *checker) runs(ctx context.Context) {
	var before hat.RunID
	c.replacing, c.keeping = map[hat.RunID]vault.Run{}, map[hat.RunID]bool{}
	seen := map[hat.RunID]bool{}
	for {
		page, err := c.v.Runs(ctx, c.owner, hat.FunctionID{}, before, 100)
		if err != nil {
			c.Errorf("CheckHAT: runs: %v", err)
			return
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			c.run(r)
			c.keeping[r.Plan.Run] = r.Plan.Grant.Equal == hat.KeepEqual
			if r.Superseded > 0 {
				c.replacing[r.Plan.Run] = r
			}
			if by := r.SupersededBy; !by.IsZero() && (r.State != vault.RunCommitted || !c.committed[by]) {
				c.Errorf("CheckHAT: run %s is %s and was repeated by %s", r.Plan.Run, r.State, by)
			}
			seen[r.Plan.Run] = true
		}
		before = page[len(page)-1].Plan.Run
	}
	for id := range c.ended {
		if seen[id] {
			continue
		}
		c.Errorf("CheckHAT: run %s has a receipt and is not there", id)
	}
}

func (c *checker) run(r vault.Run) {
	entries := c.ended[r.Plan.Run]
	began := r.Plan.Attempt > 0 // a run that was stopped because of its chain never began
	switch {
	case r.State == vault.RunPlanned || !began:
		if len(entries) > 0 {
			c.Errorf("CheckHAT: run %s is %s and has %d receipts", r.Plan.Run, r.State, len(entries))
		}
	case len(entries) != 1:
		c.Errorf("CheckHAT: run %s ended %s with %d receipts", r.Plan.Run, r.State, len(entries))
	case entries[0].Outcome != string(r.State):
		c.Errorf("CheckHAT: run %s ended %s, its receipt says %s", r.Plan.Run, r.State, entries[0].Outcome)
	case r.State == vault.RunCommitted && *entries[0].Written != *receipt.RecordsOf(r.Written):
		c.Errorf("CheckHAT: run %s wrote %d records, its receipt says %d", r.Plan.Run, len(r.Written), entries[0].Written.Count)
	}
	if r.State != vault.RunCommitted && len(r.Written) > 0 {
		c.Errorf("CheckHAT: run %s is %s and wrote %d records", r.Plan.Run, r.State, len(r.Written))
	}
}

func (c *checker) ranges(ctx context.Context) {
	states, err := c.v.FunctionStates(ctx, c.owner)
	if err != nil {
		c.Errorf("CheckHAT: functions: %v", err)
		return
	}
	for _, s := range states {
		f := s.Grant.Function
		if s.Cursor > c.last {
			c.Errorf("CheckHAT: the cursor of %s is at %d of %d", f, s.Cursor, c.last)
		}
		if p := s.Front; p != nil && (p.Upto <= s.Cursor || p.Upto > c.last) {
			c.Errorf("CheckHAT: of %s waits what is up to %d, the cursor is at %d of %d", f, p.Upto, s.Cursor, c.last)
		}
		again := map[hat.RunID]bool{}
		var whole hat.Seq
		for _, r := range s.Ranges {
			switch {
			case r.After > r.Upto || r.Replaces.IsZero() && r.Upto > s.Cursor || r.Upto > c.last:
				c.Errorf("CheckHAT: a range of %s is %d to %d, the cursor is at %d of %d", f, r.After, r.Upto, s.Cursor, c.last)
			case !r.Replaces.IsZero() && (again[r.Replaces] || !c.committed[r.Replaces]):
				c.Errorf("CheckHAT: a range of %s is to replace run %s, committed %t", f, r.Replaces, c.committed[r.Replaces])
			case !r.Replaces.IsZero():
				again[r.Replaces] = true
			case r.Part.All():
				if r.After < whole {
					c.Errorf("CheckHAT: two ranges of %s cover position %d", f, whole)
				}
				whole = r.Upto
			}
		}
	}
}

func (c *checker) superseded(ctx context.Context) {
	for run, r := range c.replacing {
		all, err := c.v.Superseded(ctx, c.owner, run, 0, r.Superseded+1)
		if err != nil {
			c.Errorf("CheckHAT: superseded by %s: %v", run, err)
			return
		}
		if entries := c.ended[run]; len(all) > r.Superseded || len(entries) == 1 && entries[0].Erased.Count != r.Superseded {
			c.Errorf("CheckHAT: run %s superseded %d records, there are %d", run, r.Superseded, len(all))
		}
		for _, s := range all {
			if c.present[s.ID] || s.Digest != s.Data.Digest() || !c.committed[s.Run] || s.Run == run {
				c.Errorf("CheckHAT: record %s of run %s is superseded by %s; still there: %t", s.ID, s.Run, run, c.present[s.ID])
			}
		}
	}
}

func endpointsOf(ctx context.Context, v *ledger.Vault, c access.Caller) (all []hat.Endpoint, err error) {
	err = v.EachEndpoint(ctx, c, func(e hat.Endpoint) error { all = append(all, e); return nil })
	return all, err
}
