package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An Error says at which line a project file can't be used, and why. It names keys but never values, because
// an environment may hold secrets.
type Error struct {
	File string // as in the project: "serverless.yml"; "" for no file
	Line int    // from 1; 0 for the file as a whole
	Text string
}

func (e *Error) Error() string {
	if e.File == "" {
		return e.Text
	}
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// A cloudError means that only a cloud knows a value. An environment variable that needs such a value is left
// out with a warning. For every other use it is an error.
type cloudError struct{ err *Error }

func (e cloudError) Error() string { return e.err.Error() }

func (e cloudError) Unwrap() error { return e.err }

func (v value) cloudf(format string, args ...any) error {
	return cloudError{v.problem(format, args...)}
}

const (
	maxYAML     = 1 << 20 // bytes of one project file
	maxSteps    = 50_000  // values looked at while reading a project: stops alias and variable bombs
	maxEvaluate = 64      // variables within variables
)

// A value is a YAML node with its file, so that every error has a line.
type value struct {
	node  *yaml.Node
	file  string
	line  int  // where there is no node
	final bool // made by an evaluation: a "${" in it is text
}

func (v value) errorf(format string, args ...any) error { return v.problem(format, args...) }

func (v value) problem(format string, args ...any) *Error {
	line := v.line
	if v.node != nil {
		line = v.node.Line
	}
	return &Error{v.file, line, fmt.Sprintf(format, args...)}
}

func (v value) isNull() bool {
	return v.node == nil || v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!null"
}

// at is a node of v's file.
func (v value) at(n *yaml.Node) value { return value{node: n, file: v.file, final: v.final} }

// scalar returns a value in the place of v.
func (v value) scalar(tag, text string) value {
	return value{node: &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text, Line: v.node.Line}, file: v.file, final: true}
}

// sequence returns a list of texts in the place of v.
func (v value) sequence(texts []string) value {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: v.node.Line}
	for _, text := range texts {
		list.Content = append(list.Content, v.scalar("!!str", text).node)
	}
	return value{node: list, file: v.file, final: true}
}

// parseYAML reads the one document of a file.
func parseYAML(file string, text []byte) (value, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return value{}, &Error{file, 0, "the file is empty"}
		}
		return value{}, yamlError(file, err)
	}
	if err := dec.Decode(&second); err == nil {
		return value{}, &Error{file, second.Line, "a second document begins here; want one"}
	} else if !errors.Is(err, io.EOF) {
		return value{}, yamlError(file, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return value{}, &Error{file, 0, "the file is empty"}
	}
	return value{node: doc.Content[0], file: file}, nil
}

// yamlError takes the line out of the parser's message, "yaml: line 3: did not find …".
func yamlError(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text, _, _ = strings.Cut(text, "\n")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return &Error{file, line, "not YAML: " + message}
			}
		}
	}
	return &Error{file, 0, "not YAML: " + text}
}

// A document reads typed values from YAML. eval evaluates variables or CloudFormation functions. It is called
// once for every value that is really used, so unused parts may be unsupported.
type document struct {
	eval     func(value) (value, error)
	dialect  dialect  // how plain scalars are read
	plugins  []string // that may have keys of their own
	steps    int
	warnings []string
}

func (d *document) warnf(v value, format string, args ...any) {
	w := v.errorf(format, args...).Error()
	for _, old := range d.warnings {
		if old == w {
			return
		}
	}
	d.warnings = append(d.warnings, w)
}

// resolved follows an alias and evaluates.
func (d *document) resolved(v value) (value, error) {
	if d.steps++; d.steps > maxSteps {
		return value{}, v.errorf("the project is too complicated: more than %d values", maxSteps)
	}
	if v.node == nil {
		return v, nil
	}
	if v.node.Kind == yaml.AliasNode {
		v.node = v.node.Alias
	}
	return d.eval(v)
}

// member is a key of a mapping; its node is nil if there is none.
func (d *document) member(v value, key string) (value, error) {
	if v.node == nil {
		return value{}, nil
	}
	fields, err := d.fields(v)
	if err != nil {
		return value{}, err
	}
	for _, f := range fields {
		if f.key == key {
			return f.val, nil
		}
	}
	return value{}, nil
}

type field struct {
	key string
	at  value // the key, for messages
	val value // not resolved yet
}

// fields lists the keys of a mapping in the order of the file, merge keys expanded; null has none.
func (d *document) fields(v value) ([]field, error) { return d.fieldsWithin(v, 0) }

func (d *document) fieldsWithin(v value, depth int) ([]field, error) {
	v, err := d.resolved(v)
	if err != nil || v.isNull() {
		return nil, err
	}
	if v.node.Kind != yaml.MappingNode {
		return nil, v.errorf("want keys and values here")
	}
	if depth > maxEvaluate {
		return nil, v.errorf("merge keys nest too deeply")
	}
	var all, merged []field
	seen := make(map[string]bool)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, val := v.at(v.node.Content[i]), v.at(v.node.Content[i+1])
		if d.steps++; d.steps > maxSteps {
			return nil, v.errorf("the project is too complicated: more than %d values", maxSteps)
		}
		if key.node.Kind == yaml.AliasNode {
			key.node = key.node.Alias
		}
		if key.node.Kind != yaml.ScalarNode {
			return nil, key.errorf("a key must be plain text")
		}
		if key.node.ShortTag() == "!!merge" {
			more, err := d.mergeFields(val, depth)
			if err != nil {
				return nil, err
			}
			merged = append(merged, more...)
			continue
		}
		if seen[key.node.Value] {
			return nil, key.errorf("key %.80q is given twice", key.node.Value)
		}
		seen[key.node.Value] = true
		all = append(all, field{key.node.Value, key, val})
	}
	for _, f := range merged {
		if !seen[f.key] {
			seen[f.key] = true
			all = append(all, f)
		}
	}
	return all, nil
}

func (d *document) mergeFields(v value, depth int) ([]field, error) {
	node := v.node
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.SequenceNode {
		return d.fieldsWithin(v, depth+1)
	}
	var all []field
	for _, n := range node.Content {
		more, err := d.fieldsWithin(v.at(n), depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// items lists a sequence; null has none. A single value is a sequence of one.
func (d *document) items(v value) ([]value, error) {
	v, err := d.resolved(v)
	if err != nil || v.isNull() {
		return nil, err
	}
	if v.node.Kind != yaml.SequenceNode {
		return []value{v}, nil
	}
	all := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		all[i] = v.at(n)
	}
	return all, nil
}

// text reads a scalar; numbers and booleans are text too, as the file's dialect writes them.
func (d *document) text(v value) (string, error) {
	v, err := d.resolved(v)
	if err != nil {
		return "", err
	}
	if v.isNull() || v.node.Kind != yaml.ScalarNode || !strings.HasPrefix(v.node.ShortTag(), "!!") {
		return "", v.errorf("want text here")
	}
	return d.dialect.spelled(v), nil
}

func (d *document) integer(v value) (int, error) {
	s, err := d.text(v)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, v.errorf("want a whole number here")
	}
	return n, nil
}

func (d *document) boolean(v value) (bool, error) {
	s, err := d.text(v)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	return false, v.errorf("want true or false here")
}

func (d *document) texts(v value) ([]string, []value, error) {
	items, err := d.items(v)
	if err != nil {
		return nil, nil, err
	}
	all := make([]string, len(items))
	for i, item := range items {
		if all[i], err = d.text(item); err != nil {
			return nil, nil, err
		}
	}
	return all, items, nil
}
