package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// suffix is what the name of a list of edits has more than that of the file it is for.
const suffix = ".edit"

// notice is put above each file that was changed, as gVisor's license asks.
const notice = "// This file is gVisor's, changed for the Smart HAT Engine (cmd/runsc/_gvisor).\n\n"

// edits are all there are.
type edits struct {
	changed []changed
	added   map[string][]byte // by the name in gVisor's tree
}

// changed says what becomes of one file. It is written as
//
//	why the file is changed, in any number of lines
//	sha256 of the whole file
//
//	replace 10-12 0123456789abcdef: why
//	+the line that stands for them
//	after 20 0123456789abcdef: why
//	+a line more
//
// where lines are named by their numbers and the beginning of their SHA-256.
type changed struct {
	list   string // the file with the edits, for messages
	file   string
	sha256 string
	edits  []edit
}

type edit struct {
	first, last int // counted from 1
	after       bool
	sum         string
	why         string
	lines       []string
}

func (e edit) String() string {
	if e.after {
		return fmt.Sprintf("the edit after line %d (%s)", e.first, e.why)
	}
	return fmt.Sprintf("the edit of lines %d-%d (%s)", e.first, e.last, e.why)
}

// read reads a directory of edits.
func read(dir string) (all edits, err error) {
	all.added = map[string][]byte{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, isEdit := strings.CutSuffix(name, suffix)
		if !isEdit {
			all.added[name] = b
			return nil
		}
		c, err := parse(string(b))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		c.list, c.file = path, file
		all.changed = append(all.changed, c)
		return nil
	})
	return all, err
}

var (
	wholeLine = regexp.MustCompile(`^sha256 ([0-9a-f]{64})$`)
	editLine  = regexp.MustCompile(`^(?:replace ([0-9]+)-([0-9]+)|after ([0-9]+)) ([0-9a-f]{16}): (.+)$`)
)

// parse reads one list of edits.
func parse(text string) (c changed, err error) {
	for n, line := range slices.Collect(strings.Lines(text)) {
		line = strings.TrimSuffix(line, "\n")
		wrong := func(what string) (changed, error) { return c, fmt.Errorf("line %d: %s", n+1, what) }
		if c.sha256 == "" {
			if m := wholeLine.FindStringSubmatch(line); m != nil {
				if n == 0 {
					return wrong("nothing says why the file is changed")
				}
				c.sha256 = m[1]
			}
			continue
		}
		added, isAdded := strings.CutPrefix(line, "+")
		m := editLine.FindStringSubmatch(line)
		switch {
		case isAdded && len(c.edits) > 0:
			last := &c.edits[len(c.edits)-1]
			last.lines = append(last.lines, added)
		case m != nil:
			e := edit{after: m[3] != "", sum: m[4], why: m[5]}
			if e.after {
				m[1], m[2] = m[3], m[3]
			}
			e.first, _ = strconv.Atoi(m[1])
			e.last, _ = strconv.Atoi(m[2])
			if e.first < 1 || e.last < e.first {
				return wrong("there are no such lines")
			}
			if k := len(c.edits); k > 0 && e.first <= c.edits[k-1].last {
				return wrong("edits go from the top of the file to its end, and don't overlap")
			}
			c.edits = append(c.edits, e)
		case line != "":
			return wrong("it is no edit: " + line)
		}
	}
	switch {
	case c.sha256 == "":
		return c, errors.New("the file's sha256 is missing")
	case len(c.edits) == 0:
		return c, errors.New("there is no edit in it")
	}
	for _, e := range c.edits {
		if e.after && len(e.lines) == 0 {
			return c, fmt.Errorf("%s adds nothing", e)
		}
	}
	return c, nil
}

// apply makes the files that differ from gVisor's. Nothing is made if one does not fit; the error names all that don't.
func (all edits) apply(gvisor fs.FS) (map[string][]byte, error) {
	made := map[string][]byte{}
	var problems []error
	for name, b := range all.added {
		if _, err := fs.Stat(gvisor, name); !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("%s is in gVisor already: it can't be added", name))
		}
		made[name] = b
	}
	for _, c := range all.changed {
		b, err := fs.ReadFile(gvisor, c.file)
		if err == nil {
			b, err = c.apply(b)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", c.list, err))
			continue
		}
		made[c.file] = b
	}
	return made, errors.Join(problems...)
}

// apply makes one file.
func (c changed) apply(file []byte) ([]byte, error) {
	lines := slices.Collect(strings.Lines(string(file)))
	var problems []error
	for _, e := range c.edits {
		if e.last > len(lines) {
			problems = append(problems, fmt.Errorf("%s does not fit: gVisor's file has %d lines", e, len(lines)))
		} else if sum := sumOf(lines[e.first-1 : e.last]); sum != e.sum {
			problems = append(problems, fmt.Errorf("%s does not fit: these lines are others (%s, not %s)", e, sum, e.sum))
		}
	}
	if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != c.sha256 {
		problems = append([]error{fmt.Errorf("gVisor's %s is not the file that was edited: its SHA-256 is %x, not %s. If gVisor has a new version, read what has changed in it, and then write this list anew", c.file, sum, c.sha256)}, problems...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	var b strings.Builder
	b.WriteString(notice)
	next := 0
	for _, e := range c.edits {
		kept := e.first - 1
		if e.after {
			kept = e.last
		}
		b.WriteString(strings.Join(lines[next:kept], ""))
		for _, l := range e.lines {
			b.WriteString(l + "\n")
		}
		next = e.last
	}
	b.WriteString(strings.Join(lines[next:], ""))
	if !strings.HasSuffix(c.file, ".go") {
		return []byte(b.String()), nil
	}
	made, err := format.Source([]byte(b.String()))
	if err != nil {
		return nil, fmt.Errorf("the edited %s is not Go: %w", c.file, err)
	}
	return made, nil
}

// sumOf is how lines are known.
func sumOf(lines []string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:8])
}
