package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"she/internal/edge"
	"she/internal/hatapi"
)

// dial opens a connection of its own to the server; it is closed with the test.
func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// Nothing of a stranger's body is waited for: the answer comes while the body does not, and ends the connection.
func TestStrangersBodiesAreNotRead(t *testing.T) {
	w := newWorld(t, withApplications(catalogue), withFunctions(count, functionNamed("counter")))
	routes := append(w.routesForFuzzing(),
		edge.Route{Method: "POST", Pattern: "/nowhere"}, edge.Route{Method: "PUT", Pattern: "/healthz"}, edge.Route{Method: "BREW", Pattern: notes},
		edge.Route{Method: "OPTIONS", Pattern: notes}, edge.Route{Method: "POST", Pattern: "/control/v2/auth/nothing"})
	for _, r := range routes {
		for _, length := range []string{"Content-Length: 10000000", "Content-Length: 200000", "Transfer-Encoding: chunked"} {
			if strings.HasPrefix(r.Pattern, "/control/v2/auth/") && strings.HasPrefix(length, "Transfer") && r.Method == "POST" {
				continue // at most 4 KB of it are read; see below
			}
			conn := w.dial()
			preflight := ""
			if r.Method == "OPTIONS" {
				preflight = "Access-Control-Request-Method: POST\r\n"
			}
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: bob.test:9000\r\nContent-Type: application/json\r\n%s%s\r\n\r\n", r.Method, r.Pattern, preflight, length)
			answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.Method})
			if err != nil {
				t.Errorf("%s %s, %s: %v", r.Method, r.Pattern, length, err)
				continue
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			if !answer.Close {
				t.Errorf("%s %s, %s: %s, and the connection goes on", r.Method, r.Pattern, length, answer.Status)
			}
			_ = conn.Close()
			w.advance(20 * time.Second) // logins get their tries back
		}
	}
}

// Where no token is needed a body has at most 4 KB, whether its length is announced or not.
func TestBodiesWithoutAToken(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"passwordReset", "claim", "request-verification"} {
		path = "/control/v2/auth/" + path
		body := func(n int) string {
			const open, shut = `{"email":"a@b.c","x":"`, `"}`
			return open + strings.Repeat("x", n-len(open+shut)) + shut
		}
		w.call("POST", path, "", body(edge.MaxOpenBody)).want(200)
		w.call("POST", path, "", body(edge.MaxOpenBody+1)).want(413)
		r := must(http.NewRequestWithContext(t.Context(), "POST", w.url+path, io.MultiReader(strings.NewReader(body(edge.MaxOpenBody+1)))))
		r.Host = "bob.test:9000"
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != 413 || !answer.Close {
			t.Errorf("%s: %s", path, answer.Status)
		}
		w.advance(time.Minute)
	}
	// A token does not make more of it.
	w.call("POST", "/control/v2/auth/claim", w.token("bob"), strings.Repeat(" ", edge.MaxOpenBody+1)).want(413)
}

// Each kind of request has its own bound, and the connection of a caller with a token goes on after a body nobody wanted.
func TestBodiesOfEachRoute(t *testing.T) {
	w := newWorld(t)
	large := func(n int) string { return `{"x":"` + strings.Repeat("x", n) + `"}` }
	w.post("bob", "/users/user", large(edge.MaxFormBody)).want(413)
	w.post("bob", api+"/data-bundle/b", large(int(edge.MaxQueryBody))).want(413)
	w.post("bob", dd, large(int(edge.MaxTermsBody))).want(413)
	w.post("bob", notes, large(1<<20)).want(201)

	conn := w.dial()
	in := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprintf(conn, "GET /users/access_token/validate HTTP/1.1\r\nHost: bob.test:9000\r\n%s: %s\r\nContent-Length: 2\r\n\r\n{}", edge.TokenHeader, w.token("bob"))
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		if answer.StatusCode != 200 || answer.Close {
			t.Errorf("%s, closed: %v", answer.Status, answer.Close)
		}
	}
}

func TestFieldsAreBounded(t *testing.T) {
	object := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"endpoint":"a/b","data":1`)
		for i := range n - 2 {
			fmt.Fprintf(&b, `,"x%d":0`, i)
		}
		return b.String() + "}"
	}
	w := newWorld(t)
	w.post("bob", api+"/data-batch", "["+object(hatapi.MaxFields)+"]").want(201)
	w.post("bob", api+"/data-batch", "["+object(hatapi.MaxFields+1)+"]").want(400)
}

// A request of more records than one may have is refused, whatever it takes to see it.
func TestTooManyRecords(t *testing.T) {
	w := newWorld(t)
	zeros := strings.Repeat("0,", edge.MaxRecords) + "0"
	record := `{"endpoint":"rumpel/notes","data":1}`
	for path, body := range map[string]string{
		notes:               "[" + zeros + "]",
		notes + "?x=1":      "[" + zeros, // nor is the end looked for
		api + "/data-batch": "[" + strings.Repeat(record+",", edge.MaxRecords) + record + "]",
	} {
		w.post("bob", path, body).want(413)
	}
	w.post("bob", api+"/data-batch", `[{"endpoint":"rumpel/notes","data":1,"links":[`+zeros+`]}]`).want(413)
}
