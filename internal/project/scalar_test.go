package project

import (
	"os"
	"strings"
	"testing"
)

// The judges' own answers, recorded: what the tools' YAML readers make of a plain scalar.
func TestScalarsAreTypedAsTheToolsDo(t *testing.T) {
	table, err := os.ReadFile("testdata/scalars.tsv")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(table), "\n"), "\n")[1:]
	if len(lines) < 60 {
		t.Fatalf("the table has %d lines", len(lines))
	}
	for _, line := range lines {
		plain, rest, _ := strings.Cut(line, "\t")
		framework, sam, _ := strings.Cut(rest, "\t")
		if got := frameworkText(plain); got != framework {
			t.Errorf("serverless.yml: %s is %q, want %q", plain, got, framework)
		}
		if got := samText(plain); got != sam && !strings.HasPrefix(sam, "ERR ") {
			t.Errorf("template.yaml: %s is %q, want %q", plain, got, sam)
		}
	}
}

func TestScalarsOfAnEnvironment(t *testing.T) {
	p := mustRead(t, tree(t, map[string]string{"n.json": `{"n": 1.50, "b": true}`, "serverless.yml": `
service: case
custom: {debug: {dev: True, test: FALSE}, n: 0x10, quoted: 'TRUE'}
provider:
  name: aws
  runtime: python3.11
  memorySize: 0x200
  environment:
    A: TRUE
    B: ${self:custom.debug.${self:provider.stage}}
    C: "x-${self:custom.debug.dev}-${self:custom.n}"
    D: 1.50
    E: 0x1F
    F: 1e3
    G: "True"
    H: 'yes'
    I: yes
    J: ${opt:none, 1.50}
    K: ${self:custom.quoted}
    L: "1.50"
    M: ${file(n.json):n}
    N: ${file(n.json):b}
    O: !!str 0x1F
    P: |-
      TRUE
functions:
  f: {handler: app.handler}
  f-bundle: {handler: conf.bundle}
  f-configuration: {handler: conf.configuration}
`}), "", "f")
	want := map[string]string{
		"A": "true", "B": "true", "C": "x-true-16", "D": "1.5", "E": "31", "F": "1000", "G": "True", "H": "yes", "I": "yes",
		"J": "1.5", "K": "TRUE", "L": "1.50", "M": "1.5", "N": "true", "O": "0x1F", "P": "TRUE",
	}
	for name, value := range want {
		if got := p.Process.Env[name]; got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if p.Process.Memory != 512 {
		t.Errorf("0x200 MB are read as %d", p.Process.Memory)
	}
}
