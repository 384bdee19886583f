package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"she/internal/hat"
)

// show prints a result as the command's --output says.
func show(cmd *cobra.Command, result any, text func(io.Writer)) error {
	switch format, _ := cmd.Flags().GetString("output"); format {
	case "json":
		enc := json.NewEncoder(escaping{cmd.OutOrStdout()})
		enc.SetIndent("", "  ")
		return enc.Encode(result)
	case "text":
		text(cmd.OutOrStdout())
		return nil
	default:
		return usageError{fmt.Errorf("--output %s: want text or json", format)}
	}
}

// showHead is the last line of what a command says about a HAT: kept, it tells later whether what was done up to it was
// written anew.
func showHead(w io.Writer, head string) {
	if head != "" {
		printf(w, "receipts %s\n", head)
	}
}

type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, head ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

// row prints one line, whatever the cells hold: most of them are other people's words.
func (t table) row(cells ...string) {
	plain := make([]string, len(cells))
	for i, cell := range cells {
		plain[i] = hat.Line(cell)
	}
	fmt.Fprintln(t.w, strings.Join(plain, "\t"))
}

func (t table) flush() { _ = t.w.Flush() }

// printf is fmt.Fprintf for people to read. Each argument is printed as one line that steers no terminal:
// names, descriptions, versions and messages come from authors and from packages. Line breaks are the
// format's own.
func printf(w io.Writer, format string, args ...any) {
	if false {
		_ = fmt.Sprintf(format, args...) // lets go vet check the calls
	}
	plain := make([]any, len(args))
	for i, arg := range args {
		plain[i] = printed{arg}
	}
	fmt.Fprintf(w, format, plain...)
}

// A printed argument is formatted as ever, then made plain.
type printed struct{ arg any }

func (p printed) Format(f fmt.State, verb rune) {
	_, _ = io.WriteString(f, hat.Line(fmt.Sprintf(fmt.FormatString(f, verb), p.arg)))
}

// plainLines is a writer for lines that are made elsewhere, such as those of a log: what steers a terminal
// becomes a dot. Each Write has whole characters.
type plainLines struct{ w io.Writer }

func (p plainLines) Write(b []byte) (int, error) {
	out := bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && hat.Steers(r) {
			return '·'
		}
		return r
	}, b)
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// escaping is a writer of JSON whose strings steer no terminal: encoding/json leaves DEL, C1 and the
// characters that change the direction of text as they are. The JSON stays equal. Each Write has whole
// characters.
type escaping struct{ w io.Writer }

func (e escaping) Write(b []byte) (int, error) {
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
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// steersJSON leaves out what JSON text outside of strings is made of; inside it is escaped already.
func steersJSON(r rune) bool { return r >= ' ' && hat.Steers(r) }

// ms prints a duration as people compare them: milliseconds up to ten seconds, then seconds.
func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
