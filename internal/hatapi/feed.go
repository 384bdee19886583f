package hatapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"she/internal/bundle"
	"she/internal/edge"
	"she/internal/feed"
	"she/internal/hat"
)

const (
	feedBack  = 180 * 24 * time.Hour
	feedAhead = 30 * 24 * time.Hour
	// maxItems bounds the items of one answer, newest first. No more records than that are read from one
	// source.
	maxItems = 10_000
	maxFeed  = 32 << 20 // bytes of records that became items
	costItem = 10       // fuel per byte of a record that is read as an item
	// itemFactor is the memory of an item per byte of its record: its texts can be most of the record, once
	// in memory and once as JSON.
	itemFactor = 2
	itemHold   = 512
)

// errFeedFull stops reading a source. The answer contains the items found so far.
var errFeedFull = errors.New("feed is full")

// getFeed: GET /she/feed and /she/feed/{prefix}, ?since&until in Unix seconds.
func (s *API) getFeed(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	since, err := edge.SecondsParam(values, "since", q.Now.Add(-feedBack).Unix())
	if err != nil {
		return err
	}
	until, err := edge.SecondsParam(values, "until", q.Now.Add(feedAhead).Unix())
	if err != nil {
		return err
	}
	from, to := time.Unix(since, 0), time.Unix(until, 0)
	items := []feed.Item{}
	most, size := maxItems, 0
	err = reading(q).Read(q.Context(), q.Caller, func(src bundle.Source, _ hat.Seq) error {
		for _, source := range feed.Matching(q.Params["prefix"]) {
			newest := bundle.PropertyQuery{
				Endpoints: []bundle.EndpointQuery{{Endpoint: source.Endpoint}}, Ordering: "descending", Limit: &most,
			}
			question := q.Ask(map[string]bundle.PropertyQuery{"": newest})
			_, err := question.Evaluate(q.Context(), "", src, bundle.Within{Grow: q.Grow}, func(r bundle.Row) error {
				question.Spend(costItem * r.Data.Len())
				if item, ok := source.Item(r.Data, from, to); ok {
					items = append(items, item)
					if size += r.Data.Len(); size > maxFeed {
						return errFeedFull
					}
					return q.Hold(edge.RequestHold + itemFactor*int64(size) + itemHold*int64(len(items)))
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
	if err := w.Still(); err != nil {
		return err
	}
	feed.Sort(items)
	q.Release()
	out := q.Spool(w)
	out.Begin()
	for i := range items[:min(len(items), maxItems)] {
		if err := out.Element(items[i], 1<<10); err != nil {
			return err
		}
	}
	return out.Finish()
}

// getStatic: GET /she/static/{prefix}. It returns the newest records of a service about the person, each as a
// name and its fields.
func (s *API) getStatic(w *edge.Recorder, q *edge.Request) error {
	type wireProfile struct {
		Name   string                     `json:"name"`
		Values map[string]json.RawMessage `json:"values"`
	}
	all := []wireProfile{}
	profile, _ := feed.ProfileMatching(q.Params["prefix"])
	err := reading(q).Read(q.Context(), q.Caller, func(src bundle.Source, _ hat.Seq) error {
		for _, part := range profile.Parts {
			data, found, err := newest(q, part, src)
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
	edge.WriteJSON(w, http.StatusOK, all)
	return nil
}

// newest returns the newest record of a part. The order is by the first of the part's dates that a record
// has, or otherwise by the time of storage.
func newest(q *edge.Request, part feed.Part, src bundle.Source) (data hat.Data, found bool, err error) {
	one := 1
	for _, dated := range append(slices.Clip(part.Dated), "") {
		query := bundle.PropertyQuery{
			Endpoints: []bundle.EndpointQuery{{Endpoint: part.Endpoint}}, OrderBy: dated, Ordering: "descending", Limit: &one,
		}
		_, err = q.Ask(map[string]bundle.PropertyQuery{"": query}).Evaluate(q.Context(), "", src, bundle.Within{Grow: q.Grow}, func(r bundle.Row) error {
			data, found = r.Data, true
			return nil
		})
		if err != nil || !found || dated != "" && part.Has(data, dated) {
			break
		}
	}
	return data, found, err
}
