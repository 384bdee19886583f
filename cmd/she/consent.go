package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/ownapi"
	"she/internal/server"
)

func consentCommand(data *string) *cobra.Command {
	var hatName string
	c := &cobra.Command{
		Use:   "consent FUNCTION",
		Short: "Show what a function asks for, what it was granted at a HAT, and the difference",
		Long: "Shows what the owner of a HAT would agree to: who says to have made it and what for, its version, what is read, where the function writes and what its results do to " +
			"former ones. Where it was granted something else, what was added and removed. What it asks for is known to a running " +
			"server only.",
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

func enableCommand(data *string) *cobra.Command {
	var (
		hatName, window, pkg, terms string
		passwordStdin               bool
	)
	c := &cobra.Command{
		Use:   "enable FUNCTION",
		Short: "Agree, as the owner of a HAT, to what a function asks for, and switch it on",
		Long: "Stores what the function asks for at this moment, see she function consent, and switches it on. Only the owner " +
			"can agree: the terms are shown and their password is asked for. With --password-stdin it is agreed to what --terms names; " +
			"without it, to what she function consent showed last, or to terms that never changed. --window says from when on records are shown: new ones only, those of the " +
			"last months, or everything; without it that stays as it was granted before, or else is everything.",
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
			defer m.close()
			request := enableRequest{Window: window, Package: pkg}
			path := functionPath(hatName, args[0])
			if terms != "" {
				if request.Terms, err = hat.ParseTermsDigest(terms); err != nil {
					return usageError{err}
				}
			} else if !passwordStdin {
				// Who types the password has read what it is for.
				var c access.Consent
				if err := m.call(cmd.Context(), http.MethodGet, path+"/consent", nil, &c); err != nil {
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
			err = m.as(password).call(cmd.Context(), http.MethodPost, path+"/enable", request, &c)
			if p := (&problemError{}); errors.As(err, &p) && p.Title == edge.TermsChanged {
				return fmt.Errorf("%w; she function consent %s shows the present ones", access.ErrTermsChanged, args[0])
			}
			if err != nil {
				return ofFunction(args[0], err)
			}
			return show(cmd, c, func(w io.Writer) { printConsent(w, c) })
		},
	}
	c.Flags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	wantsHAT(c, &hatName)
	c.Flags().StringVar(&window, "window", "", `new, everything, or months, as in "6 months"`)
	c.Flags().StringVar(&pkg, "package", "", "only if this is the digest of what is installed")
	c.Flags().StringVar(&terms, "terms", "", "only if this is the digest of what the function asks for, as she function consent shows it")
	c.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the owner's password from standard input")
	return c
}

// ofFunction names the function that nobody knows.
func ofFunction(id string, err error) error {
	if p := (&problemError{}); errors.As(err, &p) && p.Title == ownapi.FunctionNotFound {
		return fmt.Errorf("no function %s is installed here or was ever switched on; see she function list", id)
	}
	return err
}

func functionPath(hatName, function string) string {
	return ownPath(hatName) + "/functions/" + url.PathEscape(function)
}

type enableRequest struct {
	Window  string `json:"window,omitempty"`
	Package string `json:"package,omitempty"`
	// Terms are those the owner has read; zero: those this socket showed last.
	Terms hat.TermsDigest `json:"terms,omitzero"`
}

func printConsent(w io.Writer, c access.Consent) {
	state := "off"
	if c.Enabled {
		state = "on"
	}
	if c.Needed {
		state += "; what it asks for waits for the owner"
	}
	printf(w, "%s  %s\n", c.Function, state)
	if c.Asks != nil {
		printf(w, "asks for\n")
		printTerms(w, *c.Asks)
	}
	if c.Granted != nil && (c.Asks == nil || c.Difference != nil) {
		printf(w, "was granted\n")
		printTerms(w, *c.Granted)
	}
	if d := c.Difference; d != nil {
		for _, e := range d.NewEndpoints {
			printf(w, "+ endpoint %s\n", e)
		}
		for _, e := range d.DroppedEndpoints {
			printf(w, "- endpoint %s\n", e)
		}
		for _, change := range d.Added {
			printf(w, "+ %s\n", change.Text)
		}
		for _, change := range d.Removed {
			printf(w, "- %s\n", change.Text)
		}
	}
	showHead(w, c.Receipts)
}

func printTerms(w io.Writer, t access.Terms) {
	// In quotes, as these are the author's words.
	said := func(what, text string) {
		if strings.TrimSpace(text) == "" {
			printf(w, "  %-8s not said\n", what)
			return
		}
		printf(w, "  %-8s %.300q\n", what, text)
	}
	said("name", t.Name)
	said("maker", t.Maker.String())
	said("purpose", t.Purpose)
	printf(w, "  version  %s, package %s\n", t.Version, t.Package)
	runs := string(t.Trigger.Kind)
	if !t.Trigger.Period.IsZero() {
		runs += " " + t.Trigger.Period.String()
	}
	if t.InOrder {
		runs += ", in order"
	}
	printf(w, "  runs     %s\n", runs)
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
		printf(w, "%s\n", text)
	}
	if t.Since != "" {
		printf(w, "  since    %s\n", t.Since)
	}
	printf(w, "  writes   %s, output %s\n", t.Writes, t.Output)
	if t.Equal == hat.KeepEqual {
		printf(w, "  keeps    a result of every run, even when it equals a former one\n")
	}
	if !t.Digest.IsZero() && t.Given == "" {
		printf(w, "  terms    %s\n", t.Digest)
	}
	if t.Given != "" {
		printf(w, "  given    %s\n", t.Given)
	}
}
