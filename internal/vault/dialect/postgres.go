// Package dialect derives PostgreSQL statements from those of a vault's logic. The input is text in SQLite's
// dialect about the rows of one HAT. The output does the same in tables that all HATs share (schema.sql). It
// handles constructs that mean the same in both dialects, or that have a rule. Any other construct is an
// error; nothing is guessed.
package dialect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keywords mean the same in both dialects. Further keywords have rules of their own in rewrite.
var keywords = wordSet(`ALL AND AS ASC BETWEEN BY CASE CONFLICT DELETE DESC DO ELSE END EXISTS FALSE GROUP IN INSERT INTO
	DISTINCT LEFT NOT NOTHING NULL OFFSET ON OR RETURNING SELECT SET THEN TRUE UNION UPDATE VALUES WHEN WHERE`)

// functions have the same result in both dialects; substr only from position 1 on, because below that SQLite
// counts from the end.
var functions = wordSet(`COALESCE COUNT LENGTH MAX MIN OCTET_LENGTH SUBSTR SUM`)

// types maps the types of CAST.
var types = map[string]string{"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

// Postgres returns the statement in PostgreSQL's dialect. $1 is the number of the HAT. The statement's
// arguments follow as $2, $3, … in the order of their numbers.
func Postgres(statement string) (string, error) {
	ts, err := tokens(statement)
	if err != nil {
		return "", fmt.Errorf("%w, in %s", err, statement)
	}
	r := rewriter{ts: ts, given: map[int]bool{}, sources: map[string]*source{}, outputs: map[string]bool{}}
	if err := r.statement(); err != nil {
		return "", fmt.Errorf("%w, in %s", err, statement)
	}
	for n := 1; n <= r.last; n++ {
		if !r.given[n] {
			return "", fmt.Errorf("argument %d of %d is not used, in %s", n, r.last, statement)
		}
	}
	return strings.TrimSpace(r.out.String()), nil
}

// A source is what the rows of a statement come from. One name may stand for different tables in different
// parts of a statement.
type source struct {
	tables []*table
	query  bool // the name stands for a query in parentheses
	outer  bool // joined by LEFT JOIN, so its columns may be NULL
}

// A rewriter derives one statement.
type rewriter struct {
	ts      []token
	out     strings.Builder
	last    int                // the highest argument so far
	given   map[int]bool       // arguments by number
	sources map[string]*source // by their name in the statement
	outputs map[string]bool    // columns named with AS, and whether they may be NULL
}

func (r *rewriter) statement() error {
	end := len(r.ts)
	if end == 0 {
		return fmt.Errorf("no statement")
	}
	if err := r.names(); err != nil {
		return err
	}
	switch first := r.ts[0]; {
	case first.is("SELECT"):
		return r.rewrite(0, end)
	case first.is("INSERT"):
		return r.insert(end)
	case first.is("UPDATE"):
		return r.update(end)
	case first.is("DELETE"):
		return r.delete(end)
	default:
		return fmt.Errorf("want a statement that begins with SELECT, INSERT, UPDATE or DELETE, not with %s; write INSERT … ON CONFLICT … DO UPDATE for REPLACE", first.text)
	}
}

// at returns the token at i, or an empty token after the end.
func (r *rewriter) at(i int) token {
	if i < 0 || i >= len(r.ts) {
		return token{kind: sign}
	}
	return r.ts[i]
}

// tight writes the token at i without the white space before it.
func (r *rewriter) tight(i int) {
	if i < len(r.ts) {
		r.ts[i].spaced = false
	}
}

// names collects the tables by their names in the statement, and the names of columns.
func (r *rewriter) names() error {
	for i, t := range r.ts {
		switch {
		case t.is("INTO"), t.is("UPDATE") && i == 0:
			if _, err := r.named(i+1, false); err != nil {
				return err
			}
			if t.is("INTO") {
				r.sources["excluded"] = r.sources[r.at(i+1).text]
			}
		case t.is("FROM") && !r.at(i-1).is("DISTINCT"), t.is("JOIN"):
			if _, err := r.named(i+1, r.at(i-1).is("LEFT")); err != nil {
				return err
			}
		}
	}
	for i, t := range r.ts {
		name := r.at(i + 1)
		casts := r.at(i+2).is(")") && types[strings.ToUpper(name.text)] != ""
		if t.is("AS") && name.kind == word && !casts && r.sources[name.text] == nil {
			null, err := r.nullable(r.before(i), i)
			if err != nil {
				return err
			}
			r.outputs[name.text] = null
		}
	}
	return nil
}

// named notes the table or query that FROM, JOIN, INTO or UPDATE names at i, and returns the index after it.
func (r *rewriter) named(i int, outer bool) (next int, err error) {
	var from *table // nil for a query
	name := r.at(i).text
	if r.at(i).is("(") {
		if next = past(r.ts, i, len(r.ts)); !r.at(i + 1).is("SELECT") {
			return 0, fmt.Errorf("want a table, or a SELECT in parentheses, after FROM or JOIN")
		}
		name = ""
	} else {
		if from = tables()[name]; from == nil {
			return 0, fmt.Errorf("there is no table %q", name)
		}
		next = i + 1
	}
	if r.at(next).is("AS") {
		next++
	}
	if t := r.at(next); t.kind == word && !keywords[strings.ToUpper(t.text)] && !slices.ContainsFunc(
		[]string{"CROSS", "JOIN", "ORDER", "LIMIT", "DEFAULT"}, t.is) {
		name = t.text
		next++
	}
	if name == "" {
		return 0, fmt.Errorf("a SELECT after FROM or JOIN needs a name in PostgreSQL 15")
	}
	s := r.sources[name]
	if s == nil {
		s = &source{}
		r.sources[name] = s
	}
	s.query, s.outer = s.query || from == nil, s.outer || outer
	if from != nil {
		s.tables = append(s.tables, from)
	}
	return next, nil
}

// before returns the start of the expression that ends before i: a column with or without its table, or a
// call.
func (r *rewriter) before(i int) int {
	from := i - 1
	if r.at(from).is(")") {
		for depth := 0; from >= 0; from-- {
			if r.at(from).is(")") {
				depth++
			} else if r.at(from).is("(") {
				if depth--; depth == 0 {
					break
				}
			}
		}
		from--
	}
	if r.at(from - 1).is(".") {
		from -= 2
	}
	return from
}

// nullable reports whether a sorted expression may be NULL. Answering true is always correct, but stops
// PostgreSQL from using an index.
func (r *rewriter) nullable(from, to int) (bool, error) {
	one := r.ts[max(from, 0):to]
	switch {
	case len(one) == 1 && one[0].kind != number:
		name := strings.Trim(one[0].text, `"`)
		if null, ok := r.outputs[name]; ok {
			return null, nil
		}
		return r.columnNull("", name)
	case len(one) == 3 && one[1].is("."):
		return r.columnNull(one[0].text, strings.Trim(one[2].text, `"`))
	case len(one) > 3 && one[0].is("COUNT"):
		return false, nil
	case len(one) > 3 && (one[0].is("MAX") || one[0].is("MIN")) && past(r.ts, from+1, to) == to:
		return r.nullable(from+2, to-1)
	}
	return true, nil
}

// columnNull reports whether a column may be NULL. Without a table it looks in all tables of the statement.
func (r *rewriter) columnNull(of, name string) (null bool, err error) {
	found := false
	for alias, s := range r.sources {
		if of != "" && of != alias {
			continue
		}
		if s.query {
			if n, ok := r.outputs[name]; ok {
				found, null = true, null || n
			} else if of != "" {
				return r.columnNull("", name) // the query has the column from a table
			}
		}
		for _, t := range s.tables {
			if n, ok := t.columns[name]; ok {
				found, null = true, null || n || s.outer
			}
		}
	}
	if !found {
		return false, fmt.Errorf("there is no column %s", strings.TrimPrefix(of+"."+name, "."))
	}
	return null, nil
}

// write adds text in the place of token t.
func (r *rewriter) write(t token, text string) {
	if t.spaced {
		r.out.WriteByte(' ')
	}
	r.out.WriteString(text)
}

// rewrite derives the tokens from i to end, a part of a query.
func (r *rewriter) rewrite(i, end int) (err error) {
	for i < end && err == nil {
		t := r.ts[i]
		switch {
		case t.kind == param:
			err = r.param(t)
			i++
		case t.kind == text, t.kind == number:
			r.write(t, t.text)
			i++
		case t.kind == sign && t.text != ";" && t.text != ".":
			r.write(t, t.text)
			i++
		case t.is("FROM") && r.at(i-1).is("DISTINCT"):
			r.write(t, t.text)
			i++
		case t.is("FROM"), t.is("JOIN"):
			i, err = r.from(i, end)
		case t.is("CROSS"):
			i, err = r.cross(i, end)
		case t.is("ORDER"):
			i, err = r.order(i, end)
		case t.is("LIMIT"):
			r.write(t, t.text)
			if i++; r.at(i).is("-") && r.at(i+1).text == "1" {
				r.write(r.at(i), "ALL")
				i += 2
			}
		case t.is("IS"):
			next := i + 1
			if r.at(next).is("NOT") {
				next++
			}
			if !r.at(next).is("NULL") && !r.at(next).is("DISTINCT") {
				return fmt.Errorf("want NULL after IS; write IS NOT DISTINCT FROM to compare values that may be NULL")
			}
			r.write(t, t.text)
			i++
		case t.is("CAST"):
			i, err = r.cast(i, end)
		case t.is("JSON_EXTRACT"):
			i, err = r.json(i, end)
		case keywords[strings.ToUpper(t.text)] && t.kind == word:
			r.write(t, t.text)
			i++
		case functions[strings.ToUpper(t.text)] && r.at(i+1).is("("):
			r.write(t, t.text)
			i++
		case t.kind == word || t.kind == quoted:
			i, err = r.name(i)
		default:
			return fmt.Errorf("no rule for %q", t.text)
		}
	}
	return err
}

// param numbers an argument as SQLite does: ? is one above the highest number so far.
func (r *rewriter) param(t token) error {
	n := r.last + 1
	if t.text != "?" {
		var err error
		if n, err = strconv.Atoi(t.text[1:]); err != nil || n < 1 {
			return fmt.Errorf("%s is not an argument", t.text)
		}
	}
	r.last, r.given[n] = max(r.last, n), true
	r.write(t, "$"+strconv.Itoa(n+1))
	return nil
}

// from limits a table to the rows of the HAT. PostgreSQL flattens the inner SELECT.
func (r *rewriter) from(i, end int) (int, error) {
	r.write(r.ts[i], r.ts[i].text)
	i++
	next, err := r.named(i, false)
	if err != nil {
		return 0, err
	}
	if r.ts[i].is("(") {
		behind := past(r.ts, i, end)
		if err := r.rewrite(i, behind); err != nil {
			return 0, err
		}
		r.out.WriteString(" " + quote(r.ts[next-1].text))
	} else {
		r.write(r.ts[i], "(SELECT * FROM "+tables()[r.ts[i].text].name+" WHERE hat = $1) "+quote(r.ts[next-1].text))
	}
	if r.at(next).is(",") && next < end {
		return 0, fmt.Errorf("want JOIN, not a list of tables")
	}
	return next, nil
}

// cross rewrites a join whose order SQLite must keep. PostgreSQL has no CROSS JOIN with a condition.
func (r *rewriter) cross(i, end int) (int, error) {
	if !r.at(i + 1).is("JOIN") {
		return 0, fmt.Errorf("want JOIN after CROSS")
	}
	next, err := r.named(i+2, false)
	if err != nil {
		return 0, err
	}
	if !r.at(next).is("ON") {
		r.write(r.ts[i], r.ts[i].text)
	}
	return r.from(i+1, end)
}

// order sorts NULL before all values, as SQLite does.
func (r *rewriter) order(i, end int) (int, error) {
	if !r.at(i + 1).is("BY") {
		return 0, fmt.Errorf("want BY after ORDER")
	}
	r.write(r.ts[i], r.ts[i].text)
	r.write(r.ts[i+1], r.ts[i+1].text)
	i += 2
	for {
		to := find(r.ts, i, end, ",", ")", "LIMIT", "UNION", "RETURNING")
		last, nulls := to, " NULLS FIRST"
		if r.at(to - 1).is("ASC") {
			last--
		} else if r.at(to - 1).is("DESC") {
			last, nulls = last-1, " NULLS LAST"
		}
		null, err := r.nullable(i, last)
		if err == nil {
			err = r.rewrite(i, to)
		}
		if err != nil {
			return 0, err
		}
		if null {
			r.out.WriteString(nulls)
		}
		if to >= end || !r.ts[to].is(",") {
			return to, nil
		}
		r.write(r.ts[to], ",")
		i = to + 1
	}
}

func (r *rewriter) cast(i, end int) (int, error) {
	behind := past(r.ts, i+1, end)
	to := types[strings.ToUpper(r.at(behind-2).text)]
	if !r.at(i+1).is("(") || to == "" || !r.at(behind-3).is("AS") {
		return 0, fmt.Errorf("want CAST to INTEGER, TEXT or BLOB")
	}
	r.write(r.ts[i], "CAST(")
	if err := r.rewrite(i+2, behind-3); err != nil {
		return 0, err
	}
	r.out.WriteString(" AS " + to + ")")
	return behind, nil
}

// json extracts a value from a JSON text, as text; a number needs a CAST. Flags differ (1 in SQLite, 'true'
// in PostgreSQL), but no statement extracts one.
func (r *rewriter) json(i, end int) (int, error) {
	behind := past(r.ts, i+1, end)
	comma := find(r.ts, i+2, behind-1, ",")
	path := r.at(comma + 1)
	names, ok := strings.CutPrefix(strings.Trim(path.text, "'"), "$.")
	if !r.at(i+1).is("(") || comma+3 != behind || path.kind != text || !ok ||
		strings.ContainsFunc(names, func(c rune) bool { return c != '.' && (c >= 0x80 || !isWord(byte(c))) }) {
		return 0, fmt.Errorf("want json_extract with a text and a path such as '$.a.b'")
	}
	r.write(r.ts[i], "(CAST(")
	if err := r.rewrite(i+2, comma); err != nil {
		return 0, err
	}
	r.out.WriteString(" AS json) #>> '{" + strings.ReplaceAll(names, ".", ",") + `}') COLLATE "C"`)
	return behind, nil
}

// name rewrites a column, with or without its table, or another name.
func (r *rewriter) name(i int) (int, error) {
	t := r.ts[i]
	if !r.at(i + 1).is(".") {
		name := strings.Trim(t.text, `"`)
		if _, ok := r.outputs[name]; !ok {
			if _, err := r.columnNull("", name); err != nil {
				return 0, fmt.Errorf("no rule for %s", t.text)
			}
		}
		r.write(t, quote(name))
		return i + 1, nil
	}
	name := strings.Trim(r.at(i+2).text, `"`)
	if _, err := r.columnNull(t.text, name); err != nil {
		return 0, err
	}
	r.write(t, quote(t.text)+"."+quote(name))
	return i + 3, nil
}
