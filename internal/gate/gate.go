// Package gate bounds what clients may cost before anybody knows who they are: open connections, in all and of one address,
// headers, and requests whose end can be read in two ways.
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

// Bounds on what a client may send before anybody knows who it is.
const (
	// maxHeader is bytes of a request's line and headers: the longest query the HAT API takes, and 8 KB.
	maxHeader = 72 << 10
	// maxHeaderLines bounds their number: a map of ten thousand headers takes ten times their bytes.
	maxHeaderLines = 128
	// freeHeader is what every connection may send; more than that takes heavyHeader of the budget.
	freeHeader  = 8 << 10
	heavyHeader = 4 * maxHeader
)

// HeaderTimeout is how long a client may take for the headers of a request.
const HeaderTimeout = 10 * time.Second

// Raw answers to whoever never becomes a request.
const (
	rawBusy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: 73\r\nConnection: close\r\n\r\n" +
		`{"error":"Service Unavailable","message":"Too many connections are open"}`
	rawFraming = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 83\r\nConnection: close\r\n\r\n" +
		`{"error":"Bad Request","message":"The end of this request can be read in two ways"}`
	rawHeaders = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

// A Gate is a listener that bounds how many connections are open, in all and from one address. When there are as many as
// may be, a new one takes the place of the one that has waited longest for a request, or in the headers of one: of those
// that never showed a valid token, if there are any. A connection whose request is being answered is not closed for
// another, unless nobody waits and a stranger does not take the answer. So neither open connections nor slow ones keep anybody out.
type Gate struct {
	net.Listener
	most, perAddress int // perAddress 0: no bound
	// Heavy acquires memory for headers beyond freeHeader, of a stranger's connection or of one that showed a valid token;
	// nil: there is enough.
	Heavy func(ctx context.Context, known bool, bytes int64) (release func(), err error)

	mu        sync.Mutex
	open      int
	waiting   waiters
	writing   list.List // connections of strangers to which a piece of an answer goes, the oldest first
	addresses map[netip.Prefix]*address
	refused   int64
	evicted   int64
}

// An address is a client's, as far as connections are counted for it.
type address struct {
	open    int
	heavy   int // connections of strangers with large headers
	waiting waiters
}

// waiters are connections without a request, the oldest first: first those of strangers, then those that showed a token.
type waiters [2]list.List

func (w *waiters) oldest() *connection {
	for i := range w {
		if first := w[i].Front(); first != nil {
			return first.Value.(*connection)
		}
	}
	return nil
}

// New is a gate before a listener, for at most so many connections, in all and from one address; 0: no bound on the latter.
func New(l net.Listener, most, perAddress int) *Gate {
	return &Gate{Listener: l, most: most, perAddress: perAddress, addresses: map[netip.Prefix]*address{}}
}

// A connection is one that the gate let in.
type connection struct {
	net.Conn
	gate *Gate
	from netip.Prefix

	// Of the goroutine that serves it.
	header  bool    // net/http waits for a request, or for the rest of its headers
	frame   framing // where in its requests the connection is
	bad     string  // the answer to what came last and is no request; nothing is read any more
	release func()  // memory of large headers; nil: none

	known atomic.Bool // showed a valid token

	// Guarded by the gate's mutex.
	closed     bool
	began      time.Time // when the piece began to be sent that is being sent
	all, local *list.Element
	group      int // index of the waiters it is among
}

// Accept answers the next connection for which there is room.
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

// admit makes room, or turns the connection away.
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
	g.addresses[c.from] = a // the victim may have been its only one
	a.open++
	g.open++
	g.waitLocked(c)
	g.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close() // its goroutine notices, and closes it again
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

// slowWrite is how long a stranger may take for a piece of an answer when others find no room.
const slowWrite = time.Second

// slowestLocked is the stranger, from that address only or from any, who takes an answer slowest; nil: none is slow. What needs no
// token is short, so who reads has it at once.
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

// Write notes since when a stranger has not taken what is sent.
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
	Refused, Evicted int64 // since the start: not let in; closed for a newer one
}

func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Open: g.open, Refused: g.refused, Evicted: g.evicted}
}

// Serve makes an HTTP server's connections the gate's.
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

// CloseWrite lets net/http end an answer before the connection.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

var errHeaders = errors.New("too many headers, no memory for them, or no request that all read alike")

// Read follows the requests, and ends the connection of a client that sends too many headers or what could be read as
// other requests by a proxy before this server.
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
	case from > 0: // requests before it, that are whole
		return from, nil
	}
	return 0, c.refuse()
}

// heavyPerAddress bounds the connections of one address that have large headers at once and never showed a token: so one
// client does not have all the memory there is for those of strangers. Where one address may have any number of
// connections, it is a proxy's.
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

// refuse says that the client is gone. It answers outside HTTP's own machinery, unless that is at work on a request that
// came before: then the next Read will.
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

// clientOf is whose connection it is: an address, of IPv6 the network, because one customer has a whole one. Sockets
// without addresses have one client.
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
