package receipt

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func content(t testing.TB) Content {
	t.Helper()
	return Content{ID: hat.NewRecordID(), Author: hat.NewUserID(), Created: 7, Digest: [32]byte{1}, Endpoint: endpoint(t, "a/b")}
}

// Whatever of the content or the salt is another, the commitment is.
func TestCommitBindsAllParts(t *testing.T) {
	c, salt := content(t), []byte("0123456789abcdef")
	is := c.Commit(salt)
	if is != c.Commit(salt) {
		t.Error("the same content has two commitments")
	}
	for says, change := range map[string]func(*Content){
		"id":       func(c *Content) { c.ID = hat.NewRecordID() },
		"author":   func(c *Content) { c.Author = hat.NewUserID() },
		"created":  func(c *Content) { c.Created++ },
		"digest":   func(c *Content) { c.Digest[31]++ },
		"endpoint": func(c *Content) { c.Endpoint = endpoint(t, "a/c") },
	} {
		other := c
		change(&other)
		if other.Commit(salt) == is {
			t.Errorf("%s is not bound", says)
		}
	}
	if c.Commit([]byte("0123456789abcdeg")) == is {
		t.Error("the salt is not part of it")
	}
}

func TestSpansAreReadAsWritten(t *testing.T) {
	s := SpansOf([]hat.Seq{20, 5, 9, 10, 10, 19, 11})
	if text, _ := s.MarshalText(); string(text) != "5,9-11,19-20" {
		t.Errorf("wrote %s", text)
	}
	var got []hat.Seq
	for seq := range s.upTo(19) {
		got = append(got, seq)
	}
	if want := []hat.Seq{5, 9, 10, 11, 19}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"", "0", "-1", "5,5", "5,6", "6,5", "5-4", "5-", "x", "1-2-3", "9223372036854775808", "5-9223372036854775807,3", "1,,3"} {
		if err := new(Spans).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestContentsAreReadAsWritten(t *testing.T) {
	c := Contents{{1}, {2}}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var got Contents
	if err := json.Unmarshal(text, &got); err != nil || !slices.Equal(got, c) {
		t.Errorf("%s became %v, %v", text, got, err)
	}
	for _, bad := range []string{`""`, `"AA"`, string(text[:20]) + `"`, strings.Replace(string(text), `A"`, `B"`, 1), strings.Replace(string(text), `"A`, `" `, 1)} {
		if err := json.Unmarshal([]byte(bad), new(Contents)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestParseHead(t *testing.T) {
	_, head := chain(t, 3)
	for _, h := range []Head{head, {}} {
		if got, err := ParseHead(h.String()); err != nil || got != h {
			t.Errorf("%s became %v, %v", h, got, err)
		}
	}
	hex := head.Hash.String()
	for _, bad := range []string{"", ":", "3", hex, "3:" + hex[1:], "03:" + hex, "+3:" + hex, "-3:" + hex, "3:" + strings.ToUpper(hex),
		"0:" + hex, "3:" + Digest{}.String(), "3:" + hex + " ", "99999999999999999999:" + hex, "3::" + hex} {
		if h, err := ParseHead(bad); err == nil {
			t.Errorf("%q was read as %v", bad, h)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	_, head := chain(f, 2)
	f.Add(head.String())
	f.Add("0:" + Digest{}.String())
	f.Add("1:")
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := ParseHead(text); err == nil && h.String() != text {
			t.Errorf("%q became %q", text, h)
		}
	})
}

func TestHolds(t *testing.T) {
	texts, head := chain(t, 5)
	other, otherHead := chain(t, 5)
	third, err := Verify(Head{}, each(texts[:3]), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says   string
		kept   Head
		texts  [][]byte
		head   Head
		broken int64 // 0: it holds
	}{
		{"the end", head, texts[4:], head, 0},
		{"one in the midst", third, texts[2:], head, 0},
		{"the empty chain's", Head{}, texts, head, 0},
		{"of an empty chain", Head{}, nil, Head{}, 0},
		{"another chain's end", otherHead, texts[4:], head, 5},
		{"another chain", third, other[2:], otherHead, 3},
		{"cut behind it", third, texts[2:3], third, 0},
		{"cut before it", head, nil, third, 4},
		{"all gone", third, nil, Head{}, 1},
		{"its entry gone", third, nil, head, 4},
		{"a later one changed", third, [][]byte{texts[2], other[3], texts[4]}, head, 4},
	} {
		t.Run(c.says, func(t *testing.T) {
			err := Holds(c.kept, each(c.texts), c.head)
			var broken *BrokenError
			if c.broken == 0 && err != nil || c.broken > 0 && (!errors.As(err, &broken) || broken.Number != c.broken) {
				t.Errorf("got %v, want entry %d", err, c.broken)
			}
		})
	}
	lost := errors.New("lost")
	if err := Holds(third, func(yield func([]byte, error) bool) { yield(nil, lost) }, head); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
}

// The positions and spans of a chain that fits together are not believed: a file that was tampered with can say anything.
func TestCompareBelievesNothing(t *testing.T) {
	const huge = hat.Seq(1) << 62
	for says, facts := range map[string][]Fact{
		"no end":            {{Kind: Write, First: 1, Last: huge, Contents: Contents{{}}}},
		"backwards":         {{Kind: Write, First: 9, Last: 2, Contents: Contents{{}}}},
		"overlapping":       {{Kind: Write, First: 1, Last: 2, Contents: Contents{{}, {}}}, {Kind: Write, First: 1, Last: 2, Contents: Contents{{}, {}}}},
		"more contents":     {{Kind: Write, First: 1, Last: 1, Contents: Contents{{}, {}, {}}}},
		"contents, no span": {{Kind: Write, Contents: Contents{{}}}},
		"a gap":             {{Kind: Write, First: 2, Last: 2, Contents: Contents{{}}}},
		"all ended":         {{Kind: Write, First: 1, Last: 1, Contents: Contents{{}}}, {Kind: Erase, Ended: Spans{{1, huge}}, Dropped: Spans{{1, huge}}}},
	} {
		t.Run(says, func(t *testing.T) {
			var (
				texts [][]byte
				head  Head
			)
			for _, f := range facts {
				text, next, err := Append(head, time.UnixMicro(1), f)
				if err != nil {
					t.Fatal(err)
				}
				texts, head = append(texts, text), next
			}
			got, err := CompareContents(each(texts), func(func(Stored, error) bool) {}, 3, func(int64) error { return nil })
			if err != nil || got.Whole() {
				t.Errorf("%+v, %v", got, err)
			}
			if _, err := CompareContents(each(texts), func(func(Stored, error) bool) {}, huge, func(n int64) error { return errors.New("no room") }); err == nil && says != "backwards" && says != "contents, no span" {
				t.Error("nobody was asked for room")
			}
		})
	}
}

// At most twenty differences are named, and the others counted.
func TestManyDifferences(t *testing.T) {
	f := Fact{Kind: Write, First: 1, Last: 50}
	for i := range 50 {
		f.Contents = append(f.Contents, Commitment{byte(i)})
	}
	text, _, err := Append(Head{}, time.UnixMicro(1), f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := CompareContents(each([][]byte{text}), func(func(Stored, error) bool) {}, 50, func(int64) error { return nil })
	if err != nil || len(got.Differs) != 20 || got.More != 30 || got.Differs[19] != (Difference{Problem: Missing, Seq: 20, Entry: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}
