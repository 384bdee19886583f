package textsearch

import "strings"

// maxHost bounds the length of a host in bytes. Real names on the Internet are shorter.
const maxHost = 256

// address looks for a host, URL or e-mail address whose first run of plain characters is [i, end), and
// yields it. It returns where it ends, or 0 if there is none.
func (l *lexer) address(i, end int, yield func(token) bool) int {
	var found site
	switch c := l.at(end); {
	case c == '.':
		found = l.hostFirstDomain(end + 1)
	case c == '-' || c == '_':
		found = l.hostFirst(end + 1)
	case c == '@':
		found = site{end: l.email(end + 1)}
	case l.isPlain(end):
		found = l.host(end + 1)
	}
	if found.end <= 0 {
		return 0
	}
	if !yield(token{text: l.s[i:found.end]}) {
		return -1
	}
	if found.host > 0 && (!yield(token{text: l.s[i:found.host]}) || !yield(token{text: l.s[found.host:found.end]})) {
		return -1
	}
	return found.end
}

// A site is where a host or address ends; 0 for none. Of a URL, host is where its host ends.
type site struct{ end, host int }

func (l *lexer) hostFirstDomain(i int) site {
	switch {
	case i >= l.limit:
	case l.isLetter(i):
		return l.hostDomainSecond(i + 1)
	case l.isDigit(i):
		return l.host(i + 1)
	}
	return site{}
}

// hostDomainSecond reads after the first letter of a possible top-level domain, which needs two letters.
func (l *lexer) hostDomainSecond(i int) site {
	switch c := l.at(i); {
	case l.isLetter(i):
		return l.hostDomain(i + 1)
	case l.isDigit(i):
		return l.host(i + 1)
	case c == '-' || c == '_':
		return l.hostFirst(i + 1)
	case c == '.':
		return l.hostFirstDomain(i + 1)
	case c == '@':
		return site{end: l.email(i + 1)}
	}
	return site{}
}

func (l *lexer) hostDomain(i int) site {
	from := i
	for l.isLetter(i) {
		i++
	}
	l.ahead += i - from
	var longer site
	switch c := l.at(i); {
	case l.isDigit(i):
		return l.host(i + 1)
	case c == ':' && l.isDigit(i+1):
		i = l.digits(i + 1)
		longer = l.url(i)
	case c == '-' || c == '_':
		longer = l.hostFirst(i + 1)
	case c == '.':
		longer = l.hostFirstDomain(i + 1)
	case c == '@':
		longer.end = l.email(i + 1)
	case c == '/':
		longer = l.url(i)
	}
	if longer.end > 0 {
		return longer
	}
	return site{end: i}
}

func (l *lexer) hostFirst(i int) site {
	if i >= l.limit || !l.isPlain(i) {
		return site{}
	}
	return l.host(i + 1)
}

func (l *lexer) host(i int) site {
	from := i
	for l.isPlain(i) {
		i++
	}
	l.ahead += i - from
	switch l.at(i) {
	case '@':
		return site{end: l.email(i + 1)}
	case '.':
		return l.hostFirstDomain(i + 1)
	case '-', '_':
		return l.hostFirst(i + 1)
	}
	return site{}
}

// email returns where the host after an @ ends, or 0 if there is none. A second @ is not allowed in it.
func (l *lexer) email(i int) int {
	if l.inEmail {
		return 0
	}
	l.inEmail = true
	found := l.hostFirst(i)
	l.inEmail = false
	if found.host > 0 {
		return found.host
	}
	return found.end
}

// url returns where the path ends that begins with the slash at i. After an @ there is no URL, so it does
// not search for the end.
func (l *lexer) url(i int) site {
	if l.at(i) != '/' || l.inEmail {
		return site{}
	}
	end := i + 1
	for end < len(l.s) && urlByte(l.s[end]) {
		end++
	}
	if end == i+1 {
		return site{}
	}
	return site{end: end, host: i}
}

func urlByte(c byte) bool { return c > ' ' && c < 0x7f && strings.IndexByte("\"<>\\^`{|}", c) < 0 }

func (l *lexer) fileNext(i int) bool { return l.isPlain(i) || l.at(i) == '_' }

// maxRoot bounds the slashes, dots and tildes, in bytes, before the first name of a file path.
const maxRoot = 32

// inPath is a position within a file name.
type inPath byte

const (
	inName     inPath = iota
	behindRoot        // after a slash
	behindHome        // after a tilde
	behindDot         // after a dot that may begin a name
	atDot             // after a dot at the very beginning; only .. or ./ may follow
	behindDots        // after two dots
)

// path returns where the file name ends that i is inside of, or 0 if it is not a file name.
func (l *lexer) path(i int, at inPath) (end int) {
	for start := i; ; i++ {
		if at != inName && end == 0 && i > start+maxRoot {
			return 0
		}
		c := l.at(i)
		name := l.isPlain(i) || c == '_'
		switch {
		case at == inName && (name || c == '-' || c == '.' && l.fileNext(i+1)):
		case at == inName && c != '/':
			return i
		case at == behindDots && c != '/':
			if i == len(l.s) || c == ' ' || c >= '\t' && c <= '\r' {
				return i
			}
			return end
		case at == inName || at == behindDots:
			end, at = i, behindRoot
		case name && at != atDot:
			at = inName
		case c == '/' && at != behindRoot:
			at = behindRoot
		case c == '~' && at == behindRoot:
			at = behindHome
		case c == '.' && at == behindRoot:
			at = behindDot
		case c == '.' && (at == behindDot || at == atDot):
			at = behindDots
		default:
			return end
		}
	}
}
