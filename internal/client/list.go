package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"she/internal/edge"
)

// A Listed is a part of a list. Total counts the whole list.
type Listed[T any] struct {
	Items []T
	Total int
	Next  string // where the next page begins; "": this is the last page
	Head  string // head of the receipts
}

// MostListed is how many elements a command lists at once.
const MostListed = 10_000

// List reads up to most elements of a list of /api/she/v1, page by page. parameter names the query parameter
// after which a page starts.
func List[T any](ctx context.Context, m *Management, path string, query url.Values, parameter string, limit int) (l Listed[T], err error) {
	const page = 1000 // the largest page of the API
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

// nextOf returns the parameter of the next page from a Link header (RFC 8288); "" if there is none.
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
