package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/demo"
	"she/internal/sample"
	"she/internal/terminal"
)

func dataCommand() *cobra.Command {
	var seed uint64
	var months int
	var until, to, username, address string
	var passwordStdin bool
	c := &cobra.Command{
		Use:   "sample",
		Short: "Generate months of invented personal data",
		Long: "Prints invented personal data (tweets, calendar events, locations, notes), one JSON record a line, " +
			"oldest first. The same seed gives the same data. With --to it stores the data in a HAT through its API " +
			"instead.",
		Example: "  she data sample --months 4 --seed 1 > life.jsonl\n" +
			"  she data sample --to alice.localhost:7777 --username alice --password-stdin < password",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			end := time.Now()
			if until != "" {
				var err error
				if end, err = time.Parse(time.DateOnly, until); err != nil {
					return usageError{fmt.Errorf("--until %q: want a date such as 2026-01-31", until)}
				}
			}
			if months < 1 || months > 120 {
				return usageError{errors.New("--months must be 1 to 120")}
			}
			life := sample.Generate(seed, end, months)
			if to == "" {
				return printLife(cmd.OutOrStdout(), life)
			}
			password, err := readPassword(cmd, passwordStdin)
			if err != nil {
				return err
			}
			hatClient := client.New(to, address)
			if err := hatClient.Login(cmd.Context(), username, password); err != nil {
				return err
			}
			stored, err := demo.StoreLife(cmd.Context(), cmd.ErrOrStderr(), hatClient, life)
			if err != nil {
				return err
			}
			terminal.Printf(cmd.OutOrStdout(), "stored %d records\n", stored)
			return nil
		},
	}
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the invented data")
	c.Flags().IntVar(&months, "months", 4, "number of months")
	c.Flags().StringVar(&until, "until", "", "last day, such as 2026-01-31 (default: today)")
	c.Flags().StringVar(&to, "to", "", "store the data in the HAT with this domain")
	c.Flags().StringVar(&address, "address", "", "address to connect to, such as 127.0.0.1:7777, instead of looking up the domain")
	c.Flags().StringVar(&username, "username", "", "login at that HAT")
	c.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the password from standard input")
	return group("data", "Make data", c)
}

func printLife(w io.Writer, life sample.Life) error {
	out := bufio.NewWriter(w)
	for _, day := range life.Days {
		for _, d := range day.Drafts {
			fmt.Fprintf(out, `{"endpoint":%q,"data":%s}`+"\n", d.Endpoint, d.Data.JSON())
		}
	}
	return out.Flush()
}
