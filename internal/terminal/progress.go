package terminal

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// A Progress shows how far a long task is: on a terminal as a line that counts, in a file as one line at
// the start and one at the end.
type Progress struct {
	w        io.Writer
	what     string
	n, of    int
	terminal bool
}

// NewProgress begins to show a task with that many steps.
func NewProgress(w io.Writer, what string, of int) *Progress {
	p := &Progress{w: w, what: what, of: of}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	if !p.terminal {
		fmt.Fprintf(w, "%s: %d\n", what, of)
	}
	return p
}

// Step counts one step.
func (p *Progress) Step() {
	p.n++
	if p.terminal {
		fmt.Fprintf(p.w, "\r%s: %d of %d", p.what, p.n, p.of)
	}
}

// Done ends the line.
func (p *Progress) Done() {
	if p.terminal {
		fmt.Fprintln(p.w)
	}
}
