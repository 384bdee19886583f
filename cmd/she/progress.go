package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// progress shows how far long work is: a counting line on a terminal; in a file, one line at the start and one at
// the end.
type progress struct {
	w        io.Writer
	what     string
	n, of    int
	terminal bool
}

func newProgress(w io.Writer, what string, of int) *progress {
	p := &progress{w: w, what: what, of: of}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	if !p.terminal {
		fmt.Fprintf(w, "%s: %d\n", what, of)
	}
	return p
}

func (p *progress) step() {
	p.n++
	if p.terminal {
		fmt.Fprintf(p.w, "\r%s: %d of %d", p.what, p.n, p.of)
	}
}

func (p *progress) done() {
	if p.terminal {
		fmt.Fprintln(p.w)
	}
}
