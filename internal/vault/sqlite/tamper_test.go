package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/receipt"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// tampered is a closed vault with a chain of receipts; a head in the middle is signed.
type tampered struct {
	testing.TB
	path  string
	owner access.Caller
	key   *rsa.PrivateKey
	whole []byte // the file
	open  func() *Store
}

func newTampered(t testing.TB) *tampered {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	w := &tampered{TB: t, path: s.path("alice"), owner: vaulttest.Create(t, s, "alice"), key: key}
	w.open = func() *Store { return newStore(t, dir, Options{}) }
	v, release := vaulttest.Open(t, s, "alice")
	for i := range 6 {
		if err := write(t, v, w.owner, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			if _, err := w.prove(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if w.whole, err = os.ReadFile(w.path); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *tampered) prove(v *ledger.Vault) (receipt.Checkpoint, error) {
	return vault.ExportReceipts(w.Context(), v, w.owner, w.key, time.Now(), 0, io.Discard)
}

// found verifies the chain of the file as it is now.
func (w *tampered) found() error {
	w.Helper()
	s := w.open()
	defer s.Close()
	v, release, err := s.Open(w.Context(), "alice")
	if err != nil {
		return err
	}
	defer release()
	_, err = w.prove(v)
	return err
}

// sql changes the file as another program would.
func (w *tampered) sql(statement string) {
	w.Helper()
	db, err := sql.Open("sqlite", w.path)
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		w.Fatal(err)
	}
}

func (w *tampered) restore() {
	w.Helper()
	if err := os.WriteFile(w.path, w.whole, 0o600); err != nil {
		w.Fatal(err)
	}
}

// A changed byte of any entry in the file is found. The first and last byte of each entry are always tried,
// the others in a sample.
func TestAFlippedByteOfAReceiptIsFound(t *testing.T) {
	w := newTampered(t)
	if err := w.found(); err != nil {
		t.Fatal("before anything was changed:", err)
	}
	step := 41
	if testing.Short() {
		step = 101
	}
	flips := 0
	for at := 0; ; {
		i := bytes.Index(w.whole[at:], []byte(`{"number":`))
		if i < 0 {
			break
		}
		begin := at + i
		// The entry of a write ends with its last position.
		end := begin + bytes.Index(w.whole[begin:], []byte(`"last":`))
		end += bytes.IndexByte(w.whole[end:], '}')
		for k := begin; k <= end; k++ {
			if k != begin && k != end && (k-begin)%step != 0 {
				continue
			}
			w.restore()
			spoilt := bytes.Clone(w.whole)
			spoilt[k] ^= 1
			if err := os.WriteFile(w.path, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			var broken *receipt.BrokenError
			if err := w.found(); !errors.As(err, &broken) {
				t.Errorf("byte %d, %q: %v", k, w.whole[begin:k+1], err)
			}
			flips++
		}
		at = end
	}
	if flips < 20 {
		t.Errorf("only %d bytes were tried", flips)
	}
}

func TestTamperingWithReceiptsIsFound(t *testing.T) {
	w := newTampered(t)
	swap := `UPDATE receipts SET body = CASE number WHEN 2 THEN (SELECT body FROM receipts WHERE number = 3)
		ELSE (SELECT body FROM receipts WHERE number = 2) END WHERE number IN (2, 3)`
	for says, c := range map[string]struct {
		statement string
		broken    int64
	}{
		"one removed":                       {"DELETE FROM receipts WHERE number = 3", 3},
		"the first removed":                 {"DELETE FROM receipts WHERE number = 1", 1},
		"the last removed":                  {"DELETE FROM receipts WHERE number = 6", 6},
		"two changed places":                {swap, 2},
		"one put in":                        {`INSERT INTO receipts SELECT 7, body FROM receipts WHERE number = 6`, 7},
		"one changed, in canonical form":    {`UPDATE receipts SET body = replace(body, '"last":2', '"last":3') WHERE number = 2`, 2},
		"all removed, and the head":         {"DELETE FROM receipts; UPDATE hat SET receipts = 0, head = zeroblob(32)", 1},
		"a signature changed":               {"UPDATE checkpoints SET signature = zeroblob(256)", 4},
		"the head of the chain set back":    {"UPDATE hat SET receipts = 5", 6},
		"a checkpoint moved to a later one": {"UPDATE checkpoints SET number = 5", 5},
	} {
		t.Run(says, func(t *testing.T) {
			w.restore()
			w.sql(c.statement)
			var broken *receipt.BrokenError
			if err := w.found(); !errors.As(err, &broken) || broken.Number != c.broken {
				t.Errorf("got %v, want entry %d named", err, c.broken)
			}
		})
	}
}

// An attacker with write access to the file can recompute the hashes. A head that was signed before reveals
// it.
func TestARewrittenChainIsFoundByItsCheckpoint(t *testing.T) {
	w := newTampered(t)
	s := w.open()
	v, release, err := s.Open(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	var (
		head      receipt.Head
		statement string
	)
	entries, err := entriesOf(t.Context(), v, w.owner)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if i == 1 {
			e.Application = "somebody-else"
		}
		var text []byte
		if text, head, err = receipt.Append(head, e.Time(), e.Fact); err != nil {
			t.Fatal(err)
		}
		statement += fmt.Sprintf("UPDATE receipts SET body = '%s' WHERE number = %d;", text, head.Number)
	}
	release()
	s.Close()
	w.sql(statement + fmt.Sprintf("UPDATE hat SET head = x'%s'", head.Hash))
	var broken *receipt.BrokenError
	if err := w.found(); !errors.As(err, &broken) || broken.Number != 1 {
		t.Errorf("got %v; the first entry that was not signed so is named", err)
	}
}

func entriesOf(ctx context.Context, v *ledger.Vault, c access.Caller) (all []receipt.Entry, err error) {
	err = v.Receipts(ctx, c, 0, func(texts iter.Seq2[[]byte, error], _ receipt.Head) error {
		for text, err := range texts {
			if err != nil {
				return err
			}
			e, err := receipt.Parse(text)
			if err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	return all, err
}
