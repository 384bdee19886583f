// Package demo shows everything on one machine: a server, an invented life, the example functions, and
// whether their results are right.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"she/internal/catalog"
	"she/internal/client"
	"she/internal/config"
	"she/internal/hat"
	"she/internal/ownapi"
	"she/internal/sample"
	"she/internal/server"
	"she/internal/terminal"
)

// An example is a function that the demonstration switches on, with the check of its result.
type example struct {
	id     string
	output string
	does   string
	right  func(sample.Truth, []client.Record) error
}

var examples = []example{
	{"places", "drops/insights/places", "finds the places behind location points (Go)", placesAreRight},
	{"busy-hours", "drops/insights/busy-hours", "finds the busy hours of a calendar (Python)", busyHoursAreRight},
	{"notes-mood", "she/insights/emotions", "reads the mood of notes and tweets (Node.js, a trained model)", moodsAreRight},
}

const demoDomain = "mina.localhost"

// Options of a demonstration.
type Options struct {
	Data      string // the data directory to create and keep; "": a temporary one, removed at the end
	Functions string // directory of the example projects
	Listen    string
	Once      bool // end after the demonstration; else when ctx ends
	Out       io.Writer
	Progress  io.Writer // shows the progress of storing
}

type demo struct{ Options }

func (d demo) say(format string, args ...any) { terminal.Printf(d.Out, format+"\n", args...) }

// Show runs the demonstration. It fails unless every derived record is right.
func Show(ctx context.Context, o Options) error { return demo{o}.run(ctx) }

func (d demo) run(ctx context.Context) (err error) {
	data := d.Data
	if data == "" {
		if data, err = os.MkdirTemp("", "she-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	}
	config, err := Config(d.Functions)
	if err != nil {
		return err
	}
	serverLog, err := openLog(filepath.Join(data, "server.log"))
	if err != nil {
		return err
	}
	defer serverLog.Close()
	s, err := server.Start(ctx, server.Options{Data: data, Listen: d.Listen, Config: config, Log: terminal.Lines{To: serverLog}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()

	d.say("Server    http://%s, data in %s", s.Address, data)
	owner, password, created, err := d.owner(ctx, s)
	if err != nil {
		return err
	}
	// A kept directory gets the same life again, and data that is stored already is left out.
	life := sample.Generate(1, created, 4)
	stored, err := StoreLife(ctx, d.Progress, owner, life)
	if err != nil {
		return err
	}
	d.say("Stored    %d records of four invented months, through POST %s/data/…", stored, client.API)
	for _, e := range endpoints {
		d.say("          %6d  %s", life.Truth.Records[e], e)
	}
	var wrong []error
	for _, x := range examples {
		if why := d.missing(s, x); why != "" {
			d.say("\n%s – left out: %s", x.id, why)
			continue
		}
		if err := d.show(ctx, s, owner, x, life.Truth); err != nil {
			d.say("          WRONG: %v", err)
			wrong = append(wrong, fmt.Errorf("%s: %w", x.id, err))
		}
	}
	d.say("\nLook further")
	d.say("  bin/she runs ls --hat %s --data %s", demoDomain, data)
	d.say("  curl -H 'Host: %s' -H 'username: mina' -H 'password: %s' http://%s/users/access_token", demoDomain, password, s.Address)
	d.say("  curl -H 'Host: %s' -H \"X-Auth-Token: $TOKEN\" http://%s%s/data/drops/insights/places", demoDomain, s.Address, client.API)
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	if d.Once {
		d.say("\nEvery derived record is there and is right.")
		return nil
	}
	d.say("\nThe server stays up until Ctrl-C.")
	<-ctx.Done()
	return nil
}

// Config returns a configuration that registers the examples. functions is the directory of their projects.
func Config(functions string) (c config.Config, err error) {
	for _, x := range examples {
		output, err1 := hat.ParseEndpoint(x.output)
		id, err2 := hat.ParseFunctionID(x.id)
		version, err3 := hat.ParseVersion("1.0.0")
		err = errors.Join(err, err1, err2, err3)
		c.Functions = append(c.Functions, catalog.Registered{
			ID: id, Version: version, Package: filepath.Join(functions, x.id), Stage: "dev", Output: output,
		})
	}
	return c, err
}

// missing returns why an example can't run here, if its runtime or its npm packages are missing.
func (d demo) missing(s *server.Server, x example) string {
	for _, f := range s.Functions() {
		if f.ID.String() == x.id && f.Problem != nil && f.Problem.Code == catalog.CodeRuntime {
			return f.Problem.Text
		}
	}
	dir := filepath.Join(d.Functions, x.id)
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
			return "its npm packages were not fetched; apt-get install nodejs npm, then make functions"
		}
	}
	return ""
}

// owner creates the HAT, or uses the one that an earlier demonstration left in the directory.
func (d demo) owner(ctx context.Context, s *server.Server) (c *client.HAT, password string, created time.Time, err error) {
	password = "tallowfield"
	m := client.In(s.ForCommands())
	var hats []server.HAT
	if err := m.Call(ctx, "GET", "/hats", nil, &hats); err != nil {
		return nil, "", created, err
	}
	i := slices.IndexFunc(hats, func(h server.HAT) bool { return h.Domain == demoDomain })
	if i < 0 {
		var made server.HAT
		if err := m.Call(ctx, "POST", "/hats", server.NewHAT{Name: "mina", Domain: demoDomain, Password: password}, &made); err != nil {
			return nil, "", created, err
		}
		hats, i = []server.HAT{made}, 0
	}
	d.say("HAT       %s, owner mina, password %s", demoDomain, password)
	c = client.New(demoDomain, s.Address)
	return c, password, hats[i].Created, c.Login(ctx, "mina", password)
}

// show switches one function on and waits for its first run.
func (d demo) show(ctx context.Context, s *server.Server, owner *client.HAT, x example, truth sample.Truth) error {
	d.say("\n%s – %s", x.id, x.does)
	if err := await(ctx, "to become available", func() (bool, error) {
		f, err := owner.Function(ctx, x.id)
		return f.Status.Available, err
	}); err != nil {
		return err
	}
	if err := owner.Enable(ctx, x.id); err != nil {
		return err
	}
	m := client.In(s.ForCommands())
	var runs []ownapi.Run
	if err := await(ctx, "to run", func() (bool, error) {
		err := m.Call(ctx, "GET", client.OwnPath(demoDomain)+"/runs?limit=10&function="+x.id, nil, &runs)
		return slices.ContainsFunc(runs, func(r ownapi.Run) bool { return !r.Ended.IsZero() }), err
	}); err != nil {
		return err
	}
	for _, r := range slices.Backward(runs) {
		d.say("  ran     because %s; %s; read %s, wrote %d", because(r), r.State, terminal.Count(r.Stats.Read, "record"), len(r.Written))
		d.say("  took    %s: %s", terminal.Milliseconds(r.Ended.Sub(r.Claimed.Time)), terminal.Steps(r.Stats.Timing))
		if r.Fault != nil {
			return fmt.Errorf("run %s: %s must act: %s: %s", r.ID, r.Fault.Who, r.Fault.Code, r.Fault.Text)
		}
	}
	output, err := hat.ParseEndpoint(x.output)
	if err != nil {
		return err
	}
	records, err := owner.Records(ctx, output)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return fmt.Errorf("no derived record at %s", output)
	}
	const few, wide = 3, 240
	d.say("  found   %d derived records at %s:", len(records), output)
	for _, r := range records[:min(few, len(records))] {
		d.say("          %s", shorten(string(r.Data), wide))
	}
	if err := x.right(truth, records); err != nil {
		return err
	}
	d.say("  right   yes, compared with what the invented life really holds")
	return nil
}

func because(r ownapi.Run) string {
	if r.Cause == "data" {
		return fmt.Sprintf("records up to position %d were waiting", r.Upto)
	}
	return "of a " + r.Cause
}

// await calls done ten times a second for up to two minutes.
func await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited two minutes for it %s", what)
		}
	}
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + " …"
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
