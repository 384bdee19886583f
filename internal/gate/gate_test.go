package gate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A gated server answers its path; /known shows a valid token, /held says that it began and waits for hold to be closed.
func gated(t *testing.T, most, ofOne int) (g *Gate, address string, began, hold chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, began, hold = gatedBehind(t, l, most, ofOne)
	return g, l.Addr().String(), began, hold
}

func gatedBehind(t *testing.T, l net.Listener, most, ofOne int) (g *Gate, began, hold chan struct{}) {
	t.Helper()
	began, hold = make(chan struct{}, 100), make(chan struct{})
	g = New(l, most, ofOne)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/known":
			g.Known(r.Context())
		case "/large":
			_, _ = w.Write(make([]byte, 64<<20))
		case "/held":
			began <- struct{}{}
			<-hold
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d%s", len(body), r.URL.Path)
	})}
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(s) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return g, began, hold
}

type rawClient struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dialGate(t *testing.T, address string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &rawClient{t, conn, bufio.NewReader(conn)}
}

func (c *rawClient) send(text string) { _, _ = io.WriteString(c, text) }

// answer is the status and body of the next answer, or "cut".
func (c *rawClient) answer() string {
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "cut"
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return "cut"
	}
	return fmt.Sprint(r.StatusCode, " ", string(b))
}

func (c *rawClient) get(path string) string {
	c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
	return c.answer()
}

func (c *rawClient) want(got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("got %q, want %q", got, want)
	}
}

// untilWaiting returns when so many connections of strangers and of others wait for a request.
func (g *Gate) untilWaiting(strangers, known int) {
	for done := false; !done; runtime.Gosched() {
		g.mu.Lock()
		done = g.waiting[0].Len() == strangers && g.waiting[1].Len() == known
		g.mu.Unlock()
	}
}

// With as many connections as there may be, the one that waited longest makes room: a stranger's before one that showed a
// token, and never one that is being answered.
func TestNewConnectionsTakeThePlaceOfThoseThatWait(t *testing.T) {
	for name, bounds := range map[string][2]int{"in all": {3, 0}, "from one address": {100, 3}} {
		t.Run(name, func(t *testing.T) {
			g, address, began, hold := gated(t, bounds[0], bounds[1])
			owner, slow := dialGate(t, address), dialGate(t, address)
			owner.want(owner.get("/known"), "200 0/known")
			slow.send("GET /slow HTTP/1.1\r\nHost: x\r\nX-Drip: ") // and no more
			g.untilWaiting(1, 1)
			working := dialGate(t, address)
			working.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
			<-began
			for range 50 { // each takes the place of the stranger before it
				c := dialGate(t, address)
				c.want(c.get("/x"), "200 0/x")
				g.untilWaiting(1, 1)
			}
			owner.want(owner.get("/known"), "200 0/known")
			slow.want(slow.answer(), "cut")
			close(hold)
			working.want(working.answer(), "200 0/held")
			if s := g.Stats(); s.Evicted < 49 || s.Refused != 0 || s.Open > 3 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// If all connections are being answered, one more is told to come back.
func TestConnectionsBeyondTheBoundAreToldSo(t *testing.T) {
	_, address, began, hold := gated(t, 2, 0)
	var busy []*rawClient
	for range 2 {
		c := dialGate(t, address)
		c.send("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		<-began
		busy = append(busy, c)
	}
	c := dialGate(t, address)
	if got := c.answer(); !strings.HasPrefix(got, "503 ") {
		t.Errorf("got %q", got)
	}
	close(hold)
	for _, c := range busy {
		c.want(c.answer(), "200 0/held")
	}
	c = dialGate(t, address)
	c.want(c.get("/x"), "200 0/x")
}

// A pipeListener hands on ends of pipes, so that a client that does not read is known to block its server.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type pipeEnd struct{ net.Conn }

func (pipeEnd) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(t *testing.T) *rawClient {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	l.conns <- pipeEnd{theirs}
	return &rawClient{t, ours, bufio.NewReader(ours)}
}

// Who asks for an answer and does not take it keeps nobody out either.
func TestConnectionsThatDoNotReadMakeRoom(t *testing.T) {
	for name, ofOne := range map[string]int{"in all": 0, "from one address": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				g, _, _ := gatedBehind(t, l, 3, ofOne)
				for range 3 {
					l.dial(t).send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
				}
				time.Sleep(slowWrite / 2) // of the bubble's clock
				early := l.dial(t)
				if got := early.answer(); !strings.HasPrefix(got, "503 ") {
					t.Errorf("before they are slow: %q", got)
				}
				time.Sleep(slowWrite)
				c := l.dial(t)
				c.want(c.get("/a"), "200 0/a")
				if s := g.Stats(); s.Evicted != 1 || s.Refused != 1 || s.Open != 3 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Headers are bounded in bytes and in lines, in the first request of a connection and in later ones; bodies are not.
func TestHeadersAreBounded(t *testing.T) {
	_, address, _, _ := gated(t, 100, 0)
	many := func(n int) string { return "GET /x HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a: b\r\n", n) + "\r\n" }
	large := func(n int) string {
		return "GET /x HTTP/1.1\r\nHost: x\r\na: " + strings.Repeat("x", n) + "\r\n\r\n"
	}
	for _, warm := range []bool{false, true} {
		begin := func() *rawClient {
			c := dialGate(t, address)
			if warm {
				c.want(c.get("/first"), "200 0/first")
			}
			return c
		}
		c := begin()
		c.send(many(maxHeaderLines - 2))
		c.want(c.answer(), "200 0/x")
		c.send(large(freeHeader))
		c.want(c.answer(), "200 0/x")
		c.send(many(maxHeaderLines))
		if got := c.answer(); !strings.HasPrefix(got, "431") {
			t.Errorf("many headers: %q", got)
		}
		c = begin()
		c.send(large(maxHeader + 8<<10))
		if got := c.answer(); !strings.HasPrefix(got, "431") && got != "cut" {
			t.Errorf("large headers: %q", got)
		}
		c = begin()
		body := strings.Repeat("line\n", 10*maxHeaderLines)
		c.send(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		c.want(c.answer(), fmt.Sprintf("200 %d/x", len(body)))
		c.want(c.get("/next"), "200 0/next")
	}
}

// Large headers wait for memory, and are refused without; small ones never are.
func TestLargeHeadersTakeMemory(t *testing.T) {
	g, address, _, hold := gated(t, 100, 0)
	g.Heavy = func(context.Context, bool, int64) (func(), error) { return nil, errors.New("none") }
	released := make(chan int64, 1)
	large := "Host: x\r\na: " + strings.Repeat("x", freeHeader) + "\r\n\r\n"
	c := dialGate(t, address)
	c.send("GET /x HTTP/1.1\r\n" + large)
	if got := c.answer(); !strings.HasPrefix(got, "503 ") {
		t.Errorf("got %q", got)
	}
	c = dialGate(t, address)
	c.want(c.get("/x"), "200 0/x")
	g.Heavy = func(_ context.Context, _ bool, n int64) (func(), error) { return func() { released <- n }, nil }
	c = dialGate(t, address)
	c.send("GET /held HTTP/1.1\r\n" + large)
	select {
	case <-released:
		t.Error("memory is given back while the request is answered")
	default:
	}
	close(hold)
	c.want(c.answer(), "200 0/held")
	if n := <-released; n != heavyHeader {
		t.Errorf("%d bytes", n)
	}
}

// The large headers of one address leave memory for those of others, and have none of what is for connections that showed a
// token.
func TestLargeHeadersOfOneAddress(t *testing.T) {
	g, address, began, hold := gated(t, 100, 50)
	asked := make(chan bool, 100)
	g.Heavy = func(_ context.Context, known bool, _ int64) (func(), error) {
		asked <- known
		return func() {}, nil
	}
	large := func(c *rawClient, path string) {
		c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\na: " + strings.Repeat("x", freeHeader) + "\r\n\r\n")
	}
	owner := dialGate(t, address)
	owner.want(owner.get("/known"), "200 0/known")
	var strangers []*rawClient
	for range heavyPerAddress {
		c := dialGate(t, address)
		large(c, "/held")
		<-began
		strangers = append(strangers, c)
		if <-asked {
			t.Error("a stranger is taken for one who showed a token")
		}
	}
	c := dialGate(t, address)
	large(c, "/x")
	if got := c.answer(); !strings.HasPrefix(got, "503 ") {
		t.Errorf("one more of the address: %q", got)
	}
	large(owner, "/known")
	owner.want(owner.answer(), "200 0/known")
	if !<-asked {
		t.Error("who showed a token is taken for a stranger")
	}
	close(hold)
	for _, c := range strangers {
		c.want(c.answer(), "200 0/held")
	}
	// Afterwards there is room again.
	for _, c := range strangers {
		large(c, "/x")
		c.want(c.answer(), "200 0/x")
	}
}
