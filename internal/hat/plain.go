package hat

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Steers reports whether a character controls a terminal instead of being shown: control characters (C0, DEL,
// C1), characters that change the direction of text, and separators of lines and paragraphs.
func Steers(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return r == 0x2028 || r == 0x2029
}

// Line makes other people's text one line that is safe to print. A line break or tab becomes a space, another
// control character a dot, and what is not UTF-8 a replacement character.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case Steers(r):
			return '·'
		}
		return r
	}, text)
}

// mostForeign bounds the bytes of other people's text in a sentence.
const mostForeign = 60

// claims are words that have a meaning in our sentences. A name that equals one of them is quoted.
var claims = []string{
	"all", "and", "any", "anything", "everything", "field", "fields", "how", "many", "more", "no", "none", "not", "nothing", "of", "only",
	"or", "some", "something", "the", "whether",
}

// Foreign prepares a name that somebody else chose for one of our sentences. One short word that can't be
// mistaken, such as start.dateTime or items[0], stays as it is. Anything else is quoted, with invisible
// characters and quotes escaped. Long names are cut, with the dots outside the quotes.
func Foreign(name string) string {
	if isName(name) {
		return name
	}
	return quoted(name)
}

// ForeignJSON does the same for a JSON value. Its texts have quotes already, so only invisible characters are
// escaped.
func ForeignJSON(text string) string {
	if len(text) > mostForeign {
		return quoted(text)
	}
	var b strings.Builder
	for _, r := range text {
		if r == ' ' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

func quoted(text string) string {
	if len(text) > mostForeign {
		return strconv.Quote(strings.ToValidUTF8(text[:mostForeign], "")) + "…"
	}
	return strconv.Quote(text)
}

func isName(name string) bool {
	if name == "" || len(name) > mostForeign || slices.Contains(claims, strings.ToLower(name)) {
		return false
	}
	for i, r := range name {
		switch {
		case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
		case i == 0 && r == '@', i > 0 && (r == '-' || r == '[' || r == ']' || r == '/' || r == '@' || r == ':'):
		case r == '.' && i > 0 && i < len(name)-1: // a dot at the end would look like the end of a sentence
		default:
			return false
		}
	}
	return true
}
