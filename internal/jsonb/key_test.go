package jsonb

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"she/internal/fuel"
	"she/internal/pgtest"
)

// A cut key is a prefix of the whole key, whatever the value.
func TestKeysUpto(t *testing.T) {
	mk := pgtest.Random{Rand: rand.New(rand.NewPCG(8, 9))}
	long := strings.Repeat(`,"0123456789"`, 2_000)
	for range 400 {
		// The large part comes last, so that the first bytes of the key depend on the small parts.
		for _, text := range []string{
			`[` + mk.Value(3) + `,` + mk.Value(2) + long + `]`,
			`{"a":` + mk.Value(3) + `,"b":[` + mk.Value(1) + `,{"c":` + mk.Value(2) + `}],"long":[0` + long + `]}`,
			strings.Repeat("[", 90) + mk.Value(1) + long + strings.Repeat("]", 90),
		} {
			d := canon(t, text)
			const most = 512
			whole, cut := AppendKey(nil, d), AppendKeyUpto([]byte("before"), d, most)
			cut = bytes.TrimPrefix(cut, []byte("before"))
			if len(cut) < most || !bytes.Equal(cut[:most], whole[:most]) {
				t.Fatalf("%s: the key begins with %x, cut it is %x", d[:100], whole[:most], cut)
			}
		}
	}
	// Text that is not JSON has no defined key, but must not cause a panic.
	for _, text := range []string{`[`, `{`, `{"`, `{"a"`, `{"a":`, `[,`, `[]]`, `{"a":1]`, `[[[}`, `"`, `{"a\`} {
		AppendKeyUpto(nil, text+strings.Repeat(" ", 1<<14), 512)
		AppendKeyUpto(nil, strings.Repeat(text, 1<<13), 512)
	}
}

// A long path through nested arrays does not read each level again.
func TestDeepIndices(t *testing.T) {
	inner := strings.Repeat("1,", 100_000) + "1"
	d := canon(t, `{"v":`+strings.Repeat("[", 200)+inner+strings.Repeat("]", 200)+`}`)
	var used int64
	m := fuel.New(func(units int64) { used += units })
	var at Trie
	var found [1]string
	at.Add(Path("v"+strings.Repeat(".0", 199)), 0)
	if at.Find(&m, d, found[:]); found[0] != "["+inner+"]" {
		t.Fatalf("found %d bytes", len(found[0]))
	}
	if used += m.Untold(); used > int64(2*len(d)) {
		t.Errorf("%d units for %d bytes", used, len(d))
	}
}
