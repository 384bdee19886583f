package sandboxtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

// Copies runs what a mechanism that copies must pass besides.
func Copies(t *testing.T, open func(t *testing.T) sandbox.Copier) {
	s := &suite{dir: build(t), file: "bootstrap"}
	m := open(t)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	image := filepath.Join(t.TempDir(), "image")
	p := s.program("INIT=leave")
	if r, err := m.Checkpoint(t.Context(), p, nil, image); err != nil {
		t.Fatalf("%v\n%s", err, r.Log)
	}
	// The suite of single instances holds for copies too.
	own := *s
	own.m = copier{m, image, p}
	t.Run("Answers", func(t *testing.T) { answers(t, &own) })
	t.Run("Surroundings", func(t *testing.T) { surroundings(t, &own) })
	t.Run("RuntimeAPI", func(t *testing.T) { runtimeAPI(t, &own) })
	t.Run("Limits", func(t *testing.T) { copyLimits(t, &own) })
	t.Run("Log", func(t *testing.T) {
		r, err := own.run(t, p, event{Do: "flood", Mark: "of it", Bytes: 1 << 20}, ample)
		if err != nil || strings.Contains(string(r.Log), "INIT") || !strings.HasPrefix(string(r.Log), "the head of it\n") {
			t.Errorf("the log of a copy begins with %.40q, %v", r.Log, err)
		}
	})
	t.Run("WhatINITLeft", func(t *testing.T) {
		got := answer[map[string]string](t, &own, event{Do: "read", Paths: []string{"/tmp/init"}})
		if got["/tmp/init"] != "left in INIT" {
			t.Errorf("a copy lacks what INIT wrote to /tmp: %v", got)
		}
	})
	t.Run("Clock", func(t *testing.T) {
		one := answer[map[string]string](t, &own, event{Do: "self"})
		now, err := time.Parse(time.RFC3339Nano, one["time"])
		if off := time.Since(now); err != nil || off < -time.Second || off > 5*time.Second {
			t.Errorf("the clock of a copy is off by %s (%v)", off, err)
		}
	})
	t.Run("Rehearsal", func(t *testing.T) { rehearsal(t, s, m) })
	t.Run("FailedINIT", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "image")
		_, err := m.Checkpoint(t.Context(), s.program("INIT=exit"), nil, dir)
		wantFailure(t, err, sandbox.Author, sandbox.ExitError)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("an image of a failed INIT is left: %v", err)
		}
	})
	t.Run("BrokenImage", func(t *testing.T) {
		dir := t.TempDir()
		entries, err := os.ReadDir(image)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(image, e.Name()))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, e.Name()), b[:len(b)/2], 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if i, err := m.Restore(t.Context(), p, dir); err == nil {
			i.Close()
			t.Error("half an image could be restored")
		}
	})
}

// copyLimits tries the limits that a copy does not inherit by itself.
func copyLimits(t *testing.T, s *suite) {
	got := answer[map[string]any](t, s, event{Do: "fill"})
	if n, _ := got["bytes"].(float64); n < 15<<20 || n > 16<<20 {
		t.Errorf("/tmp of a copy took %v", got)
	}
	got = answer[map[string]any](t, s, event{Do: "files"})
	if n, _ := got["open"].(float64); n < 64 || n > 128 {
		t.Errorf("a copy could open %v files", got)
	}
	_, err := s.run(t, s.program(), event{Do: "eat"}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.OutOfMemory)
	_, err = s.run(t, s.program(), event{Do: "sleep", Millis: 60_000}, time.Second)
	wantFailure(t, err, sandbox.Author, sandbox.Timedout)
	_, err = s.run(t, s.program(), event{Do: "size", Bytes: sandbox.MaxAnswer + 1}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.ResponseSizeTooLarge)
}

// rehearsal checks that rehearsals happen before the image is made, and in an instance before its event, and that
// their answers, what they print and their failure don't matter.
func rehearsal(t *testing.T, s *suite, m sandbox.Copier) {
	for _, verb := range []string{"count", "count then fail"} {
		dir := filepath.Join(t.TempDir(), "image")
		body, err := json.Marshal(event{Do: verb})
		if err != nil {
			t.Fatal(err)
		}
		p := s.program("LOOP=1")
		c := sandbox.Call{ID: uuid.NewString(), Deadline: time.Now().Add(ample), Event: body}
		if r, err := m.Checkpoint(t.Context(), p, []sandbox.Call{c}, dir); err != nil {
			t.Fatalf("%v\n%s", err, r.Log)
		}
		own := *s
		own.m = copier{m, dir, p}
		first := answer[int](t, &own, event{Do: "count"})
		if again := answer[int](t, &own, event{Do: "count"}); first < 2 || again != first {
			t.Errorf("after rehearsals with %q the first event of a copy is number %d, of another one %d", verb, first, again)
		}
		own.m = rehearser{copier{m, dir, p}, p, c}
		if n := answer[int](t, &own, event{Do: "count"}); n != first+1 {
			t.Errorf("after one more with %q it is number %d, want %d", verb, n, first+1)
		}
		own.m = rehearser{m, p, c}
		if n := answer[int](t, &own, event{Do: "count"}); n != 2 {
			t.Errorf("after a rehearsal with %q the first event of an instance is number %d", verb, n)
		}
	}
}

// rehearser is a mechanism whose instances have rehearsed.
type rehearser struct {
	sandbox.Mechanism
	p    sandbox.Program
	call sandbox.Call
}

func (r rehearser) Start(ctx context.Context, _ sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	i, result, err := r.Mechanism.Start(ctx, r.p)
	if err != nil {
		return nil, result, err
	}
	if err := i.(sandbox.Rehearser).Rehearse(ctx, r.call); err != nil {
		return nil, result, errors.Join(err, i.Close())
	}
	return i, result, nil
}

// copier is a mechanism whose instances are all copies of one.
type copier struct {
	sandbox.Copier
	image string
	p     sandbox.Program
}

func (c copier) Start(ctx context.Context, _ sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	i, err := c.Restore(ctx, c.p, c.image)
	return i, sandbox.Result{}, err
}
