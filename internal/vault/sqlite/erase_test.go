package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// A large erasure never makes the log large and has a receipt for each piece. If the server stops in the
// middle, the next start finishes it.
func TestALargeErasureIsDoneInPieces(t *testing.T) {
	for _, byID := range []bool{false, true} {
		t.Run(fmt.Sprint("by id ", byID), func(t *testing.T) {
			var s *Store
			pieces, stopAfter, largest := 0, 0, int64(0)
			s = newStore(t, t.TempDir(), Options{AtCommit: func(ops []string, persisted bool) error {
				if (slices.Contains(ops, "erase") || slices.Contains(ops, "upkeep")) && persisted { // upkeep erases pieces too
					info, err := os.Stat(s.path("alice") + "-wal")
					if err != nil {
						return err
					}
					if pieces += len(ops); pieces > len(ops) { // before the first piece, the log still has what was written
						largest = max(largest, info.Size())
					}
					if stopAfter > 0 && pieces >= stopAfter {
						return errors.New("the server stops")
					}
				}
				return nil
			}})
			alice := vaulttest.Create(t, s, "alice")
			v, release := vaulttest.Open(t, s, "alice")
			records := stuff(t, v, alice, "a/large", 40, 400<<10)
			stuff(t, v, alice, "a/kept", 3, 4000)
			erase := func() error {
				if !byID {
					return v.EraseEndpoint(t.Context(), alice, records[0].Endpoint)
				}
				var ids []hat.RecordID
				for _, r := range records {
					ids = append(ids, r.ID)
				}
				return v.Erase(t.Context(), alice, ids)
			}
			stopAfter = 4
			if err := erase(); err == nil {
				t.Fatal("it did not stop")
			}
			release()
			stopAfter = 0
			v, release = vaulttest.Open(t, s, "alice")
			defer release()
			count := func() int64 {
				held, _, err := v.Storage(t.Context(), alice)
				vaulttest.Must(t, 0, err)
				return held.Records
			}
			wait(t, "the rest is erased", func() bool { return count() == 3 })
			if pieces < 10 || largest > 6<<20 {
				t.Errorf("16 MB were erased in %d pieces, with up to %d bytes of log", pieces, largest)
			}
			vaulttest.CheckHAT(t, v)
			if r := vaulttest.Parsed(v.Append(t.Context(), alice, []hat.Draft{vaulttest.Note(t, `"later"`)}, false)); len(r) != 1 {
				t.Error("nothing can be written")
			}
		})
	}
}

// smallDisk mounts an empty file system of that many megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skip("no small disk can be mounted here:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// On a full disk erasing works, even after a restart, and frees room. Meanwhile writes that need room are
// refused, whoever makes them.
func TestErasingOnAFullDisk(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("after a restart ", restart), func(t *testing.T) {
			dir := smallDisk(t, 48)
			o := Options{Reserve: 64 << 20}
			s := newStore(t, dir, o)
			alice, bob := vaulttest.Create(t, s, "alice"), vaulttest.Create(t, s, "bob")
			v, release := vaulttest.Open(t, s, "alice")
			other, releaseOther := vaulttest.Open(t, s, "bob")
			e, _ := hat.ParseEndpoint("a/large")
			var err error
			for i := 0; err == nil && i < 1000; i++ {
				d := vaulttest.Data(t, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 300<<10)))
				_, err = v.Append(t.Context(), alice, []hat.Draft{{Endpoint: e, Data: d}}, false)
			}
			if !errors.Is(err, vault.ErrFull) {
				t.Fatal("the disk is not full:", err)
			}
			// Another program takes the rest of the disk.
			filler := vaulttest.Parsed(os.Create(filepath.Join(dir, "filler")))
			for err = nil; err == nil; {
				_, err = filler.Write(make([]byte, 4096))
			}
			vaulttest.Must(t, 0, filler.Close())
			if restart {
				release()
				releaseOther()
				vaulttest.Must(t, 0, s.Close())
				s = newStore(t, dir, o)
				v, release = vaulttest.Open(t, s, "alice")
				other, releaseOther = vaulttest.Open(t, s, "bob")
			}
			defer release()
			defer releaseOther()
			if err := write(t, other, bob, strings.Repeat("1", 100)); !errors.Is(err, vault.ErrFull) && err != nil {
				t.Errorf("another's write: %v", err)
			}
			if err := v.EraseEndpoint(t.Context(), alice, e); err != nil {
				t.Fatalf("erasing on a full disk: %v", err)
			}
			if held, _, err := v.Storage(t.Context(), alice); err != nil || held.Records != 0 {
				t.Errorf("it holds %+v, %v", held, err)
			}
			vaulttest.CheckHAT(t, v)
			wait(t, "there is room, and a reserve", func() bool { return !s.reserve.givenUp() })
			vaulttest.Must(t, 0, write(t, other, bob, `"later"`))
			vaulttest.CheckHAT(t, other)
		})
	}
}

// many stores n small records at once.
func many(t testing.TB, v *ledger.Vault, c access.Caller, endpoint string, n int) []hat.Record {
	t.Helper()
	drafts := make([]hat.Draft, n)
	for i := range drafts {
		drafts[i] = hat.Draft{Endpoint: vaulttest.Parsed(hat.ParseEndpoint(endpoint)), Data: vaulttest.Data(t, fmt.Sprintf(`{"n":%d}`, i))}
	}
	return vaulttest.Parsed(v.Append(t.Context(), c, drafts, false))
}

// linked makes groups of the records; a group lists the index of each member.
func linked(t testing.TB, s *Store, all []hat.Record, groups ...[]int) {
	t.Helper()
	vaulttest.Must(t, 0, s.fileOf("alice").Write(t.Context(), "link", func(tx ledger.Tx) error {
		for _, group := range groups {
			var n int64
			if err := tx.Get(t.Context(), "INSERT INTO groups DEFAULT VALUES RETURNING n", nil, &n); err != nil {
				return err
			}
			for _, i := range group {
				if _, err := tx.Exec(t.Context(), "INSERT INTO members (grp, record) VALUES (?, ?)", n, int64(all[i].Born)); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// groups returns the numbers of groups and of their members.
func groups(t testing.TB, s *Store) string {
	t.Helper()
	var groups, members int
	vaulttest.Must(t, 0, s.fileOf("alice").Read(t.Context(), func(c ledger.Reader) error {
		return c.Get(t.Context(), "SELECT (SELECT count(*) FROM groups), (SELECT count(*) FROM members)", nil, &groups, &members)
	}))
	return fmt.Sprintf("%d groups, %d members", groups, members)
}

// A record in very many groups is removed from them in pieces before it is erased. After a stop, the next
// start does the rest.
func TestARecordOfManyGroupsIsErasedInPieces(t *testing.T) {
	for _, byID := range []bool{false, true} {
		t.Run(fmt.Sprint("by id ", byID), func(t *testing.T) {
			var pieces atomic.Int64
			s := newStore(t, t.TempDir(), Options{AtCommit: func(ops []string, persisted bool) error {
				if (slices.Contains(ops, "erase") || slices.Contains(ops, "upkeep")) && persisted && pieces.Add(1) == 2 {
					return errors.New("the server stops")
				}
				return nil
			}})
			alice := vaulttest.Create(t, s, "alice")
			v, release := vaulttest.Open(t, s, "alice")
			const spokes = 15_001
			hub := many(t, v, alice, "a/hub", 1)
			pairs := make([][]int, spokes)
			for i := range pairs {
				pairs[i] = []int{0, i + 1}
			}
			linked(t, s, append(hub, many(t, v, alice, "a/spoke", spokes)...), pairs...)
			erase := func() error { return v.EraseEndpoint(t.Context(), alice, vaulttest.Parsed(hat.ParseEndpoint("a/hub"))) }
			if byID {
				erase = func() error { return v.Erase(t.Context(), alice, []hat.RecordID{hub[0].ID}) }
			}
			if err := erase(); err == nil {
				t.Fatal("it did not stop")
			}
			release()
			v, release = vaulttest.Open(t, s, "alice")
			defer release()
			wait(t, "the rest is erased", func() bool {
				held, _, err := v.Storage(t.Context(), alice)
				vaulttest.Must(t, 0, err)
				return held.Records == spokes
			})
			if n := pieces.Load(); n < 4 {
				t.Errorf("%d groups went in %d pieces", spokes, n)
			}
			if left := groups(t, s); left != "0 groups, 0 members" {
				t.Errorf("%s are left", left)
			}
			vaulttest.CheckHAT(t, v)
		})
	}
}

// A group exists as long as it has two records.
func TestErasingMembersOfAGroup(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, release := vaulttest.Open(t, s, "alice")
	defer release()
	all := stuff(t, v, alice, "a/x", 4, 10)
	ids := make([]hat.RecordID, len(all))
	for i, r := range all {
		ids[i] = r.ID
	}
	vaulttest.Must(t, 0, v.Link(t.Context(), alice, ids))
	vaulttest.Must(t, 0, v.Link(t.Context(), alice, ids[:2]))
	for i, want := range []string{"2 groups, 6 members", "1 groups, 3 members", "1 groups, 2 members", "0 groups, 0 members"} {
		if i > 0 {
			vaulttest.Must(t, 0, v.Erase(t.Context(), alice, ids[i-1:i]))
		}
		if got := groups(t, s); got != want {
			t.Errorf("after %d erasures: %s, want %s", i, got, want)
		}
	}
}
