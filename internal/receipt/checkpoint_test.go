package receipt

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, key *rsa.PrivateKey, head Head) Checkpoint {
	t.Helper()
	c, err := Sign(key, head, time.UnixMicro(1_700_000_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rewritten is the chain as somebody leaves it who changes entry n and makes all the hashes fit again.
func rewritten(t testing.TB, texts [][]byte, n int) ([][]byte, Head) {
	t.Helper()
	var (
		all  [][]byte
		head Head
	)
	for i, text := range texts {
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if i+1 == n {
			e.Outcome = "nothing to see"
		}
		text, next, err := Append(head, e.Time(), e.Fact)
		if err != nil {
			t.Fatal(err)
		}
		all, head = append(all, text), next
	}
	return all, head
}

func TestProve(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	texts, head := chain(t, 7)
	third, err := Verify(Head{}, each(texts[:3]), nil)
	if err != nil {
		t.Fatal(err)
	}
	early, late := rewritten(t, texts, 2)
	after, afterHead := rewritten(t, texts, 5)
	forged := signed(t, key, third)
	forged.At++
	for _, c := range []struct {
		says   string
		texts  [][]byte
		head   Head
		signed []Checkpoint
		broken int64 // 0: whole
	}{
		{"as written and signed", texts, head, []Checkpoint{signed(t, key, head), signed(t, key, third)}, 0},
		{"nobody ever signed it", texts, head, nil, 0},
		{"rewritten before the first checkpoint", early, late, []Checkpoint{signed(t, key, third)}, 1},
		{"rewritten behind a checkpoint, before another", after, afterHead, []Checkpoint{signed(t, key, third), signed(t, key, head)}, 4},
		{"rewritten behind the last checkpoint shows only to who keeps a later one", after, afterHead, []Checkpoint{signed(t, key, third)}, 0},
		{"cut short, and the head with it", texts[:3], third, []Checkpoint{signed(t, key, head)}, 4},
		{"emptied", nil, Head{}, []Checkpoint{signed(t, key, third)}, 1},
		{"signed by another", texts, head, []Checkpoint{signed(t, stranger, third)}, 3},
		{"a checkpoint changed", texts, head, []Checkpoint{forged}, 3},
	} {
		t.Run(c.says, func(t *testing.T) {
			_, err := Prove(each(c.texts), &c.head, c.signed, &key.PublicKey)
			var broken *BrokenError
			if c.broken == 0 && err != nil || c.broken > 0 && (!errors.As(err, &broken) || broken.Number != c.broken) {
				t.Errorf("got %v, want entry %d named", err, c.broken)
			}
		})
	}
}

func export(t testing.TB, after int64, texts [][]byte, head Head, key *rsa.PrivateKey) []byte {
	t.Helper()
	var b bytes.Buffer
	last, err := Export(&b, after, each(texts), head, nil, key, time.UnixMicro(1_700_000_000_000_000))
	if err != nil || last.Head != head || !last.SignedBy(&key.PublicKey) {
		t.Fatal(last, err)
	}
	return b.Bytes()
}

func TestAnExportProvesItself(t *testing.T) {
	key := newKey(t)
	texts, head := chain(t, 5)
	whole := export(t, 0, texts, head, key)
	for after := range int64(6) {
		x, err := ReadExport(bytes.NewReader(export(t, after, texts, head, key)), &key.PublicKey)
		if err != nil || x.After.Number != after || x.End.Head != head {
			t.Errorf("behind entry %d: %d to %v, %v", after, x.After.Number, x.End, err)
		}
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for says, spoilt := range map[string][]byte{
		"no checkpoint":      bytes.Join(lines[:5], nil),
		"one removed":        slices.Concat(slices.Concat(lines[:2]...), slices.Concat(lines[3:]...)),
		"two changed places": slices.Concat(lines[0], lines[2], lines[1], slices.Concat(lines[3:]...)),
		"the last removed":   slices.Concat(slices.Concat(lines[:4]...), lines[5]),
		"one behind the end": slices.Concat(whole, lines[4]),
	} {
		if _, err := ReadExport(bytes.NewReader(spoilt), &key.PublicKey); err == nil {
			t.Errorf("%s: not found", says)
		}
	}
	if _, err := ReadExport(bytes.NewReader(whole), &newKey(t).PublicKey); err == nil {
		t.Error("another's key: not found")
	}
}

// A chain that is not whole is not vouched for.
func TestABrokenChainIsNotSigned(t *testing.T) {
	key := newKey(t)
	texts, head := chain(t, 5)
	var b bytes.Buffer
	_, err := Export(&b, 0, each(slices.Delete(slices.Clone(texts), 1, 2)), head, nil, key, time.Now())
	var broken *BrokenError
	if !errors.As(err, &broken) || broken.Number != 2 || bytes.Contains(b.Bytes(), []byte("checkpoint")) {
		t.Errorf("%v\n%s", err, b.Bytes())
	}
}

// Whatever byte of an export is changed, to whatever other: it shows.
func TestAnyByteOfAnExport(t *testing.T) {
	key := newKey(t)
	texts, head := chain(t, 3)
	whole := export(t, 0, texts, head, key)
	for i := range whole {
		for _, other := range []byte{whole[i] ^ 1, whole[i] ^ 0x20, ' ', '\n'} {
			if other == whole[i] || i == len(whole)-1 && other != '\n' && strings.TrimSpace(string(other)) == "" {
				continue // the last line break is not part of what is said
			}
			spoilt := bytes.Clone(whole)
			spoilt[i] = other
			if _, err := ReadExport(bytes.NewReader(spoilt), &key.PublicKey); err == nil {
				t.Fatalf("byte %d of %d, %q changed to %q: not found", i, len(whole), whole[i], other)
			}
		}
	}
}

func FuzzReadExport(f *testing.F) {
	key := newKey(f)
	texts, head := chain(f, 2)
	whole := export(f, 0, texts, head, key)
	f.Add(whole)
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ReadExport(bytes.NewReader(b), &key.PublicKey); err == nil && x.End.Head != head {
			t.Errorf("proved %v, which was never signed", x.End)
		}
	})
}
