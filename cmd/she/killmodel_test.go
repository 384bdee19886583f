package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"she/internal/hat"
)

// A life is what the test knows of one HAT: what it was told is stored, and what it was not told. It says what the
// server must hold, and at the end what every function must have written.
type life struct {
	mu      sync.Mutex
	next    int
	records map[int]*remembered
	doubts  []doubt // of requests that got no answer
}

// A remembered record is one the test wrote: where, as which record, and its versions that were ever stored.
type remembered struct {
	at       string
	id       string
	versions []int // the last is what is there now
	tried    int   // updates
	erased   bool
}

// A doubt is a request that got no answer: it has happened, all of it, or not at all.
type doubt struct {
	what  string // create, update, erase
	stamp []stamp
	at    []string // of create
}

func newLife() *life { return &life{records: map[int]*remembered{}} }

// number gives a new record of a writer its number.
func (l *life) number(writer int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next += writers
	return l.next + writer
}

// of are the records of a writer that are there.
func (l *life) of(writer int) (own []stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(l.records)) {
		if r := l.records[n]; !r.erased && n%writers == writer {
			own = append(own, stamp{N: n, V: r.versions[len(r.versions)-1]})
		}
	}
	return own
}

// version gives a record its next version, which none had before, stored or not.
func (l *life) version(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[n].tried++
	return 1 + l.records[n].tried
}

func (l *life) id(s stamp) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[s.N].id
}

func (l *life) at(s stamp) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[s.N].at
}

func (l *life) created(s stamp, at, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[s.N] = &remembered{at: at, id: id, versions: []int{s.V}}
}

func (l *life) updated(stamps []stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range stamps {
		l.records[s.N].versions = append(l.records[s.N].versions, s.V)
	}
}

func (l *life) erased(stamps []stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range stamps {
		l.records[s.N].erased = true
	}
}

func (l *life) doubtful(d doubt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubts = append(l.doubts, d)
}

// A found record is one the server has at an input endpoint.
type found struct {
	stamp
	at, id string
}

// settle holds what the server has against what it must have: every doubt is resolved the one way or the other, as a
// whole, and everything else is as it was answered.
func (l *life) settle(have map[int]found) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.doubts {
		happened := 0
		for i, s := range d.stamp {
			f, there := have[s.N]
			switch {
			case d.what == "create" && there:
				happened++
				l.records[s.N] = &remembered{at: d.at[i], id: f.id, versions: []int{s.V}}
			case d.what == "update" && there && f.V == s.V:
				happened++
				l.records[s.N].versions = append(l.records[s.N].versions, s.V)
			case d.what == "erase" && !there:
				happened++
				l.records[s.N].erased = true
			}
		}
		if happened != 0 && happened != len(d.stamp) {
			err = errors.Join(err, fmt.Errorf("%s of %d records: %d of them happened", d.what, len(d.stamp), happened))
		}
	}
	l.doubts = nil
	live := 0
	for n, r := range l.records {
		f, there := have[n]
		switch {
		case r.erased && there:
			err = errors.Join(err, fmt.Errorf("record %d was erased and is there", n))
		case r.erased:
		case !there:
			err = errors.Join(err, fmt.Errorf("record %d was stored and is not there", n))
		case f.id != r.id || f.at != r.at || f.V != r.versions[len(r.versions)-1]:
			err = errors.Join(err, fmt.Errorf("record %d is %v, and should be %v", n, f, *r))
		}
		if !r.erased {
			live++
		}
	}
	if len(have) > live && err == nil {
		err = fmt.Errorf("%d records are there, %d were stored", len(have), live)
	}
	return err
}

// derived checks what function f has written over the whole life, in order: each version of a record that f may read
// at most once, never an older one after a newer one, and the version that is there now exactly once. of is what
// another function wrote, for one that reads that instead of records: then it is exactly that.
func (l *life) derived(f stamping, wrote, of []stamp) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	plain := func(all []stamp) (stamps []stamp) {
		for _, s := range all {
			stamps = append(stamps, stamp{N: s.N, V: s.V})
		}
		slices.SortFunc(stamps, func(a, b stamp) int { return cmp.Or(cmp.Compare(a.N, b.N), cmp.Compare(a.V, b.V)) })
		return stamps
	}
	if of != nil {
		if got, want := plain(wrote), plain(of); !slices.Equal(got, want) {
			err = fmt.Errorf("%s wrote %d records over %d", f.id, len(got), len(want))
		}
		return err
	}
	last := map[int]int{}
	for _, s := range wrote {
		r := l.records[s.N]
		switch {
		case r == nil || !slices.Contains(f.reads, r.at) || !slices.Contains(r.versions, s.V):
			err = errors.Join(err, fmt.Errorf("%s wrote about version %d of record %d, which it can't have seen", f.id, s.V, s.N))
		case s.V == last[s.N]:
			err = errors.Join(err, fmt.Errorf("%s wrote twice about version %d of record %d", f.id, s.V, s.N))
		case s.V < last[s.N]:
			err = errors.Join(err, fmt.Errorf("%s wrote about version %d of record %d after version %d", f.id, s.V, s.N, last[s.N]))
		}
		last[s.N] = max(last[s.N], s.V)
	}
	for _, n := range slices.Sorted(maps.Keys(l.records)) {
		r := l.records[n]
		if now := r.versions[len(r.versions)-1]; !r.erased && slices.Contains(f.reads, r.at) && last[n] != now {
			err = errors.Join(err, fmt.Errorf("%s never wrote about record %d as it is now (version %d; last was %d)", f.id, n, now, last[n]))
		}
	}
	return err
}

func parseStamp(d hat.Data) (s stamp, err error) {
	err = json.Unmarshal(d.Bytes(), &s)
	return s, err
}
