package server

import (
	"os"
	"reflect"
	"testing"
	"time"

	"she/internal/engine"
)

func TestWaitsAreKeptAndWhatIsNoneIsLeftOut(t *testing.T) {
	f := waitsIn(t.TempDir())
	if all := f.Waits(); all != nil {
		t.Errorf("of no file: %v", all)
	}
	at := time.UnixMicro(1_700_000_000_000_001).UTC()
	want := []engine.Wait{{HAT: "alice", Since: at}, {HAT: "bob", Since: at.Add(time.Second)}}
	for range 2 { // the second replaces the first
		if err := f.KeepWaits(want); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.Waits(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	text, err := os.ReadFile(string(f))
	if err != nil {
		t.Fatal(err)
	}
	if got := parseWaits(append([]byte("x\n\n17\n17 \n-1 eve\nten eve\n"), text...)); !reflect.DeepEqual(got, want) {
		t.Errorf("beside lines that are none: %v", got)
	}
	if got := parseWaits(text[:len(text)-2]); len(got) != 2 || got[0] != want[0] {
		t.Errorf("of a file that is cut short: %v", got)
	}
}

func FuzzParseWaits(f *testing.F) {
	f.Add([]byte("1700000000000000 alice\n1 bob"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := waitsIn(t.TempDir())
		all := parseWaits(text)
		if err := dir.KeepWaits(all); err != nil {
			t.Fatal(err)
		}
		if again := dir.Waits(); !reflect.DeepEqual(again, all) {
			t.Errorf("%q: %v, then %v", text, all, again)
		}
	})
}
