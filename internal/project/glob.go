package project

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Globs as the Serverless Framework reads them (micromatch with dot: true), turned into regular expressions of
// package regexp, which match in linear time whatever the pattern.

var errGlob = errors.New("the pattern is not understood")

const maxGlob = 1024 // bytes

// CompileGlob reads one pattern without its leading "!".
func CompileGlob(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxGlob {
		return nil, fmt.Errorf("%w: longer than %d bytes", errGlob, maxGlob)
	}
	p := strings.TrimPrefix(pattern, "./")
	if p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "/../") {
		return nil, fmt.Errorf("pattern %.80q leads out of the project", pattern)
	}
	g := glob{p: p}
	if err := g.translate(); err != nil {
		return nil, fmt.Errorf("pattern %.80q: %w", pattern, err)
	}
	re, err := regexp.Compile(`^(?s:` + g.out.String() + `)$`)
	if err != nil {
		return nil, fmt.Errorf("pattern %.80q: %w", pattern, errGlob)
	}
	return re, nil
}

// quoteGlob is a pattern that matches name alone.
func quoteGlob(name string) string {
	var b strings.Builder
	for _, r := range name {
		if strings.ContainsRune(`\\*?[]{}()!@+|,`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

type glob struct {
	p      string
	i      int
	out    strings.Builder
	groups []string // how each open group ends, innermost last; "{" groups split at commas, "(" groups at bars
}

func (g *glob) translate() error {
	for g.i < len(g.p) {
		rest := g.p[g.i:]
		start := g.i == 0 || g.p[g.i-1] == '/'
		switch c := rest[0]; {
		case start && len(g.groups) == 0 && strings.HasPrefix(rest, "**/"):
			g.out.WriteString(`(?:[^/]+/)*`)
			g.i += 3
		case start && len(g.groups) == 0 && rest == "**":
			g.out.WriteString(`.*`)
			g.i += 2
		case len(g.groups) == 0 && rest == "/**": // a folder's name matches with what is in it
			g.out.WriteString(`(?:/.*)?`)
			g.i += 3
		case c == '!' && strings.HasPrefix(rest, "!("):
			return errGlob // negation can't be written in a linear-time expression
		case strings.IndexByte("@?*+", c) >= 0 && len(rest) > 1 && rest[1] == '(':
			g.open(strings.TrimPrefix(string(c), "@"))
			g.i += 2
		case c == '(':
			g.open("")
			g.i++
		case c == ')' && g.in(")"):
			g.close()
		case c == '|' && g.in(")"), c == ',' && g.in("}"):
			g.out.WriteByte('|')
			g.i++
		case c == '}' && g.in("}"):
			g.close()
		case c == '{':
			if err := g.brace(); err != nil {
				return err
			}
		case c == '*':
			n := len(rest) - len(strings.TrimLeft(rest, "*"))
			g.i += n
			whole := start && (g.i == len(g.p) || g.p[g.i] == '/')
			if whole {
				g.out.WriteString(`[^/]+`)
			} else {
				g.out.WriteString(`[^/]*`)
			}
		case c == '?':
			g.out.WriteString(`[^/]`)
			g.i++
		case c == '[':
			if err := g.class(); err != nil {
				return err
			}
		case c == '\\' && len(rest) > 1:
			g.out.WriteString(regexp.QuoteMeta(rest[1:2]))
			g.i += 2
		default:
			g.out.WriteString(regexp.QuoteMeta(rest[:1]))
			g.i++
		}
		if len(g.groups) > 32 {
			return errGlob
		}
	}
	if len(g.groups) > 0 {
		return errGlob
	}
	return nil
}

func (g *glob) in(end string) bool {
	return len(g.groups) > 0 && g.groups[len(g.groups)-1][:1] == end
}

func (g *glob) open(repeat string) {
	g.groups = append(g.groups, ")"+repeat)
	g.out.WriteString(`(?:`)
}

func (g *glob) close() {
	last := g.groups[len(g.groups)-1]
	g.groups = g.groups[:len(g.groups)-1]
	g.out.WriteString(`)` + last[1:])
	g.i++
}

// brace opens {a,b}, writes out {1..3}, and leaves a brace with neither as it is.
func (g *glob) brace() error {
	end := strings.IndexByte(g.p[g.i:], '}')
	if end < 0 {
		return errGlob
	}
	inner := g.p[g.i+1 : g.i+end]
	if from, to, ok := strings.Cut(inner, ".."); ok && !strings.ContainsAny(inner, ",{") {
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a > b || b-a > 1000 {
			return errGlob
		}
		all := make([]string, 0, b-a+1)
		for ; a <= b; a++ {
			all = append(all, strconv.Itoa(a))
		}
		g.out.WriteString(`(?:` + strings.Join(all, "|") + `)`)
		g.i += end + 1
		return nil
	}
	if !strings.ContainsAny(inner, ",{") {
		g.out.WriteString(regexp.QuoteMeta("{" + inner + "}"))
		g.i += end + 1
		return nil
	}
	g.groups = append(g.groups, "}")
	g.out.WriteString(`(?:`)
	g.i++
	return nil
}

// class reads [abc], [a-z], [!abc]; it never matches a slash.
func (g *glob) class() error {
	rest := g.p[g.i+1:]
	negated := false
	if rest != "" && (rest[0] == '!' || rest[0] == '^') {
		negated, rest = true, rest[1:]
	}
	if rest == "" {
		return errGlob
	}
	end := strings.IndexByte(rest[1:], ']') + 1 // a bracket right at the start is a member
	if end == 0 || strings.ContainsAny(rest[:end], `/\[`) {
		return errGlob
	}
	members := strings.NewReplacer("^", `\^`, "]", `\]`, "&", `\&`, "~", `\~`).Replace(rest[:end])
	if negated {
		g.out.WriteString(`[^/` + members + `]`)
	} else {
		g.out.WriteString(`[` + members + `]`)
	}
	g.i = len(g.p) - len(rest) + end + 1
	return nil
}
