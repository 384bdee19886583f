package dialect

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Schema creates the tables of PostgreSQL in an empty schema.
//
//go:embed schema.sql
var Schema string

// A table holds what the derivation needs to know about one.
type table struct {
	name    string          // in PostgreSQL
	columns map[string]bool // by name, whether they may be NULL; without hat
	// numbered: a row whose INSERT does not set n gets the next number of its HAT.
	numbered bool
	// counter is the column of table hats that counts all rows there ever were; "": the next number is one
	// above the highest present one.
	counter string
}

// renamed maps tables that have another name in SQLite.
var renamed = map[string]string{"hats": "hat"}

// counters are the tables whose numbers are never reused: AUTOINCREMENT in SQLite.
var counters = map[string]string{"ranges": "last_range"}

// tables are the tables of Schema, by their names in statements.
var tables = sync.OnceValue(func() map[string]*table {
	all, err := parseSchema(Schema)
	if err != nil {
		panic("schema.sql: " + err.Error()) // schema.sql is part of the program, and tested
	}
	return all
})

// parseSchema reads the names of tables and columns. It understands only the form of schema.sql.
func parseSchema(schema string) (map[string]*table, error) {
	ts, err := tokens(schema)
	if err != nil {
		return nil, err
	}
	all := map[string]*table{}
	for i := 0; i < len(ts); i = find(ts, i, len(ts), ";") + 1 {
		if !ts[i].is("CREATE") || !ts[i+1].is("TABLE") {
			continue
		}
		t := &table{name: ts[i+2].text, columns: map[string]bool{}}
		if t.counter = counters[t.name]; !ts[i+3].is("(") {
			return nil, fmt.Errorf("table %s has no columns", t.name)
		}
		end := past(ts, i+3, len(ts)) - 1
		for from := i + 4; from < end; {
			to := find(ts, from, end, ",")
			one := ts[from:to]
			name := strings.Trim(one[0].text, `"`)
			key := slices.IndexFunc(one, func(t token) bool { return t.is("PRIMARY") })
			switch {
			case key == 0:
				t.numbered = t.numbered || len(one) == 7 && one[5].is("n") // PRIMARY KEY (hat, n)
			case one[0].is("UNIQUE"), one[0].is("FOREIGN"):
			case name != "hat":
				t.columns[name] = !slices.ContainsFunc(one, func(t token) bool { return t.is("NOT") })
			}
			from = to + 1
		}
		name := t.name
		if r, ok := renamed[name]; ok {
			name = r
		}
		all[name] = t
	}
	return all, nil
}

// reserved are column names that must be quoted in PostgreSQL.
var reserved = map[string]bool{"user": true, "only": true}

func quote(name string) string {
	if reserved[name] {
		return `"` + name + `"`
	}
	return name
}
