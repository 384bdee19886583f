package textsearch

import "strings"

// maxHost is how far a host goes in bytes; names of the Internet end before.
const maxHost = 256

// address looks for a host, a URL or an e-mail address that begins at i with the plain run up to end, and yields it; 0
// if there is none.
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

// A site is where a host or address ends, 0 for none; of a URL also where its host does.
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

// hostDomainSecond is behind the one letter of what may become a top domain, which needs two.
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

// email is where the host behind an @ ends, 0 if there is none. There an @ is not looked at.
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

// url is where the path that begins with the slash at i ends. Behind an @ there is none, and looking for its end would be
// for nothing.
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

// maxRoot is within how many bytes of slashes, dots and tildes a file name has to begin.
const maxRoot = 32

// Where in a file name one is.
type inPath byte

const (
	inName     inPath = iota
	behindRoot        // a slash
	behindHome        // a tilde
	behindDot         // a dot that may begin a name
	atDot             // a dot with nothing before it, which must go on to .. or ./
	behindDots        // two dots
)

// path is where a file name ends of which i is inside, 0 if there is none yet.
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
