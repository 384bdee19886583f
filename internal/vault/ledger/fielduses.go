package ledger

import (
	"cmp"
	"slices"
	"strings"

	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/vault"
)

// grantUse is the kind under which grants declare fields. Documents use their own kind.
const grantUse = "grant"

// useful returns the fields of the bundle that an index helps to read, sort fields first.
func useful(b bundle.Bundle) []bundle.Field {
	own := bundle.Bundle{Properties: make(map[string]bundle.PropertyQuery, len(b.Properties))}
	for name, p := range b.Properties {
		p.Endpoints = slices.Clone(p.Endpoints)
		for i := range p.Endpoints {
			q := &p.Endpoints[i]
			q.Links = nil // links are read by group
			q.Filters = slices.DeleteFunc(slices.Clone(q.Filters), func(f bundle.Filter) bool { return keyRanges(f) == nil })
		}
		own.Properties[name] = p
	}
	fields := slices.DeleteFunc(own.Fields(), func(f bundle.Field) bool {
		return f.Path == "" || len(f.Path) > bundle.MaxText || strings.Count(f.Path, ".") >= maxFieldDepth
	})
	rank := func(f bundle.Field) int {
		switch {
		case f.Ordered:
			return 0
		case f.Ranged:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(fields, func(a, b bundle.Field) int { return cmp.Compare(rank(a), rank(b)) })
	return fields[:min(len(fields), maxFieldsOf)]
}

// documentFields returns the fields that a document asks for; none if its text can't be read.
func documentFields(k vault.DocumentKind, body []byte) []bundle.Field {
	switch k {
	case vault.Combinators:
		if queries, err := bundle.ParseCombinator(body); err == nil {
			return useful(bundle.Bundle{Properties: map[string]bundle.PropertyQuery{"": {Endpoints: queries}}})
		}
	case vault.Bundles:
		if properties, err := bundle.ParseProperties(body); err == nil {
			return useful(bundle.Bundle{Properties: properties})
		}
	case vault.Debits:
		d, err := debit.FromStore(body)
		if err != nil {
			return nil
		}
		var fields []bundle.Field
		for _, p := range slices.Backward(d.Permissions) {
			if !p.Accepted || p.AtOnce {
				continue
			}
			fields = append(fields, useful(p.Bundle)...)
			if p.Conditions != nil {
				fields = append(fields, useful(*p.Conditions)...)
			}
		}
		return fields[:min(len(fields), maxFieldsOf)]
	}
	return nil
}

// A place is the endpoint and path of a field.
type place struct {
	endpoint int64
	path     string
}

// declare replaces the fields that one grant or document asks for. If we stop before the commit, neither it
// nor its fields are stored.
func (t *tx) declare(kind, holder string, asked []bundle.Field) error {
	var now, before []place
	for _, f := range asked {
		endpoint, err := t.endpoint(f.Endpoint)
		if err != nil {
			return err
		}
		if p := (place{endpoint, f.Path}); !slices.Contains(now, p) {
			now = append(now, p)
		}
	}
	err := t.Each(t.ctx, "SELECT endpoint, path FROM field_uses WHERE kind = ? AND holder = ? ORDER BY n", []any{kind, holder},
		func(scan func(...any) error) error {
			var p place
			err := scan(&p.endpoint, &p.path)
			before = append(before, p)
			return err
		})
	if err != nil || slices.Equal(now, before) {
		return err
	}
	if _, err := t.Exec(t.ctx, "DELETE FROM field_uses WHERE kind = ? AND holder = ?", kind, holder); err != nil {
		return err
	}
	for _, p := range now {
		if _, err := t.Exec(t.ctx, "INSERT INTO field_uses (kind, holder, endpoint, path) VALUES (?, ?, ?, ?)",
			kind, holder, p.endpoint, p.path); err != nil {
			return err
		}
	}
	return t.chooseFields()
}

// chooseFields gives indexes to as many of the declared fields as the bounds allow. Fields that have one keep
// it; others get one in the order of their declaration. Indexes that are no longer declared are removed.
func (t *tx) chooseFields() error {
	var wanted []place
	err := t.Each(t.ctx, "SELECT endpoint, path FROM field_uses GROUP BY endpoint, path ORDER BY min(n)", nil,
		func(scan func(...any) error) error {
			var p place
			err := scan(&p.endpoint, &p.path)
			wanted = append(wanted, p)
			return err
		})
	if err != nil {
		return err
	}
	have := map[place]int64{}
	err = t.Each(t.ctx, "SELECT n, endpoint, path FROM fields WHERE NOT gone", nil, func(scan func(...any) error) error {
		var n int64
		var p place
		err := scan(&n, &p.endpoint, &p.path)
		have[p] = n
		return err
	})
	if err != nil {
		return err
	}
	total, at := 0, map[int64]int{}
	kept := map[place]bool{}
	for _, p := range wanted {
		if have[p] != 0 {
			kept[p] = true
			total++
			at[p.endpoint]++
		}
	}
	for p, n := range have {
		if !kept[p] {
			if _, err := t.Exec(t.ctx, "UPDATE fields SET gone = TRUE WHERE n = ?", n); err != nil {
				return err
			}
		}
	}
	for _, p := range wanted {
		if kept[p] || total == maxFields || at[p.endpoint] == maxFieldsAt {
			continue
		}
		// Records that are stored from now on get their key at once. Those that are stored already get it
		// from build.
		if _, err := t.Exec(t.ctx, `INSERT INTO fields (endpoint, path, built, behind, cut, gone) VALUES
			(?1, ?2, CASE WHEN EXISTS (SELECT 1 FROM records WHERE endpoint = ?1) THEN 0 ELSE CAST(?3 AS INTEGER) END, ?3, 0, FALSE)`,
			p.endpoint, p.path, int64(t.seq)); err != nil {
			return err
		}
		total++
		at[p.endpoint]++
	}
	t.v.fields = nil
	t.Note(Unending)
	return nil
}
