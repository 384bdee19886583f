package gate

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

const (
	post    = "POST /x HTTP/1.1\r\nHost: x\r\n"
	chunks  = "5\r\nhello\r\n0\r\n\r\n"
	onlyGet = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
)

// ambiguous are requests that some proxies take for others than net/http does.
var ambiguous = map[string]string{
	"length and chunks":              post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
	"chunks and length":              post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunks,
	"both, in other letters":         post + "content-LENGTH: 5\r\ntransfer-ENCODING: Chunked\r\n\r\n" + chunks,
	"length 0 and chunks":            post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
	"two lengths":                    post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
	"the same length twice":          post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"a list of lengths":              post + "Content-Length: 5, 5\r\n\r\nhello",
	"a length with a sign":           post + "Content-Length: +5\r\n\r\nhello",
	"a negative length":              post + "Content-Length: -5\r\n\r\nhello",
	"an empty length":                post + "Content-Length: \r\n\r\n",
	"a hexadecimal length":           post + "Content-Length: 0x5\r\n\r\nhello",
	"a length beyond all numbers":    post + "Content-Length: 99999999999999999999\r\n\r\nhello",
	"a length after many blanks":     post + "Content-Length: " + strings.Repeat(" ", 2*keptOfLine) + "5\r\n\r\nhello",
	"two encodings":                  post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
	"a list of encodings":            post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks,
	"an encoding nobody knows":       post + "Transfer-Encoding: xchunked\r\n\r\n" + chunks,
	"identity":                       post + "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
	"an encoding in quotes":          post + "Transfer-Encoding: \"chunked\"\r\n\r\n" + chunks,
	"an encoding after a tabulator":  post + "Transfer-Encoding: \vchunked\r\n\r\n" + chunks,
	"chunks in HTTP/1.0":             "POST /x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
	"a space before the colon":       post + "Content-Length : 5\r\n\r\nhello",
	"an encoding before the colon":   post + "Transfer-Encoding : chunked\r\n\r\n" + chunks,
	"a folded line":                  post + "A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
	"a folded value":                 post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunks,
	"a line folded by a tabulator":   post + "A: b\r\n\tc\r\n\r\n",
	"a folded first line":            "POST /x HTTP/1.1\r\n Host: x\r\n\r\n",
	"lines that end with LF":         "POST /x HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello",
	"one line that ends with LF":     post + "A: b\nContent-Length: 5\r\n\r\nhello",
	"headers that end with LF":       post + "Content-Length: 5\r\n\nhello",
	"a CR within a value":            post + "A: b\rContent-Length: 5\r\n\r\n",
	"a CR before CR LF":              post + "A: b\r\r\nContent-Length: 5\r\n\r\nhello",
	"a CR in the first line":         "GET /x HTTP/1.1\rHost: y HTTP/1.1\r\nHost: x\r\n\r\n",
	"a line without a colon":         post + "Content-Length\r\n\r\n",
	"a header without a name":        post + ": 5\r\n\r\n",
	"a NUL in a name":                post + "Content-Length\x00: 5\r\n\r\nhello",
	"no version":                     "GET /x\r\nHost: x\r\n\r\n",
	"another version":                "GET /x HTTP/1.2\r\nHost: x\r\n\r\n",
	"an empty line first":            "\r\n" + onlyGet,
	"a chunk size with a sign":       post + "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
	"a chunk size in C's way":        post + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
	"a chunk size with a blank":      post + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
	"no chunk size":                  post + "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
	"a chunk size beyond all":        post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
	"a chunk size that ends with LF": post + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
	"an extension with a CR":         post + "Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
	"a chunk longer than its size":   post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
	"a chunk that ends with LF":      post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
	"a length in the trailer":        post + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
	"a trailer that ends with LF":    post + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
}

// plain are requests of real clients.
var plain = map[string]string{
	"get":                    onlyGet,
	"length":                 post + "Content-Length: 5\r\n\r\nhello",
	"length 0":               post + "Content-Length: 0\r\n\r\n",
	"no blank":               post + "Content-Length:5\r\n\r\nhello",
	"chunks":                 post + "Transfer-Encoding: chunked\r\n\r\n" + chunks,
	"chunks, letters":        post + "transfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n00\r\n\r\n",
	"an extension":           post + "Transfer-Encoding: chunked\r\n\r\n5;name=\"value\"\r\nhello\r\n0\r\n\r\n",
	"a trailer":              post + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
	"HTTP/1.0":               "GET /x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	"an empty value":         "GET /x HTTP/1.1\r\nHost: x\r\nA:\r\n\r\n",
	"a long value":           "GET /x HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", 4*keptOfLine) + "\r\n\r\n",
	"a long path":            "GET /" + strings.Repeat("x", 4*keptOfLine) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	"a body of CR LF":        post + "Content-Length: 4\r\n\r\n\r\n\r\n",
	"a body that is a get":   post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(onlyGet), onlyGet),
	"an empty line after it": post + "Content-Length: 5\r\n\r\nhello\r\n",
}

// What is ambiguous is refused as the first request and as a later one, however its bytes arrive, and what follows it on
// the connection is not read.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	_, address, _, _ := gated(t, 100, 0)
	for name, request := range ambiguous {
		for _, before := range []string{"", onlyGet, post + "Content-Length: 5\r\n\r\nhello"} {
			for _, alone := range []bool{false, true} {
				if strings.HasPrefix(request, "\r\n") && strings.HasPrefix(before, "POST") {
					continue // forgiven, as net/http does
				}
				c := dialGate(t, address)
				if before != "" {
					c.send(before)
					if alone {
						c.want(c.answer(), fmt.Sprintf("200 %d/x", 5*strings.Count(before, "hello")))
					}
				}
				c.send(request + onlyGet)
				if before != "" && !alone {
					c.want(c.answer(), fmt.Sprintf("200 %d/x", 5*strings.Count(before, "hello")))
				}
				got, next := c.answer(), c.answer()
				// Chunks that are wrong come in a body that is being read: then the handler, which reads it, answers.
				inBody := strings.Contains(got, "/x") && strings.Contains(request, "Transfer-Encoding: chunked\r\n\r\n")
				if !strings.HasPrefix(got, "400 ") && !inBody && got != "cut" || next != "cut" {
					t.Errorf("%s after %q (alone: %v): %q, then %q", name, before, alone, got, next)
				}
				_ = c.Close()
			}
		}
	}
}

func TestPlainRequestsAreServed(t *testing.T) {
	_, address, _, _ := gated(t, 100, 0)
	c := dialGate(t, address)
	for round := range 2 {
		for name, request := range plain {
			c.send(request)
			if got := c.answer(); !strings.HasPrefix(got, "200 ") {
				t.Fatalf("%s in round %d: %q", name, round, got)
			}
		}
	}
	// At once, in pieces of any size.
	all := ""
	for _, request := range plain {
		all += request
	}
	random := rand.New(rand.NewPCG(1, 2))
	c = dialGate(t, address)
	go func() {
		for rest := all; rest != ""; {
			n := min(len(rest), 1+random.IntN(40))
			c.send(rest[:n])
			rest = rest[n:]
		}
	}()
	for range plain {
		if got := c.answer(); !strings.HasPrefix(got, "200 ") {
			t.Fatalf("at once: %q", got)
		}
	}
}

// The bytes of requests in any pieces make the same requests; and net/http, which reads what was let pass, finds each
// begin where the framing did.
func FuzzFraming(f *testing.F) {
	for _, requests := range []map[string]string{ambiguous, plain} {
		for _, text := range requests {
			f.Add([]byte(text+onlyGet), uint64(len(text)))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		whole := follow(text, func(left int) int { return left })
		random := rand.New(rand.NewPCG(seed, 1))
		if pieces := follow(text, func(left int) int { return 1 + random.IntN(min(left, 7)) }); pieces != whole {
			t.Fatalf("%q: in pieces %+v, at once %+v", text, pieces, whole)
		}
		in := bufio.NewReader(bytes.NewReader(text[:whole.passed]))
		n := 0
		for {
			if _, err := in.Peek(1); err != nil {
				break
			}
			r, err := http.ReadRequest(in)
			if err != nil {
				return // net/http is stricter here; the connection ends
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				if n == whole.requests {
					return // the rest is to come
				}
				t.Fatalf("%q: net/http does not read the body of request %d: %v", text, n, err)
			}
			n++
			for range 2 { // as the server does after a POST
				if b, _ := in.Peek(2); r.Method == "POST" && string(b) == "\r\n" {
					_, _ = in.Discard(2)
				}
			}
		}
		if n != whole.requests {
			t.Fatalf("%q: net/http reads %d requests, the framing %d", text, n, whole.requests)
		}
	})
}

type followed struct {
	passed   int // bytes of requests before the one that is refused; all, if none is
	requests int // that are whole
	err      error
}

// follow gives the text to a framing in pieces, and to another byte by byte, to see where requests end.
func follow(text []byte, size func(left int) int) (found followed) {
	var f, g framing
	for at := 0; at < len(text) && found.err == nil; {
		n := size(len(text) - at)
		_, found.err = f.follow(text[at : at+n])
		at += n
	}
	for i := range text {
		was := g.part
		if _, err := g.follow(text[i : i+1]); err != nil {
			return found
		}
		if g.part == requestLine && was != requestLine {
			found.requests++
			found.passed = i + 1
		}
	}
	found.passed = len(text)
	return found
}
