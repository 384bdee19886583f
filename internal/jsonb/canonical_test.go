package jsonb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDataIsCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{ "a" : 1.0 }`:                `{"a":1}`,
		`{"bb":1,"a":2,"c":3}`:         `{"a":2,"c":3,"bb":1}`,
		`{"a":1,"a":2}`:                `{"a":2}`,
		`"a\u0000b"`:                   `"ab"`,
		`"\u00e9\/\n\u0001"`:           `"é/\n\u0001"`,
		`12345678901234567890`:         `12345678901234567890`,
		`123456789012345678901234.5e0`: `1.234567890123456789012345e23`,
		`0.1`:                          `0.1`,
		`1.50`:                         `1.5`,
		`1e2`:                          `100`,
		`1E+20`:                        `100000000000000000000`,
		`1e21`:                         `1e21`,
		`-0.0`:                         `0`,
		`-12.30e-1`:                    `-1.23`,
		`0.0000000001`:                 `0.0000000001`,
		`0.00000000001`:                `1e-11`,
		`0e999999999999999999999`:      `0`,
		` [ 1 , null , true ] `:        `[1,null,true]`,
		`{}`:                           `{}`,
	} {
		got, err := Canonical([]byte(in))
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]error{
		``: ErrNotJSON, `{bad`: ErrNotJSON, `1 2`: ErrNotJSON, `{"a":}`: ErrNotJSON, "\"\xff\"": ErrNotJSON, `01`: ErrNotJSON,
		`{"a\u0000":1}`: ErrNulInKey, `1e100001`: ErrNumberTooLarge,
		strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1): ErrTooDeep,
		strings.Repeat(`{"a":`, 100_000):                                  ErrTooDeep,
	} {
		if got, err := Canonical([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.40s: %s, %v; want %v", in, got, err, want)
		}
	}
	if _, err := Canonical([]byte(strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth))); err != nil {
		t.Errorf("the deepest allowed: %v", err)
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		`{"a":1.0,"b":[1e3,-0]}`, `"\ud83d\ude00"`, `1e-400`, `{"a":{"a":{}}}`, `"\ud800"`, `"\ud83dx"`, `"\ud83d\u0041"`,
		` { "bb" : [ true , false , null ] , "a" : { "d" : "x" , "c" : "\"\\\/\b\f\n\r\t\u001f\u00E9\u005c" } } `,
		`{"b":1,"a":2,"b":3}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2,"b":{"c":3,"\u0063":[]},"a":{"\"\n":"\u0000x","\ud800":1}}`, `{"a\u0000":1e999999}x`, `{"a":[1],"\x":2}`, `{"\u0061":1,"a":2}`, `{"a\u0000":1}`, `"a\u0000b"`, `{}`, `[]`, `[[],{}]`, `[1,]`, `{"a":}`,
		`-`, `01`, `-0`, `-0.0`, `1.`, `.5`, `1e`, `1E+2`, "0\x0e0", "\r1", `123456789012345678`, `1234567890123456789`, `-123456789012345678`, `100000000000000000000000`,
		`1e100001`, `tru`, `"`, `"\`, `"\u12`, `"\x"`, "\"\x01\"", `1 2`, `{"a":1}}`, `{"a" 1}`, `{1:2}`, `[1 2]`, "\f1", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Canonical(text)
		if utf8.Valid(text) {
			// One pass without a tree must be one with encoding/json's tree. Of several things that are wrong each may be named.
			want, wantErr := parseTree(text)
			bothWrong := errors.Is(err, ErrNumberTooLarge) || errors.Is(err, ErrNulInKey)
			if bothWrong && wantErr == nil {
				bothWrong = bytes.Count(text, []byte{'"'}) >= 4 // what is wrong is under a repeated key
			}
			if !bothWrong && (want != d || fmt.Sprint(wantErr) != fmt.Sprint(err)) {
				t.Fatalf("%q became %q, %v; want %q, %v", text, d, err, want, wantErr)
			}
		}
		if err != nil {
			return
		}
		if !json.Valid([]byte(d)) {
			t.Fatalf("%q became %q, which is not JSON", text, d)
		}
		again, err := Canonical([]byte(d))
		if err != nil || again != d {
			t.Fatalf("%q: canonical form %q is not stable: %q, %v", text, d, again, err)
		}
	})
}

// parseTree is Canonical by way of a tree.
func parseTree(text []byte) (string, error) {
	if tooDeep(text) {
		return "", ErrTooDeep
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("%w: %s", ErrNotJSON, position(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return "", fmt.Errorf("%w: something follows the value at byte %d", ErrNotJSON, dec.InputOffset())
	}
	b, err := appendCanonical(make([]byte, 0, len(text)), v)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

func appendCanonical(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case json.Number:
		return appendNumber(b, string(v))
	case string:
		return AppendString(b, strings.ReplaceAll(v, "\x00", "")), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			if strings.Contains(k, "\x00") {
				return nil, ErrNulInKey
			}
			keys = append(keys, k)
		}
		slices.SortFunc(keys, CompareKeys)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(AppendString(b, k), ':')
			if b, err = appendCanonical(b, v[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, fmt.Errorf("%w: unexpected value", ErrNotJSON)
}

// Text that is rare takes no more memory than its own size a few times, as plain text does.
func TestParsingTakesNoTree(t *testing.T) {
	const size = 1 << 20
	for name, text := range map[string]string{
		"numbers behind an escaped key": `{"\u0061":[` + strings.Repeat("0,", size/2) + `0]}`,
		"objects and a repeated key":    `{"a":1,"b":[` + strings.Repeat("{},", size/3) + `{}],"a":2}`,
		"U+0000 and half a surrogate":   `["\u0000\ud800"` + strings.Repeat(",[]", size/3) + `]`,
		"an error at the end":           `[` + strings.Repeat("0,", size/2) + `]`,
		"a large number at the end":     `[` + strings.Repeat("0,", size/2) + `1e999999]`,
		"U+0000 in a key at the end":    `[` + strings.Repeat("0,", size/2) + `{"\u0000":1}]`,
		"keys out of order":             `{"b":1,"a":[` + strings.Repeat("{},", size/3) + `{}]}`,
	} {
		bytes := []byte(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Canonical(bytes)
		runtime.ReadMemStats(&after)
		if each := after.TotalAlloc - before.TotalAlloc; each > 10*size {
			t.Errorf("%s: %d bytes for %d", name, each, len(text))
		}
	}
}

// A list is its elements, read one by one; what is no list, or not plain, is left to the caller.
func FuzzCanonicalList(f *testing.F) {
	for _, s := range []string{`[]`, ` [ 1 , {"b":[2],"a":{}} , "x" ] `, `[1,2,3,4,5]`, `[[[]]]`, `[1`, `[1,]`, `[1]]`, `{}`, `[{"a":1,"a":2}]`, "[\"\xff\"]", ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		const most = 4
		all, ok := CanonicalList(text, most)
		if !ok {
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err != nil || len(list) != len(all) || len(all) > most {
			t.Fatalf("%q: %d elements, want %d, %v", text, len(all), len(list), err)
		}
		for i, element := range list {
			if want, err := Canonical(element); err != nil || all[i] != want {
				t.Fatalf("%q: element %d is %q, want %q, %v", text, i, all[i], want, err)
			}
		}
	})
}

// Numbers keep their exact value, compared as fractions.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"1", "-0.1", "12345678901234567890.000", "1e-30", "5E+2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || strings.Trim(text, "-+.eE0123456789") != "" {
			return
		}
		got, err := appendNumber(nil, text)
		if err != nil {
			return
		}
		if i := strings.IndexAny(text, "eE"); i >= 0 && len(text)-i > 5 {
			return // the fraction would not fit in memory
		}
		want, ok := new(big.Rat).SetString(text)
		have, ok2 := new(big.Rat).SetString(string(got))
		if !ok || !ok2 || want.Cmp(have) != 0 {
			t.Fatalf("%s became %s", text, got)
		}
	})
}
