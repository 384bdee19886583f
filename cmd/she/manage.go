package main

import (
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

	"she/internal/config"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/ownapi"
	"she/internal/server"
)

// A manager is a command's way to the management API of a data directory.
type manager struct {
	client   *http.Client
	close    func()
	password string // the owner's; "": the operator asks
	head     string // of the receipts of the HAT that the last call was about
}

// as is the manager of who has the owner's password.
func (m *manager) as(password string) *manager {
	owner := *m
	owner.password = password
	return &owner
}

// manage reaches the running server of dir or, if there is none, opens dir itself.
func manage(ctx context.Context, dir, configFile string, does server.Effect) (*manager, error) {
	if dir == "" {
		return nil, usageError{errors.New("--data is missing: which data directory?")}
	}
	socket := server.Socket(dir)
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close()
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}
		return &manager{client: &http.Client{Transport: transport}, close: transport.CloseIdleConnections}, nil
	}
	config, err := config.Load(configFile)
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
	return &manager{client: &http.Client{Transport: inProcess{management}}, close: func() { _ = end() }}, nil
}

// ask is one request of a command to the management API of dir; see manage and manager.call. head is that of
// the receipts of the HAT it is about.
func ask(ctx context.Context, dir, configFile, method, path string, in, out any) (head string, err error) {
	does := server.Changes
	switch {
	case method == http.MethodGet:
		does = server.Reads
	case method == http.MethodPost && path == "/hats":
		does = server.Creates
	}
	m, err := manage(ctx, dir, configFile, does)
	if err != nil {
		return "", err
	}
	defer m.close()
	err = m.call(ctx, method, path, in, out)
	return m.head, err
}

// inProcess answers requests from a handler, without a network.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (_ *http.Response, err error) {
	w := &memoryResponse{header: http.Header{}, status: http.StatusOK}
	defer func() {
		// Half an answer is out: over a network the connection would be cut.
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

// call sends in (unless nil) and decodes the answer into out; an error is the server's own line.
func (m *manager) call(ctx context.Context, method, path string, in, out any) error {
	_, err := m.exchange(ctx, method, path, in, out)
	return err
}

// exchange is call, and gives the headers of the answer.
func (m *manager) exchange(ctx context.Context, method, path string, in, out any) (http.Header, error) {
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

// send gives back an answer that is no error.
func (m *manager) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
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
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	m.head = resp.Header.Get(edge.HeadHeader)
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := &problemError{}
	if json.NewDecoder(resp.Body).Decode(p) != nil || p.Error() == "" {
		return nil, fmt.Errorf("the server answered %d %s; if it is of another version than this command, restart it", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil, p
}

// A problemError is an answer that is an error: of our own API, or a line.
type problemError struct {
	Line   string `json:"error"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (p *problemError) Error() string { return cmp.Or(p.Line, p.Detail, p.Title) }

func hatPath(domain string) string { return edge.OperatorPrefix + url.PathEscape(domain) }

// ownPath is where our own API is about a HAT.
func ownPath(domain string) string { return hatPath(domain) + ownapi.Path }
