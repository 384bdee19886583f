package dialect

import (
	"fmt"
	"strconv"
	"strings"
)

// update limits an UPDATE to the rows of the HAT.
func (r *rewriter) update(end int) error {
	name := r.at(1).text
	if !r.at(2).is("SET") {
		return fmt.Errorf("want a table and SET after UPDATE")
	}
	if find(r.ts, 3, end, "FROM") < end {
		return fmt.Errorf("UPDATE … FROM differs between the dialects")
	}
	where := find(r.ts, 3, end, "WHERE", "RETURNING")
	r.out.WriteString("UPDATE " + target(name) + " SET")
	if err := r.rewrite(3, where); err != nil {
		return err
	}
	return r.where(where, end)
}

// delete limits a DELETE to the rows of the HAT.
func (r *rewriter) delete(end int) error {
	if !r.at(1).is("FROM") || end > 3 && !r.at(3).is("WHERE") && !r.at(3).is("RETURNING") {
		return fmt.Errorf("want FROM, a table, and WHERE or RETURNING after DELETE")
	}
	r.out.WriteString("DELETE FROM " + target(r.at(2).text))
	return r.where(3, end)
}

// target returns the table that is written to, with its name in the statement.
func target(name string) string {
	t := tables()[name]
	if t.name != name {
		return t.name + " " + name
	}
	return name
}

// where derives the rest of an UPDATE or DELETE.
func (r *rewriter) where(i, end int) error {
	r.out.WriteString(" WHERE hat = $1")
	if r.at(i).is("WHERE") {
		behind := find(r.ts, i, end, "RETURNING")
		if behind == i+1 {
			return fmt.Errorf("WHERE without a condition")
		}
		r.out.WriteString(" AND (")
		r.tight(i + 1)
		if err := r.rewrite(i+1, behind); err != nil {
			return err
		}
		r.out.WriteString(")")
		i = behind
	}
	return r.rewrite(i, end)
}

// insert gives each row its HAT and, where SQLite would, its number.
func (r *rewriter) insert(end int) error {
	if !r.at(1).is("INTO") {
		return fmt.Errorf("want INTO after INSERT; write INSERT … ON CONFLICT DO NOTHING for INSERT OR IGNORE")
	}
	t := tables()[r.at(2).text]
	i, named := 3, map[string]bool{}
	var columns strings.Builder
	if r.at(i).is("(") {
		behind := past(r.ts, i, end)
		for i++; i < behind; i += 2 {
			name := strings.Trim(r.at(i).text, `"`)
			if _, ok := t.columns[name]; !ok || named[name] || !r.at(i+1).is(",") && i+2 != behind {
				return fmt.Errorf("no column %q to insert into", name)
			}
			named[name] = true
			columns.WriteString(", " + quote(name))
		}
		i = behind
	}
	numbered := t.numbered && !named["n"]
	if numbered {
		columns.WriteString(", n")
	}
	if numbered && t.counter != "" {
		r.out.WriteString("WITH taken AS (UPDATE hats SET " + t.counter + " = " + t.counter + " + 1 WHERE hat = $1 RETURNING " + t.counter + ") ")
	}
	r.out.WriteString("INSERT INTO " + t.name + " (hat" + columns.String() + ") ")
	var err error
	switch {
	case r.at(i).is("DEFAULT") && r.at(i+1).is("VALUES") && len(named) == 0:
		i += 2
		r.out.WriteString("VALUES ($1" + next(t, numbered, 1) + ")")
	case r.at(i).is("VALUES") && len(named) > 0:
		i, err = r.rows(i, end, t, numbered)
	case r.at(i).is("SELECT") && len(named) > 0:
		i, err = r.selected(i, end, t, numbered)
	default:
		err = fmt.Errorf("want column names, and VALUES or SELECT, after INSERT INTO")
	}
	if err != nil {
		return err
	}
	if r.at(i).is("ON") && r.at(i+1).is("CONFLICT") && r.at(i+2).is("(") {
		r.out.WriteString(" ON CONFLICT (hat, ")
		r.tight(i + 3)
		i += 3
	}
	return r.rewrite(i, end)
}

// next returns the number of the k-th row, after a comma.
func next(t *table, numbered bool, k int) string {
	switch {
	case !numbered:
		return ""
	case t.counter != "":
		return ", (SELECT " + t.counter + " FROM taken)"
	}
	return ", " + highest(t) + " + " + strconv.Itoa(k)
}

func highest(t *table) string {
	return "(SELECT coalesce(max(n), 0) FROM " + t.name + " WHERE hat = $1)"
}

// rows derives the rows of VALUES.
func (r *rewriter) rows(i, end int, t *table, numbered bool) (int, error) {
	r.out.WriteString("VALUES")
	i++
	for k := 1; r.at(i).is("("); k++ {
		if k > 1 && numbered && t.counter != "" {
			return 0, fmt.Errorf("rows of %s are inserted one by one", t.name)
		}
		behind := past(r.ts, i, end)
		r.out.WriteString(" ($1, ")
		r.tight(i + 1)
		if err := r.rewrite(i+1, behind-1); err != nil {
			return 0, err
		}
		r.out.WriteString(next(t, numbered, k) + ")")
		if i = behind; !r.at(i).is(",") {
			break
		}
		r.out.WriteString(",")
		i++
	}
	return i, nil
}

// selected derives the rows of a SELECT.
func (r *rewriter) selected(i, end int, t *table, numbered bool) (int, error) {
	behind := end
	for j := i; j < end; j++ {
		if r.ts[j].is("ON") && r.at(j+1).is("CONFLICT") || r.ts[j].is("RETURNING") {
			behind = j
			break
		}
	}
	if find(r.ts, i, behind, "UNION", "DISTINCT") < behind || numbered && t.counter != "" {
		return 0, fmt.Errorf("no rule for rows of %s from such a SELECT", t.name)
	}
	from := find(r.ts, i, behind, "FROM")
	r.out.WriteString("SELECT CAST($1 AS bigint),")
	if err := r.rewrite(i+1, from); err != nil {
		return 0, err
	}
	if numbered {
		r.out.WriteString(", " + highest(t) + " + row_number() OVER ()")
	}
	return behind, r.rewrite(from, behind)
}
