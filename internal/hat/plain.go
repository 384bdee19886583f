package hat

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Steers says whether a terminal obeys a character instead of showing it: control characters (C0, DEL, C1),
// characters that change the direction of the text around them, and the separators of lines and paragraphs.
func Steers(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return r == 0x2028 || r == 0x2029
}

// Line is text of other people as one line that can be shown to anybody: a line break or a tab becomes a
// space, every other character that steers a terminal a dot, and what is not UTF-8 a replacement character.
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

// mostForeign bounds what a sentence of ours shows of other people's text, in bytes.
const mostForeign = 60

// claims are words that a sentence of ours would mean something by. A name that is one of them is quoted.
var claims = []string{
	"all", "and", "any", "anything", "everything", "field", "fields", "how", "many", "more", "no", "none", "not", "nothing", "of", "only",
	"or", "some", "something", "the", "whether",
}

// Foreign is a name somebody else chose, as it stands in a sentence of ours: bare if it is one short word that can't be taken for
// one of ours, such as start.dateTime or items[0], else in quotes, with what can't be seen or would end the quotes escaped. What
// is long is cut, with the dots outside the quotes, where only we write.
func Foreign(name string) string {
	if isName(name) {
		return name
	}
	return quoted(name)
}

// ForeignJSON is the same for a value, as JSON. Its texts have their own quotes, so that only what can't be seen is escaped.
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
		case r == '.' && i > 0 && i < len(name)-1: // at the end it ends a sentence
		default:
			return false
		}
	}
	return true
}
