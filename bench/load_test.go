package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A client keeps one connection and makes one request after the other, as little work as possible for each: it shares
// the processors with the server that is measured.
type client struct {
	conn    net.Conn
	r       *bufio.Reader
	host    string
	auth    string // name of the header that has the token
	token   string
	refresh string // name of the header an answer brings the next token in; empty: none does
	request bytes.Buffer
}

// dial connects from a loopback address of the client's own, because servers count logins by address.
func dial(address, host string, number int) (*client, error) {
	from := net.TCPAddr{IP: net.IPv4(127, 1, byte(number>>8), byte(number))}
	conn, err := (&net.Dialer{LocalAddr: &from}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReader(conn), host: host}, nil
}

// do makes one request and returns the body of the answer, which has to have the status.
func (c *client) do(method, path string, header http.Header, body []byte, status int) ([]byte, error) {
	c.request.Reset()
	fmt.Fprintf(&c.request, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, path, c.host, len(body))
	if len(body) > 0 {
		c.request.WriteString("Content-Type: application/json\r\n")
	}
	if c.token != "" {
		fmt.Fprintf(&c.request, "%s: %s\r\n", c.auth, c.token)
	}
	_ = header.Write(&c.request) // memory
	c.request.WriteString("\r\n")
	c.request.Write(body)
	if _, err := c.conn.Write(c.request.Bytes()); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != status {
		err = fmt.Errorf("%s %s: %d %.300s", method, path, res.StatusCode, answer)
	}
	if c.refresh != "" {
		if next := res.Header.Get(c.refresh); next != "" {
			c.token = next
		}
	}
	return answer, err
}

// login takes the token from the named field of the answer.
func (c *client) login(method, path string, header http.Header, body []byte, field string) error {
	answer, err := c.do(method, path, header, body, http.StatusOK)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(answer, &fields); err != nil {
		return err
	}
	token, _ := fields[field].(string)
	if token == "" {
		return fmt.Errorf("%s %s: no %s in the answer", method, path, field)
	}
	c.token = token
	return nil
}

// load has all clients do f again and again for the time given, and returns how many times a second it was done, and
// how long each took in milliseconds.
func load(clients []*client, d time.Duration, f func(*client) error) (rate float64, took []float64, err error) {
	var (
		mu      sync.Mutex
		workers sync.WaitGroup
		begin   = time.Now()
	)
	for _, c := range clients {
		workers.Go(func() {
			var mine []float64
			var failed error
			for at := time.Now(); failed == nil && at.Sub(begin) < d; {
				failed = f(c)
				now := time.Now()
				mine = append(mine, now.Sub(at).Seconds()*1000)
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if failed != nil {
				err = failed
			}
		})
	}
	workers.Wait()
	return float64(len(took)) / time.Since(begin).Seconds(), took, err
}
