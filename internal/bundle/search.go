package bundle

import (
	"iter"
	"strings"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"

	"she/internal/hat"
	"she/internal/jsonb"
)

// A search is what find looks for, as PostgreSQL's plainto_tsquery('english', …) makes it: every word must be in the
// text. One without any word, say of stop words only, finds nothing.
type search struct {
	lexemes map[string]int // numbered
}

func newSearch(words hat.Data) search {
	s := search{make(map[string]int)}
	for lexeme := range lexemes(searchText(words.JSON())) {
		if _, seen := s.lexemes[lexeme]; !seen {
			s.lexemes[lexeme] = len(s.lexemes)
		}
	}
	return s
}

func (s search) matches(m *meter, value string) bool {
	left := len(s.lexemes)
	if left == 0 {
		return false
	}
	seen := make([]bool, left)
	for lexeme := range m.lexemes(value) {
		if n, wanted := s.lexemes[lexeme]; wanted && !seen[n] {
			seen[n] = true
			if left--; left == 0 {
				return true
			}
		}
	}
	return false
}

// searchText is the text of a value: of a string its content, of an array or object its JSON as PostgreSQL prints it,
// keys included; null has none. (It is what the operator #>> '{}' gives.)
func searchText(text string) string {
	switch jsonb.KindOf(text) {
	case jsonb.Null:
		return ""
	case jsonb.String:
		return jsonb.Unquoted(text)
	case jsonb.Array, jsonb.Object:
		return spaced(text)
	}
	return text
}

// spaced puts a space behind each comma and colon outside strings.
func spaced(text string) string {
	var b strings.Builder
	from := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '"':
			i = jsonb.StringEnd(text, i)
			continue
		case ',', ':':
			b.WriteString(text[from : i+1])
			b.WriteByte(' ')
			from = i + 1
		}
		i++
	}
	b.WriteString(text[from:])
	return b.String()
}

// maxLexeme is the longest word, in bytes, that PostgreSQL indexes; longer ones are left out.
const maxLexeme = 2046

// lexemes are the words of a value, for the meter.
func (m *meter) lexemes(value string) iter.Seq[string] {
	m.spend(costSearched * len(value))
	return m.words(searchText(value))
}

// lexemes are the words of a text in their basic form, as to_tsvector('english', …) has them, repeated ones repeated.
func lexemes(text string) iter.Seq[string] { return (*meter)(nil).words(text) }

func (m *meter) words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for t := range m.tokens(text) {
			lexeme := strings.ToLower(t.text)
			if t.natural {
				if stopWords[lexeme] {
					continue
				}
				m.spend(costStem)
				lexeme = stem(lexeme)
			}
			if len(lexeme) <= maxLexeme && !yield(lexeme) {
				return
			}
		}
	}
}

// stem is the Snowball stemmer for English. Words beyond 1000 bytes are no words and stay as they are.
func stem(word string) string {
	if len(word) > 1000 {
		return word
	}
	env := snowballstem.NewEnv(word)
	english.Stem(env)
	return env.Current()
}

// stopWords are PostgreSQL's for English.
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
