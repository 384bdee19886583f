package ledger_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"she/internal/pgtest"
	"she/internal/vault/dialect"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

// skewed fills the tables with 1,000 HATs; the first one has nine tenths of the rows.
const skewed = `
INSERT INTO hats (hat, id, created, seq, receipts, records, head)
	SELECT h, 'hat' || h, 1, 1, 1, 1, '\x00' FROM generate_series(1, 1000) h;
INSERT INTO users (hat, n, id, username, roles, owner, enabled)
	SELECT h, n, decode(md5(h || 'u' || n), 'hex'), 'u' || n, '[]', n = 1, true FROM generate_series(1, 1000) h, generate_series(1, CASE h WHEN 1 THEN 27000 ELSE 3 END) n;
INSERT INTO endpoints (hat, n, name)
	SELECT h, n, 'ns/e' || n FROM generate_series(1, 1000) h, generate_series(1, CASE h WHEN 1 THEN 27000 ELSE 3 END) n;
INSERT INTO chains (hat, n, path)
	SELECT h, n, 'f' || n FROM generate_series(1, 1000) h, generate_series(1, CASE h WHEN 1 THEN 27000 ELSE 3 END) n;
INSERT INTO records (hat, born, id, endpoint, seq, "user", run, chain, created, updated, digest, data, salt)
	SELECT h, b, decode(md5(h || '-' || b), 'hex'), 1 + b % 3, b + CASE b % 50 WHEN 0 THEN 1 ELSE 0 END, 1, decode(md5(h || 'r' || b % 3), 'hex'), 1 + b % 4, b, b,
		decode(md5(b || '/' || h), 'hex'), '{"a":' || b || '}', '\x01'
	FROM generate_series(1, 1000) h, generate_series(1, CASE h WHEN 1 THEN 27000 ELSE 3 END) b;
INSERT INTO log (hat, seq, kind, born, endpoint, at) SELECT hat, born, 2, born, endpoint, created FROM records;
INSERT INTO groups (hat, n) SELECT hat, born FROM records;
INSERT INTO members (hat, grp, record) SELECT hat, born, born FROM records;
INSERT INTO grants (hat, n, body)
	SELECT h, n, '{}' FROM generate_series(1, 1000) h, generate_series(1, CASE h WHEN 1 THEN 27000 ELSE 3 END) n;
INSERT INTO functions (hat, n, id, granted, enabled, cursor, epoch)
	SELECT hat, n, 'f' || n, n, n % 4 > 0, 0, 0 FROM grants;
INSERT INTO pending (hat, function, upto, since, not_before, attempt, fault, parked)
	SELECT hat, n, 1, 1, 1, 1, '{"who":"author","code":"a"}', false FROM functions;
INSERT INTO leases (hat, function, run, epoch, expires, life)
	SELECT hat, n, decode(md5(hat || 'r' || n), 'hex'), 1, 1, 'life' FROM functions;
INSERT INTO ranges (hat, n, function, after, aside, upto, since, not_before, attempt, parked, replay, most)
	SELECT hat, n, n, 1, false, 2, 1, 1, 0, false, false, 0 FROM functions;
INSERT INTO runs (hat, n, id, function, granted, state, plan, ended, stats, duplicates)
	SELECT hat, born, decode(md5(hat || 'r' || born), 'hex'), 'f' || (1 + born % 3), 1, 'committed', '{"claimed":"2026-01-01T00:00:00Z"}', born, '{}', 0 FROM records;
INSERT INTO run_changes (hat, n, run) SELECT hat, n, id FROM runs;
INSERT INTO outputs (hat, run, response, ordinal, record) SELECT hat, id, 0, 0, id FROM runs;
INSERT INTO generations (hat, replaced, run) SELECT hat, id, id FROM runs;
INSERT INTO superseded (hat, n, id, born, endpoint, seq, "user", run, chain, created, updated, digest, by_run, at, data)
	SELECT hat, born, id, born, endpoint, born, 1, run, chain, created, updated, digest, run, 1, data FROM records;
INSERT INTO receipts (hat, number, body) SELECT hat, born, '{}' FROM records;
INSERT INTO checkpoints (hat, number, hash, at, signature) SELECT hat, born, '\x00', 1, '\x00' FROM records;
INSERT INTO documents (hat, n, kind, id, body, created, updated)
	SELECT hat, born, CASE born % 3 WHEN 0 THEN 'bundle' WHEN 1 THEN 'debit' ELSE 'combinator' END, 'd' || born, '{}', 1, 1 FROM records;
INSERT INTO debits (hat, id, partner, bytes) SELECT hat, id, 'p' || n % 7, 1 FROM documents;
INSERT INTO debit_bundles (hat, name, debit) SELECT hat, id, id FROM documents;
INSERT INTO fields (hat, n, endpoint, path, built, behind, cut, gone)
	SELECT hat, n, n, 'p', CASE n % 9 WHEN 0 THEN 0 ELSE 1 END, 1, 0, n % 9 = 1 FROM endpoints;
INSERT INTO field_keys (hat, field, key, born) SELECT hat, endpoint, digest, born FROM records;
INSERT INTO field_uses (hat, n, kind, holder, endpoint, path) SELECT hat, n, 'grant', 'f' || n, n, 'p' FROM endpoints;
INSERT INTO undeclared (hat, kind, holder) SELECT hat, 'grant', 'f' || n FROM endpoints;
INSERT INTO erasures (hat, n, "user", application, upto) SELECT hat, n, '\x00', 'a', 1 FROM endpoints;
ANALYZE`

// TestTablesOnPostgres compares the tables of PostgreSQL with those of the vault's file: each column exists
// with its type, each unique value is unique within a HAT, and each index begins with the HAT.
func TestTablesOnPostgres(t *testing.T) {
	conn := pgtest.Start(t)
	if _, err := conn.Exec(t.Context(), dialect.Schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, t.TempDir(), sqlite.Options{})
	vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")

	columns := map[string]string{} // type and nullability, by table and column
	for _, c := range pgtest.Column(t, conn, `SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable)
		FROM information_schema.columns WHERE table_schema = 'public' AND column_name <> 'hat'`) {
		p := strings.Fields(c)
		columns[p[0]+"."+p[1]] = p[2] + " " + p[3]
	}
	const unique = `SELECT c.relname || ' ' || string_agg(a.attname, ' ' ORDER BY k.i)
		FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
			unnest(x.indkey::int[]) WITH ORDINALITY k(attnum, i) JOIN pg_attribute a ON a.attnum = k.attnum
		WHERE n.nspname = 'public' AND a.attrelid = x.indrelid AND (x.indisunique OR NOT $1) GROUP BY x.indexrelid, c.relname`
	for _, index := range pgtest.Column(t, conn, unique, false) {
		if p := strings.Fields(index); p[1] != "hat" && index != "hats id" {
			t.Errorf("the index on %s doesn't begin with hat", index)
		}
	}
	only := map[string]bool{}
	for _, index := range pgtest.Column(t, conn, unique, true) {
		only[index] = true
	}

	for _, c := range texts(t, v, `SELECT t.name || ' ' || c.name || ' ' || c.type || ' ' || (c."notnull" OR c.pk > 0)
		FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'`) {
		p := strings.Fields(c)
		table, column := p[0], p[1]
		switch {
		case strings.HasPrefix(table, "sqlite_"), table == "migrations", table == "hat" && column == "one":
			continue // only in the file
		case table == "hat":
			table = "hats"
		}
		is := columns[table+"."+column]
		null := map[string]string{"0": "YES", "1": "NO"}[p[3]]
		want := map[string][]string{"INTEGER": {"bigint " + null, "boolean " + null}, "TEXT": {"text " + null}, "BLOB": {"bytea " + null}}[p[2]]
		if !slices.Contains(want, is) {
			t.Errorf("%s.%s is %q in PostgreSQL, want %q", table, column, is, want)
		}
		delete(columns, table+"."+column)
	}
	delete(columns, "hats.last_range") // replaces AUTOINCREMENT
	for column := range columns {
		t.Errorf("%s is in PostgreSQL alone", column)
	}

	for _, index := range texts(t, v, `SELECT t.name || ' hat ' || group_concat(c.name, ' ') FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) c
			WHERE t.type = 'table' AND i."unique" AND i.name <> 'users_one_owner' GROUP BY i.name
		UNION ALL SELECT t.name || ' hat ' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c
			WHERE t.type = 'table' AND c.pk = 1 AND c.type = 'INTEGER' AND t.name NOT IN ('hat', 'migrations') AND t.sql NOT LIKE '%PRIMARY KEY (%'
		UNION ALL SELECT 'users hat'`) {
		if !only[index] {
			t.Errorf("no unique index on %s", index)
		}
	}
}

// A node of a plan as EXPLAIN gives it.
type node struct {
	Kind     string `json:"Node Type"`
	Table    string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Children []node `json:"Plans"`
}

// faults returns why a plan does not read one HAT by index.
func (n node) faults() (all []string) {
	switch n.Kind {
	case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
		if !strings.Contains(n.Cond, "(hat = $1)") {
			all = append(all, fmt.Sprintf("%s on %s with the condition %q", n.Kind, n.Index, n.Cond))
		}
	case "Seq Scan", "Tid Scan", "Sample Scan":
		all = append(all, n.Kind+" on "+n.Table)
	}
	for _, c := range n.Children {
		all = append(all, c.faults()...)
	}
	return all
}

// TestPlansOnPostgres lets PostgreSQL plan each statement that the logic sends to its store. For any HAT,
// the plan must read the rows of that HAT only, and find them by an index.
func TestPlansOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a database for 1,000 HATs")
	}
	conn := pgtest.Start(t)
	ctx := t.Context()
	for _, script := range []string{dialect.Schema, skewed, "SET plan_cache_mode = force_generic_plan"} {
		if _, err := conn.Exec(ctx, script, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(goldenStatements)
	if err != nil {
		t.Fatal(err)
	}
	planned := 0
	for line := range strings.Lines(string(text)) {
		statement, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "sqlite:   ")
		if !ok {
			continue
		}
		derived, err := dialect.Postgres(statement)
		if err != nil {
			t.Error(err)
			continue
		}
		plan, types, err := explain(t, conn, derived)
		if err != nil {
			t.Errorf("%v, in %s", err, derived)
			continue
		}
		planned++
		for _, fault := range plan.faults() {
			t.Errorf("%s, in %s", fault, derived)
		}
		for i, typ := range types {
			switch typ {
			case "bigint", "text", "bytea", "boolean":
			default:
				t.Errorf("$%d is %s: the column it is compared with, or a CAST, decides, in %s", i+1, typ, derived)
			}
		}
	}
	t.Logf("%d statements planned", planned)
	if planned == 0 {
		t.Error("no statement was planned")
	}
	for _, forgetful := range []string{
		"SELECT data FROM records WHERE created = $1",
		"SELECT r.data FROM records r JOIN endpoints e ON e.n = r.endpoint WHERE e.hat = $1",
		"DELETE FROM pending WHERE function = $1",
	} {
		if plan, _, err := explain(t, conn, forgetful); err != nil || len(plan.faults()) == 0 {
			t.Errorf("no fault in the plan of %s, %v", forgetful, err)
		}
	}
}

// explain returns the plan of a statement with unknown arguments, and the types of its arguments.
func explain(t *testing.T, conn *pgx.Conn, statement string) (plan node, types []string, err error) {
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "PREPARE one AS "+statement, pgx.QueryExecModeSimpleProtocol); err != nil {
		return plan, nil, err
	}
	defer func() { _, _ = conn.Exec(ctx, "DEALLOCATE one", pgx.QueryExecModeSimpleProtocol) }()
	err = conn.QueryRow(ctx, "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'one'").Scan(&types)
	if err != nil {
		return plan, nil, err
	}
	var text []byte
	nulls := strings.TrimPrefix(strings.Repeat(", NULL", len(types)), ", ")
	err = conn.QueryRow(ctx, "EXPLAIN (FORMAT JSON) EXECUTE one ("+nulls+")", pgx.QueryExecModeSimpleProtocol).Scan(&text)
	if err != nil {
		return plan, nil, err
	}
	var all []struct{ Plan node }
	if err := json.Unmarshal(text, &all); err != nil || len(all) != 1 {
		return plan, nil, fmt.Errorf("a plan that can't be read: %w", err)
	}
	return all[0].Plan, types, nil
}
