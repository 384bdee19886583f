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
	"she/internal/agreement"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
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
			if err := ask(cmd.Context(), *data, "", http.MethodGet, functionPath(hatName, args[0])+"/consent", nil, &c); err != nil {
				return err
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
			m, err := manage(cmd.Context(), *data, "", changes)
			if err != nil {
				return err
			}
			defer m.close()
			request := enableRequest{Window: window, Package: pkg}
			if terms != "" {
				if request.Terms, err = hat.ParseTermsDigest(terms); err != nil {
					return usageError{err}
				}
			} else if !passwordStdin {
				// Who types the password has read what it is for.
				var c access.Consent
				if err := m.call(cmd.Context(), http.MethodGet, functionPath(hatName, args[0])+"/consent", nil, &c); err != nil {
					return err
				}
				printConsent(cmd.ErrOrStderr(), c)
				if c.Asks != nil {
					request.Terms = c.Asks.Digest
				}
			}
			if request.Password, err = readPassword(cmd, passwordStdin); err != nil {
				return err
			}
			var c access.Consent
			if err := m.call(cmd.Context(), http.MethodPost, functionPath(hatName, args[0])+"/enable", request, &c); err != nil {
				return err
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

func functionPath(hatName, function string) string {
	return hatPath(hatName) + "/functions/" + url.PathEscape(function)
}

type enableRequest struct {
	Password string `json:"password"`
	Window   string `json:"window,omitempty"`
	Package  string `json:"package,omitempty"`
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

// consent answers with what a function asks for and was granted at a HAT.
func (n *node) consent(r *http.Request) (any, error) {
	h, v, release, err := n.open(r)
	if err != nil {
		return nil, err
	}
	defer release()
	asked, state, err := n.terms(r, v)
	if err != nil {
		return nil, err
	}
	if asked != nil {
		id, terms := asked.Function.String(), access.TermsOf(*asked).Digest
		n.agreements.DidShow(socketLogin(h.ID), agreement.Function, id, terms, n.agreements.Changed(agreement.Function, id, terms))
	}
	return consentOf(r, asked, state)
}

// socketLogin stands for whoever may reach the management socket, which knows no logins.
func socketLogin(hatID string) agreement.Login { return agreement.Login{HAT: hatID, ID: "socket"} }

// agreed says whether a command agrees to what the function asks for now: what it names, or what was shown here last.
func (n *node) agreed(hatID string, named hat.TermsDigest, asked access.Grant) error {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	changed := n.agreements.Changed(agreement.Function, id, terms)
	if err := n.agreements.Agree(socketLogin(hatID), agreement.Function, id, named, terms, changed); err != nil {
		return fmt.Errorf("%w; she function consent %s shows the present ones", err, id)
	}
	return nil
}

// enable agrees for the owner, who proves it with the password.
func (n *node) enable(r *http.Request) (any, error) {
	req, err := requestOf[enableRequest](r)
	if err != nil {
		return nil, err
	}
	h, v, release, err := n.open(r)
	if err != nil {
		return nil, err
	}
	defer release()
	owner, err := n.provenOwner(r, v, req.Password, "only the owner can agree")
	if err != nil {
		return nil, err
	}
	asked, _, err := n.terms(r, v)
	if err != nil {
		return nil, err
	}
	if asked == nil {
		return nil, errors.New("the function has not said yet what it asks for; a running server knows")
	}
	if req.Package != "" && req.Package != asked.Digest {
		return nil, errors.New("another package is installed by now; read again what it asks for")
	}
	var start access.Start
	if req.Window != "" {
		if start, err = access.ParseStart(req.Window); err != nil {
			return nil, err
		}
	}
	if err := n.agreed(h.ID, req.Terms, *asked); err != nil {
		return nil, err
	}
	given, err := v.Agree(r.Context(), owner, asked.Function, func(saved *vault.FunctionState) (access.Grant, error) {
		grant := *asked
		if saved != nil {
			grant.Since = saved.Grant.Since
		}
		grant.Since = start.Since(grant.Given, grant.Since)
		return grant, nil
	})
	if err != nil {
		return nil, err
	}
	n.runner.Wake(h.ID)
	return consentOf(r, asked, &given)
}

// terms are what the installed version asks for, nil if it is not known, and what was granted, nil if nothing was.
func (n *node) terms(r *http.Request, v vault.Vault) (asked *access.Grant, state *vault.FunctionState, err error) {
	id, err := hat.ParseFunctionID(r.PathValue("function"))
	if err != nil {
		return nil, nil, err
	}
	saved, err := v.Function(r.Context(), access.Operator(), id)
	switch {
	case err == nil:
		state = &saved
	case !errors.Is(err, vault.ErrNotFound):
		return nil, nil, err
	}
	grant, err := n.runner.GrantFor(id)
	switch {
	case err == nil:
		asked = &grant
	case errors.Is(err, engine.ErrFunctionNotFound) && state == nil:
		return nil, nil, err
	}
	return asked, state, nil
}

func consentOf(r *http.Request, asked *access.Grant, state *vault.FunctionState) (any, error) {
	id, err := hat.ParseFunctionID(r.PathValue("function"))
	if state == nil {
		return access.ConsentTo(id, false, asked, nil), err
	}
	return access.ConsentTo(id, state.Enabled, asked, &state.Grant), err
}
