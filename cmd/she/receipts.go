package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"she/internal/ownapi"
	"she/internal/receipt"
	"she/internal/server"
)

// A proofView says up to where a chain of receipts was found whole.
type proofView struct {
	From   int64          `json:"from"`
	To     int64          `json:"to"`
	Hash   receipt.Digest `json:"hash"`
	Signed time.Time      `json:"signed,omitzero"`

	Records *receipt.Comparison `json:"records,omitempty"` // of a HAT's own chain
	Against *receipt.Against    `json:"against,omitempty"` // how it stands to a former export
	Head    *headProof          `json:"head,omitempty"`    // whether it holds a head that was kept

	// Why the chain, or the former export, is not whole. What can be read is compared all the same.
	Broken       string `json:"broken,omitempty"`
	FormerBroken string `json:"formerBroken,omitempty"`
}

// A headProof says whether a head that somebody kept lies in a chain.
type headProof struct {
	Kept  string `json:"kept"`
	Now   string `json:"now,omitempty"` // that of the chain
	Holds bool   `json:"holds"`
	// Broken is the first entry that is not what led to the head, or follows from it.
	Broken *receipt.BrokenError `json:"broken,omitempty"`
}

func (h headProof) String() string {
	if h.Holds {
		return "it lies in the chain: what was done up to it is as it was"
	}
	return h.Broken.Error()
}

// means is what an owner has to think of a head that does not lie in the chain.
func (h headProof) means(kept, now receipt.Head) string {
	switch {
	case now.Number < kept.Number:
		return "entries from there on were cut off, or an older copy of the vault was put in its place"
	case h.Broken.Number > kept.Number:
		return "entries behind the head were changed"
	}
	return "what was done up to the head was written anew since it was kept, or the head is another HAT's"
}

// text is the answer on one line, then what differs.
func (p proofView) text(w io.Writer) {
	if p.Broken == "" {
		p.proved(w)
	} else {
		printf(w, "broken: %s\n", p.Broken)
	}
	if p.FormerBroken != "" {
		printf(w, "the former export is broken: %s\n", p.FormerBroken)
	}
	if p.Against != nil {
		printf(w, "against the former export: %s\n", p.Against)
	}
	if p.Head != nil {
		printf(w, "the head that was kept: %s\n", p.Head)
	}
}

func (p proofView) proved(w io.Writer) {
	if p.Records == nil {
		printf(w, "whole: entries %d to %d, head %s\n", p.From, p.To, p.Hash)
		return
	}
	records := counted(p.Records.Proved, "record") + " as written"
	if p.Records.Before > 0 {
		records += ", " + counted(p.Records.Before, "record") + " from before commitments"
	}
	if p.Records.Whole() {
		printf(w, "whole: entries %d to %d, head %s\n%s\n", p.From, p.To, p.Hash, records)
		return
	}
	printf(w, "entries %d to %d, head %s\n%s\n", p.From, p.To, p.Hash, records)
	for _, d := range p.Records.Differs {
		printf(w, "%s\n", d)
	}
	if p.Records.More > 0 {
		printf(w, "and %d more\n", p.Records.More)
	}
}

// differs is the error that makes the exit code of a proof that failed.
func (p proofView) differs() error {
	if p.Broken != "" {
		return errors.New(p.Broken)
	}
	if p.Head != nil && !p.Head.Holds {
		kept, err := receipt.ParseHead(p.Head.Kept)
		now, errNow := receipt.ParseHead(p.Head.Now)
		if err = errors.Join(err, errNow); err != nil {
			return err
		}
		return fmt.Errorf("the chain does not hold the head that was kept: %s; %s", p.Head, p.Head.means(kept, now))
	}
	if p.FormerBroken != "" && (p.Against == nil || p.Against.Relation != receipt.Contradicts) {
		return fmt.Errorf("the former export can't be compared to its end: %s", p.FormerBroken)
	}
	if p.Against != nil && p.Against.Relation == receipt.Contradicts {
		return fmt.Errorf("the chain is not the one that was exported before: %s", p.Against)
	}
	if p.Records == nil || p.Records.Whole() {
		return nil
	}
	return fmt.Errorf("what is stored is not what the receipts say: %s", counted(len(p.Records.Differs)+p.Records.More, "difference"))
}

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
				proof proofView
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
				proof, err = proveFile(file, keyFile, against, kept)
			default:
				proof, err = proveHAT(cmd.Context(), data, hatName, against, kept)
			}
			if err != nil {
				return err
			}
			if err := show(cmd, proof, proof.text); err != nil {
				return err
			}
			return proof.differs()
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
			defer m.close()
			return m.lines(cmd.Context(), ownPath(hatName)+"/receipts?after="+strconv.FormatInt(after, 10), cmd.OutOrStdout())
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

func proveHAT(ctx context.Context, data, hatName, against string, kept *receipt.Head) (proof proofView, err error) {
	m, err := manage(ctx, data, "", server.Changes)
	if err != nil {
		return proof, err
	}
	defer m.close()
	var found ownapi.Proof
	if err := m.call(ctx, http.MethodPost, ownPath(hatName)+"/receipts/verify", nil, &found); err != nil {
		return proof, err
	}
	if b := found.Broken; b != nil {
		proof.Broken = (&receipt.BrokenError{Number: b.Number, What: b.What}).Error()
	} else {
		last := found.Checkpoint
		proof = proofView{From: 1, To: last.Number, Hash: last.Hash, Signed: time.UnixMicro(last.At).UTC(), Records: found.Records}
	}
	if kept != nil {
		var held ownapi.HeldHead
		if err := m.call(ctx, http.MethodGet, ownPath(hatName)+"/receipts?head="+url.QueryEscape(kept.String()), nil, &held); err != nil {
			return proof, err
		}
		proof.Head = &headProof{Kept: kept.String(), Now: held.Head, Holds: held.Holds}
		if b := held.Broken; b != nil {
			proof.Head.Broken = &receipt.BrokenError{Number: b.Number, What: b.What}
		}
	}
	if against == "" {
		return proof, nil
	}
	// What is compared is what the HAT exports now. What is wrong with it has been said.
	r, w := io.Pipe()
	go func() { w.CloseWithError(m.lines(ctx, ownPath(hatName)+"/receipts?after=0&broken=true", w)) }()
	now, err := receipt.ReadExport(r, nil)
	_ = r.CloseWithError(err)
	if err != nil && proof.Broken == "" {
		return proof, err
	}
	return proof, proof.compare(now, against, nil)
}

func proveFile(file, keyFile, against string, kept *receipt.Head) (proof proofView, err error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return proof, err
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return proof, fmt.Errorf("%s: %w", keyFile, err)
	}
	x, broken, err := readExport(file, key)
	if err != nil {
		return proof, err
	}
	proof = proofView{From: x.After.Number + 1, To: x.End.Number, Hash: x.End.Hash}
	if broken != nil {
		proof = proofView{Broken: fmt.Sprintf("%s: %s", file, broken)}
	}
	if kept != nil {
		proof.Head = &headProof{Kept: kept.String(), Now: x.Last().String(), Holds: true}
		if err := x.Holds(*kept); err != nil {
			if proof.Head.Holds = false; !errors.As(err, &proof.Head.Broken) {
				return proof, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	if against != "" {
		err = proof.compare(x, against, key)
	}
	return proof, err
}

// readExport reads what can be read of an export; broken says why that is not all, err that there is nothing to read.
func readExport(file string, key *rsa.PublicKey) (x receipt.Exported, broken, err error) {
	f, err := os.Open(file)
	if err != nil {
		return x, nil, err
	}
	defer f.Close()
	x, err = receipt.ReadExport(f, key)
	if wrong := new(receipt.BrokenError); errors.As(err, &wrong) || errors.Is(err, receipt.ErrNotSigned) {
		return x, err, nil
	}
	if err != nil {
		return x, nil, fmt.Errorf("%s: %w", file, err)
	}
	return x, nil, nil
}

// compare says how a chain stands to a former export.
func (p *proofView) compare(now receipt.Exported, former string, key *rsa.PublicKey) error {
	before, broken, err := readExport(former, key)
	if err != nil {
		return err
	}
	if broken != nil {
		p.FormerBroken = fmt.Sprintf("%s: %s", former, broken)
	}
	a, err := now.Against(before)
	if err != nil {
		return fmt.Errorf("%s: %w", former, err)
	}
	p.Against = &a
	return nil
}

func parsePublicKey(text []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key in PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, isRSA := parsed.(*rsa.PublicKey)
	if !isRSA {
		return nil, errors.New("not an RSA key, as those of HATs are")
	}
	return key, nil
}

// lines copies an export.
func (m *manager) lines(ctx context.Context, path string, out io.Writer) error {
	resp, err := m.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the export ended without its checkpoint; the log of the server says why")
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil || bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			return err
		}
	}
}
