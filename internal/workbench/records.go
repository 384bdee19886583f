package workbench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"she/internal/hat"
)

// A LineError says which line of which file can't be read. It contains none of the file's data.
type LineError struct {
	File string
	Line int // from 1; 0 for the file as a whole
	Text string
}

func (e *LineError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Limits of the data of one try.
const (
	MaxRecords = 500_000
	maxLine    = 10 << 20
)

// ReadData reads records from a file, or from all files of a directory. A file is JSON Lines, or one JSON
// array of the same objects:
//
//	{"endpoint":"rumpel/notes","data":{…}}   as `she data sample` and a HAT's GET /data print them
//
// Other members, such as recordId, are ignored; records get new ids. In a directory, the path of a file may
// name an endpoint: rumpel/notes.jsonl or rumpel/notes.json. Such a file may contain just the data, without
// {"endpoint","data"} around each record. Files with other names are ignored. Errors are *LineError, or
// errors of the file system.
func ReadData(name string) (drafts []hat.Draft, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		drafts, err = readRecords(f, name, hat.Endpoint{}, nil)
		return some(drafts, err, name)
	}
	err = filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ext := path.Ext(file)
		if !d.Type().IsRegular() || ext != ".jsonl" && ext != ".ndjson" && ext != ".json" {
			return nil
		}
		rel, err := filepath.Rel(name, file)
		if err != nil {
			return err
		}
		of, _ := hat.ParseEndpoint(strings.TrimSuffix(filepath.ToSlash(rel), ext)) // else each record names one
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		drafts, err = readRecords(f, file, of, drafts)
		return err
	})
	return some(drafts, err, name)
}

func some(drafts []hat.Draft, err error, name string) ([]hat.Draft, error) {
	if err == nil && len(drafts) == 0 {
		err = &LineError{name, 0, `there are no records: want {"endpoint":…,"data":…} on each line`}
	}
	return drafts, err
}

// readRecords adds the records of one file. of is the endpoint of data that names none; zero: each record
// must name one.
func readRecords(r io.Reader, file string, of hat.Endpoint, drafts []hat.Draft) ([]hat.Draft, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	if first, err := firstByte(in); err == nil && first == '[' {
		return readArray(in, file, of, drafts)
	}
	for line := 1; ; line++ {
		text, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			if errors.Is(err, errLong) {
				return nil, &LineError{file, line, fmt.Sprintf("a record has at most %d MB", maxLine>>20)}
			}
			return nil, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			d, problem := readRecord(text, of)
			if problem != "" {
				return nil, &LineError{file, line, problem}
			}
			if drafts = append(drafts, d); len(drafts) > MaxRecords {
				return nil, &LineError{file, line, fmt.Sprintf("a try takes at most %d records", MaxRecords)}
			}
		}
		if err != nil {
			return drafts, nil
		}
	}
}

// firstByte returns the first byte of the next 64 that is not white space. It consumes nothing.
func firstByte(in *bufio.Reader) (byte, error) {
	head, err := in.Peek(64)
	if head = bytes.TrimLeft(head, " \t\r\n"); len(head) > 0 {
		return head[0], nil
	}
	return 0, err
}

var errLong = errors.New("the line is too long")

func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxLine {
			return nil, errLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// readArray reads one JSON array of records, as GET /data answers. It finds line numbers in the text read so
// far.
func readArray(in io.Reader, file string, of hat.Endpoint, drafts []hat.Draft) ([]hat.Draft, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	lineAt := func(offset int64) int {
		return 1 + bytes.Count(text[:min(max(0, offset), int64(len(text)))], []byte("\n"))
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return nil, &LineError{file, lineAt(dec.InputOffset()), "not JSON"}
	}
	for dec.More() {
		var one json.RawMessage
		if err := dec.Decode(&one); err != nil {
			at := dec.InputOffset()
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at += syntax.Offset // counted from the start of the element
			}
			return nil, &LineError{file, lineAt(at), "not JSON"}
		}
		d, problem := readRecord(one, of)
		if problem != "" {
			return nil, &LineError{file, lineAt(dec.InputOffset() - int64(len(one))), problem}
		}
		if drafts = append(drafts, d); len(drafts) > MaxRecords {
			return nil, &LineError{file, lineAt(dec.InputOffset()), fmt.Sprintf("a try takes at most %d records", MaxRecords)}
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, &LineError{file, lineAt(int64(len(text))), "not JSON: the array does not end"}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &LineError{file, lineAt(dec.InputOffset()), "something follows the array"}
	}
	return drafts, nil
}

// readRecord reads one record. problem says what is wrong with it.
func readRecord(text []byte, of hat.Endpoint) (d hat.Draft, problem string) {
	var syntax *json.SyntaxError
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); errors.As(err, &syntax) {
		return d, fmt.Sprintf("not JSON at byte %d of the record: %s", syntax.Offset, syntax.Error())
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(text, &fields) // if this fails, it is not an object
	name, hasEndpoint := fields["endpoint"]
	content, hasData := fields["data"]
	if !hasEndpoint || !hasData {
		if of.IsZero() {
			return d, `want {"endpoint":"namespace/name","data":…}; data alone belongs in a directory, in a file named after its endpoint, such as rumpel/notes.jsonl`
		}
		content, name = text, nil
	}
	d.Endpoint = of
	if name != nil {
		var at string
		var err error
		if json.Unmarshal(name, &at) != nil {
			return d, "endpoint is not text"
		}
		if d.Endpoint, err = hat.ParseEndpoint(strings.Trim(at, "/")); err != nil {
			return d, err.Error()
		}
	}
	var err error
	if d.Data, err = hat.ParseData(content); err != nil {
		return d, "its data can't be kept: " + err.Error()
	}
	return d, ""
}

// ReadRecords does the same as ReadData for one stream; name is used in errors.
func ReadRecords(r io.Reader, name string) ([]hat.Draft, error) {
	drafts, err := readRecords(r, name, hat.Endpoint{}, nil)
	return some(drafts, err, name)
}

// CheckEvent returns an error with the line on which an event is not JSON. The error is a *LineError.
func CheckEvent(name string, text []byte) error {
	var whole json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(text, &whole); {
	case len(bytes.TrimSpace(text)) == 0:
		return &LineError{name, 0, "the event is empty; want JSON"}
	case errors.As(err, &syntax):
		at := syntax.Offset // after the wrong byte, or the end
		if at < int64(len(text)) {
			at--
		}
		return &LineError{name, 1 + bytes.Count(text[:max(0, at)], []byte("\n")), "not JSON: " + syntax.Error()}
	}
	return nil
}
