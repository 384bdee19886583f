package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// wait polls until holds returns true, for up to a minute.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("in vain: ", what)
		}
	}
}

func stuff(t testing.TB, v *ledger.Vault, c access.Caller, e string, records, size int) []hat.Record {
	t.Helper()
	at, err := hat.ParseEndpoint(e)
	vaulttest.Must(t, 0, err)
	var all []hat.Record
	for i := range records {
		d := vaulttest.Data(t, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, strings.Repeat("erase-me", size/8)))
		all = append(all, vaulttest.Parsed(v.Append(t.Context(), c, []hat.Draft{{Endpoint: at, Data: d}}, false))...)
	}
	return all
}

// Erasing gives room back to the disk while the vault is open, and the files contain nothing of the erased
// data.
func TestErasingGivesTheDiskItsRoomBack(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	opened, release := vaulttest.Open(t, s, "alice")
	defer release()
	stuff(t, opened, alice, "a/kept", 20, 3000)
	stuff(t, opened, alice, "a/large", 24, 1<<20)
	stuff(t, opened, alice, "a/kept-too", 20, 3000)
	ids := stuff(t, opened, alice, "a/many", 500, 2000)
	if size := s.FileSize("alice"); size < 24<<20 {
		t.Fatalf("filled, it takes %d", size)
	}
	large, _ := hat.ParseEndpoint("a/large")
	vaulttest.Must(t, 0, opened.EraseEndpoint(t.Context(), alice, large))
	var some []hat.RecordID
	for _, r := range ids {
		some = append(some, r.ID)
	}
	vaulttest.Must(t, 0, opened.Erase(t.Context(), alice, some))
	wait(t, "the file shrinks", func() bool { return s.FileSize("alice") < 2<<20 })
	held, _, err := opened.Storage(t.Context(), alice)
	if err != nil || held.Records != 40 || held.Bytes > 1<<20 {
		t.Errorf("it holds %+v, %v", held, err)
	}
	// The file can grow again.
	stuff(t, opened, alice, "a/large", 3, 1<<20)
	vaulttest.CheckHAT(t, opened)
}

// makeOld turns a vault's file into one of a version that could not give free pages back.
func makeOld(t testing.TB, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	vaulttest.Must(t, 0, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec("PRAGMA journal_mode = delete; PRAGMA auto_vacuum = none; VACUUM; PRAGMA journal_mode = wal")
	vaulttest.Must(t, 0, err)
	if mode := autoVacuum(t, path); mode != 0 {
		t.Fatalf("auto_vacuum is %d", mode)
	}
	vaulttest.Must(t, 0, db.Close())
}

func autoVacuum(t testing.TB, path string) (mode int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	vaulttest.Must(t, 0, err)
	defer db.Close()
	vaulttest.Must(t, 0, db.QueryRow("PRAGMA auto_vacuum").Scan(&mode))
	return mode
}

func isErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A file of an earlier version is compacted once nobody uses it. Its content stays the same, and other
// users of the machine can't read it.
func TestAnOldFileIsCompactedWhileNobodyUsesIt(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{IdleFor: time.Millisecond})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	kept := stuff(t, v, alice, "a/kept", 50, 3000)
	stuff(t, v, alice, "a/large", 8, 1<<20)
	release()
	vaulttest.Must(t, 0, s.Close())
	path := s.path("alice")
	makeOld(t, path)
	s = newStore(t, s.dir, Options{IdleFor: time.Millisecond})
	v, release = vaulttest.Open(t, s, "alice")
	large, _ := hat.ParseEndpoint("a/large")
	vaulttest.Must(t, 0, v.EraseEndpoint(t.Context(), alice, large))
	if size := s.FileSize("alice"); size < 8<<20 {
		t.Fatalf("the old file shrank to %d by itself", size)
	}
	release()
	wait(t, "the file is compacted", func() bool { return s.FileSize("alice") < 2<<20 && s.OpenVaults() == 0 })
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it is %v, %v", info.Mode(), err)
	}
	v, release = vaulttest.Open(t, s, "alice")
	defer release()
	if !s.fileOf("alice").shrinks {
		t.Error("it can't give back free pages")
	}
	if r, err := v.Record(t.Context(), alice, kept[7].ID); err != nil || r.Data.JSON() != kept[7].Data.JSON() {
		t.Errorf("a record is %v", err)
	}
	if left := vaulttest.Parsed(filepath.Glob(filepath.Join(s.dir, "*"+unfinished+"*"))); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
	vaulttest.CheckHAT(t, v)
}

// Without room for the copy the file stays as it is. A caller who needs the vault meanwhile gets it. A log
// is never applied to another file.
func TestCompactingGivesWay(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{IdleFor: time.Millisecond, Spare: 1 << 60})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	stuff(t, v, alice, "a/large", 8, 1<<20)
	release()
	vaulttest.Must(t, 0, s.Close())
	path := s.path("alice")
	makeOld(t, path)
	isErr(t, compact(t.Context(), filepath.Join(t.TempDir(), "none"), "alice", 0), os.ErrNotExist)
	isErr(t, compact(t.Context(), path, "alice", 1<<60), errNoSpare)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	isErr(t, compact(ctx, path, "alice", 0), context.Canceled)
	if mode := autoVacuum(t, path); mode != 0 {
		t.Errorf("auto_vacuum is %d", mode)
	}
	// The failure is reported once, however often it is tried, and counted until it works.
	told := make(chan error, 10)
	s = newStore(t, s.dir, Options{IdleFor: time.Millisecond, Spare: 1 << 60, NotCompacted: func(id hat.ID, err error) {
		if id != "alice" {
			t.Errorf("told of %s", id)
		}
		told <- err
	}})
	for i := range 4 {
		_, release := vaulttest.Open(t, s, "alice")
		release()
		if i == 0 {
			isErr(t, <-told, errNoSpare)
		}
		wait(t, "it is closed", func() bool { return s.OpenVaults() == 0 })
	}
	if len(told) > 0 || s.Uncompacted() != 1 {
		t.Errorf("told %d times more, %d are counted", len(told), s.Uncompacted())
	}
	vaulttest.Must(t, 0, s.Close())
	s = newStore(t, s.dir, Options{IdleFor: time.Millisecond, NotCompacted: func(_ hat.ID, err error) { t.Error(err) }})
	for i := range 50 {
		v, release := vaulttest.Open(t, s, "alice")
		vaulttest.Must(t, 0, write(t, v, alice, fmt.Sprint(i)))
		release()
		// Some callers wait until the file is being closed or compacted.
		if i%5 == 0 {
			wait(t, "it is closed", func() bool { return s.OpenVaults() == 0 })
		}
	}
	v, release = vaulttest.Open(t, s, "alice")
	defer release()
	vaulttest.CheckHAT(t, v)
	if held, _, err := v.Storage(t.Context(), alice); err != nil || held.Records != 58 {
		t.Errorf("it holds %+v, %v", held, err)
	}
}

const compactUntilKilled = "SHE_TEST_COMPACT_UNTIL_KILLED"

// compactOnce prints a line when it begins, and compacts.
func compactOnce(path string) error {
	fmt.Println("begun")
	return compact(context.Background(), path, "alice", 0)
}

// If the process is killed while it compacts, the vault is complete.
func TestAKillWhileCompactingLeavesAWholeVault(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	stuff(t, v, alice, "a/large", 16, 1<<20)
	stuff(t, v, alice, "a/small", 100, 500)
	release()
	vaulttest.Must(t, 0, s.Close())
	path := s.path("alice")
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for i := range rounds {
		makeOld(t, path)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), compactUntilKilled+"="+path)
		out := vaulttest.Parsed(cmd.StdoutPipe())
		vaulttest.Must(t, 0, cmd.Start())
		_, _ = bufio.NewReader(out).ReadString('\n')
		kill := time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		s := newStore(t, s.dir, Options{})
		v, release := vaulttest.Open(t, s, "alice")
		vaulttest.CheckHAT(t, v)
		if held, _, err := v.Storage(t.Context(), alice); err != nil || held.Records != 116 {
			t.Fatalf("round %d: it holds %+v, %v", i, held, err)
		}
		vaulttest.Must(t, 0, write(t, v, alice, "0"))
		e, _ := hat.ParseEndpoint("rumpel/notes")
		vaulttest.Must(t, 0, v.EraseEndpoint(t.Context(), alice, e))
		release()
		vaulttest.Must(t, 0, s.Close())
		if left := vaulttest.Parsed(filepath.Glob(filepath.Join(s.dir, "*"+unfinished+"*"))); len(left) > 0 {
			t.Errorf("round %d: left is %v", i, left)
		}
	}
}

// If there is no room for an index, the vault works without it.
func TestNoRoomForAnIndex(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{MaxBytes: 1 << 20})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	f := s.fileOf("alice")
	var drafts []hat.Draft
	for i := range 1000 {
		drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"x":"%s%d"}`, strings.Repeat("x", 400), i)))
	}
	vaulttest.Append(t, v, alice, drafts)
	vaulttest.SortBy(t, v, alice, "b", "x")
	settle(t, f)
	if left := texts(t, f, "SELECT count(*) FROM fields WHERE built < behind")[0]; left != "1" {
		t.Errorf("%s fields are not built: there was room", left)
	}
	if got := len(allTexts(t, v, alice)); got != len(drafts) {
		t.Errorf("%d records", got)
	}
	vaulttest.CheckHAT(t, v)
}
