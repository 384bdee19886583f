package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"she/internal/edge"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// description is the document as a validator reads it: a schema of OpenAPI 3.1 is a JSON Schema.
type description struct {
	node
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by pointer
}

const documentURL = "https://hat.test/openapi.json"

var described = sync.OnceValues(func() (*description, error) {
	doc, err := openapi()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(documentURL, parsed); err != nil {
		return nil, err
	}
	return &description{node: node{doc, doc}, compiler: c, schemas: map[string]*jsonschema.Schema{}}, nil
})

// schema is the one at a pointer into the document.
func (d *description) schema(pointer ...string) (*jsonschema.Schema, error) {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "{", "%7B", "}", "%7D")
	at := "#"
	for _, name := range pointer {
		at += "/" + escape.Replace(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.schemas[at]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile(documentURL + at)
	if err == nil {
		d.schemas[at] = s
	}
	return s, err
}

// operation is what the document says of a route.
func (d *description) operation(r *edge.Route) (item, op node) {
	item = d.get("paths").get(describedPath(r))
	return item, item.get(strings.ToLower(r.Method))
}

// describedPath is where the document has a route.
func describedPath(r *edge.Route) string {
	path := strings.ReplaceAll(r.Pattern, "...}", "}")
	if r.In != edge.AtRoot {
		return edge.CurrentAPI + path
	}
	return path
}

// Every schema of the document compiles, every reference leads somewhere, and what has a name is used.
func TestDocumentIsWhole(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.text("openapi"), "3.1") {
		t.Errorf("version %s", d.text("openapi"))
	}
	used := map[string]bool{}
	var walk func(v any, pointer []string)
	walk = func(v any, pointer []string) {
		switch v := v.(type) {
		case map[string]any:
			if ref, isRef := v["$ref"].(string); isRef {
				used[ref] = true
				if d.of(v).at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for name, inner := range v {
				next := append(slices.Clone(pointer), name)
				if schema, isSchema := inner.(map[string]any); name == "schema" && isSchema {
					if _, err := d.schema(next...); err != nil {
						t.Errorf("%v: %v", schema, err)
					}
				}
				walk(inner, next)
			}
		case []any:
			for i, inner := range v {
				walk(inner, append(slices.Clone(pointer), strconv.Itoa(i)))
			}
		}
	}
	walk(d.doc, nil)
	components := d.get("components")
	for _, kind := range components.keys() {
		for _, name := range components.get(kind).keys() {
			if kind != "securitySchemes" && !used["#/components/"+kind+"/"+name] {
				t.Errorf("components/%s/%s is not used", kind, name)
			}
		}
	}
}

func TestDocumentAndRoutesAgree(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	routed := map[string]bool{}
	for _, r := range nothing().Routes() {
		key := r.Method + " " + describedPath(r)
		routed[key] = true
		item, op := d.operation(r)
		if op.at == nil {
			t.Errorf("%s is a route and not in the document", key)
			continue
		}
		security, given := op.at["security"].([]any)
		if public := given && len(security) == 0; public != (r.Needs == nil) {
			t.Errorf("%s: the document says public %v, the route %v", key, public, r.Needs == nil)
		}
		named := map[string]bool{}
		for _, p := range append(item.list("parameters"), op.list("parameters")...) {
			if p.text("in") == "path" && p.at["required"] == true {
				named[p.text("name")] = true
			}
		}
		for _, segment := range strings.Split(describedPath(r), "/") {
			if name, isParam := strings.CutPrefix(segment, "{"); isParam && !named[strings.TrimSuffix(name, "}")] {
				t.Errorf("%s: parameter %s is not described", key, segment)
			}
		}
	}
	ids := map[string]bool{}
	paths := d.get("paths")
	for _, path := range paths.keys() {
		for _, method := range paths.get(path).keys() {
			if method == "parameters" {
				continue
			}
			if key := strings.ToUpper(method) + " " + path; !routed[key] {
				t.Errorf("%s is in the document and no route", key)
			}
			op := paths.get(path).get(method)
			tags, _ := op.at["tags"].([]any)
			id := op.text("operationId")
			if id == "" || ids[id] || op.text("summary") == "" || len(tags) != 1 {
				t.Errorf("%s %s: operation %q needs an id of its own, a summary and one tag", method, path, id)
			}
			ids[id] = true
			for _, status := range op.get("responses").keys() {
				if answer := op.get("responses").get(status); answer.text("description") == "" {
					t.Errorf("%s %s: answer %s is not described", method, path, status)
				}
			}
		}
	}
}

// fitsDocument holds an answer to the schema the document has for it. Every answer of every test comes through here.
func fitsDocument(t testing.TB, request *http.Request, status int, header http.Header, body string) {
	t.Helper()
	r, _ := nothing().Find(request.Method, request.URL.EscapedPath())
	if r == nil || len(body) > 1<<20 {
		return
	}
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	pointer := []string{"paths", describedPath(r), strings.ToLower(r.Method), "responses", strconv.Itoa(status)}
	_, op := d.operation(r)
	answer, _ := op.get("responses").at[strconv.Itoa(status)].(map[string]any)
	if ref, isRef := answer["$ref"].(string); isRef {
		pointer = strings.Split(strings.TrimPrefix(ref, "#/"), "/")
	}
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	content := d.of(answer).get("content")
	if content.get(kind).at == nil {
		t.Errorf("%s %s answered %d with %s; the document has no such answer", request.Method, request.URL.Path, status, kind)
		return
	}
	if !strings.HasSuffix(kind, "json") {
		return
	}
	schema, err := d.schema(append(pointer, "content", kind, "schema")...)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s %s answered %d otherwise than the document says: %v\n%.300s", request.Method, request.URL.Path, status, err, body)
	}
}

// The page for people loads nothing, runs nothing, and tells of every operation.
func TestDocsPage(t *testing.T) {
	w := newWorld(t)
	a := w.call("GET", "/docs", "", "", "Host", "nobody.test").want(200)
	if policy := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	for _, loads := range []string{"<script", "<img", "<link", "<iframe", "src=", "url(", "@import", "style=", "ZgotmplZ"} {
		if strings.Contains(a.body, loads) {
			t.Errorf("the page has %s", loads)
		}
	}
	for _, r := range nothing().Routes() {
		if !strings.Contains(a.body, "<code>"+describedPath(r)+"</code>") {
			t.Errorf("the page says nothing of %s", describedPath(r))
		}
	}
	w.call("GET", "/openapi.json", "", "", "Host", "nobody.test").want(200)
	w.call("HEAD", "/healthz", "", "", "Host", "nobody.test").want(200)
}
