package pgtime

import "strings"

type fieldKind byte

const (
	fieldNone fieldKind = iota
	fieldNumber
	fieldDate // digits or a word, with - / . inside
	fieldTime // digits with :
	fieldZone // + or - and digits
	fieldWord
)

type timeField struct {
	kind fieldKind
	text string
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' }

// splitTime splits lower-case text into fields by the kinds of its characters alone.
func splitTime(s string) (fields []timeField, ok bool) {
	i := 0
	span := func(from int, in func(byte) bool) int {
		for from < len(s) && in(s[from]) {
			from++
		}
		return from
	}
	at := func(j int) byte {
		if j < len(s) {
			return s[j]
		}
		return 0
	}
	add := func(k fieldKind, end int) {
		fields = append(fields, timeField{k, s[i:end]})
		i = end
	}
	for i < len(s) {
		switch c := s[i]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			i++
		case isDigit(c):
			end := span(i, isDigit)
			switch sep := at(end); sep {
			case ':':
				add(fieldTime, span(end+1, func(c byte) bool { return isDigit(c) || c == ':' || c == '.' }))
			case '-', '/', '.':
				k := fieldDate
				if isDigit(at(end + 1)) {
					if sep == '.' {
						k = fieldNumber
					}
					if end = span(end+1, isDigit); at(end) == sep {
						k = fieldDate
						end = span(end+1, func(c byte) bool { return isDigit(c) || c == sep })
					}
				} else {
					end = span(end+1, func(c byte) bool { return isDigit(c) || isLetter(c) || c == sep })
				}
				add(k, end)
			default:
				add(fieldNumber, end)
			}
		case c == '.':
			add(fieldNumber, span(i+1, isDigit))
		case isLetter(c):
			end := span(i, isLetter)
			dated := at(end) == '-' || at(end) == '/' || at(end) == '.'
			if !dated && (at(end) == '+' || isDigit(at(end))) {
				_, known := timeWords[s[i:end]]
				dated = !known
			}
			if dated {
				add(fieldDate, span(end, func(c byte) bool {
					return isDigit(c) || isLetter(c) || strings.IndexByte("+-/_.:", c) >= 0
				}))
			} else {
				add(fieldWord, end)
			}
		case c == '+' || c == '-':
			j := span(i+1, func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' })
			if !isDigit(at(j)) {
				return nil, false
			}
			end := span(j, func(c byte) bool { return isDigit(c) || c == ':' || c == '.' || c == '-' })
			fields = append(fields, timeField{fieldZone, s[i:i+1] + s[j:end]})
			i = end
		case c > ' ' && c < 0x7f:
			i++ // other punctuation is ignored
		default:
			return nil, false
		}
		if len(fields) > 25 {
			return nil, false
		}
	}
	return fields, true
}
