package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"she/internal/catalog"
	"she/internal/config"
	"she/internal/hat"
	"she/internal/ownapi"
	"she/internal/sample"
	"she/internal/server"
)

// An example is a function the demonstration switches on, and how it knows that the result is right.
type example struct {
	id     string
	output string
	does   string
	right  func(sample.Truth, []gotRecord) error
}

var examples = []example{
	{"places", "drops/insights/places", "finds the places behind location points (Go)", placesAreRight},
	{"busy-hours", "drops/insights/busy-hours", "finds the busy hours of a calendar (Python)", busyHoursAreRight},
	{"notes-mood", "she/insights/emotions", "reads the mood of notes and tweets (Node.js, a trained model)", moodsAreRight},
}

const demoDomain = "mina.localhost"

func demoCommand() *cobra.Command {
	var data, functions, listen string
	var once bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole walk: invented data, three functions, what they found",
		Long: "Creates a HAT, starts the server, stores four months of invented data through the HTTP API, switches on the example " +
			"functions, and shows which ran, why, how long each step took, and what they found. Needs root, for the sandboxes.",
		Example: "  she demo --functions functions --once",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := demo{out: cmd.OutOrStdout(), once: once, functions: functions, listen: listen, data: data}
			return d.run(cmd)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory to make and keep (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&functions, "functions", "functions", "where the example projects are")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on")
	c.Flags().BoolVar(&once, "once", false, "end after showing; exit 0 only if every derived record is right")
	return c
}

type demo struct {
	out                     io.Writer
	once                    bool
	functions, listen, data string
}

func (d demo) say(format string, args ...any) { printf(d.out, format+"\n", args...) }

func (d demo) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	data := d.data
	if data == "" {
		if data, err = os.MkdirTemp("", "she-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	}
	config, err := d.config()
	if err != nil {
		return err
	}
	serverLog, err := openLog(filepath.Join(data, "server.log"))
	if err != nil {
		return err
	}
	defer serverLog.Close()
	s, err := server.Start(ctx, server.Options{Data: data, Listen: d.listen, Config: config, Log: plainLines{serverLog}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()

	d.say("Server    http://%s, data in %s", s.Address, data)
	owner, password, created, err := d.owner(ctx, s)
	if err != nil {
		return err
	}
	// The same life again for a directory that is kept: what is there already is not stored twice.
	life := sample.Generate(1, created, 4)
	stored, err := storeLife(cmd, owner, life)
	if err != nil {
		return err
	}
	d.say("Stored    %d records of four invented months, through POST %s/data/…", stored, api)
	for _, e := range []hat.Endpoint{sample.Tweets, sample.Events, sample.Locations, sample.Notes} {
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
	d.say("  curl -H 'Host: %s' -H \"X-Auth-Token: $TOKEN\" http://%s%s/data/drops/insights/places", demoDomain, s.Address, api)
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	if d.once {
		d.say("\nEvery derived record is there and is right.")
		return nil
	}
	d.say("\nThe server stays up until Ctrl-C.")
	<-ctx.Done()
	return nil
}

// config registers the examples.
func (d demo) config() (c config.Config, err error) {
	for _, x := range examples {
		output, err1 := hat.ParseEndpoint(x.output)
		id, err2 := hat.ParseFunctionID(x.id)
		version, err3 := hat.ParseVersion("1.0.0")
		err = errors.Join(err, err1, err2, err3)
		c.Functions = append(c.Functions, catalog.Registered{
			ID: id, Version: version, Package: filepath.Join(d.functions, x.id), Stage: "dev", Output: output,
		})
	}
	return c, err
}

// missing says why an example can't run here, if it is for lack of its runtime or of its npm packages.
func (d demo) missing(s *server.Server, x example) string {
	for _, f := range s.Functions() {
		if f.ID.String() == x.id && f.Problem != nil && f.Problem.Code == catalog.CodeRuntime {
			return f.Problem.Text
		}
	}
	dir := filepath.Join(d.functions, x.id)
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
			return "its npm packages were not fetched; apt-get install nodejs npm, then make functions"
		}
	}
	return ""
}

// owner makes the HAT, or takes the one an earlier demonstration left in the directory.
func (d demo) owner(ctx context.Context, s *server.Server) (c *client, password string, created time.Time, err error) {
	password = "tallowfield"
	m := &manager{client: &http.Client{Transport: inProcess{s.ForCommands()}}}
	var hats []server.HAT
	if err := m.call(ctx, "GET", "/hats", nil, &hats); err != nil {
		return nil, "", created, err
	}
	i := slices.IndexFunc(hats, func(h server.HAT) bool { return h.Domain == demoDomain })
	if i < 0 {
		var made server.HAT
		if err := m.call(ctx, "POST", "/hats", server.NewHAT{Name: "mina", Domain: demoDomain, Password: password}, &made); err != nil {
			return nil, "", created, err
		}
		hats, i = []server.HAT{made}, 0
	}
	d.say("HAT       %s, owner mina, password %s", demoDomain, password)
	c = newClient(demoDomain, s.Address)
	return c, password, hats[i].Created, c.login(ctx, "mina", password)
}

// show switches one function on and waits for its first run.
func (d demo) show(ctx context.Context, s *server.Server, owner *client, x example, truth sample.Truth) error {
	d.say("\n%s – %s", x.id, x.does)
	if err := await(ctx, "to become available", func() (bool, error) {
		f, err := owner.function(ctx, x.id)
		return f.Status.Available, err
	}); err != nil {
		return err
	}
	if err := owner.enable(ctx, x.id); err != nil {
		return err
	}
	m := &manager{client: &http.Client{Transport: inProcess{s.ForCommands()}}}
	var runs []ownapi.Run
	if err := await(ctx, "to run", func() (bool, error) {
		err := m.call(ctx, "GET", ownPath(demoDomain)+"/runs?limit=10&function="+x.id, nil, &runs)
		return slices.ContainsFunc(runs, func(r ownapi.Run) bool { return !r.Ended.IsZero() }), err
	}); err != nil {
		return err
	}
	for _, r := range slices.Backward(runs) {
		d.say("  ran     because %s; %s; read %s, wrote %d", because(r), r.State, counted(r.Stats.Read, "record"), len(r.Written))
		d.say("  took    %s: %s", ms(r.Ended.Sub(r.Claimed.Time)), steps(r))
		if r.Fault != nil {
			return fmt.Errorf("run %s: %s must act: %s: %s", r.ID, r.Fault.Who, r.Fault.Code, r.Fault.Text)
		}
	}
	output, err := hat.ParseEndpoint(x.output)
	if err != nil {
		return err
	}
	records, err := owner.records(ctx, output)
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

// await asks ten times a second for up to two minutes.
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
