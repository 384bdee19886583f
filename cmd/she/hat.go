package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"she/internal/server"
)

func hatCommand() *cobra.Command {
	var data, domain string
	var passwordStdin bool
	create := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a HAT: one person's data server",
		Long:    "Creates a HAT with its keys and its empty vault. NAME is also the owner's login. Works beside a running server.",
		Example: "  she hat create alice --domain alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the HAT's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if domain == "" {
				return usageError{errors.New("--domain is missing: by which host name (and port) is the HAT reached?")}
			}
			password, err := readPassword(cmd, passwordStdin)
			if err != nil {
				return err
			}
			var made server.HAT
			if _, err := ask(cmd.Context(), data, "", "POST", "/hats", server.NewHAT{Name: args[0], Domain: domain, Password: password}, &made); err != nil {
				return err
			}
			return show(cmd, made, func(w io.Writer) {
				printf(w, "created HAT %s, owner %s\n", made.Domain, made.Username)
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
				t := newTable(w, "DOMAIN", "CREATED", "DISK MB")
				for _, h := range hats {
					t.row(h.Domain, h.Created.Format("2006-01-02 15:04"), tenths(h.File))
				}
				t.flush()
			})
		},
	}
	var configFile string
	showOne := &cobra.Command{
		Use:   "show NAME",
		Short: "Show how much a HAT holds and may hold",
		Long: "Shows how much of its vault's file a HAT uses, how many records it has, and what it may have at most (limits.hatMB and " +
			"limits.hatRecords). A HAT that is full takes no more records and runs no functions until something is erased.",
		Example: "  she hat show alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the HAT's domain, or its name if only one has it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var h server.HAT
			if _, err := ask(cmd.Context(), data, configFile, "GET", hatPath(args[0]), nil, &h); err != nil {
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
				fmt.Fprintf(w, "HAT      %s, created %s\n", h.Domain, h.Created.Format("2006-01-02 15:04"))
				fmt.Fprintf(w, "used     %s MB, %s\n", tenths(used.Bytes), of(limit.Bytes, tenths(limit.Bytes)+" MB"))
				fmt.Fprintf(w, "records  %d, %s\n", used.Records, of(limit.Records, strconv.FormatInt(limit.Records, 10)))
				fmt.Fprintf(w, "on disk  %s MB\n", tenths(h.File))
				showHead(w, h.Receipts)
			})
		},
	}
	showOne.Flags().StringVar(&configFile, "config", "", "she.yaml, for its limits; a running server has its own")
	c := group("hat", "Create, list and show HATs, and who serves them", with(creating, create), with(changing, platform), list, showOne)
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	return c
}

// tenths writes bytes in MB of 1,048,576 with a tenth.
func tenths(n int64) string { return fmt.Sprintf("%d.%d", n>>20, n%(1<<20)*10>>20) }

// platformCommand makes she hat platform. No route of the API makes, changes or removes such a user: they come with the
// HAT, so their operator is who decides.
func platformCommand(data *string, passwordStdin *bool) *cobra.Command {
	var (
		hatName string
		off     bool
	)
	c := &cobra.Command{
		Use:   "platform NAME",
		Short: "Let a service list and trigger functions, and manage users, of a HAT",
		Long: "Makes a user with the role platform, or gives the one of that name a new password; then tokens of before are " +
			"refused. With --off it can't log in any more. It never reads the owner's records.",
		Example: "  she hat platform hpp --hat alice.localhost:7777 --data /var/lib/she\n" +
			"  she hat platform hpp --off --hat alice.localhost:7777 --data /var/lib/she",
		Args: exactArgs(1, "the name it logs in with"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			req := server.PlatformChange{Name: args[0], Off: off}
			if !off {
				if req.Password, err = readPassword(cmd, *passwordStdin); err != nil {
					return err
				}
			}
			var done server.Platform
			if _, err := ask(cmd.Context(), *data, "", "POST", hatPath(hatName)+"/platforms", req, &done); err != nil {
				return err
			}
			return show(cmd, done, func(w io.Writer) {
				if done.Enabled {
					printf(w, "platform user %s may log in to %s\n", done.Username, done.Domain)
				} else {
					printf(w, "platform user %s can't log in to %s any more\n", done.Username, done.Domain)
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

// readPassword takes the first line of standard input, or asks at the terminal.
func readPassword(cmd *cobra.Command, fromStdin bool) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usageError{errors.New("there is no terminal to ask for a password: use --password-stdin")}
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		b, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}
