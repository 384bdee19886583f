package ledger

import (
	"bytes"
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"she/internal/bundle"
	"she/internal/vault"
)

// Upkeep is background work that the writer does a piece at a time, between transactions that callers wait
// for. Each piece is a transaction too. If we stop between two, it goes on after the next start.

// maxUpkeepBytes bounds the data read in a piece.
const maxUpkeepBytes = 4 << 20

// upkeep does one piece of at most that many rows. more: there was something to do.
func (t *tx) upkeep(rows int) (more bool, err error) {
	for _, kind := range []func(int) (bool, error){t.eraseRest, t.declareStored, t.clear, t.build} {
		if more, err = kind(rows); more || err != nil {
			return more, err
		}
	}
	return false, nil
}

// declareStored declares the fields of grants and documents that were stored before fields existed.
func (t *tx) declareStored(int) (bool, error) {
	var kind, holder string
	err := t.Get(t.ctx, "SELECT kind, holder FROM undeclared LIMIT 1", nil, &kind, &holder)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := t.Exec(t.ctx, "DELETE FROM undeclared WHERE kind = ? AND holder = ?", kind, holder); err != nil {
		return false, err
	}
	var asked []bundle.Field
	if kind == grantUse {
		all, err := functions(t.ctx, t.Tx, nil, "WHERE f.id = ? AND f.enabled", holder)
		if err != nil {
			return false, err
		}
		for _, f := range all {
			asked = useful(f.Grant.Bundle)
		}
	} else {
		d, err := oneDocument(t.ctx, t.Tx, vault.DocumentKind(kind), holder)
		if err != nil && !errors.Is(err, vault.ErrNotFound) {
			return false, err
		}
		asked = documentFields(d.Kind, d.Body)
	}
	return true, t.declare(kind, holder, asked)
}

// clear removes keys of a field that is no longer declared, and the field with the last of them.
func (t *tx) clear(rows int) (bool, error) {
	var n int64
	err := t.Get(t.ctx, "SELECT n FROM fields WHERE gone LIMIT 1", nil, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	removed, err := t.Exec(t.ctx, clearQuery, n, n, rows)
	if err == nil && removed < int64(rows) {
		_, err = t.Exec(t.ctx, "DELETE FROM fields WHERE n = ?", n)
	}
	t.v.fields = nil
	return true, err
}

const clearQuery = `DELETE FROM field_keys WHERE field = ? AND (key, born) IN
	(SELECT key, born FROM field_keys WHERE field = ? ORDER BY key, born LIMIT ?)`

// A keyRow is a new row of table field_keys.
type keyRow struct {
	field int // index in the list of fields that are being built
	key   []byte
	born  int64
}

// build adds the keys of records that were stored before their field was declared, for all fields of an
// endpoint that are built up to the same record.
func (t *tx) build(rows int) (bool, error) {
	var endpoint, built int64
	err := t.Get(t.ctx, "SELECT endpoint, built FROM fields WHERE NOT gone AND built < behind ORDER BY n LIMIT 1", nil, &endpoint, &built)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	all, err := t.fieldsAt(endpoint)
	if err != nil {
		return false, err
	}
	fields := slices.DeleteFunc(slices.Clone(all), func(f field) bool { return f.gone || f.built != built || f.built >= f.behind })
	last := int64(0)
	for _, f := range fields {
		last = max(last, f.behind)
	}
	found, cut, reached, err := t.unbuilt(endpoint, built, last, rows, fields)
	if err != nil {
		return false, fmt.Errorf("index: %w", err)
	}
	// Sorted, so that rows which share a page of the index follow each other.
	slices.SortFunc(found, func(a, b keyRow) int {
		return cmp.Or(cmp.Compare(a.field, b.field), bytes.Compare(a.key, b.key), cmp.Compare(a.born, b.born))
	})
	t.grows = traces
	for _, r := range found {
		if err := t.addKey(fields[r.field].n, r.key, r.born); err != nil {
			return false, err
		}
	}
	for i, f := range fields {
		if _, err := t.Exec(t.ctx, "UPDATE fields SET built = ?, cut = cut + ? WHERE n = ?",
			min(reached, f.behind), cut[i], f.n); err != nil {
			return false, err
		}
	}
	t.v.fields = nil
	return true, nil
}

const unbuiltQuery = "SELECT born, data FROM records WHERE endpoint = ? AND born > ? AND born <= ? ORDER BY born LIMIT ?"

// unbuilt reads the next records and makes their keys. reached is the last record. cut is, for each field,
// the bytes of data of records whose keys were cut.
func (t *tx) unbuilt(endpoint, after, last int64, limit int, fields []field) (found []keyRow, cut []int64, reached int64, err error) {
	cut = make([]int64, len(fields))
	read, size := 0, 0
	err = t.Each(t.ctx, unbuiltQuery, []any{endpoint, after, last, limit}, func(scan func(...any) error) error {
		if size >= maxUpkeepBytes {
			return errEnough
		}
		var data string
		if err := scan(&reached, &data); err != nil {
			return err
		}
		read, size = read+1, size+len(data)
		for i, f := range fields {
			if reached > f.behind {
				continue // its key is in the index already
			}
			key, isCut := fieldKey(data, f.path)
			if isCut {
				cut[i] += int64(len(data))
				key = bytes.Clone(key) // a copy, because the text may be much longer
			}
			found = append(found, keyRow{i, key, reached})
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if read < limit && size < maxUpkeepBytes {
		reached = last
	}
	return found, cut, reached, err
}
