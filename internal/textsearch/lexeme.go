// Package textsearch implements PostgreSQL's full text search with its configuration english: it finds the
// words of a text.
//
// It guarantees: in no text does the parser read a byte more often than a fixed number of times; its work
// is charged as fuel.
package textsearch

import (
	"iter"
	"strings"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"

	"she/internal/fuel"
)

// Units of fuel.
const (
	costToken = 1 << 5 // one token
	costStem  = 1 << 7 // stemming one token
)

// maxLexeme is the longest word, in bytes, that PostgreSQL indexes. Longer words are left out.
const maxLexeme = 2046

// Lexemes yields the words of a text in their basic form, as to_tsvector('english', …) has them. A repeated
// word is yielded each time.
func Lexemes(m *fuel.Meter, text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for t := range tokens(m, text) {
			lexeme := strings.ToLower(t.text)
			if t.natural {
				if stopWords[lexeme] {
					continue
				}
				m.Spend(costStem)
				lexeme = stem(lexeme)
			}
			if len(lexeme) <= maxLexeme && !yield(lexeme) {
				return
			}
		}
	}
}

// stem is the Snowball stemmer for English. A word of more than 1000 bytes stays as it is.
func stem(word string) string {
	if len(word) > 1000 {
		return word
	}
	env := snowballstem.NewEnv(word)
	english.Stem(env)
	return env.Current()
}

// stopWords are PostgreSQL's stop words for English.
var stopWords = func() map[string]bool {
	words := make(map[string]bool)
	for word := range strings.FieldsSeq(`a about above after again against all am an and any are as at be because been
		before being below between both but by can did do does doing don down during each few for from further had has
		have having he her here hers herself him himself his how i if in into is it its itself just me more most my
		myself no nor not now of off on once only or other our ours ourselves out over own s same she should so some
		such t than that the their theirs them themselves then there these they this those through to too under until
		up very was we were what when where which while who whom why will with you your yours yourself yourselves`) {
		words[word] = true
	}
	return words
}()
