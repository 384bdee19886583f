package main

import (
	"cmp"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/server"
	"she/internal/terminal"
)

func functionCommand() *cobra.Command {
	var data, config string
	list := &cobra.Command{
		Use:   "list",
		Short: "List the registered functions: available or not, and why not",
		Long: "Lists the functions of the running server or, if none runs, those of --config. A function is available " +
			"once it has answered the server's question for its configuration. Until then the list shows what the " +
			"former server process knew last, with the time. RUNS and FAILED count the runs of this package in all " +
			"HATs.",
		Example: "  she function list --data /var/lib/she",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var functions []server.Function
			if _, err := ask(cmd.Context(), data, config, "GET", "/functions", nil, &functions); err != nil {
				return err
			}
			if err := show(cmd, functions, func(w io.Writer) { printFunctions(w, functions) }); err != nil {
				return err
			}
			if len(functions) == 0 && config == "" && !client.Answers(data) {
				terminal.Printf(cmd.ErrOrStderr(), "no server runs on %s: name its she.yaml with --config to see what that registers\n", data)
			}
			return nil
		},
	}
	list.Flags().StringVar(&config, "config", "", "she.yaml, used if no server is running")
	c := group("function", "List the registered functions, and agree to them", list, consentCommand(&data), with(changing, enableCommand(&data)))
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	return c
}

func printFunctions(w io.Writer, functions []server.Function) {
	t := terminal.NewTable(w, "FUNCTION", "VERSION", "RUNTIME", "TRIGGER", "READS", "WRITES", "RUNS", "FAILED", "LAST RUN", "WARM-UP", "AVAILABLE")
	for _, f := range functions {
		available := "yes"
		if !f.Available {
			available = "no: " + f.Problem
			if f.Problem == "" {
				available = "not asked yet"
			}
		}
		if !f.AsOf.IsZero() {
			available += ", as of " + f.AsOf.Format(time.DateTime) + "; not asked again yet"
		}
		last := ""
		if !f.Runs.Last.IsZero() {
			last = f.Runs.Last.Format(time.DateTime) + " " + f.Runs.LastState
		}
		warmUp := cmp.Or(f.Sample, "yes")
		if !f.WarmUp {
			warmUp = "no"
		}
		t.Row(f.ID, f.Version, f.Runtime, f.Trigger, strings.Join(f.Reads, " "), f.Output,
			strconv.Itoa(f.Runs.Committed+f.Runs.Failed), strconv.Itoa(f.Runs.Failed), last, warmUp, available)
	}
	t.Flush()
	for _, f := range functions {
		for _, warning := range f.Warnings {
			terminal.Printf(w, "%s: %s\n", f.ID, warning)
		}
		for line := range strings.Lines(f.Said) {
			terminal.Printf(w, "%s said: %s\n", f.ID, strings.TrimRight(line, "\r\n"))
		}
		if f.NoCopies != "" {
			terminal.Printf(w, "%s: every instance is a cold start, because %s\n", f.ID, f.NoCopies)
		}
	}
}
