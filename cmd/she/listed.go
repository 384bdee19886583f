package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"she/internal/edge"

	"github.com/spf13/cobra"
)

// listed is a page of a list that may be cut. Total counts all there are.
type listed[T any] struct {
	Items []T
	Total int
	Next  string // where the next page begins; "": this is the last
	head  string // of the receipts
}

// mostListed is how many elements a command lists at once.
const mostListed = 10_000

// list reads at most so many elements of a list of our own API, page by page. parameter is what a page begins behind.
func list[T any](ctx context.Context, m *manager, path string, query url.Values, parameter string, limit int) (l listed[T], err error) {
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
		l.head = m.head
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

// showListed prints a page, and says so if it is not all there is: flag is the option that goes on. With -o json the array is
// printed alone, and the remark goes to standard error, as the head of the receipts does; it goes there too where the list ends
// with the remark.
func showListed[T any](cmd *cobra.Command, l listed[T], flag string, text func(io.Writer, []T)) error {
	cut := func(w io.Writer) {
		switch {
		case l.Next != "":
			printf(w, "%s of %s; go on with %s %s\n", thousands(len(l.Items)), thousands(l.Total), flag, l.Next)
		case len(l.Items) < l.Total:
			printf(w, "the last %s of %s\n", thousands(len(l.Items)), thousands(l.Total))
		}
	}
	format, _ := cmd.Flags().GetString("output")
	if format == "json" {
		cut(cmd.ErrOrStderr())
	}
	apart := format == "json" || l.Next != "" || len(l.Items) < l.Total
	err := show(cmd, l.Items, func(w io.Writer) {
		text(w, l.Items)
		cut(w)
		if !apart {
			showHead(w, l.head)
		}
	})
	if apart {
		showHead(cmd.ErrOrStderr(), l.head)
	}
	return err
}

// thousands writes 1340 as 1,340.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}
