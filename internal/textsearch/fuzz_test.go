package textsearch

import (
	"testing"

	"she/internal/fuel"
)

// The parser moves forward in any text, and its work is in proportion to the text.
func FuzzLexemes(f *testing.F) {
	for _, word := range wordList {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var used int64
		m := fuel.New(func(units int64) { used += units })
		n := 0
		for lexeme := range Lexemes(&m, text) {
			if n++; lexeme == "" || n > 3*len(text) {
				t.Fatalf("%d lexemes of %q, the last %q", n, text, lexeme)
			}
		}
		// For each byte at most: a token, its stem, and the search for the end of a host.
		if used += m.Untold(); used > int64(len(text))*(costToken+3*costStem+4*maxHost) {
			t.Errorf("%d units for %d bytes", used, len(text))
		}
	})
}
