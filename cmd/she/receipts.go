package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"she/internal/client"
	"she/internal/proof"
	"she/internal/receipt"
	"she/internal/server"
	"she/internal/terminal"
)

func receiptsCommand() *cobra.Command {
	var data, hatName, file, keyFile, against, head string
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Verify that nobody has changed the receipts or the records",
		Long: "Verifies that the chain of receipts is unbroken and contains every head that was signed before, or names " +
			"the first entry that was changed, removed or moved. If the chain is whole, its head is signed and kept. " +
			"Then every stored record is compared with its receipt; records that differ are listed by id.\n\nWith " +
			"--file and --key it verifies an exported chain. That needs no data directory, only the HAT's public key, " +
			"which the HAT serves at /publickey.\n\nWith --against it also compares the chain with an earlier export: " +
			"every entry of the export must still be there, unchanged. This finds a chain that was rewritten and " +
			"signed again. To check the signature of the earlier export, pass it as --file. If the chain or the " +
			"export is broken, what can be read is compared.\n\nWith --head it also says whether a head that you kept " +
			"(the number and hash of an entry, as consents, exports and answers show it) lies in the chain, and what " +
			"it means if not.",
		Example: "  she receipts verify --hat alice.localhost:7777 --data /var/lib/she\n" +
			"  she receipts verify --file receipts.jsonl --key alice.pem\n" +
			"  she receipts verify --hat alice.localhost:7777 --data /var/lib/she --against january.jsonl\n" +
			"  she receipts verify --file receipts.jsonl --key alice.pem --head 12:9f86…",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var (
				found proof.Proof
				err   error
			)
			var kept *receipt.Head
			if head != "" {
				h, err := receipt.ParseHead(head)
				if err != nil {
					return usageError{fmt.Errorf("--head: %w", err)}
				}
				kept = &h
			}
			switch {
			case (file == "") != (keyFile == ""):
				return usageError{errors.New("--file needs --key, and --key needs --file")}
			case file != "":
				found, err = proof.OfFile(file, keyFile, against, kept)
			default:
				found, err = proveHAT(cmd.Context(), data, hatName, against, kept)
			}
			if err != nil {
				return err
			}
			if err := show(cmd, found, func(w io.Writer) { printProof(w, found) }); err != nil {
				return err
			}
			return found.Err()
		},
	}
	verify.Flags().StringVar(&file, "file", "", "an exported chain, instead of a HAT's own")
	verify.Flags().StringVar(&keyFile, "key", "", "the HAT's public key in PEM, for --file")

	verify.Flags().StringVar(&against, "against", "", "a former export to compare with")
	verify.Flags().StringVar(&head, "head", "", "a head that you kept, NUMBER:HASH, to look for in the chain")

	var after int64
	export := &cobra.Command{
		Use:   "export",
		Short: "Export the receipts, one JSON line each, with a signed checkpoint at the end",
		Long: "Writes one JSON line for each receipt and, as the last line, the signed head of the chain. If you keep " +
			"the file elsewhere, it proves what was done even if somebody changes the server's disk.",
		Example: "  she receipts export --hat alice.localhost:7777 --data /var/lib/she > receipts.jsonl",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := manage(cmd.Context(), data, "", server.Changes)
			if err != nil {
				return err
			}
			defer m.Close()
			return m.Lines(cmd.Context(), client.OwnPath(hatName)+"/receipts?after="+strconv.FormatInt(after, 10), cmd.OutOrStdout())
		},
	}
	export.Flags().Int64Var(&after, "after", 0, "only entries after this number")

	wantsHAT(verify, &hatName, &file, &keyFile)
	wantsHAT(export, &hatName)
	c := group("receipts", "Verify and export the receipts of what was done with a HAT's data", with(changing, verify), with(changing, export)) // both keep a signed head
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	c.PersistentFlags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	return c
}

// printProof prints the answer on one line, then the differences.
func printProof(w io.Writer, p proof.Proof) {
	if p.Broken == "" {
		printProved(w, p)
	} else {
		terminal.Printf(w, "broken: %s\n", p.Broken)
	}
	if p.FormerBroken != "" {
		terminal.Printf(w, "the former export is broken: %s\n", p.FormerBroken)
	}
	if p.Against != nil {
		terminal.Printf(w, "against the former export: %s\n", p.Against)
	}
	if p.Head != nil {
		terminal.Printf(w, "the head that was kept: %s\n", p.Head)
	}
}

func printProved(w io.Writer, p proof.Proof) {
	if p.Records == nil {
		terminal.Printf(w, "whole: entries %d to %d, head %s\n", p.From, p.To, p.Hash)
		return
	}
	records := terminal.Count(p.Records.Proved, "record") + " as written"
	if p.Records.Before > 0 {
		records += ", " + terminal.Count(p.Records.Before, "record") + " from before commitments"
	}
	if p.Records.Whole() {
		terminal.Printf(w, "whole: entries %d to %d, head %s\n%s\n", p.From, p.To, p.Hash, records)
		return
	}
	terminal.Printf(w, "entries %d to %d, head %s\n%s\n", p.From, p.To, p.Hash, records)
	for _, d := range p.Records.Differs {
		terminal.Printf(w, "%s\n", d)
	}
	if p.Records.More > 0 {
		terminal.Printf(w, "and %d more\n", p.Records.More)
	}
}

func proveHAT(ctx context.Context, data, hatName, against string, kept *receipt.Head) (p proof.Proof, err error) {
	m, err := manage(ctx, data, "", server.Changes)
	if err != nil {
		return p, err
	}
	defer m.Close()
	return proof.OfHAT(ctx, m, hatName, against, kept)
}
