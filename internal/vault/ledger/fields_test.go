package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

// settle waits until no upkeep is left.
func settle(t testing.TB, v *ledger.Vault) {
	t.Helper()
	for {
		if busy, err := busy(v); err != nil {
			t.Fatal(err)
		} else if !busy {
			return
		}
	}
}

// busy waits for the present piece of upkeep and reports whether another follows.
func busy(v *ledger.Vault) (busy bool, err error) {
	err = v.Rows().Write(context.Background(), "wait", func(tx ledger.Tx) error {
		return tx.Get(context.Background(), `SELECT EXISTS (SELECT 1 FROM erasures) OR EXISTS (SELECT 1 FROM undeclared)
			OR EXISTS (SELECT 1 FROM fields WHERE gone OR built < behind)`, nil, &busy)
	})
	return busy, err
}

// texts returns the rows of a query of one column.
func texts(t testing.TB, v *ledger.Vault, query string) (all []string) {
	t.Helper()
	err := v.Rows().Read(context.Background(), func(c ledger.Reader) (err error) {
		all, err = vaulttest.Column[string](c, query)
		return err
	})
	return vaulttest.Must(t, all, err)
}

// paths returns the fields that have an index, as "endpoint path".
func paths(t testing.TB, v *ledger.Vault) []string {
	t.Helper()
	return texts(t, v, `SELECT e.name || ' ' || f.path FROM fields f JOIN endpoints e ON e.n = f.endpoint
		WHERE NOT gone ORDER BY 1`)
}

// checkIndex checks that table field_keys holds exactly the keys of all stored records.
func checkIndex(t testing.TB, v *ledger.Vault) {
	t.Helper()
	if err := v.Rows().Read(context.Background(), func(c ledger.Reader) error { return compareIndex(t, c) }); err != nil {
		t.Error(err)
	}
}

func compareIndex(t testing.TB, c ledger.Reader) error {
	t.Helper()
	stored, err := vaulttest.Column[string](c, "SELECT field || ' ' || born || ' ' || hex(key) FROM field_keys")
	if err != nil {
		return err
	}
	rows := map[string]bool{}
	for _, row := range stored {
		rows[row] = true
	}
	fields, err := vaulttest.Column[string](c, "SELECT n||' '||endpoint||' '||built||' '||behind||' '||gone||' '||cut||' '||path FROM fields")
	if err != nil {
		return err
	}
	for _, text := range fields {
		var f ledger.Field
		var endpoint, cut, want int64
		if _, err := fmt.Sscan(text, &f.N, &endpoint, &f.Built, &f.Behind, &f.Gone, &cut, &f.Path); err != nil {
			return err
		}
		err := c.Each(context.Background(), "SELECT born, data FROM records WHERE endpoint = ?", []any{endpoint}, func(scan func(...any) error) error {
			var born int64
			var data string
			if err := scan(&born, &data); err != nil {
				return err
			}
			key, isCut := ledger.FieldKey(data, f.Path)
			row := fmt.Sprintf("%d %d %X", f.N, born, key)
			if !f.Gone && rows[row] != f.Covers(born) { // an index that is being removed has only some keys
				t.Errorf("field %s: record %d: there %t, want %t", text, born, rows[row], f.Covers(born))
			}
			if isCut && f.Covers(born) {
				want += int64(len(data))
			}
			delete(rows, row)
			return nil
		})
		if err != nil {
			return err
		}
		if !f.Gone && cut != want {
			t.Errorf("field %s: cut is %d, want %d", text, cut, want)
		}
	}
	for row := range rows {
		t.Errorf("a key of nothing: %.60s", row)
	}
	return nil
}

// wayOf returns how a Scan of rumpel/notes would be read.
func wayOf(t testing.TB, v *ledger.Vault, c access.Caller, want bundle.Want) string {
	t.Helper()
	how := ""
	err := v.Read(context.Background(), c, func(src bundle.Source, _ hat.Seq) (err error) {
		how, err = ledger.WayOf(context.Background(), src, vaulttest.Endpoint(t, "rumpel/notes"), want)
		return err
	})
	return vaulttest.Must(t, how, err)
}

func between(t testing.TB, field, lower, upper string) bundle.Filter {
	t.Helper()
	return bundle.Filter{Field: field, Operator: bundle.Operator{Kind: bundle.Between, Lower: vaulttest.Data(t, lower), Upper: vaulttest.Data(t, upper)}}
}

func TestHowAScanIsRead(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	vaulttest.SortBy(t, v, alice, "b", "n", "most", "long")
	var drafts []hat.Draft
	for i := range 300 {
		drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"n":%d,"most":%t,"x":%d}`, i, i >= 100, i)))
	}
	for i := range 5 {
		drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"long":"%s%d"}`, strings.Repeat("x", ledger.MaxKey), i)))
	}
	vaulttest.Append(t, v, alice, drafts)
	settle(t, v)
	checkIndex(t, v)

	by := func(field string) *bundle.Order { return &bundle.Order{Field: field} }
	if got := wayOf(t, v, alice, bundle.Want{Order: by("long")}); got != "in order of long" {
		t.Errorf("a few long values: %s", got)
	}
	ctx := t.Context()
	err := v.Rows().Write(ctx, "more", func(tx ledger.Tx) error { // simulate many more keys
		if _, err := tx.Exec(ctx, "UPDATE fields SET cut = cut + ? WHERE path = 'long'", ledger.MaxCut); err != nil {
			return err
		}
		key, _ := ledger.FieldKey(`{"most":true}`, "most")
		_, err := tx.Exec(ctx, `WITH RECURSIVE s (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM s WHERE i < ?)
			INSERT INTO field_keys SELECT n, ?, 1000 + i FROM fields, s WHERE path = 'most'`, ledger.MaxPickedLazily, key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	down := func(field string) *bundle.Order { return &bundle.Order{Field: field, Descending: true} }
	filters := func(all ...bundle.Filter) []bundle.Filter { return all }
	few, most := between(t, "n", "100", "120"), between(t, "most", "true", "true")
	one := bundle.Filter{Field: "n", Operator: bundle.Operator{Kind: bundle.In, Value: vaulttest.Data(t, "77")}}
	element := bundle.Filter{Field: "n", Operator: bundle.Operator{Kind: bundle.Contains, Value: vaulttest.Data(t, "77")}}
	object := bundle.Filter{Field: "n", Operator: bundle.Operator{Kind: bundle.Contains, Value: vaulttest.Data(t, `{"n":77}`)}}
	part := between(t, "n", "100", "120")
	part.Transformation = bundle.Transformation{Kind: bundle.TimestampExtract, Part: "hour"}
	for _, c := range []struct {
		want bundle.Want
		way  string
	}{
		{bundle.Want{}, "scan"},
		{bundle.Want{Order: by("")}, "scan"},
		{bundle.Want{Order: by("x")}, "scan"}, // no index was declared
		{bundle.Want{Order: by("n")}, "in order of n"},
		{bundle.Want{Order: down("n"), About: 100}, "in order of n"},
		{bundle.Want{Order: down("n"), Upto: 500}, "in order of n"},
		{bundle.Want{Order: by("long")}, "scan"}, // too many bytes would have to be held
		{bundle.Want{Filters: filters(few)}, "picked by n"},
		{bundle.Want{Filters: filters(one)}, "picked by n"},
		{bundle.Want{Filters: filters(element)}, "picked by n"},
		{bundle.Want{Filters: filters(object)}, "scan"},
		{bundle.Want{Filters: filters(part)}, "scan"},
		{bundle.Want{Filters: filters(most)}, "picked by most"},
		{bundle.Want{Filters: filters(most, few)}, "picked by n"},
		{bundle.Want{Filters: filters(most), Order: by(""), About: 10}, "scan"}, // the reader will stop early
		{bundle.Want{Filters: filters(few), Order: by(""), About: 10}, "picked by n"},
		{bundle.Want{Filters: filters(few), Order: by("most"), About: 10}, "picked by n"},
		{bundle.Want{Filters: filters(most), Order: by("n"), About: 10}, "in order of n"},
		{bundle.Want{Filters: filters(few), Order: down("n")}, "a piece in order of n"},
		{bundle.Want{Filters: filters(few, most), Order: down("n")}, "a piece in order of n"},
		{bundle.Want{Filters: filters(few, between(t, "long", `"a"`, `"b"`)), Order: down("n")}, "picked by long"},
		{bundle.Want{After: 290, Order: by("n")}, "scan"},
		{bundle.Want{After: 100, Order: by("n")}, "in order of n"},
	} {
		if got := wayOf(t, v, alice, c.want); got != c.way {
			t.Errorf("%+v: %s, want %s", c.want, got, c.way)
		}
	}
}

// Statements on the index use its keys: none reads a whole table, and none sorts whole records.
func TestFieldsAreReadThroughTheirKeys(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	for _, descending := range []bool{false, true} {
		for _, want := range []bundle.Want{{}, {After: 1}, {After: 1, Upto: 9}} {
			query, args := ledger.OrderedQuery(1, ledger.FirstKey, ledger.BeyondKeys, descending, want)
			goesThrough(t, v, query, args, "PRIMARY KEY (field=? AND key>? AND key<?)", "r USING INTEGER PRIMARY KEY")
			want.Order = &bundle.Order{Descending: descending}
			query, args = ledger.PickedQuery(1, [][2][]byte{{ledger.FirstKey, ledger.FirstKey}, {ledger.FirstKey, ledger.BeyondKeys}}, want)
			goesThrough(t, v, query, args, "PRIMARY KEY (field=? AND key>? AND key<?)", "r USING INTEGER PRIMARY KEY")
		}
	}
	goesThrough(t, v, ledger.ClearQuery, []any{1, 1, 9}, "PRIMARY KEY (field=? AND key=? AND born=?)", "PRIMARY KEY (field=?)")
	goesThrough(t, v, ledger.UnbuiltQuery, []any{1, 0, 9, 9}, "records_in_order (endpoint=? AND rowid>? AND rowid<?)")
}

func goesThrough(t *testing.T, v *ledger.Vault, q string, args []any, uses ...string) {
	t.Helper()
	var steps []string
	err := v.Rows().Read(context.Background(), func(conn ledger.Reader) error {
		return conn.Each(context.Background(), "EXPLAIN QUERY PLAN "+q, args, func(scan func(...any) error) error {
			var id, parent, unused int
			var detail string
			err := scan(&id, &parent, &unused, &detail)
			steps = append(steps, detail)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	plan := strings.Join(steps, "\n")
	for _, u := range uses {
		if !strings.Contains(plan, u) {
			t.Errorf("%s\ndoes not use %s:\n%s", q, u, plan)
		}
	}
	if strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("%s:\n%s", q, plan)
	}
}

// Whatever is written while an index is built, the index matches the records, and answers don't depend on
// it.
func TestAnIndexIsBuiltWhileRecordsChange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := newStore(t, t.TempDir(), sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	places := []hat.Endpoint{vaulttest.Endpoint(t, "rumpel/notes"), vaulttest.Endpoint(t, "rumpel/other")}
	number := 0
	for range 5 {
		number = vaulttest.ChangeAtRandom(t, v, alice, places, random, number)
	}
	for round := range 6 {
		asked := vaulttest.RandomPaths[:1+random.IntN(len(vaulttest.RandomPaths))]
		vaulttest.Put(t, v, alice, vault.Bundles, "b", bundle.MarshalProperties(vaulttest.AskingFor(places, asked...)))
		for range round {
			number = vaulttest.ChangeAtRandom(t, v, alice, places, random, number)
			checkIndex(t, v)
		}
		settle(t, v)
		checkIndex(t, v)
		if got := paths(t, v); len(got) != 2*len(asked) {
			t.Errorf("%q have an index, want %q at two endpoints", got, asked)
		}
		vaulttest.CheckAnswers(t, v, alice, places, random, 20)
	}
	if err := v.EraseEndpoint(t.Context(), alice, places[0]); err != nil {
		t.Fatal(err)
	}
	checkIndex(t, v)
	vaulttest.CheckHAT(t, v)
}

// Every second commit of building an index fails, before or after it is on disk, and the vault is opened
// again.
func TestCrashesWhileAnIndexIsBuilt(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		t.Run(fmt.Sprintf("persisted %t", persisted), func(t *testing.T) {
			commits := 0
			var steady atomic.Bool
			s := newStore(t, t.TempDir(), sqlite.Options{AtCommit: func(ops []string, at bool) error {
				if !slices.Contains(ops, "upkeep") || at != persisted || steady.Load() {
					return nil
				}
				if commits++; commits%2 == 0 {
					return nil
				}
				return errors.New("the disk has gone away")
			}})
			alice := vaulttest.Create(t, s, "alice")
			opened, release := vaulttest.Open(t, s, "alice")
			var drafts []hat.Draft
			for i := range 400 {
				drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"n":%d}`, (i*7919)%400)))
			}
			vaulttest.Append(t, opened, alice, drafts)
			vaulttest.SortBy(t, opened, alice, "b", "n")
			failures := 0
			for more := true; more; {
				v := opened
				var err error
				more, err = busy(v)
				if err == nil && !more && !steady.Load() {
					// The last piece, which finds nothing to do, may fail as well.
					steady.Store(true)
					more = true
				}
				if err != nil {
					failures++
					more = true
					for closed := false; !closed; closed = v.Rows().Usable() != nil {
						runtime.Gosched()
					}
					release()
					opened, release = vaulttest.Open(t, s, "alice")
					err := opened.Rows().Read(t.Context(), func(c ledger.Reader) error { return compareIndex(t, c) })
					if err != nil && !errors.Is(err, vault.ErrClosed) { // the next piece may have closed the vault already
						t.Error(err)
					}
				}
			}
			v := opened
			checkIndex(t, v)
			if got := wayOf(t, v, alice, bundle.Want{Order: &bundle.Order{Field: "n"}}); got != "in order of n" {
				t.Errorf("it is read %s", got)
			}
			if failures < 3 {
				t.Errorf("only %d failures", failures)
			}
			vaulttest.CheckHAT(t, v)
			release()
		})
	}
}

// Records with equal values are reversed: a few in memory, many by reading them again in the other
// direction.
func TestManyEqualValuesInDescendingOrder(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	vaulttest.SortBy(t, v, alice, "b", "n")
	var drafts []hat.Draft
	number := 0
	for _, c := range []struct {
		value string
		times int
		size  int
	}{{`1`, ledger.MaxTie - 1, 1}, {`2`, ledger.MaxTie, 1}, {`3`, ledger.MaxTie + 1, 1}, {`4`, 3 * ledger.MaxTie, 1}, {`5`, 1, ledger.MaxTieBytes}, {`6`, 3, ledger.MaxTieBytes}, {`"s"`, 1, 1}, {``, 100, 1}} {
		for range c.times {
			value := ""
			if c.value != "" {
				value = `"n":` + c.value + ","
			}
			drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{%s"number":%d,"x":"%s"}`, value, number, strings.Repeat("x", c.size))))
			number++
		}
	}
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(drafts), func(i, j int) { drafts[i], drafts[j] = drafts[j], drafts[i] })
	vaulttest.Append(t, v, alice, drafts)
	for _, descending := range []bool{false, true} {
		order := bundle.Order{Field: "n", Descending: descending}
		var last hat.Record
		seen := 0
		err := v.Read(t.Context(), alice, func(src bundle.Source, _ hat.Seq) error {
			stream := src.Scan(t.Context(), drafts[0].Endpoint, bundle.Want{Order: &order})
			if !stream.InOrder {
				t.Error("no order is promised")
			}
			for r, err := range stream.Records {
				if err != nil {
					return err
				}
				if seen++; seen > 1 && !inOrder(last, r, order) {
					t.Errorf("record %d is behind %d", r.Born, last.Born)
				}
				last = r
			}
			return nil
		})
		if err != nil || seen != len(drafts) {
			t.Errorf("%d of %d records, %v", seen, len(drafts), err)
		}
	}
}

func inOrder(a, b hat.Record, o bundle.Order) bool {
	va, oka := bundle.Lookup(a.Data, o.Field)
	vb, okb := bundle.Lookup(b.Data, o.Field)
	if oka != okb {
		return oka
	}
	c := 0
	if oka {
		c = jsonb.Compare(nil, va.JSON(), vb.JSON())
	}
	if o.Descending {
		c = -c
	}
	return c < 0 || c == 0 && a.Born < b.Born
}

func TestWhoAsksForFields(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	has := func(want ...string) {
		t.Helper()
		if got := paths(t, v); !slices.Equal(got, want) {
			t.Errorf("%q have an index, want %q", got, want)
		}
	}
	vaulttest.Append(t, v, alice, []hat.Draft{vaulttest.Note(t, `{"a":1}`), vaulttest.Note(t, `{"a":2}`)})
	has()
	vaulttest.SortBy(t, v, alice, "one", "a", "b")
	vaulttest.SortBy(t, v, alice, "two", "b")
	has("rumpel/notes a", "rumpel/notes b")
	vaulttest.SortBy(t, v, alice, "one", "c")
	has("rumpel/notes b", "rumpel/notes c")
	vaulttest.SortBy(t, v, alice, "one", "a", "c")
	settle(t, v)
	checkIndex(t, v)

	vaulttest.Put(t, v, alice, vault.Combinators, "c", []byte(`[{"endpoint":"rumpel/notes","filters":[
		{"field":"at","operator":{"operator":"between","lower":1,"upper":2}},
		{"field":"object","operator":{"operator":"contains","value":{"a":1}}},
		{"field":"hour","transformation":{"transformation":"datetimeExtract","part":"hour"},"operator":{"operator":"in","value":5}}],
		"links":[{"endpoint":"rumpel/linked","filters":[{"field":"l","operator":{"operator":"in","value":1}}]}]}]`))
	has("rumpel/notes a", "rumpel/notes at", "rumpel/notes b", "rumpel/notes c")

	g := access.Grant{
		Function: vaulttest.Parsed(hat.ParseFunctionID("f")), Version: vaulttest.Parsed(hat.ParseVersion("1.0.0")), Output: vaulttest.Endpoint(t, "she/f"),
		Bundle:  bundle.Bundle{Name: "f", Properties: vaulttest.AskingFor([]hat.Endpoint{vaulttest.Endpoint(t, "rumpel/notes")}, "granted", "a")},
		Trigger: hat.Trigger{Kind: hat.Manual},
	}
	if _, err := v.Enable(t.Context(), alice, g); err != nil {
		t.Fatal(err)
	}
	has("rumpel/notes a", "rumpel/notes at", "rumpel/notes b", "rumpel/notes c", "rumpel/notes granted")

	terms := debit.Permissions{Period: vaulttest.Parsed(hat.ParsePeriod("P7D")), Bundle: bundle.Bundle{Name: "d", Properties: vaulttest.AskingFor([]hat.Endpoint{vaulttest.Endpoint(t, "rumpel/shared")}, "x")}}
	d := debit.Debit{Key: "d", Permissions: []debit.Permissions{terms}}
	vaulttest.Put(t, v, alice, vault.Debits, "d", vaulttest.Parsed(d.Store()))
	has("rumpel/notes a", "rumpel/notes at", "rumpel/notes b", "rumpel/notes c", "rumpel/notes granted")
	vaulttest.Put(t, v, alice, vault.Debits, "d", vaulttest.Parsed(d.Accept().Store()))
	has("rumpel/notes a", "rumpel/notes at", "rumpel/notes b", "rumpel/notes c", "rumpel/notes granted", "rumpel/shared x")

	if _, err := v.Disable(t.Context(), alice, g.Function); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "two"} {
		vaulttest.Put(t, v, alice, vault.Bundles, id, []byte(`{}`))
	}
	vaulttest.Put(t, v, alice, vault.Combinators, "c", []byte(`no JSON`))
	vaulttest.Put(t, v, alice, vault.Debits, "d", []byte(`{}`))
	has()
	settle(t, v)
	for _, table := range []string{"fields", "field_keys", "field_uses", "undeclared"} {
		if n := texts(t, v, "SELECT count(*) FROM "+table)[0]; n != "0" {
			t.Errorf("%s rows left in %s", n, table)
		}
	}
}

func TestFieldsAreBounded(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	var many []string
	for i := range 2 * ledger.MaxFieldsAt {
		many = append(many, fmt.Sprintf("p%02d", i))
	}
	vaulttest.SortBy(t, v, alice, "first", many[:ledger.MaxFieldsAt]...)
	before := paths(t, v)
	vaulttest.SortBy(t, v, alice, "second", many...)
	if got := paths(t, v); len(got) != ledger.MaxFieldsAt || !slices.Equal(got, before) {
		t.Errorf("%d fields at one endpoint: %q", len(got), got)
	}
	vaulttest.SortBy(t, v, alice, "first")
	vaulttest.SortBy(t, v, alice, "second", many[ledger.MaxFieldsAt:]...)
	if got := paths(t, v); len(got) != ledger.MaxFieldsAt || slices.Contains(got, before[0]) {
		t.Errorf("those that waited did not come: %q", got)
	}
	for i := range 2 * ledger.MaxFields / ledger.MaxFieldsAt {
		vaulttest.Put(t, v, alice, vault.Bundles, fmt.Sprint("at", i), bundle.MarshalProperties(vaulttest.AskingFor(
			[]hat.Endpoint{vaulttest.Endpoint(t, fmt.Sprintf("rumpel/e%d", i))}, many...)))
	}
	if got := paths(t, v); len(got) != ledger.MaxFields {
		t.Errorf("%d fields in one vault", len(got))
	}
	settle(t, v)
	checkIndex(t, v)
}

// Erased data is removed from the index and from the file, even if the index is half built or half removed.
func TestErasedValuesAreGoneFromTheIndex(t *testing.T) {
	const canary = "canary-5b2e"
	dir := t.TempDir()
	s := newStore(t, dir, sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	vaulttest.SortBy(t, v, alice, "b", "whole", "going")
	var drafts []hat.Draft
	for i := range 500 {
		drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"whole":"%s-%d","going":"%s","late":"%s","i":%d}`, canary, i%7, canary, canary, i)))
	}
	vaulttest.Append(t, v, alice, drafts)
	settle(t, v)
	vaulttest.SortBy(t, v, alice, "b", "whole", "late") // index "going" is removed, index "late" is built
	if err := v.EraseEndpoint(t.Context(), alice, drafts[0].Endpoint); err != nil {
		t.Fatal(err)
	}
	checkIndex(t, v)
	release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files := vaulttest.Parsed(filepath.Glob(filepath.Join(dir, "*")))
	for _, path := range files {
		if bytes.Contains(vaulttest.Parsed(os.ReadFile(path)), []byte(canary)) {
			t.Errorf("%s still holds it", filepath.Base(path))
		}
	}
}
