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
			// The single pass must agree with the tree of encoding/json. If a text has several faults,
			// either of them may be reported.
			want, wantErr := parseTree(text)
			bothWrong := errors.Is(err, ErrNumberTooLarge) || errors.Is(err, ErrNulInKey)
			if bothWrong && wantErr == nil {
				bothWrong = bytes.Count(text, []byte{'"'}) >= 4 // the fault may be in a member that a repeated key replaces
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

// parseTree is Canonical, implemented with a tree.
func parseTree(text []byte) (string, error) {
	if tooDeep(text, MaxDepth) {
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

// Unusual text takes a few times its own size in memory, as plain text does, and no more.
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

// CanonicalList agrees with Canonical on each element. It refuses a text only if one element is refused or
// the text is not an array.
func FuzzCanonicalList(f *testing.F) {
	for _, s := range []string{`[]`, ` [ 1 , {"b":[2],"a":{}} , "x" ] `, `[1,2,3,4,5]`, `[[[]]]`, `[1`, `[1,]`, `[1]]`, `{}`, `[{"a":1,"a":2}]`, "[\"\xff\"]", ``,
		`[`, `[1,`, `[1 2]`, `[1]x`, `[1][2]`, `[bad]`, `[1}`, "\t[null]\n", `["\ud800"]`, `"[1]"`, `[{"\u0000":1}]`, `[1e999999]`,
		strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), strings.Repeat("[", MaxDepth+2) + strings.Repeat("]", MaxDepth+2)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		const most = 4
		all, isArray, err := CanonicalList(text, most)
		if trimmed := bytes.TrimLeft(text, " \t\r\n"); isArray != (len(trimmed) > 0 && trimmed[0] == '[') {
			t.Fatalf("%q: array %v", text, isArray)
		}
		if !isArray {
			return
		}
		var list []json.RawMessage
		want := json.Unmarshal(text, &list)
		switch {
		case want != nil:
			if !errors.Is(err, ErrNotJSON) && !errors.Is(err, ErrTooDeep) && !errors.Is(err, ErrTooMany) && !errors.Is(err, ErrNumberTooLarge) {
				t.Fatalf("%q: %v, want %v", text, err, want)
			}
			return
		case len(list) > most:
			if err == nil {
				t.Fatalf("%q: %d elements", text, len(all))
			}
			return
		}
		for i, element := range list {
			one, wrong := Canonical(element)
			if wrong != nil {
				if err == nil {
					t.Fatalf("%q: element %d: %v", text, i, wrong)
				}
				return
			}
			if err == nil && (len(all) != len(list) || all[i] != one) {
				t.Fatalf("%q: element %d is %q, want %q", text, i, all[i], one)
			}
		}
		if err != nil {
			t.Fatalf("%q: %v, and each element is fine", text, err)
		}
	})
}

func TestCanonicalList(t *testing.T) {
	for text, want := range map[string]error{
		`[1,2,3]`: nil, `[]`: nil, `[1,2,3,4]`: ErrTooMany, `[1,2,3,4`: ErrTooMany, `[1,2`: ErrNotJSON, `[1]]`: ErrNotJSON, "[\"\xff\"]": ErrNotJSON,
		`[{"\u0000":1}]`: ErrNulInKey, `[1e999999]`: ErrNumberTooLarge,
		strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1): nil, // an element may nest as deeply as a value
		strings.Repeat("[", MaxDepth+2) + strings.Repeat("]", MaxDepth+2): ErrTooDeep,
	} {
		if list, isArray, err := CanonicalList([]byte(text), 3); !isArray || !errors.Is(err, want) {
			t.Errorf("%.40s: %d elements, array %v, %v; want %v", text, len(list), isArray, err, want)
		}
	}
}

// Compact keeps members in the order in which encoding/json reads them.
func FuzzCompact(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a" : [ {"b":"}"} , "]" ] , "\"\\":"\"" ,"c":{},"d":null , "a":-1.5e3}`, "{\"a\"\n:\ttrue\r\n}", `{"":""}`,
		`{"a":"x","b":[[],{}],"c":{"d":{"e":[]}}}`, `{"bb":1,"a":{"y":1,"x":2,"y":3},"bb":2}`, `{"\u0062":1,"\u0061":"\u0000"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		compact, err := Compact(text)
		canonical, wrong := Canonical(text)
		if fmt.Sprint(err) != fmt.Sprint(wrong) {
			t.Fatalf("%q: %v, canonical %v", text, err, wrong)
		}
		if err != nil {
			return
		}
		if again, err := Canonical([]byte(compact)); err != nil || again != canonical {
			t.Fatalf("%q: compact is %s, which is %s; want %s", text, compact, again, canonical)
		}
		if again, err := Compact([]byte(compact)); err != nil || again != compact {
			t.Fatalf("%q: compact is %s, and then %s", text, compact, again)
		}
		if KindOf(compact) != Object {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		_, _ = dec.Token()
		for key, value := range Members(compact) {
			name, _ := dec.Token()
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil || name != Unescaped(key) {
				t.Fatalf("%q: key %q, want %q, %v", text, key, name, err)
			}
			if want := canon(t, string(raw)); canon(t, value) != want {
				t.Fatalf("%q: value %s, want %s", text, value, want)
			}
		}
		if dec.More() {
			t.Fatalf("%q: members are missing in %s", text, compact)
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
