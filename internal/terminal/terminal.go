// Package terminal prints text for people, and the progress of long tasks. Names, descriptions, versions
// and messages come from authors and packages, and must not control a terminal.
package terminal

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"she/internal/hat"
	"she/internal/vault"
)

// A Table is printed with columns as wide as their widest cell.
type Table struct{ w *tabwriter.Writer }

// NewTable begins a table with these headings.
func NewTable(w io.Writer, head ...string) Table {
	t := Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.Row(head...)
	return t
}

// Row prints one line. Cells may contain other people's text.
func (t Table) Row(cells ...string) {
	plain := make([]string, len(cells))
	for i, cell := range cells {
		plain[i] = hat.Line(cell)
	}
	fmt.Fprintln(t.w, strings.Join(plain, "\t"))
}

// Flush prints the rows.
func (t Table) Flush() { _ = t.w.Flush() }

// Printf is fmt.Fprintf for people. Each argument is printed as one line without characters that control a
// terminal, because names, descriptions, versions and messages come from authors and packages. Line breaks
// come from the format only.
func Printf(w io.Writer, format string, args ...any) {
	if false {
		_ = fmt.Sprintf(format, args...) // lets go vet check the calls
	}
	plain := make([]any, len(args))
	for i, arg := range args {
		plain[i] = printed{arg}
	}
	fmt.Fprintf(w, format, plain...)
}

// A printed argument is formatted as usual and then made plain.
type printed struct{ arg any }

func (p printed) Format(f fmt.State, verb rune) {
	_, _ = io.WriteString(f, hat.Line(fmt.Sprintf(fmt.FormatString(f, verb), p.arg)))
}

// Lines is a writer for lines made elsewhere, such as a log's. A character that controls a terminal becomes a
// dot. Each Write must have whole characters.
type Lines struct{ To io.Writer }

func (p Lines) Write(b []byte) (int, error) {
	out := bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && hat.Steers(r) {
			return '·'
		}
		return r
	}, b)
	if _, err := p.To.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// JSON is a writer of JSON whose strings don't control a terminal. encoding/json leaves DEL, C1 and
// characters that change the direction of text unescaped. The JSON value stays the same. Each Write must have
// whole characters.
type JSON struct{ To io.Writer }

func (e JSON) Write(b []byte) (int, error) {
	out := b
	if bytes.ContainsFunc(b, steersJSON) {
		out = make([]byte, 0, len(b)+64)
		for _, r := range string(b) {
			if steersJSON(r) {
				out = fmt.Appendf(out, `\u%04x`, r)
			} else {
				out = utf8.AppendRune(out, r)
			}
		}
	}
	if _, err := e.To.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// steersJSON reports whether r controls a terminal. Characters below a space are JSON's own white space; in
// strings they are escaped already.
func steersJSON(r rune) bool { return r >= ' ' && hat.Steers(r) }

// Milliseconds prints a duration as people compare them: milliseconds up to ten seconds, then seconds.
func Milliseconds(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// Count prints a number of things: 1 record, 2 records.
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Steps prints how long each step of a run took.
func Steps(t vault.Timing) string {
	return fmt.Sprintf("queue %s, bundle %s, query %s, sandbox %s, run %s, save %s", Milliseconds(t.Queue), Milliseconds(t.Bundle),
		Milliseconds(t.Query), Milliseconds(t.Sandbox), Milliseconds(t.Process), Milliseconds(t.Save))
}

// Thousands prints 1340 as 1,340.
func Thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return Thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}
