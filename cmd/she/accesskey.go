package main

import (
	"errors"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"she/internal/server"
	"she/internal/terminal"
)

// accessKeyCommand returns the command `she access-key`.
func accessKeyCommand() *cobra.Command {
	var (
		data string
		req  server.NewKey
	)
	create := &cobra.Command{
		Use:   "create",
		Short: "Create a key with which programs call functions as AWS Lambda's are called",
		Long: "Creates an access key for the functions that are named, by all their entries, or for all with --all. The secret is shown this " +
			"once. A key reaches no HAT: whoever has it gives the event and gets the answer. Works beside a running server, which serves " +
			"such calls at the address that she.yaml names with the key lambda.",
		Example: "  she access-key create --functions busy-hours,top-words --note 'the old server' --data /var/lib/she",
		Args:    exactArgs(0, "no arguments; --functions names what it may call"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.All == (len(req.Functions) > 0) {
				return usageError{errors.New("want --functions ID,… or --all: which functions may be called with the key?")}
			}
			var made server.AccessKey
			if _, err := ask(cmd.Context(), data, "", "POST", "/access-keys", req, &made); err != nil {
				return err
			}
			return show(cmd, made, func(w io.Writer) {
				terminal.Printf(w, "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", made.ID, made.Secret)
			})
		},
	}
	create.Flags().StringSliceVar(&req.Functions, "functions", nil, "ids of the functions it may call, with commas between them")
	create.Flags().BoolVar(&req.All, "all", false, "it may call all functions, also those that are registered later")
	create.Flags().StringVar(&req.Note, "note", "", "for whom or what it is")

	list := &cobra.Command{
		Use:     "list",
		Short:   "List the access keys, without their secrets",
		Example: "  she access-key list --data /var/lib/she",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var keys []server.AccessKey
			if _, err := ask(cmd.Context(), data, "", "GET", "/access-keys", nil, &keys); err != nil {
				return err
			}
			return show(cmd, keys, func(w io.Writer) {
				t := terminal.NewTable(w, "ID", "CREATED", "FUNCTIONS", "NOTE")
				for _, k := range keys {
					functions := strings.Join(k.Functions, " ")
					if functions == "" {
						functions = "all"
					}
					t.Row(k.ID, k.Created.Format("2006-01-02 15:04"), functions, k.Note)
				}
				t.Flush()
			})
		},
	}
	remove := &cobra.Command{
		Use:     "delete ID",
		Short:   "End an access key: what it signs is refused from now on, and its events that wait are given up",
		Example: "  she access-key delete SHEQ3XZ5JKLMN2ABCDEF --data /var/lib/she",
		Args:    exactArgs(1, "the id of the key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var gone server.AccessKey
			if _, err := ask(cmd.Context(), data, "", "DELETE", "/access-keys/"+url.PathEscape(args[0]), nil, &gone); err != nil {
				return err
			}
			return show(cmd, gone, func(w io.Writer) { terminal.Printf(w, "deleted access key %s\n", gone.ID) })
		},
	}
	c := group("access-key", "Keys with which programs call functions as AWS Lambda's are called", with(changing, create), list, with(changing, remove))
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	return c
}
