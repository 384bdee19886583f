package project

import (
	"maps"
	"strings"
	"testing"
)

func TestDotenv(t *testing.T) {
	const project = `service: s
useDotenv: true
provider: {name: aws, runtime: python3.12, stage: "${opt:stage, 'dev'}", environment: {A: "${env:A}", B: "${env:B, 'no'}"}}
functions: {f: {handler: h.f}, f-bundle: {handler: h.b}, f-configuration: {handler: h.c}}
`
	files := map[string]string{"serverless.yml": project, ".env": "A=default\nB=two\n", ".env.prod": "A=prod\n"}
	for _, c := range []struct {
		name, stage string
		env         map[string]string
		change      func(string) string
		want        map[string]string
	}{
		{"the default file", "", nil, nil, map[string]string{"A": "default", "B": "two"}},
		{"the stage's alone", "prod", nil, nil, map[string]string{"A": "prod", "B": "no"}},
		{"what is given wins", "prod", map[string]string{"A": "given"}, nil, map[string]string{"A": "given", "B": "no"}},
		{"version 4 reads it unasked", "", nil, func(s string) string {
			return strings.Replace(s, "useDotenv: true", "frameworkVersion: '^4.1'", 1)
		}, map[string]string{"A": "default", "B": "two"}},
	} {
		text := project
		if c.change != nil {
			text = c.change(text)
		}
		files["serverless.yml"] = text
		p, err := read(tree(t, files), c.stage, id(t, "f"), c.env)
		if err != nil || !maps.Equal(p.Process.Env, c.want) {
			t.Errorf("%s: %+v, %v; want %q", c.name, p, err, c.want)
		}
	}
	files["serverless.yml"] = strings.Replace(project, "useDotenv: true", "", 1)
	if _, err := read(tree(t, files), "", id(t, "f"), nil); err == nil || !strings.Contains(err.Error(), "is not taken from this machine") {
		t.Errorf("a file that nobody asked for: %v", err)
	}
}

// The values are those that dotenv 16.6.1 and dotenv-expand 10.0.0 give, which Serverless Framework 3.40 reads .env with.
func TestDotenvValues(t *testing.T) {
	const text = `# a comment
PLAIN=one
  SPACED  =  two words
export EXPORTED=three
QUOTED="four # no comment"
SINGLE='five\nfive'
DOUBLE="six\nsix"
COMMENT=seven # a comment
EMPTY=
MANY="line one
line two"
REF=${PLAIN}-and-$EXPORTED
FALLBACK=${NOBODY:-else}
ESCAPED=\$PLAIN
` + "TICKS=`it's \"so\"`\nnot a line\n"
	got, err := loadDotenv(dir(tree(t, map[string]string{".env": text})), "dev", nil)
	want := map[string]string{
		"PLAIN": "one", "SPACED": "two words", "EXPORTED": "three", "QUOTED": "four # no comment", "SINGLE": `five\nfive`, "DOUBLE": "six\nsix",
		"COMMENT": "seven", "EMPTY": "", "MANY": "line one\nline two", "REF": "one-and-three", "FALLBACK": "else", "ESCAPED": "$PLAIN",
		"TICKS": `it's "so"`,
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
}

// References that double with each line come to an end.
func TestDotenvBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("A0=" + strings.Repeat("x", 1000) + "\n")
	for i := 1; i < 60; i++ {
		b.WriteString("A" + itoa(i) + "=" + strings.Repeat("${A"+itoa(i-1)+"}", 8) + "\n")
	}
	if got, err := loadDotenv(dir(tree(t, map[string]string{".env": b.String()})), "dev", nil); err == nil {
		size := 0
		for _, v := range got {
			size += len(v)
		}
		if size > maxYAML {
			t.Errorf("%d bytes", size)
		}
	}
}

// FuzzDotenv: no .env file crashes the reader or grows beyond what a project may hold.
func FuzzDotenv(f *testing.F) {
	f.Add("A=1\nB=\"x\ny\"\nC=${A}$B\n", "dev")
	f.Add("export A='\\''\r\n", "../x")
	f.Fuzz(func(t *testing.T, text, stage string) {
		got, err := loadDotenv(oneFile{".env", text}, stage, nil)
		size := 0
		for k, v := range got {
			if size += len(v); !environmentPattern.MatchString(strings.NewReplacer(".", "_", "-", "_").Replace(k)) {
				t.Errorf("name %q", k)
			}
		}
		if err == nil && size > maxYAML {
			t.Errorf("%d bytes of %d", size, len(text))
		}
	})
}
