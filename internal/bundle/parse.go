package bundle

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/pgtime"
)

// Parse reads {"name","bundle"}. The error is a *hat.FieldError if the text is JSON of another form; its Path
// begins with "obj", as clients of the HAT API expect. Else it wraps jsonb.ErrNotJSON or jsonb.ErrTooDeep.
func Parse(text []byte) (Bundle, error) { return parseBundle(text, &parser{}) }

// ParseFunctionBundle is Parse for the answers of functions. A filter may be marked as the window of the run.
// A find without a transformation is read as a find on searchable text: authors write this form, and the
// original ignored such a filter.
func ParseFunctionBundle(text []byte) (Bundle, error) {
	return parseBundle(text, &parser{lenient: true, windows: true})
}

func parseBundle(text []byte, p *parser) (Bundle, error) {
	root, err := document(text)
	if err != nil {
		return Bundle{}, err
	}
	var b Bundle
	fields, err := root.object()
	if err != nil {
		return Bundle{}, err
	}
	if b.Name, err = fields.text("name", true); err != nil {
		return Bundle{}, err
	}
	if !bundleName.MatchString(b.Name) {
		return Bundle{}, root.at("name").wrong("Bundle name invalid")
	}
	inner, err := fields.required("bundle")
	if err != nil {
		return Bundle{}, err
	}
	if b.Properties, err = p.properties(inner); err != nil {
		return Bundle{}, err
	}
	return b, p.fits(root, b.append(nil))
}

// ParseProperties reads the inner map of a bundle, {"property": PropertyQuery}: the body of POST data-bundle. Errors as
// Parse.
func ParseProperties(text []byte) (map[string]PropertyQuery, error) {
	root, err := document(text)
	if err != nil {
		return nil, err
	}
	p := &parser{}
	properties, err := p.properties(root)
	if err != nil {
		return nil, err
	}
	return properties, p.fits(root, MarshalProperties(properties))
}

// ParseCombinator reads a list of endpoint queries: the body of POST combinator. Errors as Parse.
func ParseCombinator(text []byte) ([]EndpointQuery, error) {
	root, err := document(text)
	if err != nil {
		return nil, err
	}
	p := &parser{}
	queries, err := p.endpointQueries(root, 0)
	if err != nil {
		return nil, err
	}
	return queries, p.fits(root, MarshalCombinator(queries))
}

// ParseMapping reads a mapping for a query that is made in code. Errors as Parse.
func ParseMapping(text []byte) (Mapping, error) {
	root, err := document(text)
	if err != nil {
		return Mapping{}, err
	}
	return root.mapping()
}

var bundleName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,256}$`)

type parser struct {
	lenient bool
	windows bool // filters may be marked
	queries int
}

// fits makes sure that the encoded form is accepted again when it is read from a store: numbers such as 1e20
// grow.
func (p *parser) fits(root value, encoded []byte) error {
	if len(encoded) > MaxDocument {
		return root.wrong(fmt.Sprintf("more than %d bytes", MaxDocument))
	}
	return nil
}

// A value is a part of the document, with its path.
type value struct {
	text string // in the form of jsonb.Compact
	path string
}

func document(text []byte) (value, error) {
	root := value{path: "obj"}
	if len(text) > MaxDocument {
		return root, root.wrong(fmt.Sprintf("more than %d bytes", MaxDocument))
	}
	// Not canonical: the entries of a mapping apply in the order in which they were written.
	var err error
	root.text, err = jsonb.Compact(text)
	return root, err
}

func (v value) wrong(message string) error { return &hat.FieldError{Path: v.path, Message: message} }

// at returns the path of a member of v, for errors. Long names are cut.
func (v value) at(name string) value { return value{path: v.inside("." + brief(name))} }

// inside returns the path of something in v. Deep paths are cut, so that deeply nested long names don't cost
// the square of their size.
func (v value) inside(what string) string {
	const most = 1 << 10
	switch {
	case len(v.path) < most:
		return v.path + what
	case strings.HasSuffix(v.path, "…"):
		return v.path
	}
	return v.path + "…"
}

// brief cuts a name for an error.
func brief(name string) string {
	const most = 60
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

// fields are the members of an object. Of a repeated key the last counts.
type fields struct {
	in     value
	names  []string // in the order of first appearance
	values map[string]value
}

func (v value) object() (fields, error) {
	if jsonb.KindOf(v.text) != jsonb.Object {
		return fields{}, v.wrong("error.expected.jsobject")
	}
	f := fields{in: v, values: make(map[string]value)}
	for key, text := range jsonb.Members(v.text) {
		name := jsonb.Unescaped(key)
		if _, repeated := f.values[name]; !repeated {
			f.names = append(f.names, name)
		}
		f.values[name] = value{text, v.at(name).path}
	}
	return f, nil
}

// optional returns false for a field that is absent or null.
func (f fields) optional(name string) (value, bool) {
	v, ok := f.values[name]
	return v, ok && jsonb.KindOf(v.text) != jsonb.Null
}

func (f fields) required(name string) (value, error) {
	v, ok := f.values[name]
	if !ok {
		return v, f.in.at(name).wrong("error.path.missing")
	}
	return v, nil
}

func (f fields) text(name string, required bool) (string, error) {
	v, ok := f.optional(name)
	if !ok {
		if !required {
			return "", nil
		}
		var err error
		if v, err = f.required(name); err != nil {
			return "", err
		}
	}
	return v.string()
}

func (v value) string() (string, error) {
	if jsonb.KindOf(v.text) != jsonb.String {
		return "", v.wrong("error.expected.jsstring")
	}
	s := jsonb.Unquoted(v.text)
	if len(s) > MaxText {
		return "", v.wrong(fmt.Sprintf("more than %d bytes", MaxText))
	}
	return s, nil
}

func (v value) array() (items []value, err error) {
	if jsonb.KindOf(v.text) != jsonb.Array {
		return nil, v.wrong("error.expected.jsarray")
	}
	for text := range jsonb.Elements(v.text) {
		items = append(items, value{text, v.inside("[" + strconv.Itoa(len(items)) + "]")})
	}
	return items, nil
}

func (p *parser) properties(v value) (map[string]PropertyQuery, error) {
	f, err := v.object()
	if err != nil {
		return nil, err
	}
	if len(f.names) > MaxProperties {
		return nil, v.wrong(fmt.Sprintf("more than %d properties", MaxProperties))
	}
	properties := make(map[string]PropertyQuery, len(f.names))
	for _, name := range f.names {
		if len(name) > MaxText {
			return nil, v.at(name).wrong(fmt.Sprintf("name of more than %d bytes", MaxText))
		}
		if properties[name], err = p.propertyQuery(f.values[name]); err != nil {
			return nil, err
		}
	}
	return properties, nil
}

func (p *parser) propertyQuery(v value) (q PropertyQuery, err error) {
	f, err := v.object()
	if err != nil {
		return q, err
	}
	endpoints, err := f.required("endpoints")
	if err != nil {
		return q, err
	}
	if q.Endpoints, err = p.endpointQueries(endpoints, 0); err != nil {
		return q, err
	}
	if q.OrderBy, err = f.text("orderBy", false); err != nil {
		return q, err
	}
	if q.Ordering, err = f.text("ordering", false); err != nil {
		return q, err
	}
	if limit, ok := f.optional("limit"); ok {
		n, err := limit.natural()
		if err != nil {
			return q, err
		}
		q.Limit = &n
	}
	return q, nil
}

func (v value) natural() (int, error) {
	if jsonb.KindOf(v.text) != jsonb.Number {
		return 0, v.wrong("error.expected.jsnumber")
	}
	n, err := strconv.ParseInt(v.text, 10, 32)
	if err != nil {
		return 0, v.wrong("error.expected.int")
	}
	if n < 0 {
		return 0, v.wrong("may not be negative")
	}
	return int(n), nil
}

func (p *parser) endpointQueries(v value, depth int) ([]EndpointQuery, error) {
	items, err := v.array()
	if err != nil {
		return nil, err
	}
	if depth > MaxLinkDepth {
		return nil, v.wrong(fmt.Sprintf("links nest deeper than %d levels", MaxLinkDepth))
	}
	if p.queries += len(items); p.queries > MaxQueries {
		return nil, v.wrong(fmt.Sprintf("more than %d endpoint queries", MaxQueries))
	}
	var queries []EndpointQuery
	for _, item := range items {
		q, err := p.endpointQuery(item, depth)
		if err != nil {
			return nil, err
		}
		queries = append(queries, q)
	}
	return queries, nil
}

func (p *parser) endpointQuery(v value, depth int) (q EndpointQuery, err error) {
	f, err := v.object()
	if err != nil {
		return q, err
	}
	name, err := f.text("endpoint", true)
	if err != nil {
		return q, err
	}
	if q.Endpoint, err = hat.ParseEndpoint(name); err != nil {
		return q, v.at("endpoint").wrong(hat.ErrEndpointInvalid.Error())
	}
	if mapping, ok := f.optional("mapping"); ok {
		if q.Mapping, err = mapping.mapping(); err != nil {
			return q, err
		}
	}
	if filters, ok := f.optional("filters"); ok {
		if q.Filters, err = p.filters(filters); err != nil {
			return q, err
		}
	}
	if links, ok := f.optional("links"); ok {
		q.Links, err = p.endpointQueries(links, depth+1)
	}
	return q, err
}

func (p *parser) filters(v value) ([]Filter, error) {
	items, err := v.array()
	if err != nil {
		return nil, err
	}
	if len(items) > MaxFilters {
		return nil, v.wrong(fmt.Sprintf("more than %d filters", MaxFilters))
	}
	var filters []Filter
	for _, item := range items {
		filter, err := p.filter(item)
		if err != nil {
			return nil, err
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

func (p *parser) filter(v value) (filter Filter, err error) {
	f, err := v.object()
	if err != nil {
		return filter, err
	}
	if filter.Field, err = f.text("field", true); err != nil {
		return filter, err
	}
	transformation, given := f.optional("transformation")
	if given {
		if filter.Transformation, err = transformation.transformation(); err != nil {
			return filter, err
		}
	}
	operator, err := f.required("operator")
	if err != nil {
		return filter, err
	}
	if mark, given := f.optional("window"); given {
		if filter.Window, err = p.window(mark); err != nil {
			return filter, err
		}
	}
	if filter.Operator, err = operator.operator(filter.Window); err != nil {
		return filter, err
	}
	if filter.Window {
		return filter, operator.windowed(filter)
	}
	find := filter.Operator.Kind == Find
	if t := &filter.Transformation; find && p.lenient && (t.Kind == "" || t.Kind == Identity) {
		t.Kind = Searchable
	}
	// The original ignored an operator that doesn't fit the transformation. That would return more than was
	// asked for.
	if searchable := filter.Transformation.Kind == Searchable; find && !searchable {
		return filter, operator.wrong("find needs the transformation searchable")
	} else if !find && searchable {
		return filter, operator.wrong("the transformation searchable needs the operator find")
	}
	return filter, nil
}

func (v value) transformation() (t Transformation, err error) {
	f, err := v.object()
	if err != nil {
		return t, err
	}
	kind, err := f.text("transformation", true)
	if err != nil {
		return t, err
	}
	switch t.Kind = TransformationKind(kind); t.Kind {
	case Identity, Searchable:
		return t, nil
	case DatetimeExtract, TimestampExtract:
		if t.Part, err = f.text("part", true); err != nil {
			return t, err
		}
		if !slices.Contains(pgtime.Parts, strings.ToLower(t.Part)) {
			return t, v.at("part").wrong("Unknown date part " + brief(t.Part))
		}
		return t, nil
	}
	return t, v.unexpected(kind)
}

// window reads the window mark of a filter.
func (p *parser) window(v value) (bool, error) {
	switch {
	case v.text == "false":
		return false, nil
	case v.text != "true":
		return false, v.wrong("error.expected.jsboolean")
	case !p.windows:
		return false, v.wrong("only the bundle of a function has a window: it is that of the run")
	}
	return true, nil
}

// windowed returns an error if a filter can't be a window.
func (v value) windowed(f Filter) error {
	lower, upper := formOf(f.Operator.Lower.JSON()).scale, formOf(f.Operator.Upper.JSON()).scale
	switch {
	case f.Operator.Kind != Between:
		return v.wrong("a window needs the operator between")
	case !f.identity():
		return v.wrong("a window needs a field without transformation")
	case lower == unscaled:
		return v.at("lower").wrong("of a window, want null, or a date as text or as a number, as an example of how dates are written")
	case upper != lower:
		return v.at("upper").wrong("of a window, want a date that is written as the lower one is")
	}
	return nil
}

// operator reads an operator. That of a window may lack its bounds, which are filled in later.
func (v value) operator(window bool) (o Operator, err error) {
	f, err := v.object()
	if err != nil {
		return o, err
	}
	kind, err := f.text("operator", true)
	if err != nil {
		return o, err
	}
	o.Kind = OperatorKind(kind)
	operands := o.operands()
	if operands == nil {
		return o, v.unexpected(kind)
	}
	for _, operand := range operands {
		if _, ok := f.values[operand.name]; !ok && window {
			*operand.value = hat.DataFromStore([]byte("null"))
			continue
		}
		given, err := f.required(operand.name)
		if err != nil {
			return o, err
		}
		if *operand.value, err = given.data(); err != nil {
			return o, err
		}
	}
	return o, nil
}

// unexpected has the original's text, but quotes of the document only the offending name.
func (v value) unexpected(name string) error {
	return v.wrong("Unexpected JSON value " + brief(name) + " in {…}")
}

func (v value) data() (hat.Data, error) {
	d, err := hat.ParseData([]byte(v.text))
	if err != nil {
		return d, v.wrong("error.invalid")
	}
	if d.Len() > MaxValue {
		return d, v.wrong(fmt.Sprintf("more than %d bytes", MaxValue))
	}
	if innerContainers(d.JSON()) > MaxInner {
		return d, v.wrong(fmt.Sprintf("more than %d arrays and objects inside arrays", MaxInner))
	}
	return d, nil
}

// innerContainers counts the arrays and objects inside arrays. Each of them is compared with each element of
// a record's array.
func innerContainers(text string) (n int) {
	switch jsonb.KindOf(text) {
	case jsonb.Array:
		for e := range jsonb.Elements(text) {
			if !jsonb.KindOf(e).Scalar() {
				n += 1 + innerContainers(e)
			}
		}
	case jsonb.Object:
		for _, v := range jsonb.Members(text) {
			n += innerContainers(v)
		}
	}
	return n
}
