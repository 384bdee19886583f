package ownapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/vault"
)

const (
	EventsPerHAT = 8        // streams open at once for one HAT
	eventsAtAll  = 512      // and for all
	eventsPage   = 16       // changes read at once: each run can name a hundred thousand records
	eventKept    = 16 << 10 // buffer of a silent stream, in bytes
	// eventsLife ends a stream, so that none is kept for a client that has gone; others reconnect.
	eventsLife = 10 * time.Minute
	// heartbeat is how often a silent stream sends a line, and looks for changes whose signal was lost.
	heartbeat = 15 * time.Second
)

// streams counts the open streams.
type streams struct {
	mu  sync.Mutex
	of  map[hat.ID]int
	all int
}

// take counts a stream. It returns false if there are too many; otherwise done must be called at the end.
func (s *streams) take(hatID hat.ID) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= eventsAtAll || s.of[hatID] >= EventsPerHAT {
		return nil, false
	}
	if s.of == nil {
		s.of = map[hat.ID]int{}
	}
	s.all++
	s.of[hatID]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[hatID]--; s.of[hatID] == 0 {
			delete(s.of, hatID)
		}
	}, true
}

// runEvents: GET /events, Server-Sent Events. Each event has the number of a change as its id and the run as
// its data. A client that returns with Last-Event-ID gets every run that changed meanwhile, once, in its
// present state. A client without it gets the changes from now on.
//
// The state is read from the vault. The engine's signal only says when to look, and between looks the vault
// is given back.
func (s *API) runEvents(w *edge.Recorder, q *edge.Request) error {
	var after int64
	_, last, err := runsOf(q).RunChanges(q.Context(), q.Caller, 0, 0)
	if err != nil {
		return err
	}
	if text := q.Header.Get("Last-Event-ID"); text == "" {
		after = last
	} else if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
		return problem(http.StatusBadRequest, "Bad Request", "Last-Event-ID is not the id of an event")
	}
	after = min(after, last) // a restored vault counts from an earlier number
	done, ok := s.streams.take(q.HAT.ID)
	if !ok {
		tooMany := *problem(http.StatusTooManyRequests, "Too Many Requests", "too many streams of events are open")
		tooMany.RetryAfter = "30"
		return &tooMany
	}
	defer done()
	q.Release()
	bell, stop := s.Functions.Watch(q.HAT.ID)
	defer stop()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // a buffering proxy would delay events
	beat := time.NewTicker(s.Heartbeat)
	defer beat.Stop()
	life := time.NewTimer(eventsLife)
	defer life.Stop()
	text := []byte("retry: 3000\n\n")
	// write is false if the client went away.
	write := func() bool {
		if len(text) == 0 {
			return true
		}
		if _, err := w.Write(text); err != nil || w.Conn.Flush() != nil {
			return false
		}
		if text = text[:0]; cap(text) > eventKept {
			text = nil
		}
		return true
	}
	for {
		for {
			changes, err := s.changes(q, after)
			if errors.Is(err, edge.ErrNotAuthenticated) || errors.Is(err, access.ErrWithdrawn) {
				return nil // a client that reconnects with this token gets the error
			} else if err != nil {
				return err
			}
			for i, c := range changes {
				if q.Hold(edge.RequestHold+int64(runSize(c.Run))) != nil {
					return nil // a client that reconnects gets it
				}
				after = c.Number
				text = appendEvent(text, c)
				changes[i] = vault.RunChange{}
				if !write() {
					return nil
				}
			}
			q.Memory.Shrink(edge.RequestHold)
			if !write() {
				return nil
			}
			if len(changes) < eventsPage {
				break
			}
		}
		select {
		case _, open := <-bell:
			if !open {
				return nil
			}
		case <-beat.C:
			text = append(text, ": still here\n\n"...)
		case <-life.C:
			return nil
		case <-q.Context().Done():
			return nil
		}
	}
}

// changes looks once. The password may have changed, or the token expired, since the stream began, so each
// look recognises the caller again.
func (s *API) changes(q *edge.Request, after int64) ([]vault.RunChange, error) {
	if err := q.Claims.Hold(q.HAT, s.Now()); err != nil {
		return nil, edge.ErrNotAuthenticated
	}
	v, release, err := s.Vaults.Open(q.Context(), q.HAT.ID)
	if err != nil {
		return nil, err
	}
	defer release()
	q.Vault = v
	if err := s.Recognise(q); err != nil {
		return nil, err
	}
	changes, _, err := v.(runs).RunChanges(q.Context(), q.Caller, after, eventsPage)
	return changes, err
}

func appendEvent(text []byte, c vault.RunChange) []byte {
	var data bytes.Buffer
	enc := json.NewEncoder(&data) // one line: JSON has no line breaks of its own
	enc.SetEscapeHTML(false)
	if enc.Encode(viewRun(c.Run)) != nil {
		return text // values of our own types always encode
	}
	return fmt.Appendf(text, "id: %d\nevent: run\ndata: %s\n", c.Number, data.Bytes())
}
