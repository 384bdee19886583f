package catalog

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	files := map[string]string{
		"a.js": "", "a.test.js": "", "src/a.js": "", "src/deep/b.js": "", "src/deep/b.spec.js": "", "src/.hidden/c.js": "",
		"docs/x.md": "", "docs/keep.md": "", "venv/lib/x.py": "", "file1": "", "file2": "", "file9": "", "[odd]": "", "ü.txt": "",
	}
	all := func(rules ...string) []string {
		t.Helper()
		list := "package: {patterns: ['" + strings.Join(rules, "', '") + "']}\n"
		p := mustPublish(t, open(t), tree(t, python(mapsWith(files, "serverless.yml", smallest+list))), "f").Package
		var names []string
		for _, s := range stored(t, p) {
			if name := strings.Fields(s)[0]; name != "h.py" {
				names = append(names, name)
			}
		}
		return names
	}
	only := func(rules ...string) []string { t.Helper(); return all(append([]string{"!**", "h.py"}, rules...)...) }
	same(t, only("src/**"), []string{"src/.hidden/c.js", "src/a.js", "src/deep/b.js", "src/deep/b.spec.js"})
	same(t, only("src/*"), []string{"src/a.js"})
	same(t, only("src/*/*.js"), []string{"src/.hidden/c.js", "src/deep/b.js", "src/deep/b.spec.js"})
	same(t, only("**/*.js", "!**/*.{test,spec}.js"), []string{"a.js", "src/.hidden/c.js", "src/a.js", "src/deep/b.js"})
	same(t, only("**/deep/**"), []string{"src/deep/b.js", "src/deep/b.spec.js"})
	same(t, only("./docs/**", "!docs/x.md"), []string{"docs/keep.md"})
	same(t, only("file{1..2}"), []string{"file1", "file2"})
	same(t, only("file[2-9]"), []string{"file2", "file9"})
	same(t, only("file[!29]"), []string{"file1"})
	same(t, only("file?"), []string{"file1", "file2", "file9"})
	same(t, only("@(a|ü).{js,txt}"), []string{"a.js", "ü.txt"})
	same(t, only(`\[odd\]`), []string{"[odd]"})
	same(t, only("docs", "docs/", "SRC/**", "*/b.js"), nil)
	same(t, all("!src/**", "!docs/**", "src/a.js", "!file*", "!venv/**", "!a*", "!*odd*"), []string{"src/a.js", "ü.txt"})

	// exclude is applied first, then include adds files again, even files that the framework leaves out by
	// default.
	list := "package: {include: [src/a.js, .DS_Store], exclude: ['**', '!h.py']}\n"
	f := mustPublish(t, open(t), tree(t, python(mapsWith(files, "serverless.yml", smallest+list, ".DS_Store", ""))), "f")
	same(t, stored(t, f.Package), []string{".DS_Store -r--r--r--", "h.py -r--r--r--", "src/a.js -r--r--r--"})
}

func mapsWith(m map[string]string, more ...string) map[string]string {
	all := make(map[string]string)
	for k, v := range m {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}
