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
		Short: "Prove that nobody has changed what is said to have been done",
		Long: "Proves that the chain of receipts is unbroken and agrees with every head that was signed with the HAT's key " +
			"before, or names the first entry that was changed, removed or moved. A chain that is whole is signed again. " +
			"Then all records that are stored are compared with what the receipts commit to; what differs is named by its id.\n\n" +
			"With --file and --key it proves an exported chain: no data directory is needed, only the HAT's public key, " +
			"which the HAT answers at /publickey.\n\n" +
			"With --against it is compared with a former export: all that was exported then must still be there, unchanged. " +
			"This finds a chain that was written and signed anew. The former export is checked for its signature with --file alone. " +
			"Of a chain or an export that is broken, what can be read is compared.\n\n" +
			"With --head it is said whether a head that was kept, an entry's number and hash as consents, exports and answers have it, lies " +
			"in the chain.",
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
				return usageError{errors.New("--file and --key go together")}
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
	verify.Flags().StringVar(&head, "head", "", "a head that was kept, NUMBER:HASH: does it lie in the chain?")

	var after int64
	export := &cobra.Command{
		Use:   "export",
		Short: "Write the receipts as one JSON line each, with a signed checkpoint at the end",
		Long: "Writes one JSON line for each receipt and, last, the signed head of the chain. Kept elsewhere, the file proves " +
			"what was done even against somebody who can write to the server's disk.",
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
	export.Flags().Int64Var(&after, "after", 0, "only entries behind this number")

	wantsHAT(verify, &hatName, &file, &keyFile)
	wantsHAT(export, &hatName)
	c := group("receipts", "Prove and export what was done with a HAT's data", with(changing, verify), with(changing, export)) // both keep a signed head
	c.PersistentFlags().StringVar(&data, "data", "", "data directory")
	c.PersistentFlags().StringVar(&hatName, "hat", "", "domain or name of the HAT")
	return c
}

// printProof prints the answer on one line, then what differs.
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
