package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/server"
	"she/internal/terminal"
)

func hatCommand() *cobra.Command {
	var data, domain string
	var passwordStdin bool
	create := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a HAT: one person's data server",
		Long: "Creates a HAT with its keys and an empty vault. NAME is also the owner's login. Works while the server " +
			"runs.",
		Example: "  she hat create alice --domain alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the HAT's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if domain == "" {
				return usageError{errors.New("--domain is missing: the host name of the HAT, with its port")}
			}
			password, err := choosePassword(cmd, passwordStdin)
			if err != nil {
				return err
			}
			var made server.HAT
			if _, err := ask(cmd.Context(), data, "", "POST", "/hats", server.NewHAT{
				Name:     args[0],
				Domain:   domain,
				Password: password,
			}, &made); err != nil {
				return err
			}
			return show(cmd, made, func(w io.Writer) {
				terminal.Printf(w, "created HAT %s, owner %s\n", made.Domain, made.Username)
			})
		},
	}
	create.Flags().StringVar(&domain, "domain", "", "host name, with port unless it is 80 or 443")
	create.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the owner's password from standard input")

	platform := platformCommand(&data, &passwordStdin)
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the HATs of a data directory",
		Example: "  she hat list --data /var/lib/she -o json",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var hats []server.HAT
			if _, err := ask(cmd.Context(), data, "", "GET", "/hats", nil, &hats); err != nil {
				return err
			}
			return show(cmd, hats, func(w io.Writer) {
				t := terminal.NewTable(w, "DOMAIN", "CREATED", "DISK MB")
				for _, h := range hats {
					t.Row(h.Domain, h.Created.Format("2006-01-02 15:04"), tenths(h.File))
				}
				t.Flush()
			})
		},
	}
	var configFile string
	showOne := &cobra.Command{
		Use:   "show NAME",
		Short: "Show how much a HAT holds and may hold",
		Long: "Shows how many bytes of its vault file and how many records a HAT uses, and how many it may use " +
			"(limits.hatMB and limits.hatRecords). A full HAT accepts no records and runs no functions until " +
			"something is erased.",
		Example: "  she hat show alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the HAT's domain, or its name if only one has it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var h server.HAT
			if _, err := ask(cmd.Context(), data, configFile, "GET", client.HATPath(args[0]), nil, &h); err != nil {
				return err
			}
			return show(cmd, h, func(w io.Writer) {
				of := func(limit int64, text string) string {
					if limit == 0 {
						return "no limit"
					}
					return "limit " + text
				}
				used, limit := h.Storage.Used, h.Storage.Limit
				terminal.Printf(w, "HAT      %s, created %s\n", h.Domain, h.Created.Format("2006-01-02 15:04"))
				terminal.Printf(w, "used     %s MB, %s\n", tenths(used.Bytes), of(limit.Bytes, tenths(limit.Bytes)+" MB"))
				terminal.Printf(w, "records  %d, %s\n", used.Records, of(limit.Records, strconv.FormatInt(limit.Records, 10)))
				terminal.Printf(w, "on disk  %s MB\n", tenths(h.File))
				showHead(w, h.Receipts)
			})
		},
	}
	showOne.Flags().StringVar(&configFile, "config", "", "she.yaml, whose limits count if no server is running")
	c := group("hat", "Create, list and show HATs, and who serves them", with(creating, create), with(changing, platform), list, showOne)
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	return c
}

// tenths writes bytes in MB of 1,048,576 with a tenth.
func tenths(n int64) string { return fmt.Sprintf("%d.%d", n>>20, n%(1<<20)*10>>20) }
