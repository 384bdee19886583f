package dialect

import (
	"strings"
	"testing"
)

func TestPostgres(t *testing.T) {
	for _, c := range []struct{ says, sqlite, postgres string }{
		{"a table is that of one HAT", "SELECT n FROM endpoints WHERE name = ?",
			"SELECT n FROM (SELECT * FROM endpoints WHERE hat = $1) endpoints WHERE name = $2"},
		{"so is one of another name", "SELECT seq, EXISTS (SELECT 1 FROM fields) FROM hat",
			"SELECT seq, EXISTS (SELECT 1 FROM (SELECT * FROM fields WHERE hat = $1) fields) FROM (SELECT * FROM hats WHERE hat = $1) hat"},
		{"and those joined", "SELECT e.name FROM records r JOIN endpoints AS e ON e.n = r.endpoint WHERE r.id = ?",
			"SELECT e.name FROM (SELECT * FROM records WHERE hat = $1) r JOIN (SELECT * FROM endpoints WHERE hat = $1) e ON e.n = r.endpoint WHERE r.id = $2"},
		{"and those of inner queries", "SELECT data FROM records WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?)",
			"SELECT data FROM (SELECT * FROM records WHERE hat = $1) records WHERE endpoint = (SELECT n FROM (SELECT * FROM endpoints WHERE hat = $1) endpoints WHERE name = $2)"},
		{"a join in fixed order", "SELECT k.key FROM field_keys k CROSS JOIN records r ON r.born = k.born WHERE +r.seq > ?",
			"SELECT k.key FROM (SELECT * FROM field_keys WHERE hat = $1) k JOIN (SELECT * FROM records WHERE hat = $1) r ON r.born = k.born WHERE +r.seq > $2"},
		{"a query in parentheses", "SELECT count(*) FROM (SELECT born FROM records LIMIT ?) found",
			"SELECT count(*) FROM (SELECT born FROM (SELECT * FROM records WHERE hat = $1) records LIMIT $2) found"},
		{"arguments with numbers, and ? after them", "UPDATE fields SET built = ?3, cut = cut + ? WHERE n = ?1 AND endpoint = ?2",
			"UPDATE fields SET built = $4, cut = cut + $5 WHERE hat = $1 AND (n = $2 AND endpoint = $3)"},
		{"OR stays within the HAT", "DELETE FROM log WHERE seq = ? OR born = ? RETURNING at",
			"DELETE FROM log WHERE hat = $1 AND (seq = $2 OR born = $3) RETURNING at"},
		{"an inner WHERE is not the statement's", "UPDATE fields SET built = (SELECT max(born) FROM records WHERE endpoint = ?)",
			"UPDATE fields SET built = (SELECT max(born) FROM (SELECT * FROM records WHERE hat = $1) records WHERE endpoint = $2) WHERE hat = $1"},
		{"all rows", "DELETE FROM undeclared", "DELETE FROM undeclared WHERE hat = $1"},
		{"texts and comments are no words", "SELECT 'FROM log '' ?' FROM hat -- WHERE ?\n/* FROM */ WHERE id <> '--'",
			"SELECT 'FROM log '' ?' FROM (SELECT * FROM hats WHERE hat = $1) hat WHERE id <> '--'"},
		{"reserved names", `SELECT user, e."user", r.only FROM ranges r JOIN erasures e ON TRUE`,
			`SELECT "user", e."user", r."only" FROM (SELECT * FROM ranges WHERE hat = $1) r JOIN (SELECT * FROM erasures WHERE hat = $1) e ON TRUE`},
		{"a row", "INSERT INTO receipts (number, body) VALUES (?, ?)",
			"INSERT INTO receipts (hat, number, body) VALUES ($1, $2, $3)"},
		{"rows, some are there", "INSERT INTO log (seq, at) VALUES (?1, ?), (?1, ?) ON CONFLICT (seq) DO UPDATE SET at = excluded.at",
			"INSERT INTO log (hat, seq, at) VALUES ($1, $2, $3), ($1, $2, $4) ON CONFLICT (hat, seq) DO UPDATE SET at = excluded.at"},
		{"rows that are numbered", "INSERT INTO chains (path) VALUES (?), (?) ON CONFLICT DO NOTHING",
			"INSERT INTO chains (hat, path, n) VALUES ($1, $2, (SELECT coalesce(max(n), 0) FROM chains WHERE hat = $1) + 1), ($1, $3, (SELECT coalesce(max(n), 0) FROM chains WHERE hat = $1) + 2) ON CONFLICT DO NOTHING"},
		{"a number that is never used again", "INSERT INTO ranges (function, only) VALUES (?, ?) RETURNING n",
			`WITH taken AS (UPDATE hats SET last_range = last_range + 1 WHERE hat = $1 RETURNING last_range) INSERT INTO ranges (hat, function, "only", n) VALUES ($1, $2, $3, (SELECT last_range FROM taken)) RETURNING n`},
		{"a number that is given", "INSERT INTO run_changes (n, run) VALUES (?, ?)", "INSERT INTO run_changes (hat, n, run) VALUES ($1, $2, $3)"},
		{"nothing but a number", "INSERT INTO groups DEFAULT VALUES RETURNING n",
			"INSERT INTO groups (hat, n) VALUES ($1, (SELECT coalesce(max(n), 0) FROM groups WHERE hat = $1) + 1) RETURNING n"},
		{"rows of a query", "INSERT INTO log (seq, kind) SELECT born, ? FROM records WHERE born = ? ON CONFLICT DO NOTHING",
			"INSERT INTO log (hat, seq, kind) SELECT CAST($1 AS bigint), born, $2 FROM (SELECT * FROM records WHERE hat = $1) records WHERE born = $3 ON CONFLICT DO NOTHING"},
		{"numbered rows of a query", "INSERT INTO superseded (id) SELECT id FROM records",
			"INSERT INTO superseded (hat, id, n) SELECT CAST($1 AS bigint), id, (SELECT coalesce(max(n), 0) FROM superseded WHERE hat = $1) + row_number() OVER () FROM (SELECT * FROM records WHERE hat = $1) records"},
		{"no limit", "SELECT n FROM users ORDER BY n LIMIT -1 OFFSET ?",
			"SELECT n FROM (SELECT * FROM users WHERE hat = $1) users ORDER BY n LIMIT ALL OFFSET $2"},
		{"NULL is before all values", "SELECT n FROM runs ORDER BY ended, asked DESC, n DESC",
			"SELECT n FROM (SELECT * FROM runs WHERE hat = $1) runs ORDER BY ended NULLS FIRST, asked DESC NULLS LAST, n DESC"},
		{"also where a join finds nothing", "SELECT f.n FROM functions f LEFT JOIN leases l ON l.function = f.n ORDER BY l.epoch, f.n",
			"SELECT f.n FROM (SELECT * FROM functions WHERE hat = $1) f LEFT JOIN (SELECT * FROM leases WHERE hat = $1) l ON l.function = f.n ORDER BY l.epoch NULLS FIRST, f.n"},
		{"NULL is a value", "SELECT n FROM runs WHERE ended IS DISTINCT FROM ? OR ended IS NOT DISTINCT FROM ?",
			"SELECT n FROM (SELECT * FROM runs WHERE hat = $1) runs WHERE ended IS DISTINCT FROM $2 OR ended IS NOT DISTINCT FROM $3"},
		{"a value of a JSON text", "SELECT CAST(json_extract(r.stats, '$.timing.query') AS INTEGER) FROM runs r",
			`SELECT CAST((CAST(r.stats AS json) #>> '{timing,query}') COLLATE "C" AS bigint) FROM (SELECT * FROM runs WHERE hat = $1) r`},
	} {
		if got, err := Postgres(c.sqlite); err != nil || got != c.postgres {
			t.Errorf("%s:\n%s, %v, want\n%s", c.says, got, err, c.postgres)
		}
	}
}

// What is not known to mean the same is refused.
func TestPostgresRefuses(t *testing.T) {
	for _, c := range []struct{ statement, says string }{
		{"", "no statement"},
		{"REPLACE INTO pending (function) VALUES (?)", "for REPLACE"},
		{"INSERT OR IGNORE INTO chains (path) VALUES (?)", "for INSERT OR IGNORE"},
		{"INSERT INTO chains VALUES (?)", "want column names"},
		{"INSERT INTO chains (path, hat) VALUES (?, ?)", `no column "hat"`},
		{"INSERT INTO chains (path, path) VALUES (?, ?)", `no column "path"`},
		{"INSERT INTO ranges (function) SELECT n FROM functions", "no rule for rows of ranges"},
		{"INSERT INTO ranges (function) VALUES (?), (?)", "one by one"},
		{"PRAGMA user_version", "not with PRAGMA"},
		{"WITH a AS (SELECT 1) SELECT 1", "not with WITH"},
		{"SELECT 1 FROM sqlite_sequence", `no table "sqlite_sequence"`},
		{"SELECT 1 FROM hats", `no table "hats"`},
		{"SELECT 1 FROM log, runs", "not a list of tables"},
		{"SELECT count(*) FROM (SELECT n FROM runs)", "needs a name"},
		{"SELECT 1 FROM (runs) r", "a SELECT in parentheses"},
		{"SELECT nonsense FROM log", "no rule for nonsense"},
		{"SELECT l.nothing FROM log l", "no column l.nothing"},
		{"SELECT hat FROM log", "no rule for hat"},
		{"SELECT rowid FROM log", "no rule for rowid"},
		{"SELECT ifnull(chain, 0) FROM log", "no rule for ifnull"},
		{"SELECT n FROM chains WHERE path LIKE ?", "no rule for LIKE"},
		{"SELECT n FROM chains WHERE path GLOB ?", "no rule for GLOB"},
		{"SELECT n FROM chains WHERE path = ? COLLATE NOCASE", "no rule for COLLATE"},
		{"SELECT n FROM runs WHERE ended IS ?", "want NULL after IS"},
		{"SELECT n FROM runs INDEXED BY x", "no rule"},
		{"SELECT n FROM runs WHERE n == ?", "unknown sign"},
		{"SELECT n FROM runs WHERE n % 2 = 0", "unknown sign"},
		{"SELECT n FROM runs WHERE id = x'00'", "no rule for x"},
		{"SELECT 1.5 FROM runs", "not a whole number"},
		{"SELECT 1e3 FROM runs", "not a whole number"},
		{"SELECT CAST(n AS REAL) FROM runs", "want CAST to"},
		{"SELECT json_extract(plan, ?) FROM runs", "want json_extract with"},
		{"SELECT json_extract(plan, '$.a[0]') FROM runs", "want json_extract with"},
		{"SELECT json_extract(plan, '$.a'' || 1') FROM runs", "want json_extract with"},
		{"SELECT n FROM runs WHERE n = ?2", "argument 1 of 2 is not used"},
		{"SELECT n FROM runs WHERE n = ?0", "not an argument"},
		{"SELECT n FROM runs WHERE n = :n", "unknown sign"},
		{"SELECT n FROM runs WHERE state = 'x", "has no end"},
		{"SELECT n FROM runs /* x", "has no end"},
		{"SELECT n FROM runs; DELETE FROM runs", "no rule"},
		{"DELETE FROM runs r WHERE r.n = ?", "after DELETE"},
		{"UPDATE runs AS r SET n = ?", "after UPDATE"},
		{"UPDATE runs SET n = f.n FROM functions f", "differs between the dialects"},
	} {
		got, err := Postgres(c.statement)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v, want an error with %q", c.statement, got, err, c.says)
		}
	}
}

// No text, however broken, ends the derivation in any way but with a statement or an error.
func FuzzPostgres(f *testing.F) {
	for _, s := range []string{
		"SELECT n FROM runs r WHERE r.n = ? ORDER BY n LIMIT -1", "INSERT INTO chains (path) VALUES (?), (?) RETURNING n", "UPDATE hat SET seq = ? WHERE seq > ?2",
		"DELETE FROM runs WHERE (n, id) IN (SELECT n, id FROM runs) RETURNING n", "SELECT CAST(json_extract(plan, '$.a') AS TEXT) AS x FROM runs CROSS JOIN log ON x = 1", "INSERT INTO", "UPDATE", "SELECT )",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Postgres(s)
		if err == nil && !strings.Contains(got, "hat = $1") && !strings.Contains(got, "$1") && strings.Contains(s, "FROM") {
			t.Errorf("%q became %q, for any HAT", s, got)
		}
	})
}
