package dialect

import (
	"fmt"
	"strings"
)

// A kind of token.
type kind int

const (
	word   kind = iota // a keyword, or a name without quotes
	quoted             // "a name"
	text               // 'a text'
	number
	param // ? or ?7
	sign  // one of signs
)

type token struct {
	kind   kind
	text   string // as written
	spaced bool   // white space or a comment comes before it
}

// is reports whether the token is that keyword or sign, in any case.
func (t token) is(what string) bool {
	return (t.kind == word || t.kind == sign) && strings.EqualFold(t.text, what)
}

// signs mean the same in both dialects; the longest come first.
var signs = []string{"<>", "<=", ">=", "||", "(", ")", ",", ".", ";", "=", "<", ">", "+", "-", "*"}

// tokens splits a statement.
func tokens(s string) (all []token, err error) {
	spaced, depth := false, 0
	for i := 0; i < len(s); {
		var t token
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i, spaced = i+1, true
			continue
		case strings.HasPrefix(s[i:], "--"):
			end := strings.IndexByte(s[i:], '\n')
			if end < 0 {
				end = len(s) - i
			}
			i, spaced = i+end, true
			continue
		case strings.HasPrefix(s[i:], "/*"):
			end := strings.Index(s[i+2:], "*/")
			if end < 0 {
				return nil, fmt.Errorf("the comment %.20q has no end", s[i:])
			}
			i, spaced = i+2+end+2, true
			continue
		case c == '\'' || c == '"':
			end := closing(s[i:], c)
			if end < 0 {
				return nil, fmt.Errorf("the quote %.20q has no end", s[i:])
			}
			t = token{kind: text, text: s[i : i+end]}
			if c == '"' {
				t.kind = quoted
			}
		case c == '?':
			t = token{kind: param, text: s[i : i+1+run(s[i+1:], isDigit)]}
		case isDigit(c):
			n := run(s[i:], isWord)
			t = token{kind: number, text: s[i : i+n]}
			if run(s[i:], isDigit) != n || strings.HasPrefix(s[i+n:], ".") {
				return nil, fmt.Errorf("%q is not a whole number", t.text)
			}
		case isWord(c):
			t = token{kind: word, text: s[i : i+run(s[i:], isWord)]}
		default:
			t.kind = sign
			for _, known := range signs {
				if strings.HasPrefix(s[i:], known) {
					t.text = known
					break
				}
			}
			// Adjacent signs may form an unknown one.
			if t.text == "" || strings.ContainsAny(t.text, "=<>|") && strings.IndexAny(s[i+len(t.text):], "=<>|!&%~") == 0 {
				return nil, fmt.Errorf("unknown sign at %.20q", s[i:])
			}
		}
		if t.is("(") {
			depth++
		} else if t.is(")") {
			depth--
		}
		if depth < 0 {
			return nil, fmt.Errorf("a parenthesis is closed that was not opened")
		}
		t.spaced, spaced = spaced, false
		i += len(t.text)
		all = append(all, t)
	}
	if depth > 0 {
		return nil, fmt.Errorf("a parenthesis is not closed")
	}
	return all, nil
}

// closing returns the length of what s begins with, up to the closing quote. A doubled quote does not close.
func closing(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

func run(s string, is func(byte) bool) (n int) {
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// past returns the index after the parenthesis that closes the one at i, or end.
func past(all []token, i, end int) int {
	depth := 0
	for ; i < end; i++ {
		switch {
		case all[i].is("("):
			depth++
		case all[i].is(")"):
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return end
}

// find returns the index of the first of the keywords between i and end outside of parentheses, or end.
func find(all []token, i, end int, words ...string) int {
	for i < end {
		if all[i].is("(") {
			i = past(all, i, end)
			continue
		}
		for _, w := range words {
			if all[i].is(w) {
				return i
			}
		}
		i++
	}
	return end
}
