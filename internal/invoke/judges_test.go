package invoke_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"she/internal/runtimes"
)

// generatedEvents are texts that a runtime may be given: JSON of any kind, and, one in eight, what is nearly JSON.
func generatedEvents(n int) []string {
	r := rand.New(rand.NewPCG(17, 13))
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	text := func() string {
		s := ""
		for range r.IntN(4) {
			s += one(`a`, `Grüße`, `😀`, `\"`, `\\`, `\/`, `\n`, `\u0000`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\ude00`, ` `, "\u2028", "\x7f", `__proto__`, `toJSON`)
		}
		return `"` + s + `"`
	}
	number := func() string {
		return one("0", "-0", "0.0", "-0.0", "1", "-1", "1.0", "1e2", "1E+2", "1e-2", "0.1", "1e308", "1e309", "-1e400", "5e-324", "1e-400",
			"9007199254740993", "9223372036854775808", "12345678901234567890123456789", "1.00000000000000000001", strings.Repeat("9", 400))
	}
	var value func(depth int) string
	value = func(depth int) string {
		kind := r.IntN(8)
		if depth == 0 && kind > 4 {
			kind -= 4
		}
		space := one("", "", " ", "\n\t", "\r\n")
		var parts []string
		switch kind {
		case 0:
			return one("null", "true", "false")
		case 1, 2:
			return space + number() + space
		case 3, 4:
			return text()
		case 5:
			for range r.IntN(5) {
				parts = append(parts, value(depth-1))
			}
			return "[" + space + strings.Join(parts, ",") + "]" + space
		default:
			for range r.IntN(5) {
				parts = append(parts, one(text(), `""`, `"a"`, `"1"`, `"0"`)+space+":"+value(depth-1))
			}
			return "{" + strings.Join(parts, ","+space) + "}"
		}
	}
	var all []string
	for i := range n {
		e := value(4)
		if i%8 == 0 {
			switch at := r.IntN(len(e) + 1); r.IntN(4) {
			case 0:
				e = e[:at]
			case 1:
				e = e[:at] + one(",", "}", "]", "\"", "x", "\x01", "'", "//", "\\", "-", "0", ".") + e[at:]
			case 2:
				e = one("", "NaN", "Infinity", "-Infinity", "undefined", "None", "True", "+1", "01", ".5", "1.", "'a'", "[1,]", "{a:1}", "{'a':1}", "\ufeff1", "\"\t\"", "\"\\x41\"",
					"1 2", "\xff", "\"\xff\"", "\"\xed\xa0\xbd\"", "\x00", "\u00a01", "\v1", strings.Repeat("[", 100_000), strings.Repeat("9", 5000))
			default:
				e += one(" ", "\n", "\x00", "\u00a0", "}", "x", "\ufeff")
			}
		}
		all = append(all, e)
	}
	return all
}

func seeds(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// differ compares what two runtimes said to the same events; explain names the differences that are meant.
func differ(t *testing.T, events []string, ours, theirs []said, explain func(event string, ours, theirs said) string) {
	t.Helper()
	meant, failed, bad := map[string]int{}, 0, 0
	for i := range events {
		o, p := ours[i], theirs[i]
		if o.path == "error" {
			failed++
		}
		if o.path == p.path && (o.path == "response" && o.body == p.body || o.path == "error" && typeOf(o) == typeOf(p)) {
			continue
		}
		if why := explain(events[i], o, p); why != "" {
			meant[why]++
			continue
		}
		if bad++; bad <= 20 {
			t.Errorf("%.200q: ours %s %s %.300q\n theirs %s %s %.300q", events[i], o.path, typeOf(o), o.body, p.path, typeOf(p), p.body)
		}
	}
	t.Logf("%d compared, %d of them errors; meant to differ: %v; not: %d", len(events), failed, meant, bad)
}

// typeOf is the error's type as its document has it.
func typeOf(s said) string {
	var d struct{ ErrorType string }
	if s.path != "error" || json.Unmarshal([]byte(s.body), &d) != nil {
		return ""
	}
	return d.ErrorType
}

const compared = 2000

// TestPythonAgainstAmazons compares what Python's runtime reads and writes with Amazon's own client.
func TestPythonAgainstAmazons(t *testing.T) {
	slow(t)
	t.Parallel()
	judge, err := filepath.Abs("../../.cache/awslambdaric")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(judge, "awslambdaric")); err != nil {
		missing(t, "make functions (it wants pip and Debian 12's Python)")
	}
	const python = "/usr/bin/python3"
	dir, bootstrap := peers(t), absolute(t, "../runtimes/python/bootstrap.py")
	env := []string{"PYTHONDONTWRITEBYTECODE=1", "AWS_EXECUTION_ENV=AWS_Lambda_python3.11"}
	both := func(function string, events []string) (ours, theirs []said) {
		ours = converse(t, "generated."+function, dir, env, events, python, bootstrap)
		theirs = converse(t, "generated."+function, dir, append(slices.Clone(env), "PYTHONPATH="+judge), events, python, "-m", "awslambdaric", "generated."+function)
		for i := range ours {
			if inASCII(ours[i].body) == theirs[i].body { // the same JSON
				ours[i].body = theirs[i].body
			}
		}
		return ours, theirs
	}
	explain := func(event string, ours, theirs said) string {
		switch {
		case theirs.path == "response" && !json.Valid([]byte(theirs.body)) && typeOf(ours) == "Runtime.MarshalError":
			return "theirs writes NaN or an infinity, which is no JSON"
		case strings.Contains(event, "\xed\xa0\xbd") && ours.path == "response":
			return "ours reads half a pair that is written in bytes"
		}
		return ""
	}
	events := generatedEvents(compared)
	ours, theirs := both("reads", events)
	differ(t, events, ours, theirs, explain)
	events = seeds(compared)
	ours, theirs = both("writes", events)
	differ(t, events, ours, theirs, explain)
}

// inASCII writes a text as Amazon's client for Python does until 3.11: the same JSON as ours.
func inASCII(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// TestNodeAgainstAmazons compares what Node.js's runtime reads and writes with Amazon's own client.
func TestNodeAgainstAmazons(t *testing.T) {
	slow(t)
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "apt-get install nodejs")
	}
	judge := absolute(t, "../../functions/testdata/echo-ric/node_modules/aws-lambda-ric/index.mjs")
	if _, err := os.Stat(filepath.Join(filepath.Dir(judge), "rapid-client.node")); err != nil {
		missing(t, "make functions (its native part wants cmake, g++ and xz)")
	}
	dir, bootstrap := peers(t), absolute(t, "../runtimes/nodejs/bootstrap.mjs")
	explain := func(event string, ours, theirs said) string {
		switch {
		case typeOf(ours) == "Runtime.MarshalError" && typeOf(theirs) == "Runtime.JSONStringifyError":
			return "ours says why there is no JSON"
		case typeOf(ours) == "Runtime.MarshalError" && strings.Contains(theirs.body, `"Wrong arguments"`):
			return "ours says that a function or a symbol is no answer"
		}
		return ""
	}
	// An event that is no JSON ends Amazon's process.
	valid := slices.DeleteFunc(generatedEvents(compared), func(e string) bool { return !json.Valid([]byte(e)) })
	for function, events := range map[string][]string{
		"reads": valid, "writes": seeds(compared), "throws": seeds(compared / 4),
	} {
		ours := converse(t, "generated."+function, dir, nil, events, node, bootstrap)
		theirs := converse(t, "generated."+function, dir, nil, events, node, judge, "generated."+function)
		t.Run(function, func(t *testing.T) { differ(t, events, ours, theirs, explain) })
	}
}

// TestJavaAgainstAmazons compares what Java's runtime reads and writes with Amazon's own client. The serialisation is the same
// jar: what is compared is how each comes to use it for the type that a handler declares.
func TestJavaAgainstAmazons(t *testing.T) {
	slow(t)
	t.Parallel()
	classes := javaClasses(t)
	found, _, err := runtimes.Finder{}.Find("java17")
	if err != nil {
		missing(t, err.Error())
	}
	judge, err := filepath.Glob(absolute(t, "../../.cache/java-client/*.jar"))
	if err != nil || len(judge) < 2 {
		missing(t, "make functions (it wants maven)")
	}
	serialization := absolute(t, "../runtimes/java/lib/aws-lambda-java-serialization.jar")
	env := []string{"AWS_EXECUTION_ENV=AWS_Lambda_java17", "JAVA_TOOL_OPTIONS=-XX:TieredStopAtLevel=1 -Xss1m -Dfile.encoding=UTF-8"}
	path := func(parts ...string) string { return strings.Join(parts, ":") }
	explain := func(event string, ours, theirs said) string {
		switch kind := typeOf(ours); {
		case kind == "Runtime.MarshalError" && strings.Contains(theirs.body, "An error occurred during JSON serialization of response"),
			kind == "Runtime.UnmarshalError" && strings.Contains(theirs.body, "An error occurred during JSON parsing"):
			return "ours says by the type which of the two it is"
		}
		return ""
	}
	for _, c := range []struct {
		function string
		events   []string
	}{
		{"reads", generatedEvents(compared)}, {"readsMap", generatedEvents(compared)}, {"readsBean", generatedBeans(compared)},
		{"writes", seeds(compared)}, {"writesMap", seeds(compared / 4)}, {"writesBean", seeds(compared / 4)},
	} {
		t.Run(c.function, func(t *testing.T) {
			handler := "peers.Generated::" + c.function
			ours := converse(t, handler, classes, env, c.events, found.Command[2],
				"-cp", path(serialization, classes, shownAt(found.Paths, runtimes.Lang+"/java")), "she.runtime.Bootstrap")
			theirs := converse(t, handler, classes, env, c.events, found.Command[2],
				"-cp", path(append(slices.Clone(judge), serialization, classes)...), "com.amazonaws.services.lambda.runtime.api.client.AWSLambda", handler)
			differ(t, c.events, ours, theirs, explain)
		})
	}
}

// generatedBeans are events for a bean's properties, of the kinds it declares and of others.
func generatedBeans(n int) (all []string) {
	r := rand.New(rand.NewPCG(14, 17))
	names := []string{"count", "text", "inner", "kinds", "when", "octets", "isDone", "open", "sums", "longURL", "Text", "TEXT", "done", "unknown", "longurl", ""}
	values := []string{"null", "true", "1", "-1.5", "1e309", "2147483648", `""`, `"a"`, `"1"`, `"1.5"`, `"true"`, `"RUN"`, `"running"`, `["RUN","WALK"]`, `["SWIM"]`, `[1]`, `"AQI="`,
		`[1,2]`, `"?"`, `"2024-01-02T03:04:05.006Z"`, `"2024-01-02"`, `1500`, `{"a":0.10,"b":"1.5"}`, `{"text":"inner"}`, `[{"text":"x"}]`, `[]`, `{}`, `"NaN"`}
	for range n {
		var parts []string
		for range r.IntN(4) {
			parts = append(parts, fmt.Sprintf("%q:%s", names[r.IntN(len(names))], values[r.IntN(len(values))]))
		}
		all = append(all, "{"+strings.Join(parts, ",")+"}")
	}
	return all
}

// peers is the package that both runtimes load.
func peers(t *testing.T) string { return absolute(t, "testdata/peers") }

func absolute(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
