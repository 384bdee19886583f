package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"she/internal/ownapi"
	"she/internal/server"
)

func runsCommand() *cobra.Command {
	var data, hatName, function, before string
	var limit int
	ls := &cobra.Command{
		Use:     "ls",
		Short:   "List what functions did for a HAT, newest first",
		Example: "  she runs ls --hat alice.localhost:7777 --function busy-hours --data /var/lib/she",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > mostListed {
				return usageError{fmt.Errorf("--limit must be 1 to %d", mostListed)}
			}
			query := url.Values{}
			for name, value := range map[string]string{"function": function, "before": before} {
				if value != "" {
					query.Set(name, value)
				}
			}
			m, err := manage(cmd.Context(), data, "", server.Reads)
			if err != nil {
				return err
			}
			defer m.close()
			runs, err := list[ownapi.Run](cmd.Context(), m, ownPath(hatName)+"/runs", query, "before", limit)
			if err != nil {
				return err
			}
			return showListed(cmd, runs, "--before", printRuns)
		},
	}
	ls.Flags().StringVar(&function, "function", "", "only runs of this function")
	ls.Flags().IntVar(&limit, "limit", 50, "at most so many")
	ls.Flags().StringVar(&before, "before", "", "only runs older than this one: the next page")

	var withLog, passwordStdin bool
	showOne := &cobra.Command{
		Use:   "show RUN",
		Short: "Show one run: why, how long each step took, what it read and wrote",
		Long: "Shows one run. What the function printed belongs to the owner, because functions print what they are given: " +
			"--log asks for the owner's password.",
		Example: "  she runs show 0190b0a2-… --hat alice.localhost:7777 --data /var/lib/she --log",
		Args:    exactArgs(1, "the run's id, see she runs ls"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Reached before the password is asked for: nobody types one for a directory that isn't there.
			m, err := manage(cmd.Context(), data, "", server.Reads)
			if err != nil {
				return err
			}
			defer m.close()
			if withLog {
				password, err := readPassword(cmd, passwordStdin)
				if err != nil {
					return err
				}
				if password == "" {
					return errors.New("--log is for the owner, and their password was not given")
				}
				m = m.as(password)
			}
			var run ownapi.Run
			if err := m.call(cmd.Context(), "GET", ownPath(hatName)+"/runs/"+url.PathEscape(args[0]), nil, &run); err != nil {
				return err
			}
			run.Receipts = m.head
			return show(cmd, run, func(w io.Writer) {
				printRun(w, run, withLog)
				showHead(w, run.Receipts)
			})
		},
	}
	showOne.Flags().BoolVar(&withLog, "log", false, "also show what the function printed; asks for the owner's password")
	showOne.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the owner's password from standard input")

	c := group("runs", "See what functions did", ls, showOne, whyCommand(&data, &hatName),
		with(changing, replayCommand(&data, &hatName)),
		with(changing, steerCommand("cancel", "cancelled", "End a run in flight; its work is kept, parked",
			"Ends a run: nothing of it is saved. Its work waits until somebody replays or skips the run.", &data, &hatName)),
		with(changing, steerCommand("skip", "skipped", "Give up the work of a run that did not commit",
			"Gives up what a run that failed, was refused or was cancelled was to do: the function is not given that data any more, "+
				"and what waits behind it is due.", &data, &hatName)))
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	c.PersistentFlags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	for _, sub := range c.Commands() {
		wantsHAT(sub, &hatName)
	}
	return c
}

// wantsHAT has a command say so if it is not told which HAT it is about, rather than that there is no HAT "".
func wantsHAT(c *cobra.Command, hatName *string, unless ...*string) {
	do := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if *hatName == "" && !slices.ContainsFunc(unless, func(s *string) bool { return *s != "" }) {
			return usageError{errors.New("--hat is missing: which HAT? See she hat list")}
		}
		return do(cmd, args)
	}
}

func printRuns(w io.Writer, runs []ownapi.Run) {
	t := newTable(w, "RUN", "FUNCTION", "STATE", "CAUSE", "STARTED", "TOOK", "READ", "WROTE", "FAULT")
	for _, r := range runs {
		fault := ""
		if r.Fault != nil {
			fault = string(r.Fault.Who) + ": " + r.Fault.Code
		}
		took := ""
		if !r.Ended.IsZero() {
			took = ms(r.Ended.Sub(r.Claimed.Time))
		}
		t.row(r.ID, r.Function+" "+r.Version, r.State, r.Cause, r.Claimed.Format(time.DateTime), took,
			strconv.Itoa(r.Stats.Read), strconv.Itoa(len(r.Written)), fault)
	}
	t.flush()
}

// shownRecords is how many ids of written records a person is shown.
const shownRecords = 20

func printRun(w io.Writer, r ownapi.Run, withLog bool) {
	printf(w, "run        %s\n", r.ID)
	printf(w, "function   %s %s, package %s\n", r.Function, r.Version, r.Package)
	printf(w, "state      %s, attempt %d, by %s\n", r.State, r.Attempt, r.Cause)
	if r.Fault != nil {
		printf(w, "fault      %s must act: %s: %s\n", r.Fault.Who, r.Fault.Code, r.Fault.Text)
	}
	printf(w, "due        %s\n", r.Due.Format(time.RFC3339Nano))
	printf(w, "claimed    %s\n", r.Claimed.Format(time.RFC3339Nano))
	if !r.Ended.IsZero() {
		printf(w, "ended      %s\n", r.Ended.Format(time.RFC3339Nano))
	}
	printf(w, "covered    positions %d to %d\n", r.After+1, r.Upto)
	printf(w, "read       %s, %d bytes", counted(r.Stats.Read, "record"), r.Stats.InBytes)
	if r.Stats.Hidden > 0 {
		printf(w, "; %d more hidden by the bundle's limit", r.Stats.Hidden)
	}
	printf(w, "\nwrote      %s to %s", counted(len(r.Written), "record"), r.Output)
	if r.Duplicates > 0 {
		printf(w, "; %s dropped", counted(r.Duplicates, "equal one"))
	}
	switch {
	case r.Kept == 1:
		printf(w, "; 1 of them was there already")
	case r.Kept > 1:
		printf(w, "; %d of them were there already", r.Kept)
	}
	if r.Superseded > 0 {
		printf(w, "\nsuperseded %s", counted(r.Superseded, "record"))
	}
	if r.Replaces != "" {
		printf(w, "\nreplaces   run %s", r.Replaces)
	}
	if r.SupersededBy != "" {
		printf(w, "\nrepeated   by run %s", r.SupersededBy)
	}
	printf(w, "\nsandbox    %s", r.Stats.Start)
	if r.Stats.Warmed {
		printf(w, ", warmed up")
	}
	printf(w, "\n")
	printf(w, "steps      %s\n", steps(r))
	for _, id := range r.Written[:min(len(r.Written), shownRecords)] {
		printf(w, "record     %s\n", id)
	}
	if more := len(r.Written) - shownRecords; more > 0 {
		printf(w, "           and %d more; -o json has all\n", more)
	}
	if withLog && r.Log != nil {
		printf(w, "log\n")
		for line := range strings.Lines(*r.Log) {
			printf(w, "    %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
}

func steps(r ownapi.Run) string {
	t := r.Stats.Timing
	return fmt.Sprintf("queue %s, bundle %s, query %s, sandbox %s, run %s, save %s",
		ms(t.Queue), ms(t.Bundle), ms(t.Query), ms(t.Sandbox), ms(t.Process), ms(t.Save))
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
