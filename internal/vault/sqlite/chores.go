package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"she/internal/bundle"
	"she/internal/vault"
)

// Chores are what the writer does a piece at a time, between the transactions others wait for: each piece is a
// transaction too, and what it has done is in the file. If we stop between two, the next life goes on from there.

// The time a piece should take, so that nobody who writes waits long; the number of rows in it follows.
const (
	shortChore, longChore = 10 * time.Millisecond, 30 * time.Millisecond
	minChore, maxChore    = 32, 4096
	maxChoreBytes         = 4 << 20 // of data read
)

// always is ready to be received from.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// chore is the next piece as a transaction. One that fails is not tried again before something changes: all is
// answered without the index, only slower.
func (v *Vault) chore() job {
	return job{op: "index", grew: new(bool), ctx: context.Background(), done: make(chan error, 1), do: func(t *tx) error {
		v.chores = false
		more, err := t.chore(v.chunk)
		v.chores = more && err == nil
		return err
	}}
}

// doChore does the next piece, when it is its turn.
func (v *Vault) doChore() {
	v.turn <- struct{}{}
	if !v.chores {
		<-v.turn
		return
	}
	began := time.Now()
	jobs := v.work(v.chore())
	v.turn <- struct{}{}
	defer func() { <-v.turn }()
	v.pace(time.Since(began))
	if len(jobs) == 1 && errors.Is(named(v.path, jobs[0].err), vault.ErrFull) && !*jobs[0].grew {
		// It makes room: at once with the reserve, else when the log was emptied and there may be some.
		v.chores = v.reserve.use()
		v.choresWait, v.logHolds = !v.chores, true
	} else if len(jobs) == 1 && jobs[0].err != nil {
		v.chores = false // it may not even have begun: to try at once again would do nothing else
	}
}

// pace fits the size of the next piece to what the last one took, its commit included.
func (v *Vault) pace(took time.Duration) {
	switch {
	case took < shortChore:
		v.chunk = min(2*v.chunk, maxChore)
	case took > longChore:
		v.chunk = max(v.chunk/2, minChore)
	}
}

// chore does one piece of at most so many rows. more says that there was something to do.
func (t *tx) chore(rows int) (more bool, err error) {
	for _, kind := range []func(int) (bool, error){t.eraseRest, t.declareStored, t.clear, t.build, t.shrink} {
		if more, err = kind(rows); more || err != nil {
			return more, err
		}
	}
	return false, nil
}

// declareStored declares the fields of what was stored before there were any.
func (t *tx) declareStored(int) (bool, error) {
	var kind, holder string
	err := t.get(t.ctx, "SELECT kind, holder FROM undeclared LIMIT 1", nil, &kind, &holder)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := t.exec(t.ctx, "DELETE FROM undeclared WHERE kind = ? AND holder = ?", kind, holder); err != nil {
		return false, err
	}
	var asked []bundle.Field
	if kind == grantUse {
		all, err := functions(t.ctx, t.conn, nil, "WHERE f.id = ? AND f.enabled", holder)
		if err != nil {
			return false, err
		}
		for _, f := range all {
			asked = useful(f.Grant.Bundle)
		}
	} else {
		d, err := oneDocument(t.ctx, t.conn, vault.DocumentKind(kind), holder)
		if err != nil && !errors.Is(err, vault.ErrNotFound) {
			return false, err
		}
		asked = documentFields(d.Kind, d.Body)
	}
	return true, t.declare(kind, holder, asked)
}

// clear removes keys of a field that is gone, and the field with the last of them.
func (t *tx) clear(rows int) (bool, error) {
	var n int64
	err := t.get(t.ctx, "SELECT n FROM fields WHERE gone LIMIT 1", nil, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	removed, err := t.exec(t.ctx, clearQuery, n, n, rows)
	if err == nil && removed < int64(rows) {
		_, err = t.exec(t.ctx, "DELETE FROM fields WHERE n = ?", n)
	}
	t.v.fields = nil
	return true, err
}

const clearQuery = `DELETE FROM field_keys WHERE field = ? AND (key, born) IN
	(SELECT key, born FROM field_keys WHERE field = ? ORDER BY key, born LIMIT ?)`

// A keyRow is a row of table field_keys to be.
type keyRow struct {
	field int // which of those being built
	key   []byte
	born  int64
}

// build adds keys of records that were stored before their field was declared, for all fields of an endpoint that have
// come equally far.
func (t *tx) build(rows int) (bool, error) {
	var endpoint, built int64
	err := t.get(t.ctx, "SELECT endpoint, built FROM fields WHERE NOT gone AND built < behind ORDER BY n LIMIT 1", nil, &endpoint, &built)
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
	// In the order of the index neighbours share a page while it is at hand.
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
		if _, err := t.exec(t.ctx, "UPDATE fields SET built = ?, cut = cut + ? WHERE n = ?",
			min(reached, f.behind), cut[i], f.n); err != nil {
			return false, err
		}
	}
	t.v.fields = nil
	return true, nil
}

const unbuiltQuery = "SELECT born, data FROM records WHERE endpoint = ? AND born > ? AND born <= ? ORDER BY born LIMIT ?"

// unbuilt reads the next records and makes their keys. reached is up to where it got, cut the bytes of data of records
// whose keys are cut, for each field.
func (t *tx) unbuilt(endpoint, after, last int64, limit int, fields []field) (found []keyRow, cut []int64, reached int64, err error) {
	rows, err := t.query(t.ctx, unbuiltQuery, endpoint, after, last, limit)
	if err != nil {
		return nil, nil, 0, err
	}
	defer rows.Close()
	cut = make([]int64, len(fields))
	read, size := 0, 0
	for size < maxChoreBytes && rows.Next() {
		var data string
		if err := rows.Scan(&reached, &data); err != nil {
			return nil, nil, 0, err
		}
		read, size = read+1, size+len(data)
		for i, f := range fields {
			if reached > f.behind {
				continue // it has its key since it was stored
			}
			key, isCut := fieldKey(data, f.path)
			if isCut {
				cut[i] += int64(len(data))
				key = bytes.Clone(key) // of what may be much longer
			}
			found = append(found, keyRow{i, key, reached})
		}
	}
	if read < limit && size < maxChoreBytes {
		reached = last
	}
	return found, cut, reached, rows.Err()
}
