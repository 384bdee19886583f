package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/httpapi"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/seal"
)

// sealFile holds the last verdict, in the data directory: an httpapi.Seal without Stale.
const sealFile = "seal.json"

// testSeal proves the walls here and keeps the verdict, durably, before it returns.
func testSeal(ctx context.Context, data string, progressTo io.Writer) (verdict httpapi.Seal, err error) {
	if os.Geteuid() != 0 {
		return verdict, errors.New("the walls can be tested only as root: the test makes real sandboxes")
	}
	h, err := findHelpers()
	if err != nil {
		return verdict, err
	}
	if _, err := os.Stat(h.probe); err != nil {
		return verdict, errors.New("she-probe, the hostile program, is not beside she: run make build")
	}
	versions, err := sealVersions(&digests{known: map[string]digest{}})
	if err != nil {
		return verdict, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return verdict, err
	}
	// Where anyone may walk, as one observer is a user without rights. The sandboxes' own state is where the server's is.
	dir, err := os.MkdirTemp("", "she-seal-")
	if err != nil {
		return verdict, err
	}
	state := filepath.Join(data, "run", "seal")
	walls, err := gvisor.New(gvisor.Config{Runsc: h.runsc, Init: h.init, State: state, Files: gvisor.Files})
	if err != nil {
		return verdict, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, walls.Close(), os.RemoveAll(state), os.RemoveAll(dir)) }()
	if err := walls.Sweep(ctx); err != nil {
		return verdict, err
	}
	var p *progress
	findings, err := seal.Run(ctx, seal.Config{Walls: walls, Program: h.probe, Dir: dir, Search: []string{state, "/run"}, Step: func(done, of int) {
		if p == nil {
			p = newProgress(progressTo, "trying the walls", of)
			return
		}
		p.step()
	}})
	if p != nil {
		p.done()
	}
	if err != nil {
		return verdict, err
	}
	probes := make([]httpapi.SealProbe, len(findings))
	for i, f := range findings {
		probes[i] = sealProbe(f)
	}
	mechanisms := "gvisor"
	if h.wasm != "" {
		of, err := sealWorkers(ctx, h.wasm, filepath.Join(data, "run", "seal-wasm"))
		if err != nil {
			return verdict, err
		}
		probes, mechanisms = append(probes, of...), "gvisor, wasm"
	}
	verdict = verdictOn(probes, time.Now())
	verdict.Mechanism, verdict.Versions = mechanisms, versions
	return verdict, keep(filepath.Join(data, sealFile), verdict)
}

func sealProbe(f seal.Finding) httpapi.SealProbe {
	return httpapi.SealProbe{Name: f.Name, Channel: f.Channel, Tries: f.Tries, Observer: f.Observer, Outcome: string(f.Outcome), Evidence: f.Evidence}
}

// verdictOn counts probes, and puts it in words.
func verdictOn(probes []httpapi.SealProbe, now time.Time) httpapi.Seal {
	v := httpapi.Seal{At: now.UTC().Truncate(time.Second), Probes: probes}
	for _, p := range probes {
		switch seal.Outcome(p.Outcome) {
		case seal.Unprovable:
			continue
		case seal.Blocked:
			v.Blocked++
		}
		v.Provable++
	}
	v.Text = fmt.Sprintf("%d of %d probes blocked, %s", v.Blocked, v.Provable, v.At.Format(time.DateOnly))
	if n := len(probes) - v.Provable; n > 0 {
		v.Text += fmt.Sprintf("; %d more can't be proved here", n)
	}
	return v
}

// keep writes v so that either the old or the new file is there whatever happens, and the new one once it returns.
func keep(file string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), sealFile+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readSeal gives the last verdict, and why it no longer counts if something has changed since.
func readSeal(data string) (httpapi.Seal, error) { return sealReader(data)() }

// sealReader reads the verdict of a data directory. Programs are read again only when they have changed.
func sealReader(data string) func() (httpapi.Seal, error) {
	d := &digests{known: map[string]digest{}}
	return func() (verdict httpapi.Seal, err error) {
		if data == "" {
			return verdict, httpapi.ErrNoSeal
		}
		b, err := os.ReadFile(filepath.Join(data, sealFile))
		if errors.Is(err, fs.ErrNotExist) {
			return verdict, httpapi.ErrNoSeal
		}
		if err == nil {
			err = json.Unmarshal(b, &verdict)
		}
		if err != nil {
			return verdict, fmt.Errorf("read the verdict on the walls: %w", err)
		}
		now, err := sealVersions(d)
		if err != nil {
			return verdict, err
		}
		verdict.Stale = stale(verdict.Versions, now)
		return verdict, nil
	}
}

// stale says what has changed since a test; empty if nothing has. A machine without she-wasm runs no modules.
func stale(tested, now map[string]string) string {
	for _, what := range []string{"kernel", "runsc", "she-init", "she-probe", "she-wasm"} {
		if tested[what] != now[what] || tested[what] == "" && what != "she-wasm" {
			return what + " is not the one that was tested"
		}
	}
	return ""
}

// sealVersions are what a verdict is about: the kernel, and the programs by digest.
func sealVersions(d *digests) (map[string]string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	h, err := findHelpers()
	if err != nil {
		return nil, err
	}
	versions := map[string]string{"kernel": unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Version[:])}
	for what, paths := range map[string][]string{"runsc": {h.runsc, gvisor.Companion(h.runsc)}, "she-init": {h.init}, "she-probe": {h.probe}, "she-wasm": {h.wasm}} {
		for _, path := range paths {
			sum, err := d.of(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			versions[what] += sum
		}
	}
	return versions, nil
}

// digests remembers the SHA-256 of files for as long as they look the same.
type digests struct {
	mu    sync.Mutex
	known map[string]digest
}

type digest struct {
	size int64
	at   time.Time
	sum  string
}

func (d *digests) of(path string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if k, ok := d.known[path]; ok && k.size == info.Size() && k.at.Equal(info.ModTime()) {
		return k.sum, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	k := digest{info.Size(), info.ModTime(), hex.EncodeToString(sum.Sum(nil))}
	d.known[path] = k
	return k.sum, nil
}
