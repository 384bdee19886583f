package edge

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/jsonb"
)

// A Spool is an answer of unknown length. Its records come from a snapshot of the vault. If a slow client
// kept the snapshot open, the vault's log would grow. So the spool first collects the answer in memory. Only
// an answer larger than spoolSize is sent while the snapshot is open, and then the client has chunkTime for
// each piece.
type Spool struct {
	q       *Request // accounts for the memory
	w       *Recorder
	buf     []byte
	held    int // acquired bytes of memory
	first   bool
	flushed bool
	Shown   *Shown // nil: nothing to disclose
}

const (
	SpoolSize = 4 << 20
	spoolFree = 32 << 10 // included in what every request holds
)

func (q *Request) Spool(w *Recorder) *Spool { return &Spool{q: q, w: w, held: spoolFree} }

// Hold acquires memory for the buffer and for the record that is about to be written to it.
func (s *Spool) Hold(record int) error {
	need := cap(s.buf)
	if len(s.buf)+record > need {
		need = 2*cap(s.buf) + record
	}
	if record > spoolFree {
		need += 2 * record // the record as read
	}
	if need <= s.held {
		return nil
	}
	more := max(need-s.held, s.held)
	if err := s.q.Memory.Grow(s.q.Context(), int64(more)); err != nil {
		return err
	}
	s.held += more
	return nil
}

func (s *Spool) Text(t string) { s.buf = append(s.buf, t...) }

// Name writes the name of a property and a colon.
func (s *Spool) Name(n string) { s.buf = append(jsonb.AppendString(s.buf, n), ':') }

func (s *Spool) row(r bundle.Row) error {
	size := r.Data.Len() + 256
	for i := range r.Links {
		size += r.Links[i].Data.Len() + 256
	}
	if err := s.Hold(size); err != nil {
		return err
	}
	s.buf = r.AppendJSON(s.buf)
	s.Shown.add(r)
	if len(s.buf) < SpoolSize {
		return nil
	}
	return s.flush()
}

// List writes an array of the rows that evaluate yields.
func (s *Spool) List(evaluate func(yield func(bundle.Row) error) error) error {
	s.Text("[")
	first := true
	err := evaluate(func(r bundle.Row) error {
		if !first {
			s.Text(",")
		}
		first = false
		return s.row(r)
	})
	s.Text("]")
	return err
}

// Begin writes the opening bracket of an array of values; Finish writes the closing one.
func (s *Spool) Begin() {
	s.Text("[")
	s.first = true
}

func (s *Spool) Finish() error {
	s.Text("]")
	return s.End()
}

// Element writes the next value of an array; size is about its length in bytes.
func (s *Spool) Element(v any, size int) error {
	if err := s.Hold(size); err != nil {
		return err
	}
	if !s.first {
		s.Text(",")
	}
	s.first = false
	b := bytes.NewBuffer(s.buf)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	s.buf = bytes.TrimRight(b.Bytes(), "\n")
	if len(s.buf) < SpoolSize {
		return nil
	}
	return s.flush()
}

func (s *Spool) flush() error {
	if err := s.ask(); err != nil {
		return err
	}
	if err := s.Shown.disclose(); err != nil {
		return err
	}
	if !s.flushed {
		JSONHeaders(s.w.Header())
		s.w.WriteHeader(http.StatusOK)
		s.flushed = true
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

// ask checks the first piece of an answer, which may have taken minutes to find. The recorder checks the
// others.
func (s *Spool) ask() error {
	if s.flushed || s.w.Still == nil {
		return nil
	}
	return s.w.Still()
}

// End gives the vault back and sends the rest. An answer that was never flushed has its length in the header.
func (s *Spool) End() error {
	if err := s.ask(); err != nil {
		return err
	}
	if err := s.Shown.disclose(); err != nil {
		return err
	}
	s.q.Release()
	if s.flushed {
		return s.flush()
	}
	s.w.Header().Set("Content-Length", strconv.Itoa(len(s.buf)))
	WriteBytes(s.w, http.StatusOK, s.buf)
	return nil
}

// Shown is the part of an answer that has no receipt yet. Nothing is sent before its receipt is written.
type Shown struct {
	Entry     func(records []hat.RecordID, endpoints []hat.Endpoint) error
	entered   bool
	records   []hat.RecordID
	endpoints map[hat.Endpoint]bool
}

func (s *Shown) add(r bundle.Row) {
	if s == nil {
		return
	}
	if s.endpoints == nil {
		s.endpoints = map[hat.Endpoint]bool{}
	}
	s.records = append(s.records, r.ID)
	s.endpoints[r.Endpoint] = true
	for _, linked := range r.Links {
		s.add(linked)
	}
}

// disclose writes a receipt for what was added since the last one. The first receipt is written even if there
// is nothing to show, because somebody asked and was answered.
func (s *Shown) disclose() error {
	if s == nil || s.entered && len(s.records) == 0 {
		return nil
	}
	if err := s.Entry(s.records, slices.Collect(maps.Keys(s.endpoints))); err != nil {
		return err
	}
	s.entered, s.records, s.endpoints = true, nil, nil
	return nil
}
