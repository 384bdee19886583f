// Package verdict is what a test of the walls found on this machine: how it is kept in the data directory, read again, and known
// to be out of date. The test itself is package sandbox/prove.
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

// A Verdict is what a test of the walls found: each thing hostile code tried, and whether it got through.
type Verdict struct {
	Text      string            `json:"text"`            // "63 of 63 probes blocked, 2026-11-23"
	Stale     string            `json:"stale,omitempty"` // why it says nothing about the machine as it is now
	At        time.Time         `json:"at"`
	Blocked   int               `json:"blocked"`
	Provable  int               `json:"provable"`  // those that succeed here without the walls
	Mechanism string            `json:"mechanism"` // those that were tested: "gvisor, wasm"
	Versions  map[string]string `json:"versions"`  // of the kernel, and digests of the programs
	Probes    []Finding         `json:"probes"`
}

// A Probe is one attempt, by its stable name.
type Probe struct {
	Name     string `json:"name"`
	Channel  string `json:"channel"`  // out, next, beside, host, share, worker
	Tries    string `json:"tries"`    // what the function does
	Observer string `json:"observer"` // who would notice that it worked
}

// Outcome says how a Probe ended.
type Outcome string

const (
	Blocked    Outcome = "blocked"      // it works without the walls, and not with them
	Open       Outcome = "open"         // it works with the walls: Evidence says what the observer saw
	Unprovable Outcome = "not provable" // it does not work on this machine even without walls
	Broken     Outcome = "broken"       // it could not be tried
)

// A Finding is the Outcome of one Probe.
type Finding struct {
	Probe
	Outcome  Outcome `json:"outcome"`
	Evidence string  `json:"evidence,omitempty"`
}

// ErrNone says that the walls were not tested here yet.
var ErrNone = errors.New("the walls were not tested on this machine")

// Programs are what a verdict is about besides the kernel, by name: paths of files, "" for one that is not there.
type Programs map[string][]string

// On counts findings, and puts it in words.
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

// Err says that something came through the walls, or could not be tried.
func (v Verdict) Err() error {
	if v.Blocked == v.Provable {
		return nil
	}
	return fmt.Errorf("%d probes came through the walls or could not be tried", v.Provable-v.Blocked)
}

// Keep writes the verdict, durably, in place of the former one.
func Keep(data string, v Verdict) error {
	return durable.Write(filepath.Join(data, File), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(v)
	})
}

// Reader reads the verdict of a data directory, and says why it no longer counts if something has changed since. Programs are
// read again only when they have changed. ErrNone.
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
			return verdict, fmt.Errorf("read the verdict on the walls: %w", err)
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

// stale says what has changed since a test; empty if nothing has. A machine without she-wasm runs no modules.
func stale(tested, now map[string]string) string {
	for _, what := range []string{"kernel", "runsc", "she-init", "she-probe", "she-wasm"} {
		if tested[what] != now[what] || tested[what] == "" && what != "she-wasm" {
			return what + " is not the one that was tested"
		}
	}
	return ""
}

// Versions are what a verdict is about: the kernel, and the programs by digest.
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
