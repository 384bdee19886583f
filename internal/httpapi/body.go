package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"she/internal/hat"
)

const (
	maxBody = 10 << 20
	// maxRecords of one request, links included: ten megabytes of "[0,0,0,…]" would be five million.
	maxRecords = 50_000
)

// body reads a JSON request's bytes.
func (q *request) body(w *recorder) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || kind != "application/json" && kind != "text/json" {
		return nil, errMediaType
	}
	if q.ContentLength > maxBody {
		return nil, errTooLarge
	}
	// Not every ResponseWriter has a connection; without one there is nobody to wait for.
	if w.conn.SetReadDeadline(time.Now().Add(bodyTime)) == nil {
		defer func() { _ = w.conn.SetReadDeadline(time.Time{}) }()
	}
	// The reader underneath closes the connection of a client that sends on; it must be the server's own writer.
	text, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, q.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errTooSlow
	case err != nil:
		return nil, badRequest("The request body ended too early")
	}
	return text, nil
}

// elements splits a JSON array into its elements, unparsed; isArray is false if the text is any other value.
func elements(text []byte) (list []json.RawMessage, isArray bool, err error) {
	if trimmed := bytes.TrimLeft(text, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '[' {
		return nil, false, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return nil, true, notJSON(dec)
	}
	for dec.More() {
		if len(list) == maxRecords {
			return nil, true, errTooMany
		}
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return nil, true, notJSON(dec)
		}
		list = append(list, element)
	}
	if _, err := dec.Token(); err != nil {
		return nil, true, notJSON(dec)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, true, notJSON(dec)
	}
	return list, true, nil
}

func notJSON(dec *json.Decoder) error {
	return fmt.Errorf("%w: at byte %d", hat.ErrNotJSON, dec.InputOffset())
}

// appendRecord writes a record as clients read it:
//
//	{"endpoint":"rumpel/notes","recordId":"5f0c…","data":{"any":"json"},"links":[…]}
//
// links says whether the key is there; linked records never have it.
func appendRecord(b []byte, r *hat.Record, links bool) []byte {
	b = append(b, `{"endpoint":"`...)
	b = append(b, r.Endpoint.String()...)
	b = append(b, `","recordId":"`...)
	b = append(b, r.ID.String()...)
	b = append(b, `","data":`...)
	b = append(b, r.Data.JSON()...)
	if links {
		b = append(b, `,"links":`...)
		b = appendRecords(b, r.Links, false)
	}
	return append(b, '}')
}

func appendRecords(b []byte, records []hat.Record, links bool) []byte {
	b = append(b, '[')
	for i := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecord(b, &records[i], links)
	}
	return append(b, ']')
}
