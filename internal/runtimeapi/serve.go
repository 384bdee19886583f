package runtimeapi

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
)

// Serve answers on l until it is closed.
func (s *Server) Serve(l net.Listener) error {
	web := &http.Server{
		Handler: s, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, gatherKey{}, c) },
	}
	return web.Serve(gathering{l})
}

// gathering makes connections on which an event goes out with one write. The standard server writes 4 KB and then the
// rest, and the runtime would wake, read and wait again for each.
type gathering struct{ net.Listener }

func (l gathering) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gathered{Conn: c}, nil
}

type gathered struct {
	net.Conn
	holding bool
	held    []byte
}

type gatherKey struct{}

// Write is called by one goroutine at a time: the one that serves the connection.
func (g *gathered) Write(p []byte) (int, error) {
	if g.holding {
		g.held = append(g.held, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// gather holds back what is written to the connection of r until release, which sends it.
func gather(r *http.Request, w http.ResponseWriter) (release func()) {
	g, ok := r.Context().Value(gatherKey{}).(*gathered)
	if !ok {
		return func() {}
	}
	g.holding = true
	return func() {
		flush(w)
		g.holding = false
		_, _ = g.Conn.Write(g.held)
		g.held = nil
	}
}
