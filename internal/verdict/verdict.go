// Package verdict is the result of a test of the sandboxes: how it is stored in the data directory, read
// again, and found to be out of date. The test itself is package sandbox/prove.
package verdict

import (
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

	"she/internal/durable"
)

// File holds the last verdict, in the data directory: a Verdict without Stale.
const File = "seal.json"

// A Verdict is the result of a test: each attempt of hostile code, and whether it succeeded.
type Verdict struct {
	Text      string            `json:"text"`            // "63 of 63 probes blocked, 2026-11-23"
	Stale     string            `json:"stale,omitempty"` // why it does not hold for the machine in its present state
	At        time.Time         `json:"at"`
	Blocked   int               `json:"blocked"`
	Provable  int               `json:"provable"`  // probes that succeed without a sandbox
	Mechanism string            `json:"mechanism"` // the mechanisms tested: "gvisor, wasm"
	Versions  map[string]string `json:"versions"`  // version of the kernel, digests of the programs
	Probes    []Finding         `json:"probes"`
}

// A Probe is one attempt, with a stable name.
type Probe struct {
	Name     string `json:"name"`
	Channel  string `json:"channel"`  // out, next, beside, host, share, worker
	Tries    string `json:"tries"`    // what the function does
	Observer string `json:"observer"` // who would notice a success
}

// Outcome is the result of a Probe.
type Outcome string

const (
	Blocked    Outcome = "blocked"      // it works without a sandbox, and not inside one
	Open       Outcome = "open"         // it works inside a sandbox; Evidence says what the observer saw
	Unprovable Outcome = "not provable" // it does not work on this machine even without a sandbox
	Broken     Outcome = "broken"       // it could not be tried
)

// A Finding is the Outcome of one Probe.
type Finding struct {
	Probe
	Outcome  Outcome `json:"outcome"`
	Evidence string  `json:"evidence,omitempty"`
}

// ErrNone says that there is no verdict yet.
var ErrNone = errors.New("the sandboxes were not tested on this machine")

// Programs are the files that a verdict is about, by name; "" for a missing one.
type Programs map[string][]string

// On counts findings and describes the result.
func On(findings []Finding, now time.Time) Verdict {
	v := Verdict{At: now.UTC().Truncate(time.Second), Probes: findings}
	for _, p := range findings {
		switch p.Outcome {
		case Unprovable:
			continue
		case Blocked:
			v.Blocked++
		}
		v.Provable++
	}
	v.Text = fmt.Sprintf("%d of %d probes blocked, %s", v.Blocked, v.Provable, v.At.Format(time.DateOnly))
	if n := len(findings) - v.Provable; n > 0 {
		v.Text += fmt.Sprintf("; %d more can't be proved here", n)
	}
	return v
}

// Err returns an error if a probe succeeded or could not be tried.
func (v Verdict) Err() error {
	if v.Blocked == v.Provable {
		return nil
	}
	return fmt.Errorf("%d probes got out of the sandbox or could not be tried", v.Provable-v.Blocked)
}

// Keep stores the verdict durably in place of the former one.
func Keep(data string, v Verdict) error {
	return durable.Write(filepath.Join(data, File), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(v)
	})
}

// Reader returns a function that reads the stored verdict, and says if something has changed since. It hashes
// programs again only if their files have changed. ErrNone.
func Reader(data string, programs func() (Programs, error)) func() (Verdict, error) {
	d := &digests{known: map[string]digest{}}
	return func() (verdict Verdict, err error) {
		if data == "" {
			return verdict, ErrNone
		}
		b, err := os.ReadFile(filepath.Join(data, File))
		if errors.Is(err, fs.ErrNotExist) {
			return verdict, ErrNone
		}
		if err == nil {
			err = json.Unmarshal(b, &verdict)
		}
		if err != nil {
			return verdict, fmt.Errorf("read the verdict on the sandboxes: %w", err)
		}
		p, err := programs()
		if err != nil {
			return verdict, err
		}
		now, err := versions(d, p)
		if err != nil {
			return verdict, err
		}
		verdict.Stale = stale(verdict.Versions, now)
		return verdict, nil
	}
}

// stale says what has changed since a test; "" if nothing has. A machine without she-wasm runs no modules.
func stale(tested, now map[string]string) string {
	for _, what := range []string{"kernel", "runsc", "she-init", "she-probe", "she-wasm"} {
		if tested[what] != now[what] || tested[what] == "" && what != "she-wasm" {
			return what + " is not the one that was tested"
		}
	}
	return ""
}

// Versions returns what a verdict depends on: the kernel's version, and the digests of the programs.
func Versions(p Programs) (map[string]string, error) {
	return versions(&digests{known: map[string]digest{}}, p)
}

func versions(d *digests, p Programs) (map[string]string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	versions := map[string]string{"kernel": unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Version[:])}
	for what, paths := range p {
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

// digests caches the SHA-256 of files while they look unchanged.
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
