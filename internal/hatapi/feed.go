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

// getStatic: GET /she/static/{prefix}. The newest records of a service about the person, each as a name and its fields.
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

// newest is the newest record of a part: by the first of its dates that a record has, else by when it was stored.
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
