package runtimeapi

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// counting counts the writes on its connections.
type counting struct {
	net.Listener
	writes *atomic.Int32
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return counted{c, l.writes}, err
}

type counted struct {
	net.Conn
	writes *atomic.Int32
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestEventGoesOutAtOnce: each write wakes the runtime; a large event is not held in memory twice for it.
func TestEventGoesOutAtOnce(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int32
	s := NewServer(100)
	served := make(chan error)
	go func() { served <- s.Serve(counting{l, &writes}) }()
	client := &http.Client{Transport: &http.Transport{}}
	for _, size := range []int{0, 10, 14 << 10, maxLogChunk, maxLogChunk + 1, 1 << 20} {
		writes.Store(0)
		event := strings.Repeat("e", size)
		s.Give(Invocation{ID: "id"}, []byte(event))
		r, err := client.Get("http://" + l.Addr().String() + version + "invocation/next")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != event {
			t.Fatalf("an event of %d bytes came as %d bytes, %v", size, len(body), err)
		}
		_ = r.Body.Close()
		if n := writes.Load(); size <= maxLogChunk && n != 1 {
			t.Errorf("an event of %d bytes took %d writes", size, n)
		}
		// The same connection answers what follows.
		r, err = client.Post("http://"+l.Addr().String()+version+"invocation/id/response", "", strings.NewReader("answer"))
		if err != nil || r.StatusCode != http.StatusAccepted {
			t.Fatalf("the answer got %v, %v", r, err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		s.Rewind()
	}
	client.CloseIdleConnections()
	_ = l.Close()
	<-served
}

// pieces keeps what came with each Write.
type pieces [][]byte

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, append([]byte{}, b...))
	return len(b), nil
}

func TestMessagesAreWrittenTogether(t *testing.T) {
	for size, want := range map[int]int{0: 1, 14 << 10: 1, maxLogChunk: 2, 6 << 20: 2} {
		var p pieces
		if err := NewHost(&p, nil, 1, 1).send(Invocation{ID: "id"}, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if len(p) != want {
			t.Errorf("an event of %d bytes took %d writes, want %d", size, len(p), want)
		}
		var all []byte
		for _, b := range p {
			all = append(all, b...)
		}
		in := NewInside(strings.NewReader(string(all)), io.Discard)
		if i, event, err := in.Event(6 << 20); err != nil || i.ID != "id" || len(event) != size {
			t.Errorf("%d bytes came as %d, %v", size, len(event), err)
		}
	}
}
