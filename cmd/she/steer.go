package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

type steeredView struct {
	Run   string `json:"run"`
	State string `json:"state"` // of its work: due, or cancelled
}

// steerCommand makes she runs replay and she runs cancel.
func steerCommand(verb, state, short, long string, data, hatName *string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " RUN",
		Short:   short,
		Long:    long,
		Example: "  she runs " + verb + " 0190b0a2-… --hat alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the run's id, see she runs ls"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := hatPath(*hatName) + "/runs/" + url.PathEscape(args[0]) + "/" + verb
			if err := ask(cmd.Context(), *data, "", http.MethodPost, path, nil, nil); err != nil {
				return err
			}
			done := steeredView{args[0], state}
			return show(cmd, done, func(w io.Writer) { fmt.Fprintf(w, "run %s: %s\n", done.Run, done.State) })
		},
	}
}

func (n *node) replayRun(r *http.Request) (any, error) { return n.steer(r, n.runner.Replay) }
func (n *node) cancelRun(r *http.Request) (any, error) { return n.steer(r, n.runner.Cancel) }

func (n *node) steer(r *http.Request, do func(context.Context, string, vault.Vault, access.Caller, hat.RunID) error) (any, error) {
	id, err := hat.ParseRunID(r.PathValue("run"))
	if err != nil {
		return nil, err
	}
	h, err := n.hatOf(r)
	if err != nil {
		return nil, err
	}
	v, release, err := n.vaults.Open(r.Context(), h.ID)
	if err != nil {
		return nil, err
	}
	defer release()
	return struct{}{}, do(r.Context(), h.ID, v, access.Operator(), id)
}
