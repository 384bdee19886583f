package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/config"
	"she/internal/doctor"
	"she/internal/hat"
	"she/internal/sandbox/prove"
	"she/internal/server"
	"she/internal/terminal"
	"she/internal/verdict"
)

type report struct {
	Findings []doctor.Finding `json:"findings"`
	Seal     *verdict.Verdict `json:"seal,omitempty"`
}

func doctorCommand() *cobra.Command {
	var data, listen, configFile string
	var seal bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine, and test the sandboxes with hostile functions",
		Long: "Checks what the server needs on this machine and says how to fix what is missing. It changes nothing. It " +
			"works beside a running server or without one, and as far as possible without root.\n\nWith --seal, " +
			"hostile functions try every known way out of real sandboxes and WebAssembly workers. To show that each " +
			"attempt would be noticed, they also run without a sandbox, as plain processes that attack only observers " +
			"of the test. This takes some minutes. The verdict is kept in the data directory and shown by GET " +
			"/api/she/v1/seal.\n\nExits with 1 if there is a problem or an attempt succeeds.",
		Example: "  she doctor --data /var/lib/she\n  she doctor --data /var/lib/she --seal",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := config.LoadServed(cmd.Context(), configFile)
			if err != nil {
				return err
			}
			data = cmp.Or(data, config.Data)
			if data != "" {
				if data, err = filepath.Abs(data); err != nil {
					return err
				}
			}
			if seal && data == "" {
				return usageError{errors.New("--data is missing: the data directory in which to keep the verdict")}
			}
			r := report{Findings: doctor.Examine(doctor.Machine{
				Data: data, Listen: hat.Loopback(cmp.Or(listen, config.Listen, server.DefaultListen)), Vaults: config.Vaults,
				Reserve: server.Reserve(config), Serving: data != "" && client.Answers(data),
			})}
			if seal {
				v, err := testSeal(cmd.Context(), data, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				r.Seal = &v
			} else if v, err := server.Verdict(data)(); err == nil {
				r.Seal = &v
			}
			if err := show(cmd, r, r.text); err != nil {
				return err
			}
			return r.verdict(seal)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory, whose disk is checked and where the verdict is kept")
	c.Flags().StringVar(&listen, "listen", "", "address that the server will listen on (default "+server.DefaultListen+")")
	c.Flags().StringVar(&configFile, "config", "", "she.yaml")
	c.Flags().BoolVar(&seal, "seal", false, "test the sandboxes with hostile functions (needs root, takes some minutes)")
	return c
}

func (r report) text(w io.Writer) {
	t := terminal.NewTable(w)
	for _, f := range r.Findings {
		t.Row(string(f.Level), f.What, f.Found)
	}
	t.Flush()
	for _, f := range r.Findings {
		if f.Fix != "" {
			terminal.Printf(w, "\n%s: %s\n  %s\n", f.Level, f.What, f.Fix)
		}
	}
	if r.Seal == nil {
		terminal.Printf(w, "\nThe sandboxes were not tested on this machine; run she doctor --seal\n")
		return
	}
	terminal.Printf(w, "\nThe walls: %s\n", r.Seal.Text)
	if r.Seal.Stale != "" {
		terminal.Printf(w, "  out of date: %s\n", r.Seal.Stale)
	}
	for _, p := range r.Seal.Probes {
		if p.Outcome != verdict.Blocked {
			terminal.Printf(w, "  %s: %s (%s): %s\n", p.Outcome, p.Name, p.Tries, p.Evidence)
		}
	}
}

// verdict returns the error of the command.
func (r report) verdict(sealed bool) error {
	problems := 0
	for _, f := range r.Findings {
		if f.Level == doctor.Problem {
			problems++
		}
	}
	var err error
	if problems > 0 {
		err = fmt.Errorf("%d of %d findings are problems", problems, len(r.Findings))
	}
	if sealed {
		err = errors.Join(err, r.Seal.Err())
	}
	return err
}

// testSeal tests the sandboxes and stores the verdict durably before it returns.
func testSeal(ctx context.Context, data string, progressTo io.Writer) (v verdict.Verdict, err error) {
	h, err := server.FindHelpers()
	if err != nil {
		return v, err
	}
	var p *terminal.Progress
	v, err = prove.Walls(ctx, data, h.Programs(), func(done, of int) {
		if p == nil {
			p = terminal.NewProgress(progressTo, "trying the walls", of)
			return
		}
		p.Step()
	})
	if p != nil {
		p.Done()
	}
	if err != nil {
		return v, err
	}
	return v, verdict.Keep(data, v)
}
