package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/ownapi"
	"she/internal/server"
	"she/internal/terminal"
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
			if limit < 1 || limit > client.MostListed {
				return usageError{fmt.Errorf("--limit must be 1 to %d", client.MostListed)}
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
			defer m.Close()
			runs, err := client.List[ownapi.Run](cmd.Context(), m, client.OwnPath(hatName)+"/runs", query, "before", limit)
			if err != nil {
				return err
			}
			if len(runs.Items) == 0 && function != "" { // no runs yet, or an unknown function
				if err := m.Call(cmd.Context(), "GET", functionPath(hatName, function)+"/why", nil, nil); err != nil {
					return ofFunction(function, err)
				}
			}
			return showListed(cmd, runs, "--before", printRuns)
		},
	}
	ls.Flags().StringVar(&function, "function", "", "only runs of this function")
	ls.Flags().IntVar(&limit, "limit", 50, "list at most this many")
	ls.Flags().StringVar(&before, "before", "", "only runs older than this one, for the next page")

	var withLog, passwordStdin bool
	showOne := &cobra.Command{
		Use:   "show RUN",
		Short: "Show one run: its cause, how long each step took, what it read and wrote",
		Long: "Shows one run. What the function printed belongs to the owner, because functions may print their data. " +
			"--log shows it and asks for the owner's password.",
		Example: "  she runs show 0190b0a2-… --hat alice.localhost:7777 --data /var/lib/she --log",
		Args:    exactArgs(1, "the run's id, see she runs ls"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Before asking for the password, so that nobody types it for a directory that does not exist.
			m, err := manage(cmd.Context(), data, "", server.Reads)
			if err != nil {
				return err
			}
			defer m.Close()
			if withLog {
				password, err := readPassword(cmd, passwordStdin)
				if err != nil {
					return err
				}
				if password == "" {
					return errors.New("--log needs the owner's password, and it was empty")
				}
				m = m.As(password)
			}
			var run ownapi.Run
			if err := m.Call(cmd.Context(), "GET", client.OwnPath(hatName)+"/runs/"+url.PathEscape(args[0]), nil, &run); err != nil {
				return err
			}
			run.Receipts = m.Head
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
		with(changing, steerCommand("cancel", "cancelled", "End a run in flight and park its work",
			"Ends a run in flight. Nothing of it is saved. Its work is parked until somebody replays or skips the "+
				"run.", &data, &hatName)),
		with(changing, steerCommand("skip", "skipped", "Give up the work of a run that did not commit",
			"Gives up the work of a run that failed, was refused or was cancelled: the function does not get that "+
				"data any more. Work that waited for it is due.", &data, &hatName)))
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	c.PersistentFlags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	for _, sub := range c.Commands() {
		wantsHAT(sub, &hatName)
	}
	return c
}

type steeredView struct {
	Run   string `json:"run"`
	State string `json:"state"` // of its work: due, cancelled or skipped

	Receipts string `json:"receipts,omitempty"` // the head of the receipts
}

// steerCommand returns one of the commands `she runs replay`, `cancel` and `skip`.
func steerCommand(verb, state, short, long string, data, hatName *string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " RUN",
		Short:   short,
		Long:    long,
		Example: "  she runs " + verb + " 0190b0a2-… --hat alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the run's id, see she runs ls"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := client.OwnPath(*hatName) + "/runs/" + url.PathEscape(args[0]) + "/" + verb
			head, err := ask(cmd.Context(), *data, "", http.MethodPost, path, nil, nil)
			if err != nil {
				return err
			}
			done := steeredView{args[0], state, head}
			return show(cmd, done, func(w io.Writer) {
				terminal.Printf(w, "run %s: %s\n", done.Run, done.State)
				showHead(w, head)
			})
		},
	}
}

func printRuns(w io.Writer, runs []ownapi.Run) {
	t := terminal.NewTable(w, "RUN", "FUNCTION", "STATE", "CAUSE", "STARTED", "TOOK", "READ", "WROTE", "FAULT")
	for _, r := range runs {
		fault := ""
		if r.Fault != nil {
			fault = string(r.Fault.Who) + ": " + r.Fault.Code
		}
		took := ""
		if !r.Ended.IsZero() {
			took = terminal.Milliseconds(r.Ended.Sub(r.Claimed.Time))
		}
		t.Row(r.ID, r.Function+" "+r.Version, r.State, r.Cause, r.Claimed.Format(time.DateTime), took,
			strconv.Itoa(r.Stats.Read), strconv.Itoa(len(r.Written)), fault)
	}
	t.Flush()
}

// shownRecords is how many ids of written records a person is shown.
const shownRecords = 20

func printRun(w io.Writer, r ownapi.Run, withLog bool) {
	terminal.Printf(w, "run        %s\n", r.ID)
	terminal.Printf(w, "function   %s %s, package %s\n", r.Function, r.Version, r.Package)
	terminal.Printf(w, "state      %s, attempt %d, by %s\n", r.State, r.Attempt, r.Cause)
	if r.Fault != nil {
		terminal.Printf(w, "fault      %s must act: %s: %s\n", r.Fault.Who, r.Fault.Code, r.Fault.Text)
	}
	terminal.Printf(w, "due        %s\n", r.Due.Format(time.RFC3339Nano))
	terminal.Printf(w, "claimed    %s\n", r.Claimed.Format(time.RFC3339Nano))
	if !r.Ended.IsZero() {
		terminal.Printf(w, "ended      %s\n", r.Ended.Format(time.RFC3339Nano))
	}
	terminal.Printf(w, "covered    positions %d to %d\n", r.After+1, r.Upto)
	terminal.Printf(w, "read       %s, %d bytes", terminal.Count(r.Stats.Read, "record"), r.Stats.InBytes)
	if r.Stats.Hidden > 0 {
		terminal.Printf(w, "; %d more hidden by the bundle's limit", r.Stats.Hidden)
	}
	terminal.Printf(w, "\nwrote      %s to %s", terminal.Count(len(r.Written), "record"), r.Output)
	if r.Duplicates > 0 {
		terminal.Printf(w, "; %s dropped", terminal.Count(r.Duplicates, "equal one"))
	}
	switch {
	case r.Kept == 1:
		terminal.Printf(w, "; 1 of them was there already")
	case r.Kept > 1:
		terminal.Printf(w, "; %d of them were there already", r.Kept)
	}
	if r.Superseded > 0 {
		terminal.Printf(w, "\nsuperseded %s", terminal.Count(r.Superseded, "record"))
	}
	if r.Replaces != "" {
		terminal.Printf(w, "\nreplaces   run %s", r.Replaces)
	}
	if r.SupersededBy != "" {
		terminal.Printf(w, "\nrepeated   by run %s", r.SupersededBy)
	}
	terminal.Printf(w, "\nsandbox    %s", r.Stats.Start)
	if r.Stats.Warmed {
		terminal.Printf(w, ", warmed up")
	}
	terminal.Printf(w, "\n")
	terminal.Printf(w, "steps      %s\n", terminal.Steps(r.Stats.Timing))
	for _, id := range r.Written[:min(len(r.Written), shownRecords)] {
		terminal.Printf(w, "record     %s\n", id)
	}
	if more := len(r.Written) - shownRecords; more > 0 {
		terminal.Printf(w, "           and %d more; -o json has all\n", more)
	}
	if withLog && r.Log != nil {
		terminal.Printf(w, "log\n")
		for line := range strings.Lines(*r.Log) {
			terminal.Printf(w, "    %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
}
