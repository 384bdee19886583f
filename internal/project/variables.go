package project

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Variables of the Serverless Framework: ${source:address, fallback}, nested to any depth. Known sources are
// opt, self, env, file, sls, param and strToBool. Sources that would need a cloud account (ssm, s3, cf, aws,
// …) count as having no value, so that the fallback is used. The framework's guide on variables defines the
// language.

const (
	maxVariableText  = 64 << 10 // bytes one string may grow to
	maxVariableFiles = 32
)

type variables struct {
	doc    *document
	root   value
	stage  string            // what is deployed
	opt    map[string]string // options of the command line: the stage, if one was chosen
	env    map[string]string // the only environment there is
	params map[string]string // given beside the file
	read   func(name string) ([]byte, error)
	files  map[string]value
	busy   map[*yaml.Node]bool // being evaluated: meeting one again is a cycle
}

// errNothing means that a source has no value, so that the next alternative is asked.
var errNothing = errors.New("no value")

// eval resolves a scalar that holds variables; everything else is its own value.
func (vs *variables) eval(v value) (value, error) {
	if v.final || v.node.Kind != yaml.ScalarNode || !strings.Contains(v.node.Value, "${") {
		return v, nil
	}
	if vs.busy[v.node] {
		return value{}, v.errorf("the variable refers to itself")
	}
	if len(vs.busy) > maxEvaluate {
		return value{}, v.errorf("variables nest deeper than %d", maxEvaluate)
	}
	vs.busy[v.node] = true
	defer delete(vs.busy, v.node)
	parts, err := parseTemplate(v.node.Value)
	if err != nil {
		return value{}, v.errorf("%v", err)
	}
	whole, err := vs.template(v, parts)
	if tag := v.node.Tag; err == nil && whole.node.Kind == yaml.ScalarNode && strings.HasPrefix(tag, "!") && !strings.HasPrefix(tag, "!!") {
		// A function of CloudFormation goes on with the text.
		whole = v.scalar(tag, vs.doc.dialect.spelled(whole))
		whole.final = false
	}
	return whole, err
}

// template joins parts; a single variable keeps the type of its value.
func (vs *variables) template(at value, parts []part) (value, error) {
	if len(parts) == 1 && parts[0].alternatives != nil {
		return vs.variable(at, parts[0])
	}
	var b strings.Builder
	for _, p := range parts {
		s := p.literal
		if p.alternatives != nil {
			v, err := vs.variable(at, p)
			if err != nil {
				return value{}, err
			}
			if v.isNull() || v.node.Kind != yaml.ScalarNode {
				return value{}, at.errorf("${%s…} gives no text, so it can't be part of a longer one", p.alternatives[0].source)
			}
			s = vs.doc.dialect.spelled(v)
		}
		if b.Len()+len(s) > maxVariableText {
			return value{}, at.errorf("the text grows beyond %d bytes", maxVariableText)
		}
		b.WriteString(s)
	}
	return at.scalar("!!str", b.String()), nil
}

func (vs *variables) variable(at value, p part) (value, error) {
	if vs.doc.steps++; vs.doc.steps > maxSteps {
		return value{}, at.errorf("the project is too complicated: more than %d values", maxSteps)
	}
	for i, alternative := range p.alternatives {
		v, err := vs.alternative(at, alternative)
		if errors.Is(err, errNothing) {
			if alternative.source == "env" && i+1 < len(p.alternatives) {
				vs.doc.warnf(at, "${env:…} is not taken from this machine; the fallback is used")
			}
			continue
		}
		if err != nil {
			return value{}, err
		}
		if v.isNull() && i+1 < len(p.alternatives) {
			continue
		}
		return v, nil
	}
	first := p.alternatives[0].source
	switch first {
	case "env":
		return value{}, at.errorf("${env:…} is not taken from this machine: write a fallback, as in ${env:NAME, 'value'}, or a .env file with useDotenv: true")
	case "ssm", "s3", "cf", "aws", "git", "http", "https", "terraform", "vault", "doppler", "output":
		return value{}, at.cloudf("${%s:…} needs a service that is not here: write a fallback, as in ${%s:NAME, 'value'}", first, first)
	}
	return value{}, at.errorf("${%s:…} has no value and no fallback", first)
}

func (vs *variables) alternative(at value, a alternative) (value, error) {
	if a.source == "" {
		if a.literal == nil {
			return a.value(at), nil
		}
		return vs.template(at, a.literal)
	}
	address, err := vs.plain(at, a.address)
	if err != nil {
		return value{}, err
	}
	params, err := vs.plain(at, a.params)
	if err != nil {
		return value{}, err
	}
	switch a.source {
	case "opt":
		return lookup(at, vs.opt, address)
	case "env":
		return lookup(at, vs.env, address)
	case "sls":
		switch address {
		case "stage":
			return at.scalar("!!str", vs.stage), nil
		case "instanceId": // one for each run of the framework's command; there is none, and packages stay the same
			return at.scalar("!!str", "she"), nil
		}
		return value{}, errNothing
	case "self":
		return vs.self(at, address)
	case "param":
		return vs.param(at, address)
	case "file":
		return vs.file(at, params, address)
	case "strToBool":
		switch strings.ToLower(params) {
		case "true", "1":
			return at.scalar("!!bool", "true"), nil
		case "false", "0":
			return at.scalar("!!bool", "false"), nil
		}
		return value{}, at.errorf("strToBool: want true or false")
	case "ssm", "s3", "cf", "git", "http", "https", "terraform", "vault", "doppler", "output":
		return value{}, errNothing
	case "aws":
		switch address {
		case "region":
			if v, err := vs.self(at, "provider.region"); !errors.Is(err, errNothing) {
				return v, err
			}
			return at.scalar("!!str", pseudoParameters["AWS::Region"]), nil
		case "accountId":
			return at.scalar("!!str", pseudoParameters["AWS::AccountId"]), nil
		}
		return value{}, errNothing
	}
	return value{}, at.errorf("${%.40s…}: this source of variables is not known", a.source)
}

func lookup(at value, from map[string]string, name string) (value, error) {
	if s, ok := from[name]; ok {
		return at.scalar("!!str", s), nil
	}
	return value{}, errNothing
}

// plain evaluates the inside of a variable, which must be text.
func (vs *variables) plain(at value, parts []part) (string, error) {
	if len(parts) == 0 {
		return "", nil
	}
	v, err := vs.template(at, parts)
	if err != nil {
		return "", err
	}
	if v.node.Kind != yaml.ScalarNode {
		return "", at.errorf("the inside of a variable must be text")
	}
	return strings.TrimSpace(vs.doc.dialect.spelled(v)), nil
}

func (vs *variables) self(at value, address string) (value, error) {
	switch address {
	case "provider.stage":
		// The deployed stage, also when the file names another as its own default.
		return at.scalar("!!str", vs.stage), nil
	case "service":
		if v, err := vs.descend(vs.root, "service.name"); err == nil {
			return v, nil
		}
	}
	return vs.descend(vs.root, address)
}

// param returns a parameter given beside the file. Otherwise it looks where version 3 of the framework keeps
// parameters, then where version 4 does.
func (vs *variables) param(at value, name string) (value, error) {
	if v, err := lookup(at, vs.params, name); err == nil {
		return v, nil
	}
	for _, address := range []string{
		"params." + vs.stage + "." + name, "stages." + vs.stage + ".params." + name,
		"params.default." + name, "stages.default.params." + name,
	} {
		if v, err := vs.descend(vs.root, address); !errors.Is(err, errNothing) {
			return v, err
		}
	}
	return value{}, errNothing
}

// descend follows a dotted address from v.
func (vs *variables) descend(v value, address string) (value, error) {
	v, err := vs.doc.resolved(v)
	if err != nil || address == "" {
		return v, err
	}
	for step := range strings.SplitSeq(address, ".") {
		switch {
		case v.isNull():
			return value{}, errNothing
		case v.node.Kind == yaml.SequenceNode:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v.node.Content) {
				return value{}, errNothing
			}
			v = v.at(v.node.Content[i])
		case v.node.Kind == yaml.MappingNode:
			fields, err := vs.doc.fields(v)
			if err != nil {
				return value{}, err
			}
			found := false
			for _, f := range fields {
				if f.key == step {
					v, found = f.val, true
					break
				}
			}
			if !found {
				return value{}, errNothing
			}
		default:
			return value{}, errNothing
		}
		if v, err = vs.doc.resolved(v); err != nil {
			return value{}, err
		}
	}
	return v, nil
}

func (vs *variables) file(at value, name, address string) (value, error) {
	clean, err := insideName(name)
	if err != nil {
		return value{}, at.errorf("file(…): %v", err)
	}
	content, ok := vs.files[clean]
	if !ok {
		if len(vs.files) >= maxVariableFiles {
			return value{}, at.errorf("file(…): more than %d files", maxVariableFiles)
		}
		text, err := vs.read(clean)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return value{}, errNothing
		case err != nil:
			return value{}, at.errorf("file(…): %v", err)
		}
		switch path.Ext(clean) {
		case ".yml", ".yaml", ".json", ".tfstate":
			if content, err = parseYAML(clean, text); err != nil {
				return value{}, err
			}
		case ".js", ".cjs", ".mjs", ".ts":
			return value{}, at.errorf("file(…): %.80q is a program; programs are not run to read a project", clean)
		default:
			content = at.scalar("!!str", string(text)) // as it is, from version 3 on
			content.file = clean
		}
		vs.files[clean] = content
	}
	return vs.descend(content, address)
}

// A part of a string is literal text or a variable.
type part struct {
	literal      string
	alternatives []alternative
}

// An alternative is one of the comma-separated choices in a variable: source(params):address, a quoted text,
// a bare word, or a variable within.
type alternative struct {
	source          string
	params, address []part
	literal         []part // quoted text or inner variable
	word            string // bare: number, true, false, null
}

func (a alternative) value(at value) value {
	switch a.word {
	case "true", "false":
		return at.scalar("!!bool", a.word)
	case "null", "":
		return at.scalar("!!null", "null")
	}
	return at.scalar("!!int", a.word)
}

var (
	errUnclosed = errors.New("a variable ${… is not closed")
	errVariable = errors.New("a variable ${…} is not understood: want ${source:address, fallback}")
	errNesting  = errors.New("variables nest too deeply")
)

// parseTemplate splits a string into literal text and variables.
func parseTemplate(s string) ([]part, error) {
	p := templateParser{s: s}
	parts, err := p.parts("", 0)
	if err != nil {
		return nil, err
	}
	return parts, nil
}

type templateParser struct {
	s string
	i int
}

// parts reads up to an unnested byte of stop, which stays unread, or to the end.
func (p *templateParser) parts(stop string, depth int) ([]part, error) {
	if depth > maxEvaluate {
		return nil, errNesting
	}
	var all []part
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			all = append(all, part{literal: text.String()})
			text.Reset()
		}
	}
	for p.i < len(p.s) {
		rest := p.s[p.i:]
		switch {
		case strings.HasPrefix(rest, `\${`): // escaped: the framework leaves it to CloudFormation
			text.WriteString("${")
			p.i += 3
		case strings.HasPrefix(rest, "${AWS::"): // a pseudo parameter, for CloudFormation's Sub
			text.WriteString("${")
			p.i += 2
		case strings.HasPrefix(rest, "${"):
			flush()
			p.i += 2
			v, err := p.variable(depth + 1)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		case strings.IndexByte(stop, rest[0]) >= 0:
			flush()
			return all, nil
		default:
			text.WriteByte(rest[0])
			p.i++
		}
	}
	if stop != "" {
		return nil, errUnclosed
	}
	flush()
	return all, nil
}

// variable reads the text after "${", with the closing brace.
func (p *templateParser) variable(depth int) (part, error) {
	var v part
	for {
		a, err := p.alternative(depth)
		if err != nil {
			return part{}, err
		}
		v.alternatives = append(v.alternatives, a)
		p.spaces()
		if p.i >= len(p.s) {
			return part{}, errUnclosed
		}
		c := p.s[p.i]
		p.i++
		switch c {
		case '}':
			return v, nil
		case ',':
		default:
			return part{}, errVariable
		}
	}
}

func (p *templateParser) spaces() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *templateParser) alternative(depth int) (a alternative, err error) {
	p.spaces()
	if p.i >= len(p.s) {
		return a, errUnclosed
	}
	switch c := p.s[p.i]; {
	case c == '\'' || c == '"':
		p.i++
		a.literal, err = p.parts(string(c), depth+1)
		p.i++
		if a.literal == nil {
			a.literal = []part{{}}
		}
		return a, err
	case strings.HasPrefix(p.s[p.i:], "${"):
		p.i += 2
		inner, err := p.variable(depth + 1)
		a.literal = []part{inner}
		return a, err
	}
	start := p.i
	for p.i < len(p.s) && isWord(p.s[p.i]) {
		p.i++
	}
	word := p.s[start:p.i]
	switch {
	case p.i < len(p.s) && p.s[p.i] == '(':
		p.i++
		if a.params, err = p.parts(")", depth+1); err != nil {
			return a, err
		}
		p.i++
		a.source = word
		if p.i < len(p.s) && p.s[p.i] == ':' {
			p.i++
			a.address, err = p.parts(",}", depth+1)
		}
	case p.i < len(p.s) && p.s[p.i] == ':':
		p.i++
		a.source = word
		a.address, err = p.parts(",}", depth+1)
	default:
		if _, notNumber := strconv.ParseFloat(word, 64); notNumber != nil && word != "true" && word != "false" && word != "null" {
			return a, errVariable
		}
		a.word = word
		return a, nil
	}
	if a.source == "" {
		return a, errVariable
	}
	return a, err
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '+'
}
