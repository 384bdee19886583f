package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"she/internal/bundle"
	"she/internal/feed"
	"she/internal/hat"
)

const (
	feedBack  = 180 * 24 * time.Hour
	feedAhead = 30 * 24 * time.Hour
	// maxItems of one answer, the newest; of a source more than that are not even looked at.
	maxItems = 10_000
	maxFeed  = 32 << 20 // bytes of records that became items
	costItem = 10       // fuel for each byte of a record that is read as an item
	// What an item takes: its texts may be most of its record, and again as JSON.
	itemFactor = 2
	itemHold   = 512
)

// errFeedFull ends the reading of a source; what was found so far is the answer.
var errFeedFull = errors.New("feed is full")

// getFeed: GET /she/feed and /she/feed/{prefix}, ?since&until in Unix seconds.
func (s *server) getFeed(w *recorder, q *request) error {
	values, err := q.query()
	if err != nil {
		return err
	}
	since, err := secondsParam(values, "since", q.now.Add(-feedBack).Unix())
	if err != nil {
		return err
	}
	until, err := secondsParam(values, "until", q.now.Add(feedAhead).Unix())
	if err != nil {
		return err
	}
	from, to := time.Unix(since, 0), time.Unix(until, 0)
	items := []feed.Item{}
	most, size := maxItems, 0
	err = q.vault.Read(q.Context(), q.caller, func(src bundle.Source, _ hat.Seq) error {
		for _, source := range feed.Matching(q.params["prefix"]) {
			newest := bundle.PropertyQuery{
				Endpoints: []bundle.EndpointQuery{{Endpoint: source.Endpoint}}, Ordering: "descending", Limit: &most,
			}
			question := q.ask(map[string]bundle.PropertyQuery{"": newest})
			_, err := question.Evaluate(q.Context(), "", src, bundle.Within{Grow: q.grow}, func(r bundle.Row) error {
				question.Spend(costItem * r.Data.Len())
				if item, ok := source.Item(r.Data, from, to); ok {
					items = append(items, item)
					if size += r.Data.Len(); size > maxFeed {
						return errFeedFull
					}
					return q.hold(requestHold + itemFactor*int64(size) + itemHold*int64(len(items)))
				}
				return nil
			})
			if err != nil && !errors.Is(err, errFeedFull) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.still(); err != nil {
		return err
	}
	feed.Sort(items)
	q.release()
	out := q.spool(w)
	out.begin()
	for i := range items[:min(len(items), maxItems)] {
		if err := out.element(items[i], 1<<10); err != nil {
			return err
		}
	}
	return out.finish()
}

// getStatic: GET /she/static/{prefix}. The newest records of a service about the person, each as a name and its fields.
func (s *server) getStatic(w *recorder, q *request) error {
	type wireProfile struct {
		Name   string                     `json:"name"`
		Values map[string]json.RawMessage `json:"values"`
	}
	all := []wireProfile{}
	profile, _ := feed.ProfileMatching(q.params["prefix"])
	err := q.vault.Read(q.Context(), q.caller, func(src bundle.Source, _ hat.Seq) error {
		for _, part := range profile.Parts {
			data, found, err := q.newest(part, src)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if values, ok := part.Values(data); ok {
				all = append(all, wireProfile{part.Name(), values})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, all)
	return nil
}

// newest is the newest record of a part: by the first of its dates that a record has, else by when it was stored.
func (q *request) newest(part feed.Part, src bundle.Source) (data hat.Data, found bool, err error) {
	one := 1
	for _, dated := range append(slices.Clip(part.Dated), "") {
		query := bundle.PropertyQuery{
			Endpoints: []bundle.EndpointQuery{{Endpoint: part.Endpoint}}, OrderBy: dated, Ordering: "descending", Limit: &one,
		}
		_, err = q.ask(map[string]bundle.PropertyQuery{"": query}).Evaluate(q.Context(), "", src, bundle.Within{Grow: q.grow}, func(r bundle.Row) error {
			data, found = r.Data, true
			return nil
		})
		if err != nil || !found || dated != "" && part.Has(data, dated) {
			break
		}
	}
	return data, found, err
}
