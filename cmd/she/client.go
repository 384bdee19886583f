package main

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

// A client is an owner's client of the HAT API, as any other would be: login, data, functions.
type client struct {
	http   *http.Client
	base   string // http://host:port
	domain string // Host header: the HAT's domain
	token  string
}

// newClient speaks to the HAT of that domain, which may come as a URL. address, if not empty, is where to connect instead of
// looking the domain up.
func newClient(domain, address string) *client {
	domain, address = local.HostOf(domain), local.HostOf(address)
	if address == "" {
		address = domain
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "80")
	}
	return &client{http: &http.Client{Timeout: 6 * time.Minute, Transport: local.Transport()}, base: "http://" + address, domain: domain}
}

// send makes one request and returns the answer's body; any status but 2xx is an error with the server's message.
func (c *client) send(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
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

func (c *client) login(ctx context.Context, username, password string) error {
	_, err := c.send(ctx, "GET", "/users/access_token", nil, http.Header{
		"Username": {url.QueryEscape(username)}, "Password": {url.QueryEscape(password)},
	})
	return err
}

const api = "/api/v2.6"

// store posts data that all goes to one endpoint, in one request. What is there already is left out.
func (c *client) store(ctx context.Context, e hat.Endpoint, data []hat.Data) error {
	body := []byte{'['}
	for i, d := range data {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, d.JSON()...)
	}
	_, err := c.send(ctx, "POST", api+"/data/"+e.String()+"?skipErrors=true", append(body, ']'), nil)
	return err
}

// A gotRecord is a record as the HAT API shows it.
type gotRecord struct {
	Endpoint string          `json:"endpoint"`
	RecordID string          `json:"recordId"`
	Data     json.RawMessage `json:"data"`
}

// records reads all of an endpoint, oldest first.
func (c *client) records(ctx context.Context, e hat.Endpoint) ([]gotRecord, error) {
	answer, err := c.send(ctx, "GET", fmt.Sprintf("%s/data/%s?take=%d", api, e, 1_000_000), nil, nil)
	if err != nil {
		return nil, err
	}
	var got []gotRecord
	err = json.Unmarshal(answer, &got)
	return got, err
}

func (c *client) enable(ctx context.Context, f string) error {
	_, err := c.send(ctx, "GET", api+"/she/function/"+f+"/enable", nil, nil)
	return err
}

// configuration is what a HAT shows of a function.
type configuration struct {
	ID     string
	Status struct{ Available, Enabled bool }
}

func (c *client) function(ctx context.Context, f string) (got configuration, err error) {
	answer, err := c.send(ctx, "GET", api+"/she/function/"+f, nil, nil)
	if err != nil {
		return got, err
	}
	err = json.Unmarshal(answer, &got)
	return got, err
}
