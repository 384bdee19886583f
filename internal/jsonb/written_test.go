package jsonb

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// Read accepts a text exactly if encoding/json does, and finds the same parts.
func FuzzWritten(f *testing.F) {
	for _, seed := range []string{
		"", " ", "null", "nul", "truefalse", "-", "-0", "01", "1.", "1.e1", "1e", "1E+5", `"`, `"\u12"`, `"\x"`, "\"\n\"", `"a\"b"`, "[1,2", "[1,]", "[,1]", "[]]", "{}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`,
		`{"a":1,"a":[{"b":{}}]}`, `{"\u0061\u0000":"\ud83d\ude00\ud800"}`, ` [ 1 , { "a" : [ ] } , "x" ] `, "[1] 2", "[1]]", "{]", "[}", `{"a":[1}`, strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
		strings.Repeat(`{"a":[`, 5_000) + strings.Repeat("]}", 5_000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return
		}
		w, err := Read(text)
		if (err == nil) != json.Valid(text) {
			t.Fatalf("%.100q: %v", text, err)
		}
		var syntax *SyntaxError
		if err != nil && !errors.Is(err, ErrFollows) && (!errors.As(err, &syntax) || syntax.Offset > len(text)) {
			t.Fatalf("%.100q: %v", text, err)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(w.Bytes(), bytes.Trim(text, " \t\r\n")) {
			t.Fatalf("%.100q of %.100q", w.Bytes(), text)
		}
		switch w.Kind() {
		case Array:
			var want []json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			n := 0
			for element, err := range ReadElements(text) {
				if err != nil || !bytes.Equal(element.Bytes(), want[n]) {
					t.Fatalf("%.100q: element %d is %.100q, %v", text, n, element.Bytes(), err)
				}
				n++
			}
			if n != len(want) {
				t.Fatalf("%.100q: %d elements", text, n)
			}
		case Object:
			var want map[string]json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			got := map[string]json.RawMessage{}
			for key, value := range w.ReadMembers() {
				got[key] = value.Bytes()
			}
			if len(got) != len(want) {
				t.Fatalf("%.100q: %d members", text, len(got))
			}
			for key, value := range want {
				if !bytes.Equal(got[key], value) {
					t.Fatalf("%.100q: %q is %.100q", text, key, got[key])
				}
			}
		case String:
			var want string
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			if got, ok := w.Text(); !ok || got != want {
				t.Fatalf("%.100q: %q", text, got)
			}
		}
	})
}

// Of an array with a fault, the elements before it are read first. The error then names the first byte that
// can't be part of JSON.
func TestElementsBeforeAFault(t *testing.T) {
	for text, want := range map[string]struct {
		elements int
		offset   int
	}{
		`[1,2 3]`:      {2, 6},
		`[1,2`:         {2, 0},
		`[1,2,]`:       {2, 6},
		`[1,{"a":tru}`: {1, 12},
		`[[1,[2]`:      {0, 0},
		`[01]`:         {1, 3},
		`["\`:          {0, 0},
		`["\u12`:       {0, 0},
		`["\u12x4"]`:   {0, 7},
		`["\x"]`:       {0, 4},
	} {
		n := 0
		var fault error
		for _, err := range ReadElements([]byte(text)) {
			if fault = err; err == nil {
				n++
			}
		}
		var syntax *SyntaxError
		if n != want.elements || !errors.As(fault, &syntax) || syntax.Offset != want.offset || !errors.Is(fault, ErrNotJSON) {
			t.Errorf("%s: %d elements, %v", text, n, fault)
		}
	}
}
