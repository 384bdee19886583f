package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"she/internal/edge"
)

// A Listed is a page of a list that may be cut. Total counts all there are.
type Listed[T any] struct {
	Items []T
	Total int
	Next  string // where the next page begins; "": this is the last
	Head  string // of the receipts
}

// MostListed is how many elements a command lists at once.
const MostListed = 10_000

// List reads at most so many elements of a list of our own API, page by page. parameter is what a page begins behind.
func List[T any](ctx context.Context, m *Management, path string, query url.Values, parameter string, limit int) (l Listed[T], err error) {
	const page = 1000 // the most the API gives at once
	l.Items = []T{}
	for {
		query.Set("limit", strconv.Itoa(min(limit-len(l.Items), page)))
		var items []T
		h, err := m.exchange(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &items)
		if err != nil {
			return l, err
		}
		l.Items = append(l.Items, items...)
		if l.Total == 0 {
			l.Total, _ = strconv.Atoi(h.Get(edge.TotalHeader))
		}
		l.Head = m.Head
		l.Next = nextOf(h.Get("Link"), parameter)
		if l.Next == "" || len(l.Items) >= limit {
			return l, nil
		}
		query.Set(parameter, l.Next)
	}
}

// nextOf is the parameter of the next page, as RFC 8288 and package httpapi have it; "" if there is none.
func nextOf(link, parameter string) string {
	target, ok := strings.CutSuffix(link, `>; rel="next"`)
	if !ok {
		return ""
	}
	u, err := url.Parse(strings.TrimPrefix(target, "<"))
	if err != nil {
		return ""
	}
	return u.Query().Get(parameter)
}
