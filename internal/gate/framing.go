package gate

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// A framing follows the bytes of a connection from one HTTP/1.1 request to the next. It refuses everything
// that a proxy before this server could read as other requests than net/http does: a length that is given
// twice or in two ways, lines that end without CR, folded lines, bare CR, unusual chunks. Both read what it
// accepts in the same way. The zero framing waits for the first request.
type framing struct {
	part    framePart
	after   bool  // the last request was a POST: an empty line after it is accepted, as in net/http
	header  int   // bytes of the request's line and headers so far
	lines   int   // lines of the header so far
	left    int64 // bytes of the body, or of its chunk, that are not read yet
	length  int64 // Content-Length; -1: none
	chunked bool
	old     bool // HTTP/1.0

	// The current line: its beginning, its last bytes, and whether a CR has come that needs its LF.
	line  []byte
	tail  [len(newest)]byte
	size  int
	ended bool
}

// framePart says what the next byte belongs to.
type framePart int

const (
	requestLine framePart = iota
	headerLine
	body
	chunkSize
	chunkData
	chunkEnd
	trailerLine
)

const (
	newest = "HTTP/1.1"
	oldest = "HTTP/1.0"
	// keptOfLine is how many bytes of a line are kept. Names, lengths and sizes are shorter.
	keptOfLine = 256
)

var (
	errFraming   = errors.New("the end of the request is ambiguous")
	errManyLines = errors.New("too many headers")
)

// reading reports whether the line or the headers of a request have begun but not ended.
func (f *framing) reading() bool { return f.part <= headerLine && f.header > 0 }

// follow takes the next bytes. On an error, the faulty request begins at b[from], or earlier if from is 0.
func (f *framing) follow(b []byte) (from int, err error) {
	for i := 0; i < len(b); {
		if f.part == requestLine && f.header == 0 && f.size == 0 {
			from = i
		}
		if f.part == body || f.part == chunkData {
			n := min(f.left, int64(len(b)-i))
			f.left -= n
			i += int(n)
			if f.left == 0 {
				f.bodyOver()
			}
			continue
		}
		end := bytes.IndexByte(b[i:], '\n')
		text, over := b[i:], end >= 0
		if over {
			text = b[i : i+end]
		}
		if f.part <= headerLine {
			f.header += len(text)
			if over {
				f.header++
			}
		}
		if !f.add(text) {
			return from, errFraming
		}
		if !over {
			break
		}
		i += end + 1
		if !f.ended {
			return from, errFraming // LF without CR
		}
		if err := f.lineOver(); err != nil {
			return from, err
		}
		f.line, f.size, f.ended = f.line[:0], 0, false
	}
	return 0, nil
}

// add appends to the line. Only its last byte may be a CR.
func (f *framing) add(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	cr := bytes.IndexByte(text, '\r')
	if f.ended || cr >= 0 && cr < len(text)-1 {
		return false
	}
	if cr >= 0 {
		f.ended, text = true, text[:cr]
	}
	f.size += len(text)
	f.line = append(f.line, text[:min(len(text), keptOfLine-len(f.line))]...)
	if n := len(text); n >= len(f.tail) {
		copy(f.tail[:], text[n-len(f.tail):])
	} else {
		copy(f.tail[:], f.tail[n:])
		copy(f.tail[len(f.tail)-n:], text)
	}
	return true
}

func (f *framing) whole() bool { return f.size <= keptOfLine }

func (f *framing) bodyOver() {
	if f.part == chunkData {
		f.part = chunkEnd
		return
	}
	f.requestOver()
}

func (f *framing) requestOver() {
	*f = framing{after: f.after, line: f.line[:0]}
}

// lineOver evaluates the line that has ended.
func (f *framing) lineOver() error {
	switch f.part {
	case requestLine:
		return f.readRequestLine()
	case headerLine:
		if f.size == 0 {
			return f.headersOver()
		}
		return f.readHeader()
	case chunkSize:
		return f.readChunkSize()
	case chunkEnd:
		if f.size != 0 {
			return errFraming
		}
		f.part = chunkSize
	case trailerLine:
		return f.readTrailer()
	case body, chunkData: // these parts have no lines
	}
	return nil
}

func (f *framing) readRequestLine() error {
	if f.size == 0 {
		if !f.after {
			return errFraming
		}
		f.after, f.header = false, 0
		return nil
	}
	version := string(f.tail[:])
	if f.size <= len(f.tail) || version != newest && version != oldest {
		return errFraming
	}
	f.after = bytes.HasPrefix(f.line, []byte("POST "))
	f.part, f.lines, f.length, f.old = headerLine, 1, -1, version == oldest
	return nil
}

var (
	contentLength    = []byte("Content-Length")
	transferEncoding = []byte("Transfer-Encoding")
)

// field splits a header line. net/http checks its content; here only the name must be unambiguous.
func (f *framing) field() (name, value []byte, ok bool) {
	colon := bytes.IndexByte(f.line, ':')
	if colon <= 0 {
		return nil, nil, false
	}
	name, value = f.line[:colon], f.line[colon+1:]
	for _, c := range name {
		// No space before the colon, nor at the beginning, where it would continue the line before.
		if c <= ' ' || c >= 0x7f {
			return nil, nil, false
		}
	}
	return name, value, true
}

func (f *framing) readHeader() error {
	if f.lines++; f.lines > maxHeaderLines {
		return errManyLines
	}
	name, value, ok := f.field()
	if !ok {
		return errFraming
	}
	switch {
	case bytes.EqualFold(name, contentLength):
		n, ok := digits(blanksOff(value), 10)
		if f.length >= 0 || !ok || !f.whole() {
			return errFraming
		}
		f.length = n
	case bytes.EqualFold(name, transferEncoding):
		if f.chunked || !strings.EqualFold(blanksOff(value), "chunked") || !f.whole() {
			return errFraming
		}
		f.chunked = true
	}
	return nil
}

func (f *framing) headersOver() error {
	if f.chunked && (f.length >= 0 || f.old) {
		return errFraming
	}
	switch {
	case f.chunked:
		f.part = chunkSize
	case f.length > 0:
		f.part, f.left = body, f.length
	default:
		f.requestOver()
	}
	return nil
}

func (f *framing) readChunkSize() error {
	size, extension, extended := strings.Cut(string(f.line), ";")
	n, ok := digits(size, 16)
	if !ok || !f.whole() || extended && strings.ContainsFunc(extension, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
		return errFraming
	}
	f.part, f.left = chunkData, n
	if n == 0 {
		f.part = trailerLine
	}
	return nil
}

func (f *framing) readTrailer() error {
	if f.size == 0 {
		f.requestOver()
		return nil
	}
	if f.lines++; f.lines > maxHeaderLines {
		return errManyLines
	}
	switch name, _, ok := f.field(); {
	case !ok, bytes.EqualFold(name, contentLength), bytes.EqualFold(name, transferEncoding):
		return errFraming
	}
	return nil
}

func blanksOff(value []byte) string { return strings.Trim(string(value), " \t") }

// digits reads a number that consists only of digits.
func digits(text string, base int) (int64, bool) {
	if text == "" || len(text) > 18 || strings.ContainsAny(text, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseInt(text, base, 63)
	return n, err == nil
}
