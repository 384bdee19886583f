package sqlite

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"she/internal/hat"
	"she/internal/vault/vaulttest"
)

func TestPlacesFollowTheMachine(t *testing.T) {
	for _, c := range []struct {
		what          string
		files, memory uint64
		want          int
	}{
		{"what a shell gives, much memory", 1024, 64 << 30, 102},
		{"a service's descriptors, 1 GB", 1 << 19, 1 << 30, 170},
		{"a service's descriptors, 24 GB", 1 << 19, 24 << 30, 4096},
		{"20000 descriptors, 24 GB", 20000, 24 << 30, 2000},
		{"next to nothing", 100, 1 << 20, 64},
	} {
		if got := places(c.files, c.memory); got != c.want {
			t.Errorf("%s: %d places, want %d", c.what, got, c.want)
		}
	}
	if n := MaxVaults(); n < minVaults || n > maxVaults {
		t.Errorf("%d places on this machine", n)
	}
}

// An unused vault is closed after a while, and a recently used one stays open.
func TestAnIdleVaultIsClosed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, dir, Options{MaxOpen: 10, IdleFor: time.Minute})
		for i := range 3 {
			vaulttest.Create(t, s, hat.ID(fmt.Sprint(i)))
		}
		opened := func() int {
			synctest.Wait()
			return s.OpenVaults()
		}
		_, kept := vaulttest.Open(t, s, "0")
		_, release := vaulttest.Open(t, s, "1")
		release()
		time.Sleep(40 * time.Second)
		_, release = vaulttest.Open(t, s, "2")
		release()
		time.Sleep(19 * time.Second)
		if n := opened(); n != 3 {
			t.Errorf("%d vaults are open before their time, want 3", n)
		}
		time.Sleep(time.Second)
		if n := opened(); n != 2 {
			t.Errorf("%d vaults are open when one was idle for a minute, want 2", n)
		}
		time.Sleep(40 * time.Second)
		if n := opened(); n != 1 {
			t.Errorf("%d vaults are open when one is in use, want 1", n)
		}
		kept()
		time.Sleep(time.Minute)
		if n := opened(); n != 0 {
			t.Errorf("%d vaults are open and nobody uses one", n)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 3 {
			t.Errorf("what is left of three idle vaults: %v, %v", left, err)
		}
	})
}
