package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/terminal"
)

func consentCommand(data *string) *cobra.Command {
	var hatName string
	c := &cobra.Command{
		Use:   "consent FUNCTION",
		Short: "Show what a function asks for, what it was granted at a HAT, and the difference",
		Long: "Shows what the owner of a HAT would agree to: the author and the purpose that the function claims, its " +
			"version, what it reads, where it writes, and whether its results replace former ones. If it was granted " +
			"something else before, shows what was added and removed. Only a running server knows what a function " +
			"asks for.",
		Example: "  she function consent busy-hours --hat alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the function's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var c access.Consent
			if _, err := ask(cmd.Context(), *data, "", http.MethodGet, functionPath(hatName, args[0])+"/consent", nil, &c); err != nil {
				return ofFunction(args[0], err)
			}
			return show(cmd, c, func(w io.Writer) { printConsent(w, c) })
		},
	}
	c.Flags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	wantsHAT(c, &hatName)
	return c
}

func printConsent(w io.Writer, c access.Consent) {
	state := "off"
	if c.Enabled {
		state = "on"
	}
	if c.Needed {
		state += "; what the new version asks for waits for the owner"
	}
	terminal.Printf(w, "%s  %s\n", c.Function, state)
	if c.Asks != nil {
		terminal.Printf(w, "asks for\n")
		printTerms(w, *c.Asks)
	}
	if c.Granted != nil && (c.Asks == nil || c.Difference != nil) {
		terminal.Printf(w, "was granted\n")
		printTerms(w, *c.Granted)
	}
	if d := c.Difference; d != nil {
		for _, e := range d.NewEndpoints {
			terminal.Printf(w, "+ endpoint %s\n", e)
		}
		for _, e := range d.DroppedEndpoints {
			terminal.Printf(w, "- endpoint %s\n", e)
		}
		for _, change := range d.Added {
			terminal.Printf(w, "+ %s\n", change.Text)
		}
		for _, change := range d.Removed {
			terminal.Printf(w, "- %s\n", change.Text)
		}
	}
	showHead(w, c.Receipts)
}

func printTerms(w io.Writer, t access.Terms) {
	// In quotes, because the author chose the words.
	said := func(what, text string) {
		if strings.TrimSpace(text) == "" {
			terminal.Printf(w, "  %-8s not said\n", what)
			return
		}
		terminal.Printf(w, "  %-8s %.300q\n", what, text)
	}
	said("name", t.Name)
	said("maker", t.Maker.String())
	said("purpose", t.Purpose)
	terminal.Printf(w, "  version  %s, package %s\n", t.Version, t.Package)
	runs := string(t.Trigger.Kind)
	if !t.Trigger.Period.IsZero() {
		runs += " " + t.Trigger.Period.String()
	}
	if t.InOrder {
		runs += ", in order"
	}
	terminal.Printf(w, "  runs     %s\n", runs)
	for _, r := range t.Reads {
		what := strings.Join(r.Fields, ", ")
		if r.All {
			what = "all fields"
		}
		text := fmt.Sprintf("  reads    %s: %s", r.Endpoint, what)
		if r.Linked {
			text += ", linked"
		}
		if len(r.Filters) > 0 {
			text += "; only " + strings.Join(r.Filters, ", ")
		}
		if r.OrderBy != "" {
			text += "; in the order of " + r.OrderBy
		}
		if r.Limit != nil {
			text += fmt.Sprintf("; %d records at a time", *r.Limit)
		}
		if r.SinceLastRun != "" {
			text += "; " + r.SinceLastRun
		}
		terminal.Printf(w, "%s\n", text)
	}
	if t.Since != "" {
		terminal.Printf(w, "  since    %s\n", t.Since)
	}
	terminal.Printf(w, "  writes   %s, output %s\n", t.Writes, t.Output)
	if t.Equal == hat.KeepEqual {
		terminal.Printf(w, "  keeps    a result of every run, even when it equals a former one\n")
	}
	if !t.Digest.IsZero() && t.Given == "" {
		terminal.Printf(w, "  terms    %s\n", t.Digest)
	}
	if t.Given != "" {
		terminal.Printf(w, "  given    %s\n", t.Given)
	}
}
