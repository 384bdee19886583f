package receipt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// What a former export says of a chain, whichever entries either of the two has.
func TestAgainst(t *testing.T) {
	key := newKey(t)
	at := time.UnixMicro(1_700_000_000_000_000)
	export := func(after, upto int, all ...Kind) Exported {
		t.Helper()
		texts, heads := kinds(t, all...)
		var b bytes.Buffer
		if _, err := Export(&b, int64(after), each(texts[:upto]), heads[upto], nil, key, at); err != nil {
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

// Of a chain that is broken what can be read is compared, and nothing is said of the rest.
func TestAgainstABrokenChain(t *testing.T) {
	texts, heads := kinds(t, Write, Write, Erase, Write, Write)
	otherTexts, otherHeads := kinds(t, Write, Write, Write, Write, Write)
	key := newKey(t)
	whole, other := export(t, 0, texts, heads[5], key), export(t, 0, otherTexts, otherHeads[5], key)
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) }
	cut := func(b []byte, n int) []byte { return bytes.Join(lines(b)[:n], nil) }                        // no checkpoint
	without := func(b []byte, n int) []byte { return bytes.Join(slices.Delete(lines(b), n-1, n), nil) } // an entry is missing
	changed := func(b []byte, n int) []byte {                                                           // an entry is another one, which the next shows
		all := lines(b)
		all[n-1] = bytes.Replace(all[n-1], []byte(`"at":`), []byte(`"at":1`), 1)
		return bytes.Join(all, nil)
	}
	for _, c := range []struct {
		says        string
		now, former []byte
		want        Against
	}{
		{"now has no checkpoint", cut(whole, 3), whole, Against{Relation: Partly, Entry: 4}},
		{"now has no checkpoint, and parts", cut(whole, 3), other, Against{Relation: Contradicts, Entry: 3}},
		{"the former has none", whole, cut(whole, 3), Against{Relation: Partly, Entry: 4}},
		{"the former has none, and parts", whole, cut(other, 4), Against{Relation: Contradicts, Entry: 3}},
		{"the former has none, and is longer", export(t, 0, texts[:2], heads[2], key), cut(whole, 4), Against{Relation: Contradicts, Entry: 3, Missing: true}},
		{"an entry of now is missing", without(whole, 4), whole, Against{Relation: Partly, Entry: 4}},
		{"and it parts before", without(whole, 4), other, Against{Relation: Contradicts, Entry: 3}},
		{"an entry of now was changed", changed(whole, 2), whole, Against{Relation: Contradicts, Entry: 2}},
		{"an entry of the former was changed", whole, changed(whole, 4), Against{Relation: Contradicts, Entry: 4}},
		{"both are broken", without(whole, 5), cut(whole, 3), Against{Relation: Partly, Entry: 4}},
		{"nothing can be read", []byte("foreign bytes\n"), whole, Against{Relation: Partly, Entry: 1}},
		{"the former is none", whole, nil, Against{Relation: Partly, Entry: 1}},
	} {
		now, _ := ReadExport(bytes.NewReader(c.now), nil)
		former, _ := ReadExport(bytes.NewReader(c.former), nil)
		if got, err := now.Against(former); err != nil || got != c.want {
			t.Errorf("%s: %+v (%s), %v", c.says, got, got, err)
		}
	}
}

// A head that was kept, and what an export says of it.
func TestAnExportHoldsAHead(t *testing.T) {
	texts, heads := kinds(t, Write, Write, Erase, Write)
	key := newKey(t)
	at := func(after int64, upto int) []byte { return export(t, after, texts[:upto], heads[upto], key) }
	var none *BrokenError
	for _, c := range []struct {
		says string
		in   []byte
		kept Head
		want string // "": it holds
	}{
		{"each", at(0, 4), heads[2], ""},
		{"the last", at(0, 4), heads[4], ""},
		{"that of no entry", at(2, 4), heads[0], ""},
		{"the one it follows", at(2, 4), heads[2], ""},
		{"another's", at(0, 4), Head{2, heads[3].Hash}, "receipt 2: it is not the one whose hash was kept"},
		{"one before it begins", at(2, 4), heads[1], "the export can't answer this: it begins with entry 3, and the head is of entry 1"},
		{"one behind its end", at(0, 3), heads[4], "the export can't answer this: it ends with entry 3, and the head is of entry 4. " +
			"If it was made after the head was kept, entries were cut off"},
		{"one behind what can be read", bytes.Join(bytes.SplitAfter(at(0, 4), []byte("\n"))[:3], nil), heads[4],
			"the export can't answer this: it can be read up to entry 3, and the head is of entry 4"},
		{"one that can be read", bytes.Join(bytes.SplitAfter(at(0, 4), []byte("\n"))[:3], nil), heads[3], ""},
	} {
		x, _ := ReadExport(bytes.NewReader(c.in), nil)
		err := x.Holds(c.kept)
		if got := fmt.Sprint(err); got != cmp.Or(c.want, "<nil>") {
			t.Errorf("%s: %s", c.says, got)
		}
		if c.kept.Number == 2 && c.want != "" && !errors.As(err, &none) {
			t.Errorf("%s: %T", c.says, err)
		}
	}
}

// kinds is a chain of such entries, and the head after each.
func kinds(t testing.TB, all ...Kind) (texts [][]byte, heads []Head) {
	t.Helper()
	heads = []Head{{}}
	for _, k := range all {
		text, head, err := Append(heads[len(heads)-1], time.UnixMicro(1_700_000_000_000_000), Fact{Kind: k})
		if err != nil {
			t.Fatal(err)
		}
		texts, heads = append(texts, text), append(heads, head)
	}
	return texts, heads
}

// Whatever two files hold: what is said of them is what their lines say.
func FuzzAgainst(f *testing.F) {
	texts, heads := kinds(f, Write, Write, Erase, Write)
	otherTexts, otherHeads := kinds(f, Write, Write, Write)
	key := newKey(f)
	whole, other := export(f, 0, texts, heads[4], key), export(f, 0, otherTexts, otherHeads[3], key)
	end := bytes.LastIndexByte(bytes.TrimSuffix(whole, []byte("\n")), '\n') + 1
	for _, seed := range [][2][]byte{
		{whole, whole}, {whole, other}, {other, whole}, {whole, export(f, 2, texts, heads[4], key)}, {whole, whole[:end]},
		{whole[:end], other}, {whole, nil}, {[]byte("\x00\xff\n{}\n"), whole}, {whole, []byte(`{"checkpoint":{"number":4}}`)},
		{whole, bytes.Replace(whole[end:], []byte(`"number":4`), []byte(`"number":9223372036854775807`), 1)},
		{whole, bytes.Replace(texts[0], []byte(`"number":1`), []byte(`"number":9223372036854775807`), 1)},
		{whole, bytes.Replace(texts[0], []byte(`"number":1`), []byte(`"number":-1`), 1)},
		{export(f, 4, texts, heads[4], key), export(f, 4, texts, heads[4], key)},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		x, errX := ReadExport(bytes.NewReader(one), nil)
		y, errY := ReadExport(bytes.NewReader(two), nil)
		if x.whole() != (errX == nil) || y.whole() != (errY == nil) {
			t.Fatalf("whole: %v, %v; %v, %v", x.whole(), y.whole(), errX, errY)
		}
		entries := func(b []byte, x Exported) map[int64]string {
			all := map[int64]string{}
			for line := range bytes.Lines(b) {
				line = bytes.TrimRight(line, "\r\n")
				if e, err := Parse(line); err == nil && e.Number == x.After.Number+int64(len(all))+1 && e.Number <= x.last() {
					all[e.Number] = string(line)
				}
			}
			return all
		}
		of, former := entries(one, x), entries(two, y)
		got, err := x.Against(y)
		back, errBack := y.Against(x)
		if (err == nil) != (errBack == nil) {
			t.Fatalf("%v one way, %v the other", err, errBack)
		}
		if err != nil {
			for n := range of {
				if _, both := former[n]; both {
					t.Errorf("both have entry %d: %v", n, err)
				}
			}
			return
		}
		differs := got.Relation == Contradicts && !got.Missing
		if differs && (back.Relation != Contradicts || back.Missing || back.Entry != got.Entry) {
			t.Errorf("%+v one way, %+v the other", got, back)
		}
		for n, text := range of {
			was, both := former[n]
			switch {
			case !both:
			case differs && n == got.Entry && text == was && !got.UpTo:
				t.Errorf("entry %d is the same: %+v", n, got)
			case differs && n >= got.Entry:
			case text != was:
				t.Errorf("entry %d differs: %+v", n, got)
			}
			if x.Holds(Head{n, hash([]byte(text))}) != nil {
				t.Errorf("it does not hold its own entry %d", n)
			}
		}
		for n := range former {
			if _, both := of[n]; !both && n > x.After.Number && (got.Relation == Same || got.Relation == Grew) {
				t.Errorf("entry %d is missing: %+v", n, got)
			}
		}
		if same := got.Relation == Same; same != (back.Relation == Same) {
			t.Errorf("%+v one way, %+v the other", got, back)
		}
	})
}
