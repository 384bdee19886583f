package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/terminal"
)

// replayCommand returns the command `she runs replay`, for one run or for many runs of a function.
func replayCommand(data, hatName *string) *cobra.Command {
	c := steerCommand("replay", "due", "Run the work of a run again",
		"Makes the work of a run due now under the present grant, even if it is parked. If the run committed, its "+
			"positions are covered again and the result replaces its output: equal records stay, the others are "+
			"superseded. Several runs are replayed one by one, and the result of each is shown. With --function "+
			"instead of a run it replays many: failed work that still waits (--failed), or runs that committed since "+
			"a time (--since).",
		data, hatName)
	one := c.RunE
	var (
		function, since string
		failed          bool
	)
	c.Use = "replay [RUN…]"
	c.Example += "\n  she runs replay --function busy-hours --failed --hat alice.localhost:7777 --data /var/lib/she" +
		"\n  she runs replay --function busy-hours --since 2024-03-01 --hat alice.localhost:7777 --data /var/lib/she"
	c.Args = nil
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if many := function != "" || failed || since != ""; !many {
			if len(args) > 1 {
				return replayEach(cmd, *data, *hatName, args)
			}
			if err := exactArgs(1, "the run's id, see she runs ls; or --function")(cmd, args); err != nil {
				return err
			}
			return one(cmd, args)
		}
		if err := exactArgs(0, "either a run or --function with --failed or --since")(cmd, args); err != nil {
			return err
		}
		if function == "" || !failed && since == "" {
			return usageError{errors.New("--function needs --failed or --since, and these need --function")}
		}
		request := replayRequest{Failed: failed}
		if since != "" {
			var err error
			if request.Since, err = parseMoment(since); err != nil {
				return usageError{err}
			}
		}
		var done replayedView
		path := client.OwnPath(*hatName) + "/functions/" + url.PathEscape(function) + "/replay"
		head, err := ask(cmd.Context(), *data, "", http.MethodPost, path, request, &done)
		if err != nil {
			return ofFunction(function, err)
		}
		done.Receipts = head
		return show(cmd, done, func(w io.Writer) {
			terminal.Printf(w, "%s: %d due\n", function, done.Due)
			showHead(w, head)
		})
	}
	c.Flags().StringVar(&function, "function", "", "replay runs of this function")
	c.Flags().BoolVar(&failed, "failed", false, "replay failed work that still waits")
	c.Flags().StringVar(&since, "since", "", "replay runs that committed since this day or time, 2024-03-01 or 2024-03-01T12:00:00Z")
	return c
}

// replayEach replays several runs. It fails if one of them could not be replayed, but still shows the result
// of each.
func replayEach(cmd *cobra.Command, data, hatName string, runs []string) error {
	var answer struct {
		Runs []replayedRun `json:"runs"`
	}
	head, err := ask(cmd.Context(), data, "", http.MethodPost, client.OwnPath(hatName)+"/runs/replay", replayEachRequest{runs}, &answer)
	if err != nil {
		return err
	}
	done, refused := answer.Runs, 0
	for _, r := range done {
		if r.State == "refused" {
			refused++
		}
	}
	err = show(cmd, done, func(w io.Writer) {
		for _, r := range done {
			what := r.State
			if r.Title != "" {
				what = strings.ToLower(r.Title) + ": " + r.Detail
			}
			terminal.Printf(w, "run %s: %s\n", r.Run, what)
		}
		showHead(w, head)
	})
	if err == nil && refused > 0 {
		err = fmt.Errorf("%d of %s could not be replayed", refused, terminal.Count(len(done), "run"))
	}
	return err
}

type replayEachRequest struct {
	Runs []string `json:"runs"`
}

type replayedRun struct {
	Run    string `json:"run"`
	State  string `json:"state"` // of its work: due or refused
	Title  string `json:"title,omitempty"`
	Detail string `json:"detail,omitempty"`
}

type replayRequest struct {
	Failed bool      `json:"failed,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

type replayedView struct {
	Due      int    `json:"due"`                // at least this number of runs will follow
	Receipts string `json:"receipts,omitempty"` // the head of the receipts
}

func parseMoment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is not a day or time such as 2024-03-01 or 2024-03-01T12:00:00Z", s)
}
