package ledger

import (
	"she/internal/hat"
	"she/internal/jsonb"
)

// Bounds of the indexes of fields. maxFieldsAt matters most: each field of an endpoint costs every append
// there one more row. Fields beyond the bounds work without an index.
const (
	maxFields   = 64 // in one vault
	maxFieldsAt = 8  // at one endpoint
	maxFieldsOf = 32 // asked for by one grant or document
)

// maxKey bounds a key in bytes; longer keys are cut. At this length most rows of the index fit into their
// page.
const maxKey = 512

// maxFieldDepth is how many parts the path of an index may have. Finding a value reads the data once for each
// part.
const maxFieldDepth = 16

// noKey stands for a record without a value at the path. Keys of values are never empty.
var noKey = []byte{}

// fieldKey returns the key of the data at a path. Cut keys keep their order. Two cut keys that are equal may
// belong to different values.
func fieldKey(data, path string) (key []byte, cut bool) {
	value, ok := jsonb.ValueAt(data, path)
	if !ok {
		return noKey, false
	}
	return cutKey(jsonb.AppendKeyUpto(nil, value, maxKey))
}

func cutKey(key []byte) ([]byte, bool) {
	if len(key) < maxKey {
		return key, false
	}
	return key[:maxKey:maxKey], true
}

// A field is a row of table fields: an index of the values at one path.
type field struct {
	n             int64
	path          string
	built, behind int64
	gone          bool
}

// covers reports whether the index has the key of the record with this born.
func (f field) covers(born int64) bool { return born <= f.built || born > f.behind }

// fieldsAt returns the endpoint's fields, as this transaction sees them.
func (t *tx) fieldsAt(endpoint int64) ([]field, error) {
	if t.v.fields == nil {
		all := map[int64][]field{}
		err := t.Each(t.ctx, "SELECT n, endpoint, path, built, behind, gone FROM fields ORDER BY n", nil,
			func(scan func(...any) error) error {
				var f field
				var at int64
				err := scan(&f.n, &at, &f.path, &f.built, &f.behind, &f.gone)
				all[at] = append(all[at], f)
				return err
			})
		if err != nil {
			return nil, err
		}
		t.v.fields = all
	}
	return t.v.fields[endpoint], nil
}

// index adds the keys of a record that is stored now.
func (t *tx) index(endpoint, born int64, data hat.Data) error {
	fields, err := t.fieldsAt(endpoint)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if f.gone || !f.covers(born) {
			continue
		}
		key, cut := fieldKey(data.JSON(), f.path)
		if err := t.addKey(f.n, key, born); err != nil {
			return err
		}
		if cut {
			if err := t.addCut(f.n, data.Len()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) addKey(field int64, key []byte, born int64) error {
	_, err := t.Exec(t.ctx, "INSERT INTO field_keys (field, key, born) VALUES (?, ?, ?)", field, key, born)
	return err
}

func (t *tx) addCut(field int64, bytes int) error {
	_, err := t.Exec(t.ctx, "UPDATE fields SET cut = cut + ? WHERE n = ?", bytes, field)
	return err
}

// unindex removes the keys of a record that is still stored. It includes fields that are no longer used,
// because erased data must be gone from the whole file.
func (t *tx) unindex(endpoint, born int64) error {
	fields, err := t.fieldsAt(endpoint)
	if err != nil || len(fields) == 0 {
		return err
	}
	var data string
	if err := t.Get(t.ctx, "SELECT data FROM records WHERE born = ?", []any{born}, &data); err != nil {
		return err
	}
	for _, f := range fields {
		key, cut := fieldKey(data, f.path)
		removed, err := t.Exec(t.ctx, "DELETE FROM field_keys WHERE field = ? AND key = ? AND born = ?", f.n, key, born)
		if err != nil {
			return err
		}
		if cut && removed > 0 {
			if err := t.addCut(f.n, -len(data)); err != nil {
				return err
			}
		}
	}
	return nil
}
