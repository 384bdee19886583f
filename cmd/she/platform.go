package main

import (
	"io"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/server"
	"she/internal/terminal"
)

// platformCommand returns the command `she hat platform`. No route of the API creates, changes or removes
// such a user. Only the operator decides on platform users, because they belong to the HAT itself.
func platformCommand(data *string, passwordStdin *bool) *cobra.Command {
	var (
		hatName string
		off     bool
	)
	c := &cobra.Command{
		Use:   "platform NAME",
		Short: "Allow a service to list and trigger a HAT's functions and to manage its users",
		Long: "Creates a user with the role platform, or gives an existing one a new password, which makes its former " +
			"tokens invalid. With --off the user can no longer log in. A platform user can never read the owner's " +
			"records.",
		Example: "  she hat platform hpp --hat alice.localhost:7777 --data /var/lib/she\n" +
			"  she hat platform hpp --off --hat alice.localhost:7777 --data /var/lib/she",
		Args: exactArgs(1, "the name it logs in with"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			req := server.PlatformChange{Name: args[0], Off: off}
			if !off {
				if req.Password, err = choosePassword(cmd, *passwordStdin); err != nil {
					return err
				}
			}
			var done server.Platform
			if _, err := ask(cmd.Context(), *data, "", "POST", client.HATPath(hatName)+"/platforms", req, &done); err != nil {
				return err
			}
			return show(cmd, done, func(w io.Writer) {
				if done.Enabled {
					terminal.Printf(w, "platform user %s may log in to %s\n", done.Username, done.Domain)
				} else {
					terminal.Printf(w, "platform user %s can't log in to %s any more\n", done.Username, done.Domain)
				}
			})
		},
	}
	c.Flags().StringVar(&hatName, "hat", "", "domain of the HAT, or its name if only one has it")
	wantsHAT(c, &hatName)
	c.Flags().BoolVar(&off, "off", false, "refuse its logins and tokens from now on")
	c.Flags().BoolVar(passwordStdin, "password-stdin", false, "read its password from standard input")
	return c
}
