package bundle

import (
	"iter"

	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/textsearch"
)

// A search is the operand of find, read like PostgreSQL's plainto_tsquery('english', …): every word must be
// in the text. A search without words, for example of stop words only, finds nothing.
type search struct {
	lexemes map[string]int // word to number
}

func newSearch(words hat.Data) search {
	s := search{make(map[string]int)}
	for lexeme := range textsearch.Lexemes(nil, jsonb.Text(words.JSON())) {
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

// lexemes yields the words of a value.
func (m *meter) lexemes(value string) iter.Seq[string] {
	m.spend(costSearched * len(value))
	return textsearch.Lexemes(m.fuel(), jsonb.Text(value))
}
