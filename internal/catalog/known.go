package catalog

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"she/internal/contract"
	"she/internal/durable"
	"she/internal/hat"
)

// Known is the last known state of one release. After a start it is shown until the function has answered. It
// is only shown; no decision uses it.
//
//	DIR/known.json    one file, written as a whole
type Known struct {
	At       time.Time
	Manifest *contract.Manifest
	Problem  *hat.Fault
	Said     []byte
	Runs     Runs
}

// Runs counts the runs of one release on this server, in all HATs.
type Runs struct {
	Committed int       `json:"committed"`
	Failed    int       `json:"failed"` // or refused
	Last      time.Time `json:"last,omitzero"`
	LastState string    `json:"lastState,omitempty"`
}

// Seen returns the function as it is shown: with its last known state if it has not answered since the start.
func (f Function) Seen() Function {
	if f.Last != nil && f.Manifest == nil && f.Problem == nil {
		f.Manifest, f.Problem, f.Said, f.AsOf = f.Last.Manifest, f.Last.Problem, f.Last.Said, f.Last.At
	}
	return f
}

const (
	knownName = "known.json"
	maxKnown  = 64 << 20
)

// A knownText is an entry of known.json.
type knownText struct {
	At       time.Time       `json:"at"`
	Manifest json.RawMessage `json:"manifest,omitempty"` // as contract.Configuration writes it
	Problem  *hat.Fault      `json:"problem,omitempty"`
	Said     []byte          `json:"said,omitempty"`
	Runs     Runs            `json:"runs"`
}

// Recall adds the last known state to functions. Unreadable entries are ignored.
func Recall(dir string, all []Function) []Function {
	f, err := os.Open(filepath.Join(dir, knownName))
	if err != nil {
		return all
	}
	defer f.Close()
	text, err := readBounded(f, maxKnown)
	kept := make(map[string]knownText)
	if err != nil || json.Unmarshal(text, &kept) != nil {
		return all
	}
	recalled := make([]Function, len(all))
	for i, f := range all {
		if k, there := kept[releaseKey(f)]; there && f.Problem == nil {
			last := Known{At: k.At, Problem: k.Problem, Said: k.Said, Runs: k.Runs}
			if m, fault := contract.ParseConfiguration(k.Manifest); fault == nil && m.ID == f.ID {
				last.Manifest = &m
			}
			if last.Manifest != nil || last.Problem != nil {
				f.Last = &last
			}
			f.Runs = k.Runs
		}
		recalled[i] = f
	}
	return recalled
}

// Keep stores the state of all functions. If we stop at any point, the file is the old one or the new one.
func Keep(dir string, all []Function, now time.Time) error {
	kept := make(map[string]knownText, len(all))
	for _, f := range all {
		k := knownText{At: now.UTC(), Problem: f.Problem, Said: f.Said, Runs: f.Runs}
		m := f.Manifest
		if seen := f.Seen(); !seen.AsOf.IsZero() {
			m, k.At, k.Problem, k.Said = seen.Manifest, seen.AsOf, seen.Problem, seen.Said
		}
		if m != nil {
			k.Manifest = contract.Configuration(*m, contract.Status{Available: m.Available})
		}
		kept[releaseKey(f)] = k
	}
	// Readable by the operator alone: what functions printed is for nobody else.
	return durable.Replace(filepath.Join(dir, knownName), func(w io.Writer) error { return json.NewEncoder(w).Encode(kept) })
}
