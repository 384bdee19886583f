package httpapi

import (
	"net/http"
	"strconv"

	"she/internal/bundle"
	"she/internal/hat"
)

// A spool is an answer of unknown length. Records come out of a snapshot of the vault, and a snapshot that is kept
// open for as long as a slow client likes makes the vault's log grow. So the answer is first collected in memory; only
// one beyond spoolSize goes out while it is still being read, and then a client has chunkTime to take each piece.
type spool struct {
	w       *recorder
	buf     []byte
	flushed bool
}

const spoolSize = 4 << 20

func (s *spool) text(t string) { s.buf = append(s.buf, t...) }

// name writes the name of a property and its colon.
func (s *spool) name(n string) { s.buf = append(hat.AppendString(s.buf, n), ':') }

func (s *spool) row(r bundle.Row) error {
	s.buf = r.AppendJSON(s.buf)
	if len(s.buf) < spoolSize {
		return nil
	}
	return s.flush()
}

// list writes an array of the rows that evaluate yields.
func (s *spool) list(evaluate func(yield func(bundle.Row) error) error) error {
	s.text("[")
	first := true
	err := evaluate(func(r bundle.Row) error {
		if !first {
			s.text(",")
		}
		first = false
		return s.row(r)
	})
	s.text("]")
	return err
}

func (s *spool) flush() error {
	if !s.flushed {
		jsonHeaders(s.w.Header())
		s.w.WriteHeader(http.StatusOK)
		s.flushed = true
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

// end sends what is left. An answer that was never flushed has its length in the header.
func (s *spool) end() error {
	if s.flushed {
		return s.flush()
	}
	s.w.Header().Set("Content-Length", strconv.Itoa(len(s.buf)))
	writeBytes(s.w, http.StatusOK, s.buf)
	return nil
}
