package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"she/internal/accesskey"
	"she/internal/catalog"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/lambdaapi"
)

// slowly is a function f that takes ten minutes, or ends with its caller.
type slowly struct{ answer []byte }

func (slowly) Functions() []catalog.Function {
	id, _ := hat.ParseFunctionID("f")
	return []catalog.Function{{Registered: catalog.Registered{ID: id}, Process: catalog.Entry{Name: "f"}}}
}

func (s slowly) Direct(ctx context.Context, d engine.Direct) (engine.Reply, error) {
	select {
	case <-time.After(10 * time.Minute):
		return engine.Reply{Payload: s.answer}, nil
	case <-ctx.Done():
		return engine.Reply{}, ctx.Err()
	}
}

// While one address waits for a request that does not end, the others take none.
func TestAddressesEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), graceTime)
		defer cancel()
		hangs := make(chan struct{})
		busy := httpServer(slog.New(slog.DiscardHandler), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(hangs); <-r.Context().Done() }))
		idle := httpServer(slog.New(slog.DiscardHandler), http.NotFoundHandler())
		began := time.Now()
		var ended time.Duration
		var servers sync.WaitGroup
		first, second := &listener{conns: make(chan net.Conn)}, &listener{conns: make(chan net.Conn)}
		servers.Go(func() { _ = busy.Serve(first) })
		servers.Go(func() { _ = idle.Serve(second) })
		idle.RegisterOnShutdown(func() { ended = time.Since(began) })
		client, conn := net.Pipe()
		first.conns <- conn
		_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		<-hangs
		if err := shutDown(ctx, busy, nil, idle); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if took := time.Since(began); ended != 0 || took < graceTime {
			t.Errorf("the idle address ended after %v, all after %v", ended, took)
		}
		_ = client.Close()
		servers.Wait()
		time.Sleep(time.Second) // of the bubble: net/http leaves a client time to read
	})
}

// listener accepts the connections that it is given.
type listener struct {
	conns chan net.Conn
	end   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *listener) Close() error   { l.end.Do(func() { close(l.conns) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// Lambda's API as the server serves it, on connections whose time is that of the test.
func TestTheTimeOfACall(t *testing.T) {
	keys, err := accesskey.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Create(nil, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	large := []byte(`"` + strings.Repeat("x", 2<<20) + `"`)
	within := func(name string, do func(t *testing.T, conn net.Conn, head string, memory *engine.Budget)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := engine.NewBudget(400<<20, 0)
				s := httpServer(slog.New(slog.DiscardHandler), lambdaapi.New(lambdaapi.Options{Functions: slowly{large}, Keys: keys, Memory: memory}))
				l := &listener{conns: make(chan net.Conn)}
				served := make(chan struct{})
				go func() { defer close(served); _ = s.Serve(l) }()
				client, conn := net.Pipe()
				l.conns <- conn
				req, _ := http.NewRequest(http.MethodPost, "http://h/2015-03-31/functions/f/invocations", bytes.NewReader(large))
				digest := sha256.Sum256(large)
				_ = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, req, hex.EncodeToString(digest[:]), "lambda", "local", time.Now())
				do(t, client, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX-Amz-Date: %s\r\nAuthorization: %s\r\n\r\n",
					req.URL.Path, len(large), req.Header.Get("X-Amz-Date"), req.Header.Get("Authorization")), memory)
				_ = client.Close()
				_ = l.Close()
				<-served
				_ = s.Close()
				time.Sleep(time.Second) // of the bubble: net/http leaves a client time to read
				synctest.Wait()
				if used := memory.Stats().Used; used != 0 {
					t.Errorf("%d bytes are held in the end", used)
				}
			})
		})
	}
	within("a call that takes longer than a body may", func(t *testing.T, conn net.Conn, head string, _ *engine.Budget) {
		_, _ = io.WriteString(conn, head+string(large))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || !bytes.Equal(text, large) {
			t.Errorf("%d, %d bytes, %v", resp.StatusCode, len(text), err)
		}
	})
	within("a body that stops costs what has come, for a minute", func(t *testing.T, conn net.Conn, head string, memory *engine.Budget) {
		began := time.Now()
		_, _ = io.WriteString(conn, head+`"`)
		synctest.Wait()
		if used := memory.Stats().Used; used == 0 || used > 256<<10 {
			t.Errorf("one byte of a body holds %d bytes", used)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if took := time.Since(began); err != nil || resp.StatusCode != 400 || took > 2*time.Minute {
			t.Errorf("%v after %v, %v", resp, took, err)
		}
	})
	within("an answer that nobody reads", func(t *testing.T, conn net.Conn, head string, memory *engine.Budget) {
		_, _ = io.WriteString(conn, head+string(large))
		time.Sleep(12 * time.Minute) // of the bubble
		if used := memory.Stats().Used; used != 0 {
			t.Errorf("%d bytes are held for it", used)
		}
	})
	within("a body that is refused", func(t *testing.T, conn net.Conn, head string, _ *engine.Budget) {
		began := time.Now()
		_, _ = io.WriteString(conn, strings.Replace(head, key.ID, "SHEAAAAAAAAAAAAAAAAA", 1)+`"`)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if took := time.Since(began); err != nil || resp.StatusCode != 403 || took > 10*time.Second {
			t.Errorf("%v after %v, %v", resp, took, err)
		}
	})
}
