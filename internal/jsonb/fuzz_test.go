package jsonb

import (
	"strings"
	"testing"
)

// Compare is a total order, keys follow it, containment is reflexive and its two directions agree, and a
// value at a path is canonical.
func FuzzOperators(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}]}`, `[1]`, "a")
	f.Add(`["x",[],{}]`, `"x"`, "0")
	f.Fuzz(func(t *testing.T, text, other, field string) {
		a, err := Canonical([]byte(text))
		if err != nil {
			return
		}
		b, err := Canonical([]byte(other))
		if err != nil {
			return
		}
		if Compare(nil, a, b) != -Compare(nil, b, a) || (Compare(nil, a, b) == 0) != (a == b) ||
			Compare(nil, a, b) != strings.Compare(string(AppendKey(nil, a)), string(AppendKey(nil, b))) {
			t.Errorf("the order of %s and %s isn't one", a, b)
		}
		if c := NewConstant(a); !c.In(nil, a) || !c.Has(nil, a) || c.In(nil, b) != NewConstant(b).Has(nil, a) {
			t.Errorf("the containment of %s and %s isn't one", a, b)
		}
		if found, ok := ValueAt(a, field); ok && canon(t, found) != found {
			t.Errorf("%q of %s is %s", field, a, found)
		}
	})
}

// Functions that read canonical text survive text that is not JSON, as a damaged store may contain.
func FuzzDamaged(f *testing.F) {
	f.Add(`{"a":[1,{"b":"\"`)
	f.Fuzz(func(t *testing.T, text string) {
		Compare(nil, text, `[{"a":[1]}]`)
		Compare(nil, text, text+"x")
		ValueAt(text, "a.0.b.-1")
		NewConstant(text).In(nil, `[{"a":[1]}]`)
		NewConstant(`[{"a":[1]}]`).Has(nil, text)
		AppendKey(nil, text)
		AppendKeyUpto(nil, text, 64)
		Text(text)
	})
}
