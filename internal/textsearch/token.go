package textsearch

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"she/internal/fuel"
)

// A token is a piece of text that can be searched for. It is either a word of a natural language, which is
// stemmed and may be a stop word, or anything else (a number, a host, a file name, a word with digits),
// which is only put in lower case.
type token struct {
	text    string
	natural bool
}

// tokens splits a text as PostgreSQL's default parser does: words, words with digits, hyphenated words (the
// whole and each part), integers, decimals, versions, e-mail addresses, hosts, URLs (the whole, the host
// and the path), file names. Tags, entities and the protocol of a URL are dropped. If a text can be read in
// several ways, it follows the parser's preferences: "and/or" is a file, "node.js" a host, "-5" a negative
// number.
//
// Differences: hosts and addresses end after 256 bytes, so that hostile text can't make the parser look
// ahead again and again. Text between <script> tags is read. Go's Unicode tables, not the C library's, say
// which characters outside ASCII are letters.
func tokens(m *fuel.Meter, text string) iter.Seq[token] {
	return func(yield func(token) bool) {
		l := lexer{s: text}
		for i := 0; i < len(text); {
			next := l.next(i, yield)
			// Each byte that was read ahead is charged each time.
			m.Spend(costToken + l.ahead)
			l.ahead = 0
			if next < 0 {
				return
			}
			i = next
		}
	}
}

type lexer struct {
	s       string
	limit   int // no host extends beyond this
	inEmail bool
	ahead   int // bytes read ahead in vain, looking for a host, address or file
	// No comment ends after the position that was searched, so a text full of "<!--" isn't searched for
	// each.
	endless bool
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func asciiLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// A class is the parser's classification of a character.
type class byte

const (
	other class = iota
	letter
	foreign // a letter outside ASCII
	digit
	mark // has no width: part of the word that contains it
)

func (l *lexer) class(i int) (class, int) {
	if i >= len(l.s) {
		return other, 0
	}
	c := l.s[i]
	switch {
	case asciiLetter(c):
		return letter, 1
	case isDigit(c):
		return digit, 1
	case c < utf8.RuneSelf:
		return other, 1
	}
	r, size := utf8.DecodeRuneInString(l.s[i:])
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return mark, size
	case unicode.IsLetter(r), unicode.IsDigit(r), unicode.Is(unicode.Nl, r), unicode.Is(unicode.Mc, r):
		return foreign, size
	}
	return other, size
}

func (l *lexer) at(i int) byte {
	if i < len(l.s) {
		return l.s[i]
	}
	return 0
}

func (l *lexer) isDigit(i int) bool  { return isDigit(l.at(i)) }
func (l *lexer) isLetter(i int) bool { return asciiLetter(l.at(i)) }
func (l *lexer) isPlain(i int) bool  { return l.isDigit(i) || l.isLetter(i) }

func (l *lexer) digits(i int) int {
	for l.isDigit(i) {
		i++
	}
	return i
}

// next yields the tokens at i and returns where to continue, or -1 to stop.
func (l *lexer) next(i int, yield func(token) bool) int {
	l.limit = i + maxHost
	simple := func(end int) int {
		if !yield(token{text: l.s[i:end]}) {
			return -1
		}
		return end
	}
	c, size := l.class(i)
	switch c {
	case letter, foreign:
		return l.word(i, yield)
	case digit:
		return l.unsigned(i, yield)
	}
	switch l.s[i] {
	case '<':
		if end := l.tag(i + 1); end > 0 {
			return end
		}
	case '&':
		if end := l.entity(i + 1); end > 0 {
			return end
		}
	case '-', '+':
		if l.isDigit(i + 1) {
			end := l.digits(i + 1)
			if l.at(end) == '.' && l.isDigit(end+1) {
				end = l.digits(end + 1)
			}
			if l.at(end) != '.' || !l.isDigit(end+1) { // otherwise it is a version, which has no sign
				return simple(l.exponent(end))
			}
		}
	case '~':
		if end := l.path(i+1, behindHome); end > 0 {
			return simple(end)
		}
	case '/':
		if end := l.path(i+1, behindRoot); end > 0 {
			return simple(end)
		}
	case '.':
		if end := l.path(i+1, atDot); end > 0 {
			return simple(end)
		}
	}
	// A blank extends up to a character that may begin a token. A dot or tilde may do so, but not after a
	// blank.
	for i += size; i < len(l.s); i += size {
		if c, size = l.class(i); c != other && c != mark || strings.IndexByte("<-+&/", l.s[i]) >= 0 {
			break
		}
	}
	return i
}

// word reads a word that begins with a letter. It is the longest run of letters; with digits in it, it is a
// word with digits. Something longer that begins here, such as a host, is preferred.
func (l *lexer) word(i int, yield func(token) bool) int {
	end := i
	for l.isLetter(end) {
		end++
	}
	give := func(end int, natural bool) int {
		if !yield(token{l.s[i:end], natural}) {
			return -1
		}
		return end
	}
	if end > i {
		if next := l.address(i, end, yield); next != 0 {
			return next
		}
		switch l.at(end) {
		case '.':
			if l.fileNext(end + 1) {
				return give(l.path(end+1, inName), false)
			}
		case ':':
			if l.at(end+1) == '/' && l.at(end+2) == '/' && end+3 < len(l.s) {
				return end + 3
			}
		case '/':
			if f := l.path(end+1, behindRoot); f > 0 {
				return give(f, false)
			}
		case '-':
			if last := l.hyphenated(end); last > 0 {
				return l.compound(i, last, yield)
			}
		}
		if c, _ := l.class(end); c == other {
			return give(end, true)
		}
	}
	for {
		c, size := l.class(end)
		switch c {
		case digit:
			return l.numberWord(i, end, yield)
		case other:
			if l.at(end) == '-' {
				if last := l.hyphenated(end); last > 0 {
					return l.compound(i, last, yield)
				}
			}
			return give(end, true)
		}
		end += size
	}
}

// numberWord reads a word with digits that begins at i; end is a position after its start.
func (l *lexer) numberWord(i, end int, yield func(token) bool) int {
	for {
		c, size := l.class(end)
		if c == other {
			break
		}
		end += size
	}
	switch l.at(end) {
	case '@':
		if e := l.email(end + 1); e > 0 {
			end = e
		}
	case '/':
		if f := l.path(end+1, behindRoot); f > 0 {
			end = f
		}
	case '.':
		if l.fileNext(end + 1) {
			end = l.path(end+1, inName)
		}
	case '-':
		if last := l.hyphenated(end); last > 0 {
			return l.compound(i, last, yield)
		}
	}
	if !yield(token{text: l.s[i:end]}) {
		return -1
	}
	return end
}

// unsigned reads a token that begins with a digit.
func (l *lexer) unsigned(i int, yield func(token) bool) int {
	end := l.digits(i)
	give := func(end int) int {
		if !yield(token{text: l.s[i:end]}) {
			return -1
		}
		return end
	}
	switch c := l.at(end); c {
	case '.':
		if next := l.address(i, end, yield); next != 0 {
			return next
		}
		if l.isDigit(end + 1) {
			end = l.digits(end + 1)
			if l.at(end) != '.' || !l.isDigit(end+1) {
				return give(l.exponent(end))
			}
			for l.at(end) == '.' && l.isDigit(end+1) {
				end = l.digits(end + 1) // a version
			}
		}
		return give(end)
	case 'e', 'E':
		if e := l.exponent(end); e > end {
			return give(e)
		}
	}
	if next := l.address(i, end, yield); next != 0 {
		return next
	}
	if c, _ := l.class(end); c == letter || c == foreign || c == mark {
		return l.numberWord(i, end, yield)
	}
	if l.at(end) == '/' {
		if f := l.path(end+1, behindRoot); f > 0 {
			end = f
		}
	}
	return give(end)
}

// exponent returns where a number ends that continues with an exponent such as e+5, or i if it does not.
func (l *lexer) exponent(i int) int {
	if c := l.at(i); c != 'e' && c != 'E' {
		return i
	}
	j := i + 1
	if c := l.at(j); c == '+' || c == '-' {
		j++
	}
	if !l.isDigit(j) {
		return i
	}
	return l.digits(j)
}

// hyphenated returns where the compound ends whose first hyphen is at i, or 0 if no word follows. A part
// that begins with digits needs a letter.
func (l *lexer) hyphenated(i int) (end int) {
	for l.at(i) == '-' {
		j, letters := i+1, false
		for {
			c, size := l.class(j)
			if c == other || c == mark && j == i+1 {
				break
			}
			letters = letters || c != digit
			j += size
		}
		if !letters {
			return end
		}
		i, end = j, j
	}
	return end
}

// compound yields a hyphenated word and its parts.
func (l *lexer) compound(i, end int, yield func(token) bool) int {
	if !yield(token{l.s[i:end], l.natural(i, end)}) {
		return -1
	}
	for i < end {
		part := i
		for part < end && l.s[part] != '-' {
			part++
		}
		if !yield(token{l.s[i:part], l.natural(i, part)}) {
			return -1
		}
		i = part + 1
	}
	// A number after a compound's hyphen is not negative.
	if c, _ := l.class(end + 1); l.at(end) == '-' && c == digit {
		return end + 1
	}
	return end
}

func (l *lexer) natural(i, end int) bool { return !strings.ContainsAny(l.s[i:end], "0123456789") }

// tag returns where the tag or comment ends whose < is right before i, or 0 if it is not one.
func (l *lexer) tag(i int) int {
	switch l.at(i) {
	case '/':
		i++
	case '!':
		if strings.HasPrefix(l.s[i:], "!--") {
			if l.endless {
				return 0
			}
			end := strings.Index(l.s[i+3:], "-->")
			if end < 0 {
				l.endless = true
				return 0
			}
			return i + 3 + end + 3
		}
		i++
	case '?':
		i++
	}
	if c := l.at(i); !l.isLetter(i) && c != ':' && c != '_' {
		return 0
	}
	var quote byte
	for ; i < len(l.s); i++ {
		switch c := l.s[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '>':
			return i + 1
		case c == '"' || c == '\'':
			quote = c
		case l.isPlain(i) || c == ' ' || c >= '\t' && c <= '\r' || strings.IndexByte("=-_#/:.&?%~;", c) >= 0:
		default:
			return 0
		}
	}
	return 0
}

// entity returns where the entity ends whose & is right before i, or 0 if it is not one.
func (l *lexer) entity(i int) int {
	start := i
	if l.at(i) == '#' {
		i++
		if c := l.at(i); c == 'x' || c == 'X' {
			i++
		}
		start = i
		for l.isPlain(i) {
			i++
		}
	} else if l.isLetter(i) || l.at(i) == '_' || l.at(i) == ':' {
		for l.isPlain(i) || i > start && strings.IndexByte(":_.-", l.at(i)) >= 0 {
			i++
		}
	}
	if i == start || l.at(i) != ';' {
		return 0
	}
	return i + 1
}
