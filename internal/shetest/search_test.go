package shetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/shetest"
)

// FindOutsideVaults, with which every story ends, finds a word in files written meanwhile, whatever age a
// file claims.
func TestFindOutsideVaults(t *testing.T) {
	word := shetest.Canary()
	tmp, data, own := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s := &shetest.Server{Data: data, Temp: own}
	began := time.Now()
	for _, c := range []struct {
		file  string
		since time.Time
		found bool
	}{
		{filepath.Join(data, "vaults", "one.vault"), began, false},
		{filepath.Join(tmp, "excepted"), began, false},
		{filepath.Join(tmp, "earlier"), began.Add(time.Hour), false},
		{filepath.Join(tmp, "below", "left"), began, true},
		{filepath.Join(data, "run", "left"), began, true},
		{filepath.Join(own, "below", "left"), began, true},
	} {
		err := os.MkdirAll(filepath.Dir(c.file), 0o700)
		if err == nil {
			err = os.WriteFile(c.file, []byte("before "+word+" after"), 0o600)
		}
		if err == nil {
			err = os.Chtimes(c.file, began, began.Add(-24*time.Hour))
		}
		if err != nil {
			t.Fatal(err)
		}
		err = s.FindOutsideVaults(word, c.since, filepath.Join(tmp, "excepted"))
		if found := err != nil && strings.Contains(err.Error(), c.file); found != c.found {
			t.Errorf("%s is found: %t, want %t: %v", c.file, found, c.found, err)
		}
		if err := os.Remove(c.file); err != nil {
			t.Fatal(err)
		}
	}
}
