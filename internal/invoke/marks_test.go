package invoke_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A mark is tag, by which a probe knows one, and sixteen hexadecimal digits. No two have pieceLength of these in common,
// so that what is left of one, perhaps not the whole, still tells whose it was.
const (
	tag         = "shemark"
	pieceLength = 8
)

// pieces are those of all marks there are.
var pieces = struct {
	sync.Mutex
	of map[string]bool
}{of: map[string]bool{}}

func newMark() string {
	pieces.Lock()
	defer pieces.Unlock()
	for {
		var b [8]byte
		_, _ = rand.Read(b[:])
		mark := tag + hex.EncodeToString(b[:])
		own := piecesOf(mark)
		if slices.ContainsFunc(own, func(p string) bool { return pieces.of[p] }) {
			continue
		}
		for _, p := range own {
			pieces.of[p] = true
		}
		return mark
	}
}

func piecesOf(mark string) (all []string) {
	digits := strings.TrimPrefix(mark, tag)
	for i := range len(digits) - pieceLength + 1 {
		all = append(all, digits[i:i+pieceLength])
	}
	return all
}

// hasPiece says whether there is a piece of one of the marks in text.
func hasPiece(text string, marks ...string) bool {
	for _, mark := range marks {
		if slices.ContainsFunc(piecesOf(mark), func(p string) bool { return strings.Contains(text, p) }) {
			return true
		}
	}
	return false
}

func TestPieceOfAMark(t *testing.T) {
	const one, other = tag + "0123456789abcdef", tag + "fedcba9876543210"
	for text, want := range map[string][2]bool{
		one:                           {true, false},
		other:                         {false, true},
		one + " " + other:             {true, true},
		"/tmp/" + one + "/":           {true, false},
		tag + "01234567":              {true, false},  // its end is missing
		"89abcdef........":            {true, false},  // its beginning
		"456789ab":                    {true, false},  // both
		tag + "0123456":               {false, false}, // too short to say
		tag + "a70fe25e2":             {false, false}, // nobody's
		one[:len(tag)+7] + "fedcba98": {false, true},
		"":                            {false, false},
	} {
		if got := [2]bool{hasPiece(text, one), hasPiece(text, other)}; got != want {
			t.Errorf("%s is of these marks: %v, want %v", text, got, want)
		}
		if hasPiece(text) || hasPiece(text, one, other) != (want[0] || want[1]) {
			t.Errorf("%s is of several marks or of none", text)
		}
	}
}

// searchFor names the files below dirs that hold the mark.
func searchFor(mark string, dirs ...string) (found []string) {
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // gone meanwhile, or nothing that holds bytes
			}
			f, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer f.Close()
			if b, err := io.ReadAll(io.LimitReader(f, 1<<30)); err == nil && bytes.Contains(b, []byte(mark)) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}
