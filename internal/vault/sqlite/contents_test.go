package sqlite

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

func anyRoom(int64) error { return nil }

// rewriteChain does what an attacker with write access to the file could do: it changes or removes entries,
// and then recomputes all hashes.
func rewriteChain(t testing.TB, path string, change func(*receipt.Entry) (keep bool)) (head receipt.Head) {
	t.Helper()
	db := vaulttest.Parsed(sql.Open("sqlite", path))
	defer db.Close()
	rows := vaulttest.Parsed(db.Query("SELECT body FROM receipts ORDER BY number"))
	var texts [][]byte
	for rows.Next() {
		var text []byte
		vaulttest.Must(t, 0, rows.Scan(&text))
		e := vaulttest.Parsed(receipt.Parse(text))
		if !change(&e) {
			continue
		}
		text, next, err := receipt.Append(head, e.Time(), e.Fact)
		vaulttest.Must(t, 0, err)
		texts, head = append(texts, text), next
	}
	vaulttest.Must(t, 0, errors.Join(rows.Err(), rows.Close()))
	vaulttest.Parsed(db.Exec("DELETE FROM checkpoints; DELETE FROM receipts"))
	for i, text := range texts {
		vaulttest.Parsed(db.Exec("INSERT INTO receipts (number, body) VALUES (?, ?)", i+1, string(text)))
	}
	vaulttest.Parsed(db.Exec("UPDATE hat SET receipts = ?, head = ?", head.Number, head.Hash[:]))
	return head
}

// withoutCommitments turns the receipts of a file into those of a version without commitments.
func withoutCommitments(t testing.TB, path string) {
	t.Helper()
	rewriteChain(t, path, func(e *receipt.Entry) bool {
		e.Contents, e.Ended, e.Dropped = nil, nil, nil
		return true
	})
}

// untouched is a closed vault with records of each history: unchanged, changed, erased, from a batch,
// linked.
type untouched struct {
	*tampered
	records []hat.Record // the first four
}

func newUntouched(t testing.TB) untouched {
	t.Helper()
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	w := untouched{tampered: &tampered{TB: t, path: s.path("alice"), owner: vaulttest.Create(t, s, "alice"), key: vaulttest.Parsed(rsa.GenerateKey(rand.Reader, 2048))}}
	w.open = func() *Store { return newStore(t, dir, Options{}) }
	v, release := vaulttest.Open(t, s, "alice")
	w.records = vaulttest.Parsed(v.Append(t.Context(), w.owner, []hat.Draft{vaulttest.Note(t, `1`), vaulttest.Note(t, `2`), vaulttest.Note(t, `3`), vaulttest.Note(t, `4`)}, false))
	vaulttest.Parsed(v.Update(t.Context(), w.owner, []vault.Change{{ID: w.records[1].ID, Data: vaulttest.Data(t, `20`)}}))
	vaulttest.Must(t, 0, v.Erase(t.Context(), w.owner, []hat.RecordID{w.records[2].ID}))
	linked := vaulttest.Note(t, `5`)
	linked.Links = []hat.Draft{vaulttest.Note(t, `6`)}
	vaulttest.Parsed(v.Append(t.Context(), w.owner, []hat.Draft{linked, vaulttest.Note(t, `1`)}, true)) // contains a duplicate, which takes no position
	vaulttest.CheckHAT(t, v)
	vaulttest.Parsed(w.prove(v))
	release()
	vaulttest.Must(t, 0, s.Close())
	w.whole = vaulttest.Parsed(os.ReadFile(w.path))
	return w
}

// verify does what the commands and the API do.
func (w untouched) verify(keep ...receipt.Head) (c receipt.Comparison, err error) {
	w.Helper()
	s := w.open()
	defer s.Close()
	v, release, err := s.Open(w.Context(), "alice")
	if err != nil {
		return c, err
	}
	defer release()
	for _, head := range keep {
		if _, broken, err := vault.HoldsHead(w.Context(), v, w.owner, head); err != nil || broken != nil {
			return c, errors.Join(err, broken)
		}
	}
	_, c, err = vault.VerifyReceipts(w.Context(), v, w.owner, w.key, s.o.Now(), anyRoom)
	return c, err
}

func TestTamperingWithRecordsIsFound(t *testing.T) {
	w := newUntouched(t)
	if c, err := w.verify(); err != nil || !c.Whole() || c.Proved != 5 || c.Before != 0 || c.From != 1 {
		t.Fatalf("before anything was changed: %+v, %v", c, err)
	}
	id := func(i int) string { return fmt.Sprintf("x'%x'", w.records[i].ID.Bytes()) }
	const copied = "INSERT INTO records (born, id, endpoint, seq, user, run, chain, created, updated, digest, data, salt) SELECT "
	for says, c := range map[string]struct {
		statement string
		want      []string // problems, each with the number of the record
	}{
		"content changed":                     {"UPDATE records SET data = '9' WHERE id = " + id(0), []string{"changed 0"}},
		"content and digest changed":          {"UPDATE records SET data = '9', digest = zeroblob(32) WHERE id = " + id(0), []string{"changed 0"}},
		"content put back to before a change": {"UPDATE records SET data = '2' WHERE id = " + id(1), []string{"changed 1"}},
		"salt changed":                        {"UPDATE records SET salt = zeroblob(16) WHERE id = " + id(0), []string{"changed 0"}},
		"salt removed":                        {"UPDATE records SET salt = NULL WHERE id = " + id(0), []string{"changed 0"}},
		"as if from before commitments": {"UPDATE records SET salt = NULL, seq = 0 WHERE id = " + id(0),
			[]string{"missing", "miscount"}},
		"moved to another endpoint": {`INSERT INTO endpoints (name) VALUES ('a/b');
			UPDATE records SET endpoint = (SELECT n FROM endpoints WHERE name = 'a/b') WHERE id = ` + id(0), []string{"changed 0"}},
		"another's": {`INSERT INTO users (id, username, roles, owner, enabled) VALUES (x'00112233445566778899aabbccddeeff', 'bob', '[]', 0, 1);
			UPDATE records SET user = (SELECT n FROM users WHERE username = 'bob') WHERE id = ` + id(0), []string{"changed 0"}},
		"made older":         {"UPDATE records SET created = created - 1 WHERE id = " + id(0), []string{"changed 0"}},
		"with another's id":  {"UPDATE records SET id = zeroblob(16) WHERE id = " + id(0), []string{"changed"}},
		"two changed places": {"UPDATE records SET seq = 99 WHERE id = " + id(0) + "; UPDATE records SET seq = 1 WHERE id = " + id(3) + "; UPDATE records SET seq = 4 WHERE seq = 99", []string{"changed 0", "changed 3"}},
		"removed":            {"DELETE FROM records WHERE id = " + id(0), []string{"missing"}},
		"put in": {copied + "99, zeroblob(16), endpoint, 99, user, run, chain, created, updated, zeroblob(32), data, salt FROM records WHERE id = " + id(0),
			[]string{"no-receipt"}},
		"put in where another was erased": {copied + "born + 2, zeroblob(16), endpoint, 3, user, run, chain, created, updated, zeroblob(32), data, salt FROM records WHERE id = " + id(0),
			[]string{"changed"}},
		"put in at a position of an erasure": {copied + "99, zeroblob(16), endpoint, 6, user, run, chain, created, updated, zeroblob(32), data, salt FROM records WHERE id = " + id(0),
			[]string{"no-receipt"}},
		"twice": {copied + "99, zeroblob(16), endpoint, seq, user, run, chain, created, updated, zeroblob(32), data, salt FROM records WHERE id = " + id(0),
			[]string{"doubled"}},
		"superseded by nobody": {`INSERT INTO superseded (id, born, endpoint, seq, user, run, created, updated, digest, by_run, at, data, salt)
			SELECT id, born, endpoint, seq, user, x'00', created, updated, digest, x'00', 0, data, salt FROM records WHERE id = ` + id(0) + `;
			DELETE FROM records WHERE id = ` + id(0), []string{"moved 0"}},
		"the log cut": {"UPDATE hat SET seq = seq - 1", []string{"positions", "positions", "no-receipt", "no-receipt"}},
	} {
		t.Run(says, func(t *testing.T) {
			w.restore()
			w.sql(c.statement)
			got, err := w.verify()
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, d := range got.Differs {
				text := string(d.Problem)
				if i := slices.IndexFunc(w.records, func(r hat.Record) bool { return r.ID == d.Record }); i >= 0 {
					text += fmt.Sprint(" ", i)
				}
				found = append(found, text)
			}
			slices.Sort(found)
			slices.Sort(c.want)
			if !slices.Equal(found, c.want) {
				t.Errorf("found %q, want %q: %v", found, c.want, got.Differs)
			}
		})
	}
}

// An erased record that comes back with its own salt and position, for example from a backup, is found.
func TestAnErasedRecordThatComesBackIsFound(t *testing.T) {
	w := newUntouched(t)
	s := w.open()
	v, release := vaulttest.Open(t, s, "alice")
	db := vaulttest.Parsed(sql.Open("sqlite", w.path))
	vaulttest.Parsed(db.Exec("CREATE TABLE backup AS SELECT * FROM records WHERE id = ?", w.records[0].ID.Bytes()))
	vaulttest.Must(t, 0, v.Erase(t.Context(), w.owner, []hat.RecordID{w.records[0].ID}))
	release()
	vaulttest.Must(t, 0, s.Close())
	vaulttest.Parsed(db.Exec("INSERT INTO records SELECT * FROM backup"))
	vaulttest.Must(t, 0, db.Close())
	if c, err := w.verify(); err != nil || len(c.Differs) != 1 || c.Differs[0].Problem != receipt.Ended || c.Differs[0].Record != w.records[0].ID {
		t.Errorf("found %+v, %v", c, err)
	}
}

// Whoever has the file and the key can cut the chain and sign it again. Records without a receipt reveal
// that. If these were removed too, only a head that somebody kept reveals it.
func TestAChainThatWasCutAndSignedAnew(t *testing.T) {
	w := newUntouched(t)
	var kept, early receipt.Head
	rewriteChain(t, w.path, func(e *receipt.Entry) bool {
		if e.Number == 2 {
			early = receipt.Head{Number: 1, Hash: e.Previous}
		}
		return true
	})
	w.restore()
	s := w.open()
	v, release := vaulttest.Open(t, s, "alice")
	kept = vaulttest.Parsed(w.prove(v)).Head
	release()
	vaulttest.Must(t, 0, s.Close())
	if _, err := w.verify(kept, early, receipt.Head{}); err != nil {
		t.Fatal("before it was cut:", err)
	}

	now := rewriteChain(t, w.path, func(e *receipt.Entry) bool { return e.Number <= 3 })
	if c, err := w.verify(); err != nil || c.Whole() {
		t.Errorf("the records of the entries that were cut off: %+v, %v", c, err)
	}
	w.sql("DELETE FROM checkpoints; DELETE FROM records WHERE seq > 6; UPDATE hat SET seq = 6, records = 3")
	if c, err := w.verify(early, now); err != nil || !c.Whole() {
		t.Errorf("cut with all that was written behind: %+v, %v", c, err)
	}
	var broken *receipt.BrokenError
	if _, err := w.verify(kept); !errors.As(err, &broken) || broken.Number != 4 {
		t.Errorf("a head that was kept does not show it: %v", err)
	}
	other := kept
	other.Number = 2
	if _, err := w.verify(other); !errors.As(err, &broken) || broken.Number != 2 {
		t.Errorf("another hash of entry 2 lies in the chain: %v", err)
	}
}

// Records from before commitments are counted separately and are not a fault. Records written later are
// proved.
func TestRecordsFromBeforeCommitments(t *testing.T) {
	w := newUntouched(t)
	w.sql(`ALTER TABLE records DROP COLUMN salt; ALTER TABLE superseded DROP COLUMN salt;
		DELETE FROM migrations WHERE version >= ` + fmt.Sprint(saltSchema) + `; PRAGMA user_version = ` + fmt.Sprint(saltSchema-1))
	withoutCommitments(t, w.path)
	if c, err := w.verify(); err != nil || !c.Whole() || c.From != 0 || c.Before != 5 || c.Proved != 0 {
		t.Fatalf("as it was: %+v, %v", c, err)
	}
	s := w.open()
	v, release := vaulttest.Open(t, s, "alice")
	vaulttest.Parsed(v.Update(t.Context(), w.owner, []vault.Change{{ID: w.records[0].ID, Data: vaulttest.Data(t, `10`)}}))
	vaulttest.Must(t, 0, v.Erase(t.Context(), w.owner, []hat.RecordID{w.records[3].ID}))
	vaulttest.Must(t, 0, write(t, v, w.owner, `7`))
	vaulttest.CheckHAT(t, v)
	release()
	vaulttest.Must(t, 0, s.Close())
	w.whole = vaulttest.Parsed(os.ReadFile(w.path))
	if c, err := w.verify(); err != nil || !c.Whole() || c.From == 0 || c.Before != 3 || c.Proved != 2 {
		t.Fatalf("with some changed and written since: %+v, %v", c, err)
	}
	for says, statement := range map[string]string{
		"one removed":              "DELETE FROM records WHERE id = (SELECT id FROM records WHERE salt IS NULL LIMIT 1)",
		"one of the new ones made": "UPDATE records SET salt = NULL, seq = born WHERE salt IS NOT NULL AND seq > born",
	} {
		w.restore()
		w.sql(statement)
		if c, err := w.verify(); err != nil || c.Whole() {
			t.Errorf("%s: %+v, %v", says, c, err)
		}
	}
}

// saltSchema is the version of the schema that added salts.
var saltSchema = 1 + slices.IndexFunc(migrations, func(m string) bool { return strings.Contains(m, "ADD COLUMN salt") })

// No file contains the salt of an erased or changed record afterwards, so the holder of a receipt can't
// test guesses.
func TestNoSaltOutlivesItsRecord(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	alice := vaulttest.Create(t, s, "alice")
	opened, _ := vaulttest.Open(t, s, "alice")
	v := opened
	large := stuff(t, v, alice, "a/large", 20, 200<<10) // erased in pieces
	few := vaulttest.Parsed(v.Append(t.Context(), alice, []hat.Draft{vaulttest.Note(t, `1`), vaulttest.Note(t, `2`), vaulttest.Note(t, `3`)}, false))
	var salts [][]byte
	vaulttest.Must(t, 0, s.fileOf("alice").Read(t.Context(), func(c ledger.Reader) (err error) {
		salts, err = vaulttest.Column[[]byte](c, "SELECT salt FROM records WHERE born <> ?", int64(few[2].Born))
		return err
	}))
	held := func() (n int) {
		for _, suffix := range []string{"", "-wal"} {
			text := vaulttest.Parsed(os.ReadFile(s.path("alice") + suffix))
			for _, salt := range salts {
				n += bytes.Count(text, salt)
			}
		}
		return n
	}
	if len(salts) != len(large)+2 || held() < len(salts) {
		t.Fatalf("of %d salts the files hold %d", len(salts), held())
	}
	vaulttest.Parsed(v.Update(t.Context(), alice, []vault.Change{{ID: few[0].ID, Data: vaulttest.Data(t, `10`)}}))
	vaulttest.Must(t, 0, v.Erase(t.Context(), alice, []hat.RecordID{few[1].ID}))
	vaulttest.Must(t, 0, v.EraseEndpoint(t.Context(), alice, large[0].Endpoint))
	wait(t, "no salt is left", func() bool { return held() == 0 })
	vaulttest.CheckHAT(t, v)
}

// Callers who may not see runs can't compare.
func TestOnlyWhoSeesRunsCompares(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	stranger := access.User(hat.NewUserID(), nil, "")
	if _, err := v.Compare(t.Context(), stranger, anyRoom); !errors.Is(err, access.ErrDenied) {
		t.Errorf("compare: %v", err)
	}
	if _, _, err := vault.HoldsHead(t.Context(), v, stranger, receipt.Head{}); !errors.Is(err, access.ErrDenied) {
		t.Errorf("head: %v", err)
	}
	refused := errors.New("no room")
	alice := vaulttest.Create(t, s, "bob")
	b, _ := vaulttest.Open(t, s, "bob")
	vaulttest.Must(t, 0, write(t, b, alice, `1`))
	if _, err := b.Compare(t.Context(), alice, func(int64) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("without memory: %v", err)
	}
}
