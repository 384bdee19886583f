package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// smallest has one function, _start, whose code is i32.const 7, drop; and a custom section.
const smallest = moduleHead + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x0a\x01\x06_start\x00\x00" + "\x0a\x07\x01\x05\x00\x41\x07\x1a\x0b" + "\x00\x05\x04name"

func TestOutline(t *testing.T) {
	got, err := outline([]byte(smallest))
	want := moduleHead + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x0a\x01\x06_start\x00\x00" + "\x0a\x05\x01\x03\x00\x00\x0b"
	if err != nil || string(got) != want {
		t.Errorf("%q %v", got, err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "text": "#!/bin/sh", "a length beyond the end": moduleHead + "\x01\x05\x01", "no length": moduleHead + "\x0a",
		"more functions than bytes": moduleHead + "\x0a\x05\xff\xff\xff\xff\x0f", "an endless length": moduleHead + "\x0a" + strings.Repeat("\xff", 12),
	} {
		if _, err := outline([]byte(bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzOutline: whatever is taken keeps its other sections as they are, and its outline is that of itself.
func FuzzOutline(f *testing.F) {
	f.Add([]byte(smallest))
	f.Add([]byte(moduleHead + "\x0a\x05\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, module []byte) {
		once, err := outline(module)
		if err != nil {
			return
		}
		twice, err := outline(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q becomes %q and then %q, %v", module, once, twice, err)
		}
	})
}

func FuzzImage(f *testing.F) {
	var whole bytes.Buffer
	if err := writeImage(&whole, []byte(smallest), "engine/entry", strings.NewReader("code")); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add([]byte(imageHead + "\x00\x00\x00\x00\x00\x05../up"))
	f.Add([]byte(imageHead + "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "image")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		image, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer image.Close()
		into := filepath.Join(dir, "in", "to")
		short, err := readImage(image, into)
		if err == nil {
			var again bytes.Buffer
			name, entry, err := onlyFile(into)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(entry)
			if err == nil {
				err = writeImage(&again, short, name, f)
				_ = f.Close()
			}
			// A name may be written in more ways than one ("a//b"); the rest is the same.
			if err != nil || again.Len() > len(b) {
				t.Errorf("%d bytes became %d, %v", len(b), again.Len(), err)
			}
		}
		beside, err := os.ReadDir(dir)
		if err != nil || len(beside) > 2 {
			t.Errorf("%v beside the image, %v", beside, err)
		}
	})
}
