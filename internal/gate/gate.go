// Package gate bounds what clients may cost before they are authenticated: open connections, in all and from
// one address, and headers. It refuses requests whose end is ambiguous.
package gate

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what a client may send before it is authenticated.
const (
	// maxHeader bounds the bytes of a request's line and headers: the longest query of the HAT API, and 8 KB.
	maxHeader = 72 << 10
	// maxHeaderLines bounds the number of headers: a map of ten thousand takes ten times their bytes.
	maxHeaderLines = 128
	// freeHeader is what every connection may send; more needs heavyHeader from the budget.
	freeHeader  = 8 << 10
	heavyHeader = 4 * maxHeader
)

// HeaderTimeout is how long the headers of a request may take.
const HeaderTimeout = 10 * time.Second

// Raw answers to connections that never became a request.
const (
	rawBusy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: 73\r\nConnection: close\r\n\r\n" +
		`{"error":"Service Unavailable","message":"Too many connections are open"}`
	rawFraming = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 83\r\nConnection: close\r\n\r\n" +
		`{"error":"Bad Request","message":"The end of this request can be read in two ways"}`
	rawHeaders = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

// A Gate is a listener that bounds how many connections are open, in all and from one address. At the bound a
// new connection replaces the one that has waited longest for a request or its headers; first those that
// never showed a valid token. A connection whose request is being answered is not closed for another, unless
// none is idle and a stranger does not read its answer. So neither idle nor slow connections keep others out.
type Gate struct {
	net.Listener
	most, perAddress int // perAddress 0: no bound
	// Heavy acquires memory for headers beyond freeHeader; known: the connection has shown a valid token;
	// nil: no bound.
	Heavy func(ctx context.Context, known bool, bytes int64) (release func(), err error)

	mu        sync.Mutex
	open      int
	waiting   waiters
	writing   list.List // connections of strangers that an answer is being written to, the oldest first
	addresses map[netip.Prefix]*address
	refused   int64
	evicted   int64
}

// An address is the address of clients, or for IPv6 their network.
type address struct {
	open    int
	heavy   int // how many connections of strangers have large headers
	waiting waiters
}

// waiters are connections without a request, the oldest first: [0] of strangers, [1] of those that showed a
// token.
type waiters [2]list.List

func (w *waiters) oldest() *connection {
	for i := range w {
		if first := w[i].Front(); first != nil {
			return first.Value.(*connection)
		}
	}
	return nil
}

// New returns a gate before a listener, for at most so many connections, in all and from one address;
// perAddress 0: no bound.
func New(l net.Listener, most, perAddress int) *Gate {
	return &Gate{Listener: l, most: most, perAddress: perAddress, addresses: map[netip.Prefix]*address{}}
}

// A connection is one that was admitted.
type connection struct {
	net.Conn
	gate *Gate
	from netip.Prefix

	// Used by the goroutine that serves the connection.
	header  bool    // net/http waits for a request, or for the rest of its headers
	frame   framing // the state of its requests
	bad     string  // the answer to bytes that are not a request; nothing more is read
	release func()  // memory of large headers; nil: none

	known atomic.Bool // showed a valid token

	// Guarded by the gate's mutex.
	closed     bool
	began      time.Time // since when the current piece of an answer is being written
	all, local *list.Element
	group      int // index in waiters
}

// Accept returns the next connection for which there is room.
func (g *Gate) Accept() (net.Conn, error) {
	for {
		inner, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := g.admit(inner); c != nil {
			return c, nil
		}
	}
}

// admit makes room, or refuses the connection.
func (g *Gate) admit(inner net.Conn) *connection {
	c := &connection{Conn: inner, gate: g, from: clientOf(inner), header: true}
	g.mu.Lock()
	a := g.addresses[c.from]
	if a == nil {
		a = &address{}
		g.addresses[c.from] = a
	}
	var victim *connection
	full := true
	switch {
	case g.perAddress > 0 && a.open >= g.perAddress:
		victim = a.waiting.oldest()
	case g.open >= g.most:
		victim = g.waiting.oldest()
	default:
		full = false
	}
	if full && victim == nil {
		victim = g.slowestLocked(c.from, g.perAddress > 0 && a.open >= g.perAddress)
	}
	if full && victim == nil {
		g.refused++
		if a.open == 0 {
			delete(g.addresses, c.from)
		}
		g.mu.Unlock()
		_ = inner.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(inner, rawBusy)
		_ = inner.Close()
		return nil
	}
	if victim != nil {
		g.evicted++
		g.forgetLocked(victim)
	}
	g.addresses[c.from] = a // the closed one may have been its only one
	a.open++
	g.open++
	g.waitLocked(c)
	g.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close() // its goroutine notices and closes it again
	}
	return c
}

func (g *Gate) waitLocked(c *connection) {
	if c.closed || c.all != nil {
		return
	}
	c.group = 0
	if c.known.Load() {
		c.group = 1
	}
	c.all = g.waiting[c.group].PushBack(c)
	c.local = g.addresses[c.from].waiting[c.group].PushBack(c)
}

func (g *Gate) busyLocked(c *connection) {
	if c.all != nil {
		g.waiting[c.group].Remove(c.all)
		g.addresses[c.from].waiting[c.group].Remove(c.local)
		c.all, c.local = nil, nil
	}
}

func (g *Gate) forgetLocked(c *connection) {
	if c.closed {
		return
	}
	g.busyLocked(c)
	c.closed = true
	g.open--
	a := g.addresses[c.from]
	if a.open--; a.open == 0 {
		delete(g.addresses, c.from)
	}
}

// state is http.Server.ConnState.
func (g *Gate) state(conn net.Conn, state http.ConnState) {
	c, ours := conn.(*connection)
	if !ours {
		return
	}
	switch state {
	case http.StateActive:
		c.header = false
		g.mu.Lock()
		g.busyLocked(c)
		g.mu.Unlock()
	case http.StateIdle:
		c.letGo()
		c.header = true
		g.mu.Lock()
		g.waitLocked(c)
		g.mu.Unlock()
	case http.StateClosed, http.StateHijacked:
		c.letGo()
	}
}

type connectionKey struct{}

// slowWrite is how long a stranger may take to read a piece of an answer when others find no room.
const slowWrite = time.Second

// slowestLocked returns the stranger, from that address or from any, that has been reading an answer longest;
// nil: none is slow. Answers without a token are short, so a client that reads has them at once.
func (g *Gate) slowestLocked(from netip.Prefix, here bool) *connection {
	for e := g.writing.Front(); e != nil; e = e.Next() {
		c := e.Value.(*connection)
		if time.Since(c.began) < slowWrite {
			return nil
		}
		if !c.closed && (!here || c.from == from) {
			return c
		}
	}
	return nil
}

// Write notes since when a stranger has not read its answer.
func (c *connection) Write(b []byte) (int, error) {
	if c.known.Load() {
		return c.Conn.Write(b)
	}
	g := c.gate
	g.mu.Lock()
	var at *list.Element
	if !c.closed {
		c.began, at = time.Now(), g.writing.PushBack(c)
	}
	g.mu.Unlock()
	n, err := c.Conn.Write(b)
	if at != nil {
		g.mu.Lock()
		g.writing.Remove(at)
		g.mu.Unlock()
	}
	return n, err
}

// context is http.Server.ConnContext; Known finds the connection again.
func (g *Gate) context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// Known notes that the request of this context has a valid token.
func (g *Gate) Known(ctx context.Context) {
	if c, ours := ctx.Value(connectionKey{}).(*connection); ours {
		c.known.Store(true)
	}
}

// Stats are the figures of a Gate.
type Stats struct {
	Open             int
	Refused, Evicted int64 // since the start; Evicted: closed for a newer one
}

func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Open: g.open, Refused: g.refused, Evicted: g.evicted}
}

// Serve runs an HTTP server on the gate's connections.
func (g *Gate) Serve(s *http.Server) error {
	s.ConnState, s.ConnContext = g.state, g.context
	s.MaxHeaderBytes = maxHeader
	return s.Serve(g)
}

func (c *connection) Close() error {
	c.gate.mu.Lock()
	c.gate.forgetLocked(c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite allows net/http to end an answer before the connection.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

var errHeaders = errors.New("too many headers, no memory for them, or no request that all read alike")

// Read follows the requests. It ends the connection of a client that sends too many headers, or bytes that a
// proxy could read as other requests.
func (c *connection) Read(b []byte) (int, error) {
	if c.bad != "" {
		return 0, c.refuse()
	}
	n, err := c.Conn.Read(b)
	if n == 0 {
		return n, err
	}
	from, fault := c.frame.follow(b[:n])
	switch {
	case errors.Is(fault, errManyLines):
		c.bad = rawHeaders
	case fault != nil:
		c.bad = rawFraming
	case c.frame.reading() && c.frame.header > freeHeader && c.release == nil && c.gate.Heavy != nil:
		ctx, cancel := context.WithTimeout(context.Background(), HeaderTimeout/2)
		release, err := c.heavy(ctx)
		cancel()
		if err != nil {
			c.bad = rawBusy
		}
		c.release = release
	}
	switch {
	case c.bad == "":
		return n, err
	case from > 0: // after complete requests
		return from, nil
	}
	return 0, c.refuse()
}

// heavyPerAddress bounds how many connections of one address may have large headers at once without a token,
// so that one client can't use all memory for strangers. If connections of one address are not bounded, the
// address is a proxy's.
const heavyPerAddress = 4

var errHeavy = errors.New("other connections of this address have large headers")

// heavy acquires memory for large headers.
func (c *connection) heavy(ctx context.Context) (release func(), err error) {
	g, known := c.gate, c.known.Load()
	if known || g.perAddress == 0 {
		return g.Heavy(ctx, known, heavyHeader)
	}
	g.mu.Lock()
	of := g.addresses[c.from]
	if of == nil || of.heavy >= heavyPerAddress { // nil: the connection was just closed for another
		g.mu.Unlock()
		return nil, errHeavy
	}
	of.heavy++
	g.mu.Unlock()
	done := func() {
		g.mu.Lock()
		of.heavy--
		g.mu.Unlock()
	}
	inner, err := g.Heavy(ctx, false, heavyHeader)
	if err != nil {
		done()
		return nil, err
	}
	return func() { inner(); done() }, nil
}

// refuse ends the connection. It answers outside of net/http, unless that is still at work on an earlier
// request: then the next Read does it.
func (c *connection) refuse() error {
	if c.header {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c.Conn, c.bad)
		_ = c.CloseWrite()
	}
	return &net.OpError{Op: "read", Net: "tcp", Err: errHeaders}
}

func (c *connection) letGo() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
}

// clientOf returns whose connection it is: an address, or for IPv6 the network, because one customer has a
// whole one. All sockets without addresses are one client.
func clientOf(conn net.Conn) netip.Prefix {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	network, _ := ip.Prefix(bits)
	return network
}
