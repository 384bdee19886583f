package edge

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The server waits for the rest of a body only while bytes arrive fast enough.
func TestBodiesMustCome(t *testing.T) {
	pieces := []int{MaxOpenBody / 2, MaxOpenBody / 2}
	q := &Request{route: &Route{}, Request: must(http.NewRequest("POST", "/", nil))}
	q.ContentLength = -1
	var had []int
	text, err := q.readBody(readerFunc(func(b []byte) (int, error) {
		if len(pieces) == 0 {
			return 0, io.EOF
		}
		n := pieces[0]
		pieces = pieces[1:]
		return n, nil
	}), func(n int) { had = append(had, n) })
	if err != nil || len(text) != MaxOpenBody || fmt.Sprint(had) != fmt.Sprint([]int{MaxOpenBody / 2, MaxOpenBody}) {
		t.Errorf("%d bytes, deadlines after %v, %v", len(text), had, err)
	}
	for n := range 3 * firstPiece {
		if n > 300 && n%firstPiece > 2 {
			continue
		}
		for _, length := range []int64{int64(n), -1} {
			q.ContentLength = length
			text, err := q.readBody(strings.NewReader(strings.Repeat("x", n)), func(int) {})
			if err != nil || len(text) != n || length >= 0 && cap(text) > n+firstPiece {
				t.Fatalf("%d of %d bytes, room for %d, %v", len(text), n, cap(text), err)
			}
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
