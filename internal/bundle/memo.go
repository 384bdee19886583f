package bundle

import "she/internal/hat"

const (
	// memoFrom is from how many bytes of text on it pays to remember a result.
	memoFrom = 256
	// maxMemo bounds the bytes that one question remembers, roughly.
	maxMemo = 16 << 20
	// memoEntry is the rough size of an entry.
	memoEntry = 64
)

// A memo remembers what several queries of one question would compute again about the same record: whether it
// passes a filter that several of them share, and which of the words that several of them search are in a
// field. A question reads one snapshot of the store, so a record's Born stands for its data.
type memo struct {
	filters  map[string]int         // by the filter's text, a number for each filter that occurs more than once
	words    map[string]*dictionary // by field, for fields with more than one search
	verdicts map[noted]bool
	found    map[noted][]uint64
	size     int
}

type noted struct {
	record hat.Seq
	number int // of a filter or a dictionary
}

// A dictionary holds all words that are searched for in one field.
type dictionary struct {
	number  int
	lexemes map[string]int // word to number
}

// newMemo finds what the queries have in common.
func newMemo(properties map[string]PropertyQuery) memo {
	texts, searches, fields := map[string]int{}, map[string]bool{}, map[string]int{}
	var each func(queries []EndpointQuery, visit func(f Filter))
	each = func(queries []EndpointQuery, visit func(f Filter)) {
		for _, q := range queries {
			for _, f := range q.Filters {
				visit(f)
			}
			each(q.Links, visit)
		}
	}
	n := 0
	for _, p := range properties {
		each(p.Endpoints, func(Filter) { n++ })
	}
	if n < 2 {
		return memo{}
	}
	for _, p := range properties {
		each(p.Endpoints, func(f Filter) {
			text := string(f.append(nil))
			texts[text]++
			if f.Operator.Kind == Find && !searches[text] {
				searches[text] = true
				fields[f.Field]++
			}
		})
	}
	m := memo{filters: map[string]int{}, words: map[string]*dictionary{}}
	for text, times := range texts {
		if times > 1 {
			m.filters[text] = len(m.filters)
		}
	}
	for field, searched := range fields {
		if searched > 1 {
			m.words[field] = &dictionary{number: len(m.words), lexemes: map[string]int{}}
		}
	}
	for _, p := range properties {
		each(p.Endpoints, func(f Filter) {
			if d := m.words[f.Field]; d != nil && f.Operator.Kind == Find {
				for lexeme := range newSearch(f.Operator.Search).lexemes {
					if _, seen := d.lexemes[lexeme]; !seen {
						d.lexemes[lexeme] = len(d.lexemes)
					}
				}
			}
		})
	}
	return m
}

// number returns the number of a filter that occurs more than once, else -1.
func (m *memo) number(f Filter) int {
	if len(m.filters) == 0 {
		return -1
	}
	if n, ok := m.filters[string(f.append(nil))]; ok {
		return n
	}
	return -1
}

// room forgets everything if that many more bytes don't fit.
func (m *memo) room(bytes int) {
	if m.size += memoEntry + bytes; m.size > maxMemo || m.verdicts == nil {
		m.verdicts, m.found, m.size = map[noted]bool{}, map[noted][]uint64{}, memoEntry+bytes
	}
}

// verdict returns what is known of the current record and a filter. Nothing is known of filter -1.
func (m *meter) verdict(filter int) (passes, known bool) {
	if filter < 0 {
		return false, false
	}
	passes, known = m.known.verdicts[noted{m.record, filter}]
	return passes, known
}

func (m *meter) keep(filter int, passes bool) {
	if filter >= 0 {
		m.known.room(0)
		m.known.verdicts[noted{m.record, filter}] = passes
	}
}

// wordsIn returns, as bits, the words of the dictionary that the text of the current record contains.
func (m *meter) wordsIn(d *dictionary, value string) []uint64 {
	at := noted{m.record, d.number}
	if found, ok := m.known.found[at]; ok {
		return found
	}
	found := make([]uint64, len(d.lexemes)/64+1)
	m.spend(len(found))
	for lexeme := range m.lexemes(value) {
		if n, wanted := d.lexemes[lexeme]; wanted {
			found[n/64] |= 1 << (n % 64)
		}
	}
	m.known.room(8 * len(found))
	m.known.found[at] = found
	return found
}

// among returns a test whether a text contains all words of the search. A long text is cut into words once
// for all searches.
func (d *dictionary) among(s search) test {
	numbers := make([]int, 0, len(s.lexemes))
	for lexeme := range s.lexemes {
		numbers = append(numbers, d.lexemes[lexeme])
	}
	return func(m *meter, value string) bool {
		if m == nil || len(value) < memoFrom {
			return s.matches(m, value)
		}
		if len(numbers) == 0 {
			return false
		}
		found := m.wordsIn(d, value)
		m.spend(len(numbers))
		for _, n := range numbers {
			if found[n/64]&(1<<(n%64)) == 0 {
				return false
			}
		}
		return true
	}
}
