// Package seal proves the walls on the machine it runs on. It lets a hostile function try every channel we know, in a
// sandbox and in a copy of one, with an observer on the other side: somebody who listens, another process, a second
// tenant at the same time, the next invocation, a search through what is left on disk.
//
// A proof must be able to fail. So each attempt is also made without the walls, by the same program as a plain process
// of this machine (one process for all invocations, where the walls are that there is a fresh one for each). An attempt
// that gets nowhere even then proves nothing here, and is counted as that: not provable, not blocked.
//
// Attempts aim at observers of this package's own making and at nothing else; those outside of the walls change
// nothing that outlives them. What is not tried here, because it is held in other packages, docs/threat-model.md lists.
package seal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"she/internal/sandbox"
	"she/internal/verdict"
)

// The words are those of the verdict.
type (
	Probe   = verdict.Probe
	Outcome = verdict.Outcome
	Finding = verdict.Finding
)

const (
	Blocked    = verdict.Blocked
	Open       = verdict.Open
	Unprovable = verdict.Unprovable
	Broken     = verdict.Broken
)

// Config says what to prove.
type Config struct {
	Walls   sandbox.Mechanism // of its own: nobody else may start sandboxes with it meanwhile
	Program string            // she-probe, a static executable
	Dir     string            // a directory of our own for packages and observers; it is emptied
	Search  []string          // where sandboxes keep what they need on the host: it is searched for what they left
	Only    func(name string) bool
	Step    func(done, of int) // told before each trial, and at the end; may be nil
}

// channels, in the order of the report.
var channels = []func() []trial{outward, toTheNext, beside, aroundTheWalls, share}

// A trial makes attempts that share observers.
type trial struct {
	channel, observer string
	probes            [][2]string // name, what it tries
	try               func(ctx context.Context, p *place) (evidence map[string]string, err error)
	reuse             bool // without walls, one process takes all invocations
	coldOnly          bool // it is about INIT, which a copy has behind it
}

// Probes lists what Run tries.
func Probes() (all []Probe) {
	for _, c := range channels {
		for _, t := range c() {
			all = append(all, t.list()...)
		}
	}
	return all
}

func (t trial) list() (all []Probe) {
	for _, p := range t.probes {
		all = append(all, Probe{Name: p[0], Channel: t.channel, Tries: p[1], Observer: t.observer})
	}
	return all
}

// Run tries everything and reports each Probe. The error is of the suite itself: a directory it can't write, a ctx
// that ended.
func Run(ctx context.Context, c Config) ([]Finding, error) {
	var trials []trial
	for _, list := range channels {
		for _, t := range list() {
			if c.Only == nil || anyOf(t.probes, c.Only) {
				trials = append(trials, t)
			}
		}
	}
	if err := errors.Join(os.RemoveAll(c.Dir), os.MkdirAll(c.Dir, 0o755), os.Chmod(c.Dir, 0o755)); err != nil {
		return nil, err
	}
	s := &suite{Config: c}
	if copier, ok := c.Walls.(sandbox.Copier); ok {
		s.copies = &copies{Copier: copier, dir: filepath.Join(c.Dir, "images"), images: map[string]string{}}
	}
	step := c.Step
	if step == nil {
		step = func(int, int) {}
	}
	var all []Finding
	for i, t := range trials {
		step(i, len(trials))
		found := s.judge(ctx, t)
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		all = append(all, found...)
	}
	step(len(trials), len(trials))
	return all, os.RemoveAll(c.Dir)
}

func anyOf(probes [][2]string, only func(string) bool) bool {
	for _, p := range probes {
		if only(p[0]) {
			return true
		}
	}
	return false
}

type suite struct {
	Config
	places int
	copies *copies // nil if the mechanism makes none
}

// judge makes one trial without the walls, within them, and in a copy.
func (s *suite) judge(ctx context.Context, t trial) (all []Finding) {
	without, controlErr := s.tryIn(ctx, t, &bare{reuse: t.reuse}, false)
	within, err := s.tryIn(ctx, t, shared{s.Walls}, true)
	if s.copies != nil && err == nil && !t.coldOnly {
		copied, copyErr := s.tryIn(ctx, t, s.copies, true)
		for name, evidence := range copied {
			if within[name] == "" && evidence != "" {
				within[name] = "in a copy: " + evidence
			}
		}
		if copyErr != nil {
			err = fmt.Errorf("in a copy: %w", copyErr)
		}
	}
	for _, p := range t.list() {
		f := Finding{Probe: p, Outcome: Blocked}
		switch {
		case within[p.Name] != "":
			f.Outcome, f.Evidence = Open, within[p.Name]
		case err != nil:
			f.Outcome, f.Evidence = Broken, err.Error()
		case controlErr != nil:
			f.Outcome, f.Evidence = Unprovable, "it could not be tried without walls: "+controlErr.Error()
		case without[p.Name] == "":
			f.Outcome, f.Evidence = Unprovable, "it gets nowhere on this machine even without walls"
		}
		all = append(all, f)
	}
	return all
}

func (s *suite) tryIn(ctx context.Context, t trial, m sandbox.Mechanism, walls bool) (_ map[string]string, err error) {
	s.places++
	p, err := s.newPlace(m, walls)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close(), os.RemoveAll(p.root)) }()
	evidence, err := t.try(ctx, p)
	if evidence == nil {
		evidence = map[string]string{}
	}
	return evidence, err
}

// shared is a mechanism that goes on after a trial.
type shared struct{ sandbox.Mechanism }

func (shared) Close() error { return nil }

// copies is a mechanism whose instances are restored from an image, one for each program.
type copies struct {
	sandbox.Copier
	dir    string
	images map[string]string
}

func (c *copies) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	key := fmt.Sprint(p)
	image, ok := c.images[key]
	if !ok {
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			return nil, sandbox.Result{}, err
		}
		image = filepath.Join(c.dir, fmt.Sprint(len(c.images)))
		if r, err := c.Checkpoint(ctx, p, nil, image); err != nil {
			return nil, r, err
		}
		c.images[key] = image
	}
	i, err := c.Restore(ctx, p, image)
	return i, sandbox.Result{}, err
}

// Close keeps the images for the next trial; they go with the suite's directory.
func (c *copies) Close() error { return nil }

// newMark is a word that is nowhere else.
func newMark() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return "shemark" + hex.EncodeToString(b[:])
}

// search looks for the mark in every file below the directories that has changed since, and says where it is.
func search(mark string, since time.Time, dirs ...string) (found []string) {
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // gone meanwhile, or nothing that holds bytes
			}
			if info, err := d.Info(); err != nil || info.Size() > 1<<30 || info.ModTime().Before(since.Add(-time.Second)) {
				return nil
			}
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), mark) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}
