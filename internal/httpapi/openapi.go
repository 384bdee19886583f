package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"she/internal/edge"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openapiYAML []byte

// openapi is the description of all routes. Tests compare it with the table of routes in both directions, and
// compare real answers with its schemas.
var openapi = sync.OnceValues(func() (map[string]any, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openapiYAML, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	delete(doc, "x-shared") // anchors, only for readers of the file
	return doc, nil
})

// getOpenAPI: GET /openapi.json.
func getOpenAPI(w *edge.Recorder, _ *edge.Request) error {
	doc, err := openapi()
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, doc)
	return nil
}

// docsStyle is the page's only style. The page's policy names it by its digest and allows nothing else.
const docsStyle = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid #ddd}nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem}
details{border:1px solid #ddd;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}
code{font:14px ui-monospace,monospace;overflow-wrap:anywhere}b.m{display:inline-block;width:5rem}
table{border-collapse:collapse;width:100%}td{border-top:1px solid #eee;padding:.2rem .6rem .2rem 0;vertical-align:top}td:first-child{white-space:nowrap}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}details,h2{border-color:#444}td{border-color:#333}a{color:#8bf}}`

var docsPolicy = func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var docsPage = template.Must(template.New("docs").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}} {{.Version}}</title><style>{{.Style}}</style></head><body>
<h1>{{.Title}} {{.Version}}</h1><p>{{.Summary}}</p><p>{{.Description}}</p>
<p>For machines: <a href="/openapi.json">openapi.json</a>.</p>
<nav>{{range .Tags}}<a href="#{{.Name}}">{{.Name}}</a>{{end}}<a href="#Shapes">Shapes</a></nav>
{{range .Tags}}<h2 id="{{.Name}}">{{.Name}}</h2><p>{{.Description}}</p>
{{range .Operations}}<details id="{{.ID}}"><summary><b class="m">{{.Method}}</b> <code>{{.Path}}</code> – {{.Summary}}</summary>
{{with .Description}}<p>{{.}}</p>{{end}}{{if .Public}}<p>No token needed.</p>{{end}}
{{with .Parameters}}<table>{{range .}}<tr><td><code>{{.Name}}</code></td><td>{{.In}}{{if .Required}}, required{{end}}</td><td>{{.Description}}</td></tr>{{end}}</table>{{end}}
{{with .Body}}<p>Body:</p><p><code>{{.}}</code></p>{{end}}
<table>{{range .Answers}}<tr><td>{{.Status}}</td><td>{{.Description}}{{with .Schema}}<br><code>{{.}}</code>{{end}}</td></tr>{{end}}</table>
</details>{{end}}{{end}}
<h2 id="Shapes">Shapes</h2><p>What the names in bodies and answers stand for.</p>
<table>{{range .Shapes}}<tr><td><code>{{.Name}}</code></td><td>{{with .Description}}{{.}}<br>{{end}}<code>{{.Sketch}}</code></td></tr>{{end}}</table>
</body></html>`))

type docsTag struct {
	Name, Description string
	Operations        []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description string
	Public                                 bool
	Parameters                             []docsParameter
	Body                                   string
	Answers                                []docsAnswer
}

type docsParameter struct {
	Name, In, Description string
	Required              bool
}

type docsShape struct{ Name, Description, Sketch string }

type docsAnswer struct{ Status, Description, Schema string }

// node is a part of the document.
type node struct {
	doc map[string]any
	at  map[string]any
}

// get returns a field and resolves a reference in it.
func (n node) get(name string) node {
	next, _ := n.at[name].(map[string]any)
	return n.of(next)
}

func (n node) of(at map[string]any) node {
	for range 10 { // longer than any chain of references in the document
		ref, isRef := at["$ref"].(string)
		if !isRef {
			break
		}
		at = n.doc
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at, _ = at[name].(map[string]any)
		}
	}
	return node{n.doc, at}
}

func (n node) list(name string) (all []node) {
	items, _ := n.at[name].([]any)
	for _, item := range items {
		if m, isMap := item.(map[string]any); isMap {
			all = append(all, n.of(m))
		}
	}
	return all
}

func (n node) text(name string) string {
	s, _ := n.at[name].(string)
	return s
}

func (n node) keys() []string {
	keys := make([]string, 0, len(n.at))
	for k := range n.at {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// schema returns the first schema of a content, in short form.
func (n node) schema() string {
	content := n.get("content")
	for _, kind := range content.keys() {
		raw, _ := content.get(kind).at["schema"].(map[string]any)
		return kind + " " + sketch(raw, 3)
	}
	return ""
}

// sketch writes a schema in a form that shows a person its structure.
func sketch(s map[string]any, depth int) string {
	if ref, isRef := s["$ref"].(string); isRef {
		return ref[strings.LastIndexByte(ref, '/')+1:]
	}
	if depth == 0 {
		return "…"
	}
	var parts []string
	for _, choice := range []string{"oneOf", "anyOf"} {
		options, _ := s[choice].([]any)
		for _, o := range options {
			if m, isMap := o.(map[string]any); isMap {
				parts = append(parts, sketch(m, depth-1))
			}
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, " | ")
	}
	if items, isArray := s["items"].(map[string]any); isArray {
		return "[" + sketch(items, depth-1) + "]"
	}
	if properties, isObject := s["properties"].(map[string]any); isObject {
		for _, name := range (node{at: properties}).keys() {
			p, _ := properties[name].(map[string]any)
			parts = append(parts, name+": "+sketch(p, depth-1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	if more, isMap := s["additionalProperties"].(map[string]any); isMap {
		return "{name: " + sketch(more, depth-1) + "}"
	}
	if s["type"] == nil {
		return "any JSON"
	}
	return fmt.Sprint(s["type"])
}

// docs builds the page once.
var docs = sync.OnceValues(func() ([]byte, error) {
	doc, err := openapi()
	if err != nil {
		return nil, err
	}
	root := node{doc, doc}
	byTag := map[string][]docsOperation{}
	paths := root.get("paths")
	for _, path := range paths.keys() {
		item := paths.get(path)
		for _, method := range []string{"get", "post", "put", "delete"} {
			op := item.get(method)
			if op.at == nil {
				continue
			}
			tags, _ := op.at["tags"].([]any)
			for _, tag := range tags {
				byTag[fmt.Sprint(tag)] = append(byTag[fmt.Sprint(tag)], docsOf(strings.ToUpper(method), path, item, op))
			}
		}
	}
	info := root.get("info")
	page := struct {
		Title, Version, Summary, Description string
		Style                                template.CSS
		Tags                                 []docsTag
		Shapes                               []docsShape
	}{info.text("title"), info.text("version"), info.text("summary"), info.text("description"), docsStyle, nil, nil}
	schemas := root.get("components").get("schemas")
	for _, name := range schemas.keys() {
		shape := schemas.get(name)
		page.Shapes = append(page.Shapes, docsShape{name, shape.text("description"), sketch(shape.at, 3)})
	}
	for _, tag := range root.list("tags") {
		page.Tags = append(page.Tags, docsTag{tag.text("name"), tag.text("description"), byTag[tag.text("name")]})
	}
	var b bytes.Buffer
	err = docsPage.Execute(&b, page)
	return b.Bytes(), err
})

func docsOf(method, path string, item, op node) docsOperation {
	o := docsOperation{
		ID: op.text("operationId"), Method: method, Path: path, Summary: op.text("summary"), Description: op.text("description"),
		Body: op.get("requestBody").schema(),
	}
	security, given := op.at["security"].([]any)
	o.Public = given && len(security) == 0
	for _, p := range append(item.list("parameters"), op.list("parameters")...) {
		required, _ := p.at["required"].(bool)
		o.Parameters = append(o.Parameters, docsParameter{p.text("name"), p.text("in"), p.text("description"), required})
	}
	answers := op.get("responses")
	for _, status := range answers.keys() {
		answer := answers.get(status)
		o.Answers = append(o.Answers, docsAnswer{status, answer.text("description"), answer.schema()})
	}
	return o
}

// getDocs: GET /docs.
func getDocs(w *edge.Recorder, _ *edge.Request) error {
	page, err := docs()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, err = w.Write(page)
	return err
}

func health(w *edge.Recorder, _ *edge.Request) error {
	edge.WriteJSON(w, http.StatusOK, map[string]string{"Status": "OK"})
	return nil
}
