package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"

	"she/internal/hat"
	"she/internal/project"
)

const maxSample = 64 << 10 // bytes of a sample event

// readSample reads the author's sample event from a stored package, so that the digest covers the sample and
// no link leads out of the package.
func readSample(p Package, name string) ([]byte, error) {
	text, err := readStored(p, name)
	switch {
	case errors.Is(err, errNoFile):
		return nil, hat.NewFault(hat.Operator, CodeSample, fmt.Sprintf("warmUp: the function's package has no file %.200q", name))
	case err != nil:
		return nil, err
	}
	if err := checkSample(name, text); err != nil {
		return nil, hat.NewFault(hat.Author, CodeSample, err.Error())
	}
	return text, nil
}

var errNoFile = errors.New("no such file in the package")

// readStored reads at most one byte more than a sample may have.
func readStored(p Package, name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, errNoFile
	}
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return nil, errNoFile
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errNoFile
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, min(info.Size(), maxSample+1))
	_, err = f.ReadAt(text, 0)
	return text, err
}

// checkSample checks that the text is a complete event of the process entry:
//
//	{"request":{"data":{property:[record…]}}}
//
// It accepts other keys. An error is a *project.Error.
func checkSample(name string, text []byte) error {
	at := func(offset int64, what string) error {
		return &project.Error{File: name, Line: 1 + bytes.Count(text[:max(0, offset-1)], []byte("\n")), Text: what}
	}
	const shape = `want what the function is given: {"request":{"data":{property:[record…]}}}`
	switch {
	case len(text) > maxSample:
		return &project.Error{File: name, Text: fmt.Sprintf("a sample event has at most %d bytes", maxSample)}
	case !utf8.Valid(text):
		return &project.Error{File: name, Text: "not UTF-8"}
	}
	var event struct {
		Request struct {
			Data map[string][]map[string]json.RawMessage
		}
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, &event); {
	case errors.As(err, &syntax):
		return at(syntax.Offset, "not JSON: "+syntax.Error())
	case errors.As(err, &kind):
		return at(kind.Offset, shape)
	case err != nil:
		return &project.Error{File: name, Text: shape}
	}
	// The first decoding accepts null everywhere and "Data" for "data". The function would not.
	var exact struct{ event, request map[string]json.RawMessage }
	if json.Unmarshal(text, &exact.event) != nil || json.Unmarshal(exact.event["request"], &exact.request) != nil || exact.request["data"] == nil || event.Request.Data == nil {
		return &project.Error{File: name, Text: shape}
	}
	for _, records := range event.Request.Data {
		for _, r := range records {
			if r == nil {
				return &project.Error{File: name, Text: shape}
			}
		}
		if records == nil {
			return &project.Error{File: name, Text: shape}
		}
	}
	return nil
}
