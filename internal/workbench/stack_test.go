package workbench

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/catalog"
	"she/internal/hat"
)

// The output of tsc 5 for src/f.ts, whose second line throws.
const (
	compiled   = "\"use strict\";\nObject.defineProperty(exports, \"__esModule\", { value: true });\nexports.f = f;\nfunction f() {\n    throw new Error(\"no\");\n}\n"
	mappings   = `;;AAAA,cAEC;AAFD;IACE,MAAM,IAAI,KAAK,CAAC,IAAI,CAAC,CAAC;AACxB,CAAC`
	throwsAt   = "    at f (/var/task/dist/f.js:5:11)"
	throwsAtTS = "    at f (src/f.ts:2:9)"
)

func mapOf(source, root string) string {
	b, err := json.Marshal(map[string]any{"version": 3, "file": "f.js", "sourceRoot": root, "sources": []string{source}, "names": []string{}, "mappings": mappings})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestStackIsInTheAuthorsFiles(t *testing.T) {
	inline := "data:application/json;charset=utf-8;base64,"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a map beside it":     {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map", "dist/f.js.map": mapOf("../src/f.ts", "")}, throwsAtTS},
		"a map inside":        {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=" + inline + base64.StdEncoding.EncodeToString([]byte(mapOf("../src/f.ts", "")))}, throwsAtTS},
		"a root of sources":   {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map", "dist/f.js.map": mapOf("f.ts", "../src/")}, throwsAtTS},
		"a bundler's name":    {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map", "dist/f.js.map": mapOf("webpack://mine/./src/f.ts", "")}, throwsAtTS},
		"a map elsewhere":     {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=../maps/f.js.map", "maps/f.js.map": mapOf("../src/f.ts", "")}, throwsAtTS},
		"no map":              {map[string]string{"dist/f.js": compiled}, "    at f (dist/f.js:5:11)"},
		"a map that is gone":  {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map"}, "    at f (dist/f.js:5:11)"},
		"a map out of it":     {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=../../../etc/passwd"}, "    at f (dist/f.js:5:11)"},
		"no map at all":       {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map", "dist/f.js.map": "{"}, "    at f (dist/f.js:5:11)"},
		"a source too many":   {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map", "dist/f.js.map": `{"version":3,"sources":[],"mappings":"` + mappings + `"}`}, "    at f (dist/f.js:5:11)"},
		"sections of nothing": {map[string]string{"dist/f.js": compiled + "//# sourceMappingURL=f.js.map", "dist/f.js.map": `{"version":3,"sections":[{"offset":{"line":0,"column":0}}]}`}, "    at f (dist/f.js:5:11)"},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		document, err := json.Marshal(map[string]any{"errorType": "Error", "errorMessage": "no", "trace": []string{
			"Error: no", throwsAt, "    at call (file:///var/runtime/nodejs/bootstrap.mjs:303:10)",
		}})
		if err != nil {
			t.Fatal(err)
		}
		f := faultOf(hat.NewFault(hat.Author, "Unhandled", "the function raised an error"), document, catalog.Entry{Package: catalog.Package{Dir: dir}})
		if got := strings.Join(f.Stack, "\n"); got != c.want || f.Type != "Error" || f.Message != "no" {
			t.Errorf("%s: got %q of %q %q, want %q", name, got, f.Type, f.Message, c.want)
		}
	}
}

func TestStackOfEachLanguage(t *testing.T) {
	for document, want := range map[string]string{
		`{"errorType":"KeyError","errorMessage":"'x'","stackTrace":["  File \"/var/task/h.py\", line 3, in f\n    g()\n","  File \"/usr/lib/python3.11/json/x.py\", line 1, in y\n"]}`: "  File \"h.py\", line 3, in f\n    g()",
		`{"errorType":"errorString","errorMessage":"no","stackTrace":[{"path":"main.go","line":12,"label":"main.handle"}]}`:                                                            "main.handle (main.go:12)",
		`{"errorType":"java.lang.RuntimeException","errorMessage":"no","stackTrace":["a.B.c(B.java:7)","a.B.d(B.java:9)"]}`:                                                            "a.B.c(B.java:7)\na.B.d(B.java:9)",
		`{"errorType":"X","errorMessage":"RequestId: 1 Error: the function raised an error","stackTrace":7}`:                                                                           "",
		`no document`: "",
		`{"errorType":"X","errorMessage":"y","stackTrace":[null,7,{}]}`: "",
	} {
		f := faultOf(hat.NewFault(hat.Author, "Unhandled", "the function raised an error"), []byte(document), catalog.Entry{Package: catalog.Package{Dir: t.TempDir()}})
		if got := strings.Join(f.Stack, "\n"); got != want {
			t.Errorf("%s: got %q, want %q", document, got, want)
		}
	}
}
