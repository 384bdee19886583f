package workbench

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-sourcemap/sourcemap"

	"she/internal/catalog"
	"she/internal/hat"
)

// faultOf returns a fault with the function's own message, read from its error document:
//
//	{"errorType":…,"errorMessage":…,"stackTrace":[text or {"path","line","label"}…]}  Python, Java, .NET, Go
//	{"errorType":…,"errorMessage":…,"trace":[text…]}                                  Node.js
func faultOf(f *hat.Fault, document []byte, e catalog.Entry) *Fault {
	said := struct {
		ErrorType, ErrorMessage string
		StackTrace, Trace       []json.RawMessage
	}{}
	out := &Fault{Who: string(f.Who), Code: f.Code, Text: f.Text}
	if json.Unmarshal(document, &said) != nil {
		return out
	}
	if !strings.HasSuffix(said.ErrorMessage, f.Text) { // otherwise the message is the engine's
		out.Type, out.Message = said.ErrorType, said.ErrorMessage
	}
	maps := sourceMaps{dir: e.Package.Dir, read: map[string]*generated{}}
	for _, frame := range authors(append(said.StackTrace, said.Trace...)) {
		for line := range strings.Lines(frame) {
			line = strings.TrimRight(line, "\r\n")
			if len(out.Stack) == mostFrames {
				return out
			}
			out.Stack = append(out.Stack, maps.original(line))
		}
	}
	if len(said.Trace) > 0 { // it begins with the message
		for len(out.Stack) > 0 && !strings.HasPrefix(strings.TrimSpace(out.Stack[0]), "at ") {
			out.Stack = out.Stack[1:]
		}
	}
	return out
}

// authors returns the frames without those of the runtime that called the function. For languages whose
// frames name files, it drops the frames after the last one in the package.
func authors(frames []json.RawMessage) (texts []string) {
	last := -1
	for i, frame := range frames {
		text := frameText(frame)
		texts = append(texts, text)
		if strings.Contains(text, task) {
			last = i
		}
	}
	if last < 0 {
		return texts
	}
	return texts[:last+1]
}

const mostFrames = 60

// frameText formats a frame as its language does.
func frameText(frame json.RawMessage) string {
	var text string
	if json.Unmarshal(frame, &text) == nil {
		return text
	}
	var of struct {
		Path, Label string
		Line        int
	}
	if json.Unmarshal(frame, &of) == nil && of.Path != "" {
		return fmt.Sprintf("%s (%s:%d)", of.Label, of.Path, of.Line)
	}
	return ""
}

// task is the directory of the package in the sandbox.
const task = "/var/task/"

var position = regexp.MustCompile(`(?:file://)?` + task + `([^():\s]+):([0-9]+):([0-9]+)`)

// sourceMaps translates positions in compiled files to the author's own files, with source maps in the
// package (ECMA-426).
type sourceMaps struct {
	dir  string
	read map[string]*generated // by name in the package; nil: no map
}

// A generated is the map of a compiled file, with its location.
type generated struct {
	consumer *sourcemap.Consumer
	at       string // slash path of the map's directory in the package
}

// original returns a frame with positions in the author's files, named as in the project.
func (m sourceMaps) original(frame string) string {
	frame = position.ReplaceAllStringFunc(frame, func(at string) string {
		f := position.FindStringSubmatch(at)
		line, _ := strconv.Atoi(f[2])
		column, _ := strconv.Atoi(f[3])
		if source, line, column, ok := m.find(f[1], line, column); ok {
			return fmt.Sprintf("%s:%d:%d", source, line, column)
		}
		return fmt.Sprintf("%s:%d:%d", f[1], line, column)
	})
	return strings.ReplaceAll(frame, task, "")
}

// find translates one position. Columns count from 1, as JavaScript engines write them. The package sourcemap
// does not check the indices in a map, so a wrong map may make it panic.
func (m sourceMaps) find(name string, line, column int) (source string, atLine, atColumn int, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	g, known := m.read[name]
	if !known {
		g = m.load(name)
		m.read[name] = g
	}
	if g == nil {
		return "", 0, 0, false
	}
	source, _, atLine, atColumn, ok = g.consumer.Source(line, column-1)
	return g.project(source), atLine, atColumn + 1, ok && source != ""
}

// project returns the name of a source in the project. The map gives it relative to itself, or after a
// bundler's scheme.
func (g *generated) project(source string) string {
	if u, err := url.Parse(source); err == nil && u.Scheme != "" {
		if u.Scheme == "file" {
			return strings.TrimPrefix(u.Path, task)
		}
		return path.Clean(strings.TrimLeft(u.Path, "/")) // webpack://name/./src/handler.ts
	}
	if path.IsAbs(source) {
		return strings.TrimPrefix(source, task)
	}
	clean := path.Join(g.at, source)
	for strings.HasPrefix(clean, "../") { // the package is a folder of the project
		clean = strings.TrimPrefix(clean, "../")
	}
	return clean
}

// Limits on what is read of a package: the end of a compiled file, and a map.
const (
	maxGenerated = 64 << 20
	maxMap       = 64 << 20
)

var mapURL = regexp.MustCompile(`(?m)^//[#@] sourceMappingURL=(\S+)\s*$`)

// load reads the map that a file of the package names; nil if there is no readable map.
func (m sourceMaps) load(name string) *generated {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	read := func(name string, most int64) []byte {
		f, err := root.Open(filepath.FromSlash(name))
		if err != nil {
			return nil
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, most))
		if err != nil {
			return nil
		}
		return b
	}
	all := mapURL.FindAllSubmatch(read(name, maxGenerated), -1)
	if len(all) == 0 {
		return nil
	}
	at := string(all[len(all)-1][1]) // the last one is valid
	g := &generated{at: path.Dir(name)}
	var text []byte
	if _, data, inline := strings.Cut(at, ";base64,"); inline && strings.HasPrefix(at, "data:") {
		text, err = base64.StdEncoding.DecodeString(data)
	} else {
		if at, err = url.PathUnescape(at); err == nil {
			at = path.Join(path.Dir(name), at)
			g.at, text = path.Dir(at), read(at, maxMap)
		}
	}
	if err != nil || len(text) == 0 {
		return nil
	}
	if g.consumer, err = sourcemap.Parse("", bytes.TrimPrefix(text, []byte(")]}'\n"))); err != nil {
		return nil
	}
	return g
}
