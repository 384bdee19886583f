package project

import (
	"strings"
	"testing"
)

// FuzzGlob: what compiles never crashes and never lets a star cross a folder.
func FuzzGlob(f *testing.F) {
	for _, p := range []string{"**/*.{js,ts}", "a/**", "[!a-z]?", "@(a|b)+(c)", "{1..3}", `\[x\]`, "{a,{b,c}}"} {
		f.Add(p, "a/b.js")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		re, err := CompileGlob(pattern)
		if err != nil {
			return
		}
		if re.MatchString("aa/bb") && !strings.ContainsAny(pattern, "/") && !strings.Contains(pattern, "**") {
			t.Errorf("pattern %q crossed a folder", pattern)
		}
		re.MatchString(name)
	})
}
