package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/project"
	"she/internal/sample"
	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/rootless"
	"she/internal/server"
	"she/internal/terminal"
	"she/internal/workbench"
)

// An invocation holds the options of `she invoke`.
type invocation struct {
	wanted      catalog.Wanted
	entry       string
	event, data string
	from, until string
	output      string
	cache       string
}

func invokeCommand() *cobra.Command {
	var i invocation
	c := &cobra.Command{
		Use:   "invoke PROJECT",
		Short: "Run a function of a project here, sealed as in production, and say whether its answer is taken",
		Long: "Calls one entry of a project with one event (--event), or makes a whole run over data (--data): then the function is " +
			"asked for its configuration and its bundle, the bundle is evaluated over the data, and what it gives is posted to the " +
			"process entry. With neither, the run is over invented data, that of she data sample.\n\n" +
			"It needs no server, no HAT and no configuration file; and no root where the kernel lets you make user namespaces. The " +
			"walls, limits and checks are those of production.\n\n" +
			"PROJECT is a directory with serverless.yml or template.yaml, or a .zip or .jar; with --handler a directory, an archive or a " +
			"single file without a project file.\n\n" +
			"Data is JSON Lines, {\"endpoint\":\"rumpel/notes\",\"data\":{…}} each, or a JSON array of the same, as a HAT answers GET /data; a " +
			"directory may have a file for each endpoint, such as rumpel/notes.jsonl, with the data alone.\n\n" +
			"Ends with 1 if the answer would be refused.",
		Example: "  she invoke functions/busy-hours\n" +
			"  she invoke functions/busy-hours --entry bundle\n" +
			"  she invoke ./my-lambda --event events/sample.json\n" +
			"  she data sample --months 2 | she invoke functions/busy-hours --data - -o json\n" +
			"  she invoke main.py --handler main.handler --event event.json",
		Args: exactArgs(1, "one project"),
		RunE: func(cmd *cobra.Command, args []string) error {
			i.wanted.Path = args[0]
			return i.run(cmd)
		},
	}
	c.Flags().StringVar(&i.wanted.Function, "function", "", "which function of the project, by its key (default: the only one)")
	c.Flags().StringToStringVar(&i.wanted.Params, "param", nil, "NAME=VALUE of ${param:NAME} or of a template's Parameters")
	c.Flags().StringVar(&i.wanted.Stage, "stage", "", "stage of the project file (default: the file's own, else dev)")
	c.Flags().StringVar(&i.entry, "entry", string(workbench.Process), "which entry is given the event: process, bundle or configuration")
	c.Flags().StringVar(&i.event, "event", "", "file with the event, as sam local invoke --event takes it; - is standard input")
	c.Flags().StringVar(&i.data, "data", "", "file or directory with records; - is standard input")
	c.Flags().StringVar(&i.from, "from", "", "begin of the time the bundle is asked for, as in 2026-01-31 (default: six months ago)")
	c.Flags().StringVar(&i.until, "until", "", "end of it (default: in three months)")
	c.Flags().StringVar(&i.output, "writes", "", "the only endpoint it may write to, as in she/insights/mood (default: the one it names)")
	c.Flags().StringVar(&i.wanted.Handler, "handler", "", "handler of a project without a project file")
	c.Flags().StringVar(&i.wanted.Runtime, "runtime", "", "its runtime, such as python3.13 (default: by its files)")
	c.Flags().StringVar(&i.cache, "cache", "", "where unpacked packages and images are kept (default: in your cache directory)")
	return c
}

// prepared is an invocation with parsed arguments.
type prepared struct {
	entry  workbench.Entry
	event  []byte // nil: a run over drafts
	drafts []hat.Draft
	window hat.Window
	want   workbench.Expectation
	note   string
}

func (i *invocation) run(cmd *cobra.Command) error {
	if rootless.Needed() {
		status, err := rootless.Again()
		if err == nil && status != 0 {
			err = statusError(status)
		}
		return err
	}
	p, err := i.prepare(cmd, time.Now())
	if err != nil {
		return err
	}
	place, err := i.place()
	if err != nil {
		return err
	}
	if rootless.Inside() && place.New() {
		terminal.Printf(cmd.ErrOrStderr(), "the first start copies this machine's programs to %s: about a GB, once\n", place.Files)
	}
	ctx := cmd.Context()
	bench, err := workbench.Open(ctx, place)
	if err != nil {
		return err
	}
	report, err := i.try(ctx, bench, p)
	if err = errors.Join(err, bench.Close()); err != nil {
		return err
	}
	if p.note != "" {
		report.Notes = append([]string{p.note}, report.Notes...)
	}
	if err := show(cmd, report, func(w io.Writer) { printReport(w, report) }); err != nil {
		return err
	}
	if n := len(report.Verdict.Reasons); n > 0 {
		return fmt.Errorf("the answer would be refused: %s", terminal.Count(n, "reason"))
	}
	return nil
}

func (i *invocation) try(ctx context.Context, bench *workbench.Bench, p prepared) (r workbench.Report, err error) {
	f, err := bench.Project(ctx, i.wanted)
	var choice *project.Choice
	if errors.As(err, &choice) {
		return r, usageError{fmt.Errorf("%w; choose one with --function", err)}
	}
	if err != nil {
		return r, inWords(err)
	}
	if p.event != nil {
		return bench.Event(ctx, f, p.entry, p.event, p.want)
	}
	return bench.Data(ctx, f, workbench.Try{Drafts: p.drafts, Window: p.window, Expectation: p.want})
}

// inWords reduces a fault to its text. The reader is the person who must act, so the text need not name them.
func inWords(err error) error {
	var fault *hat.Fault
	if errors.As(err, &fault) {
		return errors.New(fault.Text)
	}
	return err
}

// place returns the location of the helpers and of the cache.
func (i *invocation) place() (p workbench.Place, err error) {
	h, err := server.FindHelpers()
	if err != nil {
		return p, err
	}
	p = workbench.Place{Runsc: h.Runsc, Init: h.Init, Wasm: h.Wasm, Cache: i.cache}
	if p.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return p, fmt.Errorf("%w: give a directory with --cache", err)
		}
		p.Cache = filepath.Join(dir, "she", "invoke")
	}
	if p.Cache, err = filepath.Abs(p.Cache); err != nil {
		return p, err
	}
	p.Files = filepath.Join(p.Cache, "files")
	if !rootless.Inside() {
		p.Files = gvisor.Files
	}
	return p, nil
}

// prepare reads the command line and the files that it names.
func (i *invocation) prepare(cmd *cobra.Command, now time.Time) (p prepared, err error) {
	p.entry = workbench.Entry(i.entry)
	switch {
	case !slices.Contains(workbench.Entries, p.entry):
		return p, usageError{fmt.Errorf("--entry %q: want process, bundle or configuration", i.entry)}
	case i.event != "" && i.data != "":
		return p, usageError{errors.New("--event and --data exclude each other: an event is given as it is, data is what a run reads")}
	case i.data != "" && p.entry != workbench.Process:
		return p, usageError{fmt.Errorf("--data is for a whole run; leave out --entry %s", p.entry)}
	case i.wanted.Runtime != "" && i.wanted.Handler == "":
		return p, usageError{errors.New("--runtime goes with --handler")}
	}
	if format, _ := cmd.Flags().GetString("output"); format != "text" && format != "json" {
		return p, usageError{fmt.Errorf("--output %s: want text or json", format)}
	}
	if p.window, err = windowOf(i.from, i.until); err != nil {
		return p, usageError{err}
	}
	if i.output != "" {
		if p.want.Output, err = hat.ParseEndpoint(i.output); err != nil {
			return p, usageError{fmt.Errorf("--writes: %w", err)}
		}
	}
	switch {
	case i.event != "":
		p.event, err = readEvent(cmd.InOrStdin(), i.event)
	case p.entry == workbench.Configuration:
		p.event = contract.ConfigurationEvent()
	case p.entry == workbench.Bundle:
		w := plan.Window(now, time.Time{}, false)
		p.event = contract.BundleEvent(hat.Window{From: orTime(p.window.From, w.From), Until: orTime(p.window.Until, w.Until)})
	case i.data == "-":
		p.drafts, err = workbench.ReadRecords(cmd.InOrStdin(), "standard input")
	case i.data != "":
		p.drafts, err = workbench.ReadData(i.data)
	default:
		const months = 6
		for _, day := range sample.Generate(1, now, months).Days {
			p.drafts = append(p.drafts, day.Drafts...)
		}
		p.note = "neither --event nor --data: the run is over invented data, six months of she data sample"
	}
	return p, err
}

func orTime(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}

// windowOf reads a window given as days or as ISO 8601 times.
func windowOf(from, until string) (w hat.Window, err error) {
	for _, one := range []struct {
		flag, text string
		into       *time.Time
	}{{"--from", from, &w.From}, {"--until", until, &w.Until}} {
		if one.text == "" {
			continue
		}
		t, err := time.Parse(time.DateOnly, one.text)
		if err != nil {
			t, err = time.Parse(time.RFC3339, one.text)
		}
		if err != nil {
			return w, fmt.Errorf("%s %q: want a date as in 2026-01-31, or a time as in 2026-01-31T10:00:00Z", one.flag, one.text)
		}
		*one.into = t.UTC()
	}
	if !w.From.IsZero() && !w.Until.IsZero() && !w.From.Before(w.Until) {
		return w, fmt.Errorf("--from %s is not before --until %s", from, until)
	}
	return w, nil
}

// readEvent reads an event unchanged. It must be JSON within the size limit.
func readEvent(stdin io.Reader, file string) ([]byte, error) {
	in, name := stdin, "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, fmt.Errorf("--event %s is a directory: want a file with one JSON event; a directory of records is --data", file)
		}
		in, name = f, file
	}
	text, err := io.ReadAll(io.LimitReader(in, sandbox.MaxEvent+1))
	if err != nil {
		return nil, err
	}
	if len(text) > sandbox.MaxEvent {
		return nil, fmt.Errorf("%s: an event has at most %d bytes (6 MiB)", name, sandbox.MaxEvent)
	}
	if err := workbench.CheckEvent(name, text); err != nil {
		return nil, err
	}
	return text, nil
}

// printReport prints the result of a try. What the function printed and answered comes first.
func printReport(w io.Writer, r workbench.Report) {
	plain := terminal.Lines{To: w}
	for _, s := range r.Steps {
		terminal.Printf(w, "── %s: %s, handler %s, %s\n", string(s.Entry), s.Name, s.Handler, s.Runtime)
		for line := range strings.Lines(s.Log) {
			_, _ = io.WriteString(plain, "   "+strings.TrimRight(line, "\r\n")+"\n")
		}
		switch {
		case s.Fault != nil:
			printFault(w, s.Fault)
		case s.Answer != nil:
			_, _ = io.WriteString(plain, string(workbench.Indented(s.Answer))+"\n")
		default:
			_, _ = io.WriteString(plain, s.Text+"\n")
		}
		terminal.Printf(w, "\n")
	}
	t := terminal.NewTable(w, "STEP", "SANDBOX", "INIT", "RUN", "OF TIME", "MEMORY", "OF", "EVENT", "ANSWER")
	for _, s := range r.Steps {
		used := map[string]workbench.Limit{}
		for _, l := range s.Limits {
			used[l.Name] = l
		}
		memory := "–"
		if used["memory"].Used > 0 {
			memory = size(used["memory"].Used)
		}
		t.Row(string(s.Entry), milli(s.Timing.Sandbox), milli(s.Timing.Init), milli(s.Timing.Run), fmt.Sprintf("%d s", used["time"].Most/1000),
			memory, size(used["memory"].Most), size(used["event"].Used), size(used["answer"].Used))
	}
	t.Flush()
	printData(w, r.Data)
	for _, text := range r.Warnings {
		terminal.Printf(w, "warning: %s\n", text)
	}
	for _, text := range r.Notes {
		terminal.Printf(w, "note: %s\n", text)
	}
	switch v := r.Verdict; {
	case !v.Accepted:
		terminal.Printf(w, "\nrefused:\n")
		for _, reason := range v.Reasons {
			terminal.Printf(w, "  %s: %s: %s\n", string(reason.Entry), reason.Code, reason.Text)
		}
	case v.Writes != "":
		terminal.Printf(w, "\naccepted: %s for %s\n", terminal.Count(v.Records, "record"), v.Writes)
	default:
		terminal.Printf(w, "\naccepted\n")
	}
}

func printData(w io.Writer, d *workbench.Data) {
	if d == nil {
		return
	}
	terminal.Printf(w, "\n%s stored, %d shown to it", terminal.Count(d.Stored, "record"), d.Shown)
	if !d.From.IsZero() {
		terminal.Printf(w, ", asked from %s until %s", d.From.Format(time.DateOnly), d.Until.Format(time.DateOnly))
	}
	terminal.Printf(w, "; read in %s, %s written in %s\n", milli(d.QueryMS), terminal.Count(d.Written, "record"), milli(d.SaveMS))
}

func printFault(w io.Writer, f *workbench.Fault) {
	terminal.Printf(w, "%s: %s\n", f.Code, f.Text)
	if f.Type != "" || f.Message != "" {
		terminal.Printf(w, "%s: %s\n", cmp.Or(f.Type, "error"), f.Message)
	}
	for _, frame := range f.Stack {
		terminal.Printf(w, "    %s\n", strings.TrimSpace(frame))
	}
}

func milli(ms float64) string { return fmt.Sprintf("%.0f ms", ms) }

// size prints bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f kB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
