package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/ownapi"
	"she/internal/terminal"
)

func whyCommand(data, hatName *string) *cobra.Command {
	var function string
	c := &cobra.Command{
		Use:     "why",
		Short:   "Say why functions do not run now",
		Example: "  she runs why --hat alice.localhost:7777 --function busy-hours --data /var/lib/she",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			reasons := make([]ownapi.Reason, 1)
			path, into := client.OwnPath(*hatName)+"/why", any(&reasons)
			if function != "" {
				path, into = client.OwnPath(*hatName)+"/functions/"+url.PathEscape(function)+"/why", &reasons[0]
			}
			head, err := ask(cmd.Context(), *data, "", http.MethodGet, path, nil, into)
			if err != nil {
				return ofFunction(function, err)
			}
			return show(cmd, reasons, func(w io.Writer) {
				printReasons(w, reasons)
				showHead(w, head)
			})
		},
	}
	c.Flags().StringVar(&function, "function", "", "only this function")
	return c
}

func printReasons(w io.Writer, reasons []ownapi.Reason) {
	t := terminal.NewTable(w, "FUNCTION", "CODE", "UNTIL", "WHY")
	for _, r := range reasons {
		until, text := "", r.Text
		if !r.Until.IsZero() {
			until = r.Until.Format(time.DateTime)
		}
		if r.Fault != nil {
			text += fmt.Sprintf(" (%s must act: %s)", r.Fault.Who, r.Fault.Code)
		}
		if r.Run != "" {
			text += ": run " + r.Run
		}
		t.Row(r.Function, string(r.Code), until, text)
		for _, n := range r.Notes {
			if text = n.Text; n.Run != "" {
				text += ": run " + n.Run
			}
			t.Row("", "also "+string(n.Code), "", text)
		}
	}
	t.Flush()
}
