package demo

import (
	"context"
	"io"

	"she/internal/client"
	"she/internal/hat"
	"she/internal/sample"
	"she/internal/terminal"
)

// endpoints are the endpoints of an invented life.
var endpoints = []hat.Endpoint{sample.Tweets, sample.Events, sample.Locations, sample.Notes}

// StoreLife posts each day's records, one request for each endpoint, and shows the progress.
func StoreLife(ctx context.Context, progress io.Writer, to *client.HAT, life sample.Life) (stored int, err error) {
	shown := terminal.NewProgress(progress, "storing days", len(life.Days))
	defer shown.Done()
	for _, day := range life.Days {
		byEndpoint := map[hat.Endpoint][]hat.Data{}
		for _, d := range day.Drafts {
			byEndpoint[d.Endpoint] = append(byEndpoint[d.Endpoint], d.Data)
		}
		for _, e := range endpoints {
			if len(byEndpoint[e]) == 0 {
				continue
			}
			if err := to.Store(ctx, e, byEndpoint[e]); err != nil {
				return stored, err
			}
			stored += len(byEndpoint[e])
		}
		shown.Step()
	}
	return stored, nil
}
