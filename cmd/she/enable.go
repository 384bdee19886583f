package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"she/internal/access"
	"she/internal/client"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/server"
)

func enableCommand(data *string) *cobra.Command {
	var (
		hatName, window, pkg, terms string
		passwordStdin               bool
	)
	c := &cobra.Command{
		Use:   "enable FUNCTION",
		Short: "Agree to what a function asks for, as the owner of a HAT, and enable it",
		Long: "Grants what the function asks for now (see she function consent) and enables it. Only the owner can " +
			"agree: the command shows the terms and asks for the owner's password. With --password-stdin it agrees to " +
			"the terms that --terms names. Without --terms it agrees to the terms that she function consent showed " +
			"last, or to terms that have never changed. --window says which records the function sees: new ones only, " +
			"those of the last months, or everything. Without it the former choice stays; the default is everything.",
		Example: "  she function enable busy-hours --window \"6 months\" --hat alice.localhost:7777 --data /var/lib/she",
		Args:    exactArgs(1, "the function's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if window != "" {
				if _, err := access.ParseStart(window); err != nil {
					return usageError{err}
				}
			}
			m, err := manage(cmd.Context(), *data, "", server.Changes)
			if err != nil {
				return err
			}
			defer m.Close()
			request := enableRequest{Window: window, Package: pkg}
			path := functionPath(hatName, args[0])
			if terms != "" {
				if request.Terms, err = hat.ParseTermsDigest(terms); err != nil {
					return usageError{err}
				}
			} else if !passwordStdin {
				// Show the terms before asking for the password.
				var c access.Consent
				if err := m.Call(cmd.Context(), http.MethodGet, path+"/consent", nil, &c); err != nil {
					return ofFunction(args[0], err)
				}
				printConsent(cmd.ErrOrStderr(), c)
				if c.Asks != nil {
					request.Terms = c.Asks.Digest
				}
			}
			password, err := readPassword(cmd, passwordStdin)
			if err != nil {
				return err
			}
			var c access.Consent
			err = m.As(password).Call(cmd.Context(), http.MethodPost, path+"/enable", request, &c)
			if p := (&client.Problem{}); errors.As(err, &p) && p.Title == edge.TermsChanged {
				return fmt.Errorf("%w; read them with she function consent %s", access.ErrTermsChanged, args[0])
			}
			if err != nil {
				return ofFunction(args[0], err)
			}
			return show(cmd, c, func(w io.Writer) { printConsent(w, c) })
		},
	}
	c.Flags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	wantsHAT(c, &hatName)
	c.Flags().StringVar(&window, "window", "", `new, everything, or a number of months such as "6 months"`)
	c.Flags().StringVar(&pkg, "package", "", "agree only if the installed package has this digest")
	c.Flags().StringVar(&terms, "terms", "", "agree only if the terms have this digest, which she function consent shows")
	c.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the owner's password from standard input")
	return c
}

type enableRequest struct {
	Window  string `json:"window,omitempty"`
	Package string `json:"package,omitempty"`
	// Terms are those that the owner has read; zero: those shown last over this socket.
	Terms hat.TermsDigest `json:"terms,omitzero"`
}
