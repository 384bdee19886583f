package hat

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"she/internal/jsonb"
)

// Data is one JSON value of an Owner, in canonical form (see ParseData). It prints only its size, so that no
// log line, error or metric leaks it by accident. Bytes and JSON give the content.
type Data struct{ json string }

// ParseData reads one JSON value into canonical form; see jsonb.Canonical.
func ParseData(text []byte) (Data, error) {
	canonical, err := jsonb.Canonical(text)
	return Data{canonical}, err
}

// ParseDataList reads an array of at most most elements, each like ParseData; see jsonb.CanonicalList.
func ParseDataList(text []byte, most int) (all []Data, isArray bool, err error) {
	list, isArray, err := jsonb.CanonicalList(text, most)
	if err != nil || !isArray {
		return nil, isArray, err
	}
	all = make([]Data, len(list))
	for i, canonical := range list {
		all[i] = Data{canonical}
	}
	return all, true, nil
}

// DataFromStore takes back canonical bytes that Bytes gave to a store. It does not check them.
func DataFromStore(canonical []byte) Data { return Data{string(canonical)} }

// DataFromStoredText is DataFromStore without a copy.
func DataFromStoredText(canonical string) Data { return Data{canonical} }

// Bytes is the canonical JSON. The caller may keep and change it.
func (d Data) Bytes() []byte { return []byte(d.json) }

// JSON is the canonical JSON as a string, without a copy.
func (d Data) JSON() string { return d.json }

func (d Data) Len() int { return len(d.json) }

// IsZero reports whether there is no value at all; JSON null is a value.
func (d Data) IsZero() bool { return d.json == "" }

// Digest identifies the value. It is the same for texts that differ in key order, white space or the spelling
// of numbers.
func (d Data) Digest() [sha256.Size]byte { return sha256.Sum256([]byte(d.json)) }

func (d Data) String() string       { return fmt.Sprintf("(data, %d bytes)", len(d.json)) }
func (d Data) GoString() string     { return d.String() }
func (d Data) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Format redacts under every verb. Without it %x or %q would print the string inside.
func (d Data) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// MarshalJSON refuses, because a log handler that encodes a struct as JSON would print the data. Code that
// means to send the value writes JSON or Bytes.
func (d Data) MarshalJSON() ([]byte, error) {
	return nil, errors.New("hat.Data refuses json.Marshal, so that it isn't sent by accident; write its JSON()")
}

// UnmarshalJSON parses like ParseData.
func (d *Data) UnmarshalJSON(b []byte) (err error) {
	*d, err = ParseData(b)
	return err
}
