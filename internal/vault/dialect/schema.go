package dialect

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Schema makes the tables of PostgreSQL, in a schema that has none of their names.
//
//go:embed schema.sql
var Schema string

// A table as far as derivation needs to know it.
type table struct {
	name    string          // in PostgreSQL
	columns map[string]bool // whether it may be NULL; without hat
	// numbered: a row whose INSERT doesn't name n has the next number of its HAT.
	numbered bool
	// counter is the column of table hats that counts the rows there ever were; empty: the next number is one above the
	// highest that there is.
	counter string
}

// renamed are tables that have another name in SQLite.
var renamed = map[string]string{"hats": "hat"}

// counters are the tables whose numbers are never used again, AUTOINCREMENT in SQLite.
var counters = map[string]string{"ranges": "last_range"}

// tables are those of Schema by the names that statements have for them.
var tables = sync.OnceValue(func() map[string]*table {
	all, err := parseSchema(Schema)
	if err != nil {
		panic("schema.sql: " + err.Error()) // it is part of the program, and tested
	}
	return all
})

// parseSchema reads the tables' names and columns. It knows the form that schema.sql has, and no other.
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

// reserved are the columns whose name means something else in PostgreSQL unless it is quoted.
var reserved = map[string]bool{"user": true, "only": true}

func quote(name string) string {
	if reserved[name] {
		return `"` + name + `"`
	}
	return name
}
