package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
)

// listed is a page of a list that may be cut, as the management API answers it. Total counts all there are.
type listed[T any] struct {
	Items []T    `json:"items"`
	Total int    `json:"total"`
	Next  string `json:"next,omitempty"` // where the next page begins; "": this is the last
}

// showListed prints a page, and says so if it is not all there is: flag is the option that goes on. With -o json the array is
// printed alone, and the remark goes to standard error.
func showListed[T any](cmd *cobra.Command, l listed[T], flag string, text func(io.Writer, []T)) error {
	cut := func(w io.Writer) {
		switch {
		case l.Next != "":
			printf(w, "%s of %s; go on with %s %s\n", thousands(len(l.Items)), thousands(l.Total), flag, l.Next)
		case len(l.Items) < l.Total:
			printf(w, "the last %s of %s\n", thousands(len(l.Items)), thousands(l.Total))
		}
	}
	if format, _ := cmd.Flags().GetString("output"); format == "json" {
		cut(cmd.ErrOrStderr())
	}
	return show(cmd, l.Items, func(w io.Writer) {
		text(w, l.Items)
		cut(w)
	})
}

// thousands writes 1340 as 1,340.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// UnmarshalJSON also reads the bare array of a server of an earlier version, which is asked by commands until it is restarted.
func (l *listed[T]) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &l.Items); err == nil {
		l.Total = len(l.Items)
		return nil
	}
	type plain listed[T]
	return json.Unmarshal(text, (*plain)(l))
}
