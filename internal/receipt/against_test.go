package receipt

import (
	"bytes"
	"testing"
	"time"
)

// What a former export says of a chain, whichever entries either of the two has.
func TestAgainst(t *testing.T) {
	key := newKey(t)
	at := time.UnixMicro(1_700_000_000_000_000)
	chain := func(kinds ...Kind) (texts [][]byte, heads []Head) {
		heads = []Head{{}}
		for _, k := range kinds {
			text, head, err := Append(heads[len(heads)-1], at, Fact{Kind: k})
			if err != nil {
				t.Fatal(err)
			}
			texts, heads = append(texts, text), append(heads, head)
		}
		return texts, heads
	}
	export := func(after, upto int, kinds ...Kind) Exported {
		t.Helper()
		texts, heads := chain(kinds...)
		var b bytes.Buffer
		all := func(yield func([]byte, error) bool) {
			for _, text := range texts[:upto] {
				if !yield(text, nil) {
					return
				}
			}
		}
		if _, err := Export(&b, int64(after), all, heads[upto], nil, key, at); err != nil {
			t.Fatal(err)
		}
		x, err := ReadExport(&b, &key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	is := []Kind{Write, Write, Erase, Write}
	other := []Kind{Write, Erase, Erase, Write}
	for _, c := range []struct {
		says        string
		now, former Exported
		want        Against
	}{
		{"the same", export(0, 4, is...), export(0, 4, is...), Against{Relation: Same}},
		{"more", export(0, 4, is...), export(0, 2, is...), Against{Relation: Grew, Entry: 3}},
		{"fewer", export(0, 2, is...), export(0, 4, is...), Against{Relation: Contradicts, Entry: 3, Missing: true}},
		{"another", export(0, 4, is...), export(0, 4, other...), Against{Relation: Contradicts, Entry: 2}},
		{"another, that ends before", export(0, 4, is...), export(0, 3, other...), Against{Relation: Contradicts, Entry: 2}},
		{"a former piece", export(0, 4, is...), export(2, 4, is...), Against{Relation: Same}},
		{"a former piece of another", export(0, 4, is...), export(2, 4, other...), Against{Relation: Contradicts, Entry: 2, UpTo: true}},
		{"a piece of now", export(3, 4, is...), export(0, 3, is...), Against{Relation: Grew, Entry: 4}},
		{"nothing yet", export(0, 4, is...), export(0, 0, is...), Against{Relation: Grew, Entry: 1}},
	} {
		got, err := c.now.Against(c.former)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v (%s), %v", c.says, got, got, err)
		}
	}
	if got, err := export(3, 4, is...).Against(export(0, 2, is...)); err == nil {
		t.Errorf("two that have nothing in common: %+v", got)
	}
}
