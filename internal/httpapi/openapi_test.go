package httpapi

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// described is the document as another library reads it.
var described = sync.OnceValues(func() (*struct {
	validator.Validator
	model *v3.Document
}, error) {
	doc, err := openapi()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	parsed, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return &struct {
		validator.Validator
		model *v3.Document
	}{v, &model.Model}, nil
})

// describedPath is where the document has a route.
func describedPath(r *route) string {
	path := strings.ReplaceAll(r.pattern, "...}", "}")
	if r.in != atRoot {
		return currentAPI + path
	}
	return path
}

func TestDocumentIsOpenAPI(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	if ok, errs := d.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Error(e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				t.Error("  ", s.FieldPath, s.Reason)
			}
		}
	}
	if !strings.HasPrefix(d.model.Version, "3.1") {
		t.Errorf("version %s", d.model.Version)
	}
}

func TestDocumentAndRoutesAgree(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	routed := map[string]bool{}
	for _, r := range (&server{}).table() {
		key := r.method + " " + describedPath(r)
		routed[key] = true
		item := d.model.Paths.PathItems.GetOrZero(describedPath(r))
		if item == nil || item.GetOperations().GetOrZero(strings.ToLower(r.method)) == nil {
			t.Errorf("%s is a route and not in the document", key)
			continue
		}
		op := item.GetOperations().GetOrZero(strings.ToLower(r.method))
		if public := op.Security != nil && len(op.Security) == 0; public != (r.needs == nil) {
			t.Errorf("%s: the document says public %v, the route %v", key, public, r.needs == nil)
		}
		named := map[string]bool{}
		for _, p := range append(item.Parameters, op.Parameters...) {
			if p.In == "path" {
				named[p.Name] = true
			}
		}
		for _, segment := range strings.Split(describedPath(r), "/") {
			if name, isParam := strings.CutPrefix(segment, "{"); isParam && !named[strings.TrimSuffix(name, "}")] {
				t.Errorf("%s: parameter %s is not described", key, segment)
			}
		}
	}
	ids := map[string]bool{}
	for path, item := range d.model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			if key := strings.ToUpper(method) + " " + path; !routed[key] {
				t.Errorf("%s is in the document and no route", key)
			}
			if op.OperationId == "" || ids[op.OperationId] || op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s: operation %q needs an id of its own, a summary and one tag", method, path, op.OperationId)
			}
			ids[op.OperationId] = true
		}
	}
}

// fitsDocument holds an answer to the schema the document has for it. Every answer of every test comes through here.
func fitsDocument(t testing.TB, request *http.Request, status int, header http.Header, body string) {
	t.Helper()
	r, _ := (&server{}).table().find(request.Method, request.URL.EscapedPath())
	if r == nil || len(body) > 1<<20 {
		return
	}
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	path := describedPath(r)
	answer := &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: request}
	ok, errs := d.GetResponseBodyValidator().ValidateResponseBodyWithPathItem(request, answer, d.model.Paths.PathItems.GetOrZero(path), path)
	if ok {
		return
	}
	for _, e := range errs {
		t.Errorf("%s %s answered %d, which the document does not have so: %s: %s\n%.300s", request.Method, path, status, e.Message, e.Reason, body)
		for _, s := range e.SchemaValidationErrors {
			t.Errorf("  %s: %s", s.FieldPath, s.Reason)
		}
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
	for _, r := range (&server{}).table() {
		if !strings.Contains(a.body, "<code>"+describedPath(r)+"</code>") {
			t.Errorf("the page says nothing of %s", describedPath(r))
		}
	}
	w.call("GET", "/openapi.json", "", "", "Host", "nobody.test").want(200)
	w.call("HEAD", "/healthz", "", "", "Host", "nobody.test").want(200)
}
