package shetest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Events is a stream of Server-Sent Events.
type Events struct {
	lines *bufio.Reader
	body  io.Closer
	Last  int64 // id of the newest event that Next returned
}

// Events returns the events of the HAT's runs: first the present state of every run that changed after the
// number after, then each change. The stream ends with ctx, with the server, or after some minutes.
func (c *Client) Events(ctx context.Context, after int64) (*Events, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/api/she/v1/events", nil)
	if err != nil {
		return nil, err
	}
	req.Host = c.name + ".test"
	req.Header.Set("X-Auth-Token", c.token)
	req.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return nil, fmt.Errorf("events: %d %s", resp.StatusCode, text)
	}
	return &Events{lines: bufio.NewReader(resp.Body), body: resp.Body, Last: after}, nil
}

// Next waits for an event and returns its data.
func (e *Events) Next() (data []byte, err error) {
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			if e.Last, err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, fmt.Errorf("id of an event: %w", err)
			}
		case "data":
			data = []byte(value)
		case "": // the end of an event, or a comment
			if data != nil {
				return data, nil
			}
		}
	}
}

// Close ends the stream.
func (e *Events) Close() error { return e.body.Close() }
