package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"she/internal/config"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/ownapi"
	"she/internal/server"
)

// A Management is a client of the management API of a data directory.
type Management struct {
	Client   *http.Client
	close    func()
	password string // the owner's password; "": the caller is the operator
	Head     string // head of the receipts of the HAT in the last call
}

// As returns a client with the owner's password.
func (m *Management) As(password string) *Management {
	owner := *m
	owner.password = password
	return &owner
}

// Reach connects to the running server of dir or, if there is none, opens dir in this process.
func Reach(ctx context.Context, dir, configFile string, does server.Effect) (*Management, error) {
	socket := server.Socket(dir)
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close()
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}
		return &Management{Client: &http.Client{Transport: transport}, close: transport.CloseIdleConnections}, nil
	}
	config, err := config.Load(ctx, configFile)
	if err != nil {
		return nil, err
	}
	management, end, err := server.Command(ctx, dir, config, does)
	if errors.Is(err, directory.ErrInUse) {
		return nil, fmt.Errorf("%s belongs to a server that does not answer at its socket yet; it may be starting: try again in a moment", dir)
	}
	if err != nil {
		return nil, err
	}
	return &Management{Client: &http.Client{Transport: inProcess{management}}, close: func() { _ = end() }}, nil
}

// Answers reports whether a server holds the data directory and is up.
func Answers(dir string) bool {
	conn, err := net.DialTimeout("unix", server.Socket(dir), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// In returns a client of the management API of a server in this process.
func In(management http.Handler) *Management {
	return &Management{Client: &http.Client{Transport: inProcess{management}}, close: func() {}}
}

// Close closes the connections to the server or, without one, the data directory.
func (m *Management) Close() { m.close() }

// inProcess answers requests from a handler, without a network.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (_ *http.Response, err error) {
	w := &memoryResponse{header: http.Header{}, status: http.StatusOK}
	defer func() {
		// The answer is incomplete: over a network the connection would be cut.
		if cut := recover(); cut == http.ErrAbortHandler {
			err = io.ErrUnexpectedEOF
		} else if cut != nil {
			panic(cut)
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	p.handler.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

type memoryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *memoryResponse) Header() http.Header         { return w.header }
func (w *memoryResponse) WriteHeader(status int)      { w.status = status }
func (w *memoryResponse) Write(b []byte) (int, error) { return w.body.Write(b) }

// Call sends in (unless nil) and decodes the answer into out. An error has the server's message.
func (m *Management) Call(ctx context.Context, method, path string, in, out any) error {
	_, err := m.exchange(ctx, method, path, in, out)
	return err
}

// exchange is Call, and returns the headers of the answer too.
func (m *Management) exchange(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	resp, err := m.send(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if out == nil {
		return resp.Header, nil
	}
	return resp.Header, json.NewDecoder(resp.Body).Decode(out)
}

// send makes one request. An answer with an error is returned as an error.
func (m *Management) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://she"+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if m.password != "" {
		req.SetBasicAuth("owner", m.password)
	}
	resp, err := m.Client.Do(req)
	if err != nil {
		return nil, err
	}
	m.Head = resp.Header.Get(edge.HeadHeader)
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := &Problem{}
	if json.NewDecoder(resp.Body).Decode(p) != nil || p.Error() == "" {
		return nil, fmt.Errorf("the server answered %d %s; if it is of another version than this command, restart it", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil, p
}

// A Problem is an answer with an error, either in the form of the server's own API or as one line.
type Problem struct {
	Line   string `json:"error"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (p *Problem) Error() string { return cmp.Or(p.Line, p.Detail, p.Title) }

// HATPath returns the path of a HAT in the management API.
func HATPath(domain string) string { return edge.OperatorPrefix + url.PathEscape(domain) }

// OwnPath returns the path of the server's own API for a HAT.
func OwnPath(domain string) string { return HATPath(domain) + ownapi.Path }

// Lines copies an export, up to its checkpoint.
func (m *Management) Lines(ctx context.Context, path string, out io.Writer) error {
	resp, err := m.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the export ended without its checkpoint; the log of the server says why")
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil || bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			return err
		}
	}
}
