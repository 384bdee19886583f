// Package client is a client of HATs. It uses the HAT API, like an owner's application, and the management
// API of a data directory, like the operator's commands.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"she/internal/hat"
	"she/internal/local"
)

// A HAT is a client of one HAT, as its owner's application: login, data, functions.
type HAT struct {
	http   *http.Client
	base   string // http://host:port
	domain string // Host header: the HAT's domain
	token  string
}

// New returns a client of the HAT with that domain, which may be given as a URL. address, if not "", is where
// to connect instead of looking up the domain.
func New(domain, address string) *HAT {
	domain, address = local.HostOf(domain), local.HostOf(address)
	if address == "" {
		address = domain
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "80")
	}
	return &HAT{http: &http.Client{Timeout: 6 * time.Minute, Transport: local.Transport()}, base: "http://" + address, domain: domain}
}

// send makes one request and returns the body of the answer. Any status but 2xx is an error with the server's
// message.
func (c *HAT) send(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = c.domain
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if t := resp.Header.Get("X-Auth-Token"); t != "" {
		c.token = t
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		var said struct {
			Message json.RawMessage
			Cause   string
		}
		_ = json.Unmarshal(answer, &said)
		return nil, fmt.Errorf("%s %s: the HAT answered %s: %s %s", method, path, resp.Status, said.Message, said.Cause)
	}
	return answer, nil
}

// Login asks for a token and keeps it.
func (c *HAT) Login(ctx context.Context, username, password string) error {
	_, err := c.send(ctx, "GET", "/users/access_token", nil, http.Header{
		"Username": {url.QueryEscape(username)}, "Password": {url.QueryEscape(password)},
	})
	return err
}

// API is the path at which the HAT API begins.
const API = "/api/v2.6"

// Store posts data to one endpoint in one request. Data that is stored already is left out.
func (c *HAT) Store(ctx context.Context, e hat.Endpoint, data []hat.Data) error {
	body := []byte{'['}
	for i, d := range data {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, d.JSON()...)
	}
	_, err := c.send(ctx, "POST", API+"/data/"+e.String()+"?skipErrors=true", append(body, ']'), nil)
	return err
}

// A Record is a record as the HAT API shows it.
type Record struct {
	Endpoint string          `json:"endpoint"`
	RecordID string          `json:"recordId"`
	Data     json.RawMessage `json:"data"`
}

// Records returns all records at an endpoint, oldest first.
func (c *HAT) Records(ctx context.Context, e hat.Endpoint) ([]Record, error) {
	answer, err := c.send(ctx, "GET", fmt.Sprintf("%s/data/%s?take=%d", API, e, 1_000_000), nil, nil)
	if err != nil {
		return nil, err
	}
	var got []Record
	err = json.Unmarshal(answer, &got)
	return got, err
}

// Enable agrees to what a function asks for, and switches it on.
func (c *HAT) Enable(ctx context.Context, f string) error {
	_, err := c.send(ctx, "GET", API+"/she/function/"+f+"/enable", nil, nil)
	return err
}

// A Configuration is what a HAT shows of a function.
type Configuration struct {
	ID     string
	Status struct{ Available, Enabled bool }
}

// Function reads what the HAT shows of a function.
func (c *HAT) Function(ctx context.Context, f string) (got Configuration, err error) {
	answer, err := c.send(ctx, "GET", API+"/she/function/"+f, nil, nil)
	if err != nil {
		return got, err
	}
	err = json.Unmarshal(answer, &got)
	return got, err
}
