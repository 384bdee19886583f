package hat

import "strings"

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
