package httpapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"she/internal/edge"
)

// What the edge adds to the vault's own time: routing, the token, its refreshed copy, JSON.
func BenchmarkRequests(b *testing.B) {
	w := newWorld(b)
	token := w.token("bob")
	var hundred []string
	for i := range 100 {
		hundred = append(hundred, fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("x", 300)))
	}
	w.post("bob", notes, "["+strings.Join(hundred, ",")+"]").want(201)
	n := 0
	for _, c := range []struct {
		name, method, path string
		body               func() string
		want               int
	}{
		{"validate", "GET", "/users/access_token/validate", func() string { return "" }, 200},
		{"post one", "POST", api + "/data/rumpel/fresh", func() string { n++; return fmt.Sprintf(`{"n":%d}`, n) }, 201},
		{"get hundred", "GET", notes, func() string { return "" }, 200},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body()))
				r.Host = "bob.test:9000"
				r.Header.Set(edge.TokenHeader, token)
				r.Header.Set("Content-Type", "application/json")
				rec := httptest.NewRecorder()
				w.handler.ServeHTTP(rec, r)
				if rec.Code != c.want {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}

// What reading a body of many records takes. Nothing is stored: the last record of each is one that the vault has already, or
// lacks its id.
func BenchmarkBodies(b *testing.B) {
	w := newWorld(b)
	token := w.token("bob")
	w.post("bob", notes, `{"n":999}`).want(201)
	var records, batch, changes []string
	for i := range 1000 {
		record := fmt.Sprintf(`{"n": %d, "text": %q, "tags": ["a", "b"], "author": {"name": "Ada", "id": 1.50}}`, i, strings.Repeat("x", 300))
		records = append(records, record)
		batch = append(batch, `{"endpoint": "rumpel/notes", "data": `+record+`}`)
		changes = append(changes, `{"endpoint": "rumpel/notes", "recordId": "5f0c2b9e-8d0f-4c39-9d1c-3f6e5a0c7b11", "data": `+record+`}`)
	}
	records = append(records, `{"n":999}`)
	batch = append(batch, `{"endpoint":"rumpel/notes","data":{"n":999}}`)
	changes = append(changes, `{"endpoint":"rumpel/notes","data":1}`)
	for _, c := range []struct {
		name, method, path string
		body               []string
	}{
		{"data", "POST", notes, records},
		{"batch", "POST", api + "/data-batch", batch},
		{"update", "PUT", api + "/data", changes},
	} {
		body := "[" + strings.Join(c.body, ", ") + "]"
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(body))
				r.Host = "bob.test:9000"
				r.Header.Set(edge.TokenHeader, token)
				r.Header.Set("Content-Type", "application/json")
				rec := httptest.NewRecorder()
				w.handler.ServeHTTP(rec, r)
				if rec.Code != 400 {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}

// What a stranger can make the server do with a token that somebody else signed, beside a request without any.
func BenchmarkStrangers(b *testing.B) {
	w := newWorld(b)
	forged := w.eve
	forged.Domain, forged.Key = w.bob.Domain, otherKey
	for name, token := range map[string]string{
		"no token": "", "forged": must(w.tokens.Sign(forged, edge.UserClaims(forged, w.users["bob"], "x", "owner", w.clock()))),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest("GET", notes, nil)
				r.Host = "bob.test:9000"
				r.Header.Set(edge.TokenHeader, token)
				rec := httptest.NewRecorder()
				w.handler.ServeHTTP(rec, r)
				if rec.Code != 401 {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}
