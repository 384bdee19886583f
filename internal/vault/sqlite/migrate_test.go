package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/contract"
	"she/internal/debit"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/vaulttest"
)

// testdata/schema5.sql is a dump of a vault from before ranges existed. Function good has committed one run
// and has another in flight. Function bad has failed six times and is parked before everything that it
// reads.
func TestAFileOfBeforeRanges(t *testing.T) {
	text, err := os.ReadFile("testdata/schema5.sql")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2024, 3, 3, 12, 0, 0, 0, time.UTC)
	s := newStore(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	if err := os.WriteFile(s.path("alice"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := withFile(t.Context(), s.path("alice"), func(ctx context.Context, c *conn) error {
		_, err := c.c.ExecContext(ctx, "PRAGMA journal_mode = wal;"+string(text))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	v, _ := vaulttest.Open(t, s, "alice")
	vaulttest.CheckHAT(t, v)
	user, err := v.Owner(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := access.User(user.ID, user.Roles, access.TitleOwner)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	state := func(name string) vault.FunctionState {
		t.Helper()
		id, err := hat.ParseFunctionID(name)
		must(err)
		f, err := v.Function(t.Context(), c, id)
		must(err)
		return f
	}
	// run commits the due work and returns its plan.
	run := func(name, wrote string) plan.Plan {
		t.Helper()
		f := state(name)
		p, err := v.Claim(t.Context(), vault.Claim{Function: f.Grant.Function, Run: hat.NewRunID(), Cause: plan.ByData, Now: now, Expires: now.Add(time.Minute)})
		must(err)
		data, err := hat.ParseData([]byte(wrote))
		must(err)
		_, err = v.Commit(t.Context(), p, vault.Output{Responses: []contract.Response{{Drafts: []hat.Draft{{Endpoint: f.Grant.Output, Data: data}}}}})
		must(err)
		return p
	}

	if good := state("good"); good.Front == nil || good.Front.Attempt != 1 || good.Grant.Mode != hat.AppendOutput || good.Grant.InOrder {
		t.Errorf("the run in flight has left %+v", good.Front)
	}
	bad := state("bad")
	if bad.Front == nil || !bad.Front.Parked || bad.Ranges != nil || bad.Cursor != 0 {
		t.Fatalf("what was parked is %+v", bad)
	}
	a, err := hat.ParseEndpoint("a/x")
	must(err)
	data, err := hat.ParseData([]byte(`3`))
	must(err)
	records, err := v.Append(t.Context(), c, []hat.Draft{{Endpoint: a, Data: data}}, false)
	must(err)
	run("good", `"more"`)
	newer := run("bad", `"newer"`)
	if newer.After >= records[0].Seq || newer.After == 0 {
		t.Errorf("what is newer is %+v", newer)
	}
	bad = state("bad")
	if bad.Front != nil || len(bad.Ranges) != 1 || !bad.Ranges[0].Parked || bad.Ranges[0].After != 0 || bad.Ranges[0].Upto != newer.After {
		t.Fatalf("what was parked is now %+v, %+v", bad.Front, bad.Ranges)
	}
	runs, err := v.Runs(t.Context(), c, bad.Grant.Function, hat.RunID{}, 0)
	must(err)
	i := slices.IndexFunc(runs, func(r vault.Run) bool { return r.State == vault.RunFailed })
	must(v.Replay(t.Context(), c, runs[i].Plan.Run))
	if p := run("bad", `"at last"`); p.After != 0 || p.Upto != newer.After {
		t.Errorf("the replay is %+v", p)
	}

	// Replay a run that committed before generations existed.
	runs, err = v.Runs(t.Context(), c, state("good").Grant.Function, hat.RunID{}, 0)
	must(err)
	first := runs[len(runs)-1]
	if first.State != vault.RunCommitted || len(first.Written) != 2 {
		t.Fatalf("the first run is %+v", first)
	}
	must(v.Replay(t.Context(), c, first.Plan.Run))
	if p := run("good", `"one"`); p.Replaces != first.Plan.Run {
		t.Errorf("it replaces %s", p.Replaces)
	}
	var left []string
	output := state("good").Grant.Output
	must(v.Read(t.Context(), c, func(src bundle.Source, _ hat.Seq) error {
		for r, err := range src.Scan(t.Context(), output, bundle.Want{}).Records {
			if err != nil {
				return err
			}
			left = append(left, r.Data.JSON())
		}
		return nil
	}))
	if !slices.Equal(left, []string{`"one"`, `"more"`}) {
		t.Errorf("there are %v", left)
	}
	vaulttest.CheckHAT(t, v)
}

// Work that an earlier version parked because of an operator's fault continues by itself.
func TestWhatAnOutageHadParkedGoesOn(t *testing.T) {
	text, err := os.ReadFile("testdata/schema5.sql")
	if err != nil {
		t.Fatal(err)
	}
	full := bytes.ReplaceAll(text, []byte(`{"who":"author"`), []byte(`{"who":"operator"`))
	if bytes.Equal(full, text) {
		t.Fatal("no fault is the author's")
	}
	now := time.Date(2024, 3, 3, 12, 0, 0, 0, time.UTC)
	s := newStore(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	if err := os.WriteFile(s.path("alice"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := withFile(t.Context(), s.path("alice"), func(ctx context.Context, c *conn) error {
		_, err := c.c.ExecContext(ctx, "PRAGMA journal_mode = wal;"+string(full))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	v, _ := vaulttest.Open(t, s, "alice")
	due, err := v.Due(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(due, func(d vault.Due) bool { return d.Function.String() == "bad" && !d.At.After(now) }) {
		t.Errorf("due are %+v", due)
	}
	if parked, stalled, err := v.Parked(t.Context()); err != nil || parked != 0 || stalled != 1 {
		t.Errorf("%d parked, %d stalled, %v", parked, stalled, err)
	}
	vaulttest.CheckHAT(t, v)
}

// A file from before fields existed declares all its fields again.
func TestAFileWithoutFieldsAsksForThemAgain(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	vaulttest.Append(t, v, alice, []hat.Draft{vaulttest.Note(t, `{"a":1}`), vaulttest.Note(t, `{"a":2}`)})
	vaulttest.SortBy(t, v, alice, "one", "a", "c")
	vaulttest.Put(t, v, alice, vault.Combinators, "c", []byte(`[{"endpoint":"rumpel/notes","filters":[
		{"field":"at","operator":{"operator":"between","lower":1,"upper":2}}]}]`))
	g := access.Grant{
		Function: vaulttest.Parsed(hat.ParseFunctionID("f")), Version: vaulttest.Parsed(hat.ParseVersion("1.0.0")), Output: vaulttest.Endpoint(t, "she/f"),
		Bundle:  bundle.Bundle{Name: "f", Properties: vaulttest.AskingFor([]hat.Endpoint{vaulttest.Endpoint(t, "rumpel/notes")}, "granted", "a")},
		Trigger: hat.Trigger{Kind: hat.Manual},
	}
	_, err := v.Enable(t.Context(), alice, g)
	vaulttest.Must(t, 0, err)
	terms := debit.Permissions{Period: vaulttest.Parsed(hat.ParsePeriod("P7D")), Bundle: bundle.Bundle{Name: "d", Properties: vaulttest.AskingFor([]hat.Endpoint{vaulttest.Endpoint(t, "rumpel/shared")}, "x")}}
	vaulttest.Put(t, v, alice, vault.Debits, "d", vaulttest.Parsed(debit.Debit{Key: "d", Permissions: []debit.Permissions{terms}}.Accept().Store()))
	settle(t, s.fileOf("alice"))
	want := paths(t, s.fileOf("alice"))
	if len(want) != 5 {
		t.Fatalf("%q have an index", want)
	}
	release()
	vaulttest.Must(t, 0, s.Close())
	older(t, s.path("alice"))
	s = newStore(t, s.dir, Options{})
	v, _ = vaulttest.Open(t, s, "alice")
	f := s.fileOf("alice")
	settle(t, f)
	if got := paths(t, f); !slices.Equal(got, want) {
		t.Errorf("%q have an index, want %q", got, want)
	}
	if rows := texts(t, f, "SELECT count(*) FROM field_keys WHERE length(key) > 0"); rows[0] != "2" {
		t.Errorf("%s keys of values", rows[0])
	}
	for _, id := range []string{"one", "c", "d"} {
		kind := map[string]vault.DocumentKind{"one": vault.Bundles, "c": vault.Combinators, "d": vault.Debits}[id]
		vaulttest.Put(t, v, alice, kind, id, []byte(`{}`))
	}
	_, err = v.Disable(t.Context(), alice, g.Function)
	vaulttest.Must(t, 0, err)
	settle(t, f)
	for _, table := range []string{"fields", "field_keys", "field_uses", "undeclared"} {
		if n := texts(t, f, "SELECT count(*) FROM "+table)[0]; n != "0" {
			t.Errorf("%s rows left in %s", n, table)
		}
	}
}

// older removes the fields from a vault's file and then runs the migration that adds them.
func older(t *testing.T, path string) {
	t.Helper()
	db := vaulttest.Parsed(sql.Open("sqlite", path))
	defer db.Close()
	if _, err := db.Exec("DROP TABLE fields; DROP TABLE field_keys; DROP TABLE field_uses; DROP TABLE undeclared;" + fieldSchema); err != nil {
		t.Fatal(err)
	}
}
