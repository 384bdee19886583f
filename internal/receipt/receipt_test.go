package receipt

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"she/internal/hat"
)

func endpoint(t testing.TB, s string) hat.Endpoint {
	t.Helper()
	e, err := hat.ParseEndpoint(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// chain writes n entries and returns their texts and the head.
func chain(t testing.TB, n int) ([][]byte, Head) {
	t.Helper()
	var (
		texts [][]byte
		head  Head
	)
	f, err := hat.ParseFunctionID("mood")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		fact := Fact{Kind: Write, User: hat.NewUserID(), Endpoints: []hat.Endpoint{endpoint(t, "rumpel/notes")},
			Written: RecordsOf([]hat.RecordID{hat.NewRecordID()}), First: hat.Seq(i + 1), Last: hat.Seq(i + 1)}
		if i%2 == 1 {
			fact = Fact{Kind: Run, Function: f, Version: "1.0.0", Run: hat.NewRunID(), Outcome: "committed",
				Read: RecordsOf(nil), Bytes: &Bytes{10, 2}, Timings: Timings{Process: 7}}
		}
		text, next, err := Append(head, time.UnixMicro(int64(1_700_000_000_000_000+i)), fact)
		if err != nil {
			t.Fatal(err)
		}
		texts, head = append(texts, text), next
	}
	return texts, head
}

func each(texts [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, text := range texts {
			if !yield(text, nil) {
				return
			}
		}
	}
}

func TestVerify(t *testing.T) {
	texts, head := chain(t, 7)
	other, _ := chain(t, 7)
	flipped := func(i int) []byte {
		// The outcome or kind changes, and the text stays canonical.
		return bytes.Replace(bytes.Replace(texts[i], []byte(`"write"`), []byte(`"erase"`), 1),
			[]byte(`"committed"`), []byte(`"refused"`), 1)
	}
	with := func(change func(s [][]byte) [][]byte) [][]byte { return change(slices.Clone(texts)) }
	set := func(i int, text []byte) [][]byte {
		return with(func(s [][]byte) [][]byte { s[i] = text; return s })
	}
	for _, c := range []struct {
		says   string
		texts  [][]byte
		broken int64 // 0: whole
	}{
		{"as written it is whole", texts, 0},
		{"the first changed", set(0, flipped(0)), 1},
		{"one in the middle changed", set(3, flipped(3)), 4},
		{"the last changed", set(6, flipped(6)), 7},
		{"one spelt differently", set(2, append([]byte(" "), texts[2]...)), 3},
		{"one is no receipt at all", set(2, []byte(`{"number":3}`)), 3},
		{"the first removed", texts[1:], 1},
		{"one in the middle removed", slices.Delete(slices.Clone(texts), 3, 4), 4},
		{"the last removed", texts[:6], 7},
		{"all removed", nil, 1},
		{"two swapped", with(func(s [][]byte) [][]byte { s[2], s[3] = s[3], s[2]; return s }), 3},
		{"one twice", slices.Insert(slices.Clone(texts), 3, texts[2]), 4},
		{"one from another chain", set(3, other[3]), 4},
		{"the rest from another chain", append(slices.Clone(texts[:3]), other[3:]...), 3},
	} {
		got, err := Verify(Head{}, each(c.texts), &head)
		var broken *BrokenError
		switch {
		case c.broken == 0 && (err != nil || got != head):
			t.Errorf("%s: got head %d, %v", c.says, got.Number, err)
		case c.broken != 0 && !errors.As(err, &broken):
			t.Errorf("%s: got %v, want receipt %d named", c.says, err, c.broken)
		case c.broken != 0 && broken.Number != c.broken:
			// A foreign entry is seen either at its place or one before: where the chain parts.
			if !(c.says == "one from another chain" && broken.Number == c.broken-1) {
				t.Errorf("%s: got %v, want receipt %d named", c.says, err, c.broken)
			}
		}
	}
}

func TestVerifyGoesOnFromAHead(t *testing.T) {
	texts, head := chain(t, 5)
	middle, err := Verify(Head{}, each(texts[:2]), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Verify(middle, each(texts[2:]), &head); err != nil || got != head {
		t.Errorf("got head %d, %v", got.Number, err)
	}
	if _, err := Verify(Head{Number: 2}, each(texts[2:]), &head); err == nil {
		t.Error("follows a head that was never one")
	}
}

func TestVerifyReportsTheStoresError(t *testing.T) {
	lost := errors.New("the disk is gone")
	_, err := Verify(Head{}, func(yield func([]byte, error) bool) { yield(nil, lost) }, nil)
	if !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
}

// What Parse takes, it writes again to the same bytes: an entry has one spelling.
func FuzzParse(f *testing.F) {
	texts, _ := chain(f, 2)
	for _, text := range texts {
		f.Add(text)
	}
	text, _, err := Append(Head{}, time.UnixMicro(1), Fact{
		Kind: Run, First: 1, Last: 2, Contents: Contents{{1}}, Ended: Spans{{1, 2}, {4, 4}}, Dropped: Spans{{5, 9}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"number":1,"at":0,"previous":"","kind":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		again, err := encode(e)
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}
