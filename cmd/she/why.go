package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/engine"
	"she/internal/hat"
)

type reasonView struct {
	Function string     `json:"function"`
	Code     string     `json:"code"`
	Text     string     `json:"text"`
	Until    time.Time  `json:"until,omitzero"`
	Fault    *hat.Fault `json:"fault,omitempty"`
	Run      string     `json:"run,omitempty"` // to replay or skip

	Notes []backlog.Note `json:"notes,omitempty"`
}

func whyCommand(data, hatName *string) *cobra.Command {
	var function string
	c := &cobra.Command{
		Use:     "why",
		Short:   "Say why functions do not run at this moment",
		Example: "  she runs why --hat alice.localhost:7777 --function busy-hours --data /var/lib/she",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var reasons []reasonView
			path := hatPath(*hatName) + "/why?function=" + url.QueryEscape(function)
			if err := ask(cmd.Context(), *data, "", http.MethodGet, path, nil, &reasons); err != nil {
				return err
			}
			return show(cmd, reasons, func(w io.Writer) { printReasons(w, reasons) })
		},
	}
	c.Flags().StringVar(&function, "function", "", "only this function")
	return c
}

func printReasons(w io.Writer, reasons []reasonView) {
	t := newTable(w, "FUNCTION", "CODE", "UNTIL", "WHY")
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
		t.row(r.Function, r.Code, until, text)
		for _, n := range r.Notes {
			if text = n.Text; n.Run != "" {
				text += ": run " + n.Run
			}
			t.row("", "also "+string(n.Code), "", text)
		}
	}
	t.flush()
}

func (n *node) whyRuns(r *http.Request) (any, error) {
	var f hat.FunctionID
	if s := r.FormValue("function"); s != "" {
		var err error
		if f, err = hat.ParseFunctionID(s); err != nil {
			return nil, err
		}
	}
	v, release, err := n.vaultOf(r)
	if err != nil {
		return nil, err
	}
	defer release()
	reasons, err := n.runner.Why(r.Context(), v, access.Operator(), f)
	if errors.Is(err, engine.ErrFunctionNotFound) {
		return nil, fmt.Errorf("no function %s is installed here or was ever switched on; see she function list", f)
	}
	views := []reasonView{}
	for _, r := range reasons {
		view := reasonView{
			Function: r.Function.String(), Code: string(r.Code), Text: r.Text, Until: r.Until, Fault: r.Fault, Notes: r.Notes,
		}
		if !r.Run.IsZero() {
			view.Run = r.Run.String()
		}
		views = append(views, view)
	}
	return views, err
}
