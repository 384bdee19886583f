package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

func newStore(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := NewStore(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(t testing.TB, v *ledger.Vault, c access.Caller, text string) error {
	_, err := v.Append(context.Background(), c, []hat.Draft{vaulttest.Note(t, text)}, false)
	return err
}

func TestADamagedFileConcernsItsHATAlone(t *testing.T) {
	for says, spoil := range map[string]func([]byte) []byte{
		"no database at all": func([]byte) []byte { return bytes.Repeat([]byte("x"), 8192) },
		"cut short":          func(b []byte) []byte { return b[:len(b)/2] },
		"a page overwritten": func(b []byte) []byte { copy(b[5*4096:], bytes.Repeat([]byte{0xa5}, 4096)); return b },
	} {
		t.Run(says, func(t *testing.T) {
			dir := t.TempDir()
			s := newStore(t, dir, Options{})
			alice := vaulttest.Create(t, s, "alice")
			bob := vaulttest.Create(t, s, "bob")
			path := s.path("alice")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(bytes.Clone(content)), 0o600); err != nil {
				t.Fatal(err)
			}
			early, release, err := s.Open(t.Context(), "alice")
			if err == nil {
				// The file is checked beside the first requests.
				s.fileOf("alice").checks.Wait()
				if _, err := early.UserByName(t.Context(), "alice"); !errors.Is(err, vault.ErrClosed) {
					t.Errorf("before it was set aside: %v", err)
				}
				if err := write(t, early, alice, `2`); !errors.Is(err, vault.ErrDamaged) {
					t.Errorf("before it was set aside: %v", err)
				}
				release()
			}
			for range 2 {
				_, _, err = s.Open(t.Context(), "alice")
				if !errors.Is(err, vault.ErrDamaged) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v", err)
				}
			}
			v, _ := vaulttest.Open(t, s, "bob")
			if err := write(t, v, bob, `1`); err != nil {
				t.Error(err)
			}
			// The operator repairs it without stopping the server.
			for _, suffix := range []string{"-wal", "-shm"} {
				_ = os.Remove(path + suffix)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			v, _ = vaulttest.Open(t, s, "alice")
			if err := write(t, v, alice, `1`); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check that runs or waits for its slot does not stop the vault from being closed. It is repeated the
// next time.
func TestACheckKeepsNobody(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{MaxOpen: 1})
	vaulttest.Create(t, s, "alice")
	vaulttest.Create(t, s, "bob")
	s.checks <- struct{}{}
	for _, id := range []string{"alice", "bob", "alice"} {
		_, release := vaulttest.Open(t, s, hat.ID(id))
		release()
	}
	_, release := vaulttest.Open(t, s, "bob")
	<-s.checks
	s.fileOf("bob").checks.Wait()
	release()
	if !s.checked["bob"] || s.checked["alice"] {
		t.Errorf("checked: %v", s.checked)
	}
}

func TestAnothersFileIsRefused(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	vaulttest.Create(t, s, "alice")
	if err := os.Rename(s.path("alice"), s.path("bob")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(t.Context(), "bob"); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func TestANewerFileIsLeftAlone(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	vaulttest.Create(t, s, "alice")
	db, err := sql.Open("sqlite", s.path("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, _, err := s.Open(t.Context(), "alice"); !errors.Is(err, vault.ErrNewer) {
		t.Errorf("got %v", err)
	}
}

func TestAFullVaultSaysSoAndKeepsWhatItHas(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{MaxBytes: 400 << 10})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	var stored int
	for ; stored < 1000; stored++ {
		err := write(t, v, alice, fmt.Sprintf(`"%d %s"`, stored, strings.Repeat("x", 4000)))
		if errors.Is(err, vault.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if stored < 10 || stored == 1000 {
		t.Fatalf("full after %d records", stored)
	}
	// Two more records that fit singly but not together: none may be stored.
	_, err := v.Append(t.Context(), alice, []hat.Draft{vaulttest.Note(t, `1`), vaulttest.Note(t, `"`+strings.Repeat("y", 100_000)+`"`)}, true)
	if !errors.Is(err, vault.ErrFull) {
		t.Errorf("got %v", err)
	}
	if n := len(allTexts(t, v, alice)); n != stored {
		t.Errorf("%d records, want %d", n, stored)
	}
	vaulttest.CheckHAT(t, v)
	if err := v.EraseEndpoint(t.Context(), alice, vaulttest.Note(t, `1`).Endpoint); err != nil {
		t.Errorf("erasing when full: %v", err)
	}
	if err := write(t, v, alice, `"there is room again"`); err != nil {
		t.Error(err)
	}
	vaulttest.CheckHAT(t, v)
}

func TestWhatIsErasedIsNotInTheFiles(t *testing.T) {
	const secret = "a-secret-nobody-may-find"
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	found := func() bool {
		paths, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte(secret)) {
				return true
			}
		}
		return false
	}
	for i := range 50 {
		if err := write(t, v, alice, fmt.Sprintf(`"%d %s %s"`, i, secret, strings.Repeat("x", i*200))); err != nil {
			t.Fatal(err)
		}
	}
	if !found() {
		t.Fatal("the test looks in the wrong place")
	}
	if err := v.EraseEndpoint(t.Context(), alice, vaulttest.Note(t, `1`).Endpoint); err != nil {
		t.Fatal(err)
	}
	if found() {
		t.Error("it is still there, the vault being open")
	}
	release()
	s.Close()
	if found() {
		t.Error("it is still there, the vault being closed")
	}
}

func TestOthersCantReadTheFiles(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	if err := write(t, v, alice, `1`); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 2 {
		t.Errorf("only %d files", len(entries))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %s", e.Name(), info.Mode())
		}
	}
}

// A server must start on a full disk, so that people can read and the operator can make room.
func TestOpeningAFolderWritesNothing(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, long, long); err != nil {
		t.Fatal(err)
	}
	newStore(t, dir, Options{})
	info, err := os.Stat(dir)
	if err != nil || time.Since(info.ModTime()) < time.Minute {
		t.Errorf("the folder was changed at %v, %v", info.ModTime(), err)
	}
}

func TestAnInterruptedCreateLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "alice.X"+unfinished)
	for _, name := range []string{left, left + "-wal"} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newStore(t, dir, Options{})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	vaulttest.Create(t, s, "alice")
	if ids, err := s.List(); err != nil || len(ids) != 1 || ids[0] != "alice" {
		t.Errorf("got %v, %v", ids, err)
	}
	if entries, _ = os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files after Create", len(entries))
	}
}

func TestOpenWaitsForAPlace(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{MaxOpen: 2})
	callers := map[string]access.Caller{}
	for _, id := range []string{"a", "b", "c"} {
		callers[id] = vaulttest.Create(t, s, hat.ID(id))
	}
	_, releaseA := vaulttest.Open(t, s, "a")
	_, releaseB := vaulttest.Open(t, s, "b")
	again, releaseAgain := vaulttest.Open(t, s, "a") // opening the same vault again takes no slot
	ended, end := context.WithCancel(t.Context())
	end()
	if _, _, err := s.Open(ended, "c"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	opened := make(chan error)
	go func() {
		v, release, err := s.Open(context.Background(), "c")
		if err == nil {
			err = write(t, v, callers["c"], `1`)
			release()
		}
		opened <- err
	}()
	releaseA()
	releaseA() // a second release has no effect
	if err := write(t, again, callers["a"], `1`); err != nil {
		t.Errorf("somebody still has it: %v", err)
	}
	releaseB()
	if err := <-opened; err != nil {
		t.Error(err)
	}
	releaseAgain()
}

func TestManyHATsFewOpenVaults(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{MaxOpen: 3})
	const hats, rounds = 8, 20
	var wg sync.WaitGroup
	for i := range hats {
		id := fmt.Sprintf("hat%d", i)
		c := vaulttest.Create(t, s, hat.ID(id))
		for w := range 2 {
			wg.Go(func() {
				for r := range rounds {
					v, release, err := s.Open(context.Background(), hat.ID(id))
					if err != nil {
						t.Error(err)
						return
					}
					if err := write(t, v, c, fmt.Sprintf(`[%d,%d]`, w, r)); err != nil {
						t.Error(err)
					}
					release()
				}
			})
		}
	}
	wg.Wait()
	for i := range hats {
		v, release := vaulttest.Open(t, s, hat.ID(fmt.Sprintf("hat%d", i)))
		vaulttest.CheckHAT(t, v)
		release()
	}
}

// The number of open files depends on the slots, not on the number of HATs.
func TestOpenFilesStayWithinMaxOpen(t *testing.T) {
	const places, hats, visitors = 8, 200, 4
	dir := t.TempDir()
	s := newStore(t, dir, Options{MaxOpen: places})
	callers := make([]access.Caller, hats)
	for i := range hats {
		callers[i] = vaulttest.Create(t, s, hat.ID(fmt.Sprintf("hat%d", i)))
	}
	openFiles := func() (n int) {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system does not list open files")
		}
		for _, fd := range all {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir+"/") {
				n++
			}
		}
		return n
	}
	// Each slot has a writer and an idle reader, with at most three files each: the data, its log, and the
	// log's index.
	const bound = places * 2 * 3
	var most atomic.Int64
	var wg sync.WaitGroup
	for w := range visitors {
		wg.Go(func() {
			for i := w; i < hats; i += visitors {
				v, release, err := s.Open(context.Background(), hat.ID(fmt.Sprintf("hat%d", i)))
				if err != nil {
					t.Error(err)
					return
				}
				if err := write(t, v, callers[i], `1`); err != nil {
					t.Error(err)
				}
				if err := v.EachEndpoint(context.Background(), callers[i], func(hat.Endpoint) error { return nil }); err != nil {
					t.Error(err)
				}
				release()
				n := int64(openFiles())
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > bound || n < places {
		t.Errorf("%d files were open at once in %d places, want at most %d", n, places, bound)
	}
}

// Close returns when all files are closed, even that of a vault that closed itself and can't be found any
// more. A caller who releases a vault later changes nothing.
func TestCloseWaitsForEveryFile(t *testing.T) {
	var fails atomic.Bool
	s := newStore(t, t.TempDir(), Options{AtCommit: func(_ []string, persisted bool) error {
		if persisted && fails.Load() {
			return errors.New("a disk that fails")
		}
		return nil
	}})
	alice := vaulttest.Create(t, s, "alice")
	broken, release, err := s.Open(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	first := s.slots["alice"]
	fails.Store(true)
	if err := write(t, broken, alice, `{"n":1}`); err == nil {
		t.Fatal("a failed commit was answered")
	}
	fails.Store(false)
	again, releaseAgain, err := s.Open(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	second := s.slots["alice"]
	if first == second {
		t.Fatal("the vault is still the one that closed itself")
	}
	if err := write(t, again, alice, `{"n":2}`); err != nil {
		t.Fatal(err)
	}
	release() // now nobody uses it, so its file is being closed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.gone:
	default:
		t.Error("the file of the vault that closed itself is not closed yet")
	}
	releaseAgain()
	select {
	case <-second.gone:
	default:
		t.Error("giving a vault back began something after Close")
	}
	if n := s.OpenVaults(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}

func TestAClosedStoreAnswers(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := write(t, v, alice, `1`); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("write: got %v", err)
	}
	if _, err := v.Owner(t.Context()); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("read: got %v", err)
	}
	if _, _, err := s.Open(t.Context(), "alice"); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("open: got %v", err)
	}
}

// Transactions that wait at the same time share a commit. One that fails does not fail the others.
func TestWritersShareCommits(t *testing.T) {
	var commits int
	hold := make(chan struct{})
	var once sync.Once
	s := newStore(t, t.TempDir(), Options{AtCommit: func(_ []string, persisted bool) error {
		if !persisted {
			commits++
			once.Do(func() { <-hold })
		}
		return nil
	}})
	alice := vaulttest.Create(t, s, "alice")
	opened, _ := vaulttest.Open(t, s, "alice")
	v := opened
	const writers = 40
	answers := make(chan error, writers+1)
	go func() { answers <- write(t, v, alice, `"first"`) }()
	var started sync.WaitGroup
	for i := range writers {
		started.Add(1)
		go func() {
			started.Done()
			answers <- write(t, v, alice, fmt.Sprintf(`%d`, i/2)) // each number twice
		}()
	}
	started.Wait()
	close(hold)
	duplicates := 0
	for range writers + 1 {
		switch err := <-answers; {
		case errors.Is(err, vault.ErrDuplicate):
			duplicates++
		case err != nil:
			t.Error(err)
		}
	}
	if duplicates != writers/2 {
		t.Errorf("%d duplicates, want %d", duplicates, writers/2)
	}
	if commits >= writers/2 {
		t.Errorf("%d writers took %d commits", writers, commits)
	}
	vaulttest.CheckHAT(t, v)
}

// A failed commit fails all transactions that shared it. That includes a duplicate, because the record that
// it equals was not stored.
func TestAFailedCommitFailsAllThatSharedIt(t *testing.T) {
	broken := errors.New("the disk has gone away")
	hold, holding := make(chan struct{}), make(chan struct{})
	calls := 0
	s := newStore(t, t.TempDir(), Options{AtCommit: func(ops []string, persisted bool) error {
		if calls++; calls == 1 {
			close(holding)
			<-hold
		}
		if calls > 2 {
			return broken
		}
		return nil
	}})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	answers := make(chan error, 9)
	go func() { answers <- write(t, v, alice, `"first"`) }()
	<-holding
	for range 8 {
		go func() { answers <- write(t, v, alice, `"same"`) }()
	}
	close(hold)
	lost := 0
	for range 9 {
		switch err := <-answers; {
		case errors.Is(err, vault.ErrDuplicate):
			t.Error("somebody was told of a record that is not there")
		case errors.Is(err, broken), errors.Is(err, vault.ErrClosed):
			lost++
		case err != nil:
			t.Error(err)
		}
	}
	if lost != 8 {
		t.Errorf("%d were told of the failure, want 8", lost)
	}
	release()
	calls = -1000
	again, _ := vaulttest.Open(t, s, "alice")
	if err := write(t, again, alice, `"same"`); err != nil {
		t.Error(err)
	}
	vaulttest.CheckHAT(t, again)
}

// A panic in a caller's function is raised in that caller, and the vault goes on.
func TestAPanicIsTheCallers(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("the panic did not come back")
			}
		}()
		_ = v.EditDocuments(t.Context(), alice, func(e vault.Edit) error {
			if err := e.Put(vault.Bundles, "b", []byte(`{}`)); err != nil {
				t.Error(err)
			}
			panic("mine")
		})
	}()
	if _, err := v.Document(t.Context(), alice, vault.Bundles, "b"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := write(t, v, alice, `1`); err != nil {
		t.Error(err)
	}
}

func TestErrorsShowNoData(t *testing.T) {
	const canary = "canary-93c1"
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	if err := write(t, v, alice, `"`+canary+`"`); err != nil {
		t.Fatal(err)
	}
	err := write(t, v, alice, `"`+canary+`"`)
	if err == nil {
		t.Fatal("stored twice")
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if strings.Contains(fmt.Sprintf(format, err), canary) {
			t.Errorf("%s shows the data", format)
		}
	}
}

// If somebody reads while others erase and replace, nobody waits for the reader. When it is done, the
// erased and replaced data is removed from the write-ahead log.
func TestErasingBesideAReaderWaitsForNobody(t *testing.T) {
	const canary = "canary-61ac"
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	defer release()
	records := vaulttest.Parsed(v.Append(t.Context(), alice, []hat.Draft{vaulttest.Note(t, `{"old":"`+canary+`"}`), vaulttest.Note(t, `"`+canary+`"`)}, false))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := v.Read(t.Context(), alice, func(src bundle.Source, _ hat.Seq) error {
		erased := make(chan error)
		go func() {
			_, err := v.Update(ctx, alice, []vault.Change{{ID: records[0].ID, Data: vaulttest.Note(t, `"new"`).Data}})
			erased <- errors.Join(err, v.Erase(ctx, alice, []hat.RecordID{records[1].ID}))
		}()
		for range src.Scan(t.Context(), records[0].Endpoint, bundle.Want{}).Records {
		}
		return <-erased
	})
	if err != nil {
		t.Fatal(err)
	}
	wal := vaulttest.Parsed(filepath.Glob(filepath.Join(dir, "*-wal")))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); bytes.Contains(vaulttest.Parsed(os.ReadFile(wal[0])), []byte(canary)); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the write-ahead log still holds what was erased")
		}
	}
}
