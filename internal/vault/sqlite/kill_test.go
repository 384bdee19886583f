package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// The test starts its own program as a process with this variable, and kills it. The process appends from
// several writers and prints the number of each record that was answered.
const appendUntilKilled = "SHE_TEST_APPEND_UNTIL_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(appendUntilKilled); dir != "" {
		if err := appendForEver(dir, os.Getenv("SHE_TEST_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	if path := os.Getenv(compactUntilKilled); path != "" {
		if err := compactOnce(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	leaksOrRun(m)
}

func appendForEver(dir, round string) error {
	s, err := NewStore(dir, Options{})
	if err != nil {
		return err
	}
	v, _, err := s.Open(context.Background(), "alice")
	if err != nil {
		return err
	}
	u, err := v.Owner(context.Background())
	if err != nil {
		return err
	}
	c := access.User(u.ID, u.Roles, access.TitleOwner)
	e, err := hat.ParseEndpoint("rumpel/notes")
	if err != nil {
		return err
	}
	failed := make(chan error)
	var out sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				text := fmt.Sprintf(`"%s-%d-%d"`, round, w, i)
				d, err := hat.ParseData([]byte(text))
				if err == nil {
					_, err = v.Append(context.Background(), c, []hat.Draft{{Endpoint: e, Data: d}}, false)
				}
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(text)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

// Everything that was answered is there after kill -9 at any moment, and the log has no gap.
func TestWhatWasAnsweredSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir, Options{})
	alice := vaulttest.Create(t, s, "alice")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	answered := map[string]bool{}
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), appendUntilKilled+"="+dir, fmt.Sprintf("SHE_TEST_ROUND=%d", round))
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := 20 + rand.IntN(200)
		lines := bufio.NewScanner(stdout)
		for n := 0; lines.Scan(); n++ {
			answered[lines.Text()] = true
			if n == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if cmd.Wait() == nil {
			t.Fatal("it was not killed")
		}
		if len(answered) < after {
			t.Fatalf("round %d ended after %d answers", round, len(answered))
		}

		s := newStore(t, dir, Options{})
		v, release := vaulttest.Open(t, s, "alice")
		vaulttest.CheckHAT(t, v)
		stored := map[string]bool{}
		for _, text := range allTexts(t, v, alice) {
			stored[text] = true
		}
		for text := range answered {
			if !stored[text] {
				t.Errorf("%s was answered and is lost", text)
			}
		}
		t.Logf("%d answered, %d stored", len(answered), len(stored))
		release()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func allTexts(t *testing.T, v *ledger.Vault, c access.Caller) (texts []string) {
	t.Helper()
	err := v.Read(t.Context(), c, func(src bundle.Source, _ hat.Seq) error {
		for r, err := range src.Scan(t.Context(), vaulttest.Note(t, `1`).Endpoint, bundle.Want{}).Records {
			if err != nil {
				return err
			}
			texts = append(texts, r.Data.JSON())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
