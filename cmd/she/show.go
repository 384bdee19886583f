package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/terminal"
)

// show prints a result in the format of --output.
func show(cmd *cobra.Command, result any, text func(io.Writer)) error {
	switch format, _ := cmd.Flags().GetString("output"); format {
	case "json":
		enc := json.NewEncoder(terminal.JSON{To: cmd.OutOrStdout()})
		enc.SetIndent("", "  ")
		return enc.Encode(result)
	case "text":
		text(cmd.OutOrStdout())
		return nil
	default:
		return usageError{fmt.Errorf("--output %s: want text or json", format)}
	}
}

// showHead prints the head of the receipts as the last line about a HAT. A kept head proves later whether the
// entries before it were rewritten.
func showHead(w io.Writer, head string) {
	if head != "" {
		terminal.Printf(w, "receipts %s\n", head)
	}
}

// showListed prints a page and adds a remark if there are more pages; flag is the option for the next page.
// With -o json it prints only the array; the remark and the head of the receipts go to standard error. The
// head goes there too if a text list ends with the remark.
func showListed[T any](cmd *cobra.Command, l client.Listed[T], flag string, text func(io.Writer, []T)) error {
	cut := func(w io.Writer) {
		switch {
		case l.Next != "":
			terminal.Printf(w, "%s of %s; next page: %s %s\n", terminal.Thousands(len(l.Items)), terminal.Thousands(l.Total), flag, l.Next)
		case len(l.Items) < l.Total:
			terminal.Printf(w, "the last %s of %s\n", terminal.Thousands(len(l.Items)), terminal.Thousands(l.Total))
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
			showHead(w, l.Head)
		}
	})
	if apart {
		showHead(cmd.ErrOrStderr(), l.Head)
	}
	return err
}
