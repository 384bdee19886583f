package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"she/internal/config"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/server"
	"she/internal/terminal"
	"she/internal/vault"
)

// What the test's own program is told when it is started as a server.
const (
	standInServes = "SHE_TEST_SERVE" // how functions behave: "steady", "moody" for some that fail, or "stuck" for bundles whose evaluation never returns
	standInDies   = "SHE_TEST_DIES"  // "commit 3 after": kill yourself right after the third commit of a vault that holds one
	standInRuns   = "SHE_TEST_RUN"   // anything: be the command line itself
	standInClock  = "SHE_TEST_CLOCK" // how far its clock is ahead of the host's: "-24h"
)

// TestMain is also the program of a server without sandboxes: all of she serve, but for functions that are Go functions
// of the same process. A test can end and start it a thousand times.
func TestMain(m *testing.M) {
	if how := os.Getenv(standInServes); how != "" {
		if err := serveStandIn(how, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(standInRuns) != "" {
		os.Exit(run(context.Background(), os.Stdin, os.Stdout, os.Stderr, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// standIn starts this program as a server.
func standIn(how, dies string) func(args ...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), standInServes+"="+how, standInDies+"="+dies)
		return cmd
	}
}

func serveStandIn(how string, args []string) error {
	flags := map[string]string{}
	for i := 1; i+1 < len(args); i += 2 {
		flags[args[i]] = args[i+1]
	}
	config, err := config.Load(context.Background(), flags["--config"])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server.MoreProcs()
	moody := how == "moody"
	ahead, err := time.ParseDuration(cmp.Or(os.Getenv(standInClock), "0s"))
	if err != nil {
		return err
	}
	s, err := server.Start(ctx, server.Options{
		Data: flags["--data"], Listen: flags["--listen"], Config: config, Log: terminal.Lines{To: os.Stderr},
		Now:     func() time.Time { return time.Now().Add(ahead).Round(0) },
		Invoker: goFunctions{moody: moody},
		Vaults: func(v engine.Vaults) engine.Vaults {
			switch how {
			case "stuck":
				return stuck{v}
			case "steady":
				return v
			}
			return &haunted{Vaults: v, dead: map[string]lateCommit{}}
		},
		AtCommit: dieAt(os.Getenv(standInDies)),
	})
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", s.Address)
	hangUps, stopped := server.CatchHangUps()
	defer stopped()
	return s.UntilStopped(ctx, lateTo(os.Stderr), hangUps)
}

// dieAt makes what ends this process at a commit, "" never; with a fourth word, the name of a file, it fills the file's
// disk with it instead.
func dieAt(text string) func(ops []string, persisted bool) error {
	when := strings.Fields(text)
	if len(when) < 3 {
		return nil
	}
	number, _ := strconv.ParseInt(when[1], 10, 64)
	after := when[2] == "after"
	var seen atomic.Int64
	return func(ops []string, persisted bool) error {
		switch {
		case persisted != after || !slices.Contains(ops, when[0]) || seen.Add(1) != number:
		case len(when) == 4:
			fill(when[3])
		default:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing of this thread happens any more either
		}
		return nil
	}
}

// fill writes a file until there is no room left for a byte.
func fill(name string) {
	f, err := os.Create(name)
	if err != nil {
		return
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if n, err := f.Write(make([]byte, size)); err != nil && n == 0 {
			size /= 2
		}
	}
}

// goFunctions are the functions of killed.go's table as Go functions. They answer what the real one in
// stamps in functions/testdata/python does: for each record its number and version, and the run's id.
type goFunctions struct{ moody bool }

func (goFunctions) Supports(runtime string) (string, string, error) { return runtime, "", nil }

func (goFunctions) Forget(string)               {}
func (goFunctions) Sweep(context.Context) error { return nil }
func (goFunctions) Close() error                { return nil }

func (goFunctions) Init(context.Context, invoke.Request) (invoke.Answer, error) {
	return invoke.Answer{}, nil
}

func (g goFunctions) Invoke(ctx context.Context, r invoke.Request) (a invoke.Answer, err error) {
	name := r.Code.Name[strings.LastIndex(r.Code.Name, "-dev-")+len("-dev-"):]
	id, entry := name, "process"
	for _, suffix := range []string{"bundle", "configuration"} {
		if before, ok := strings.CutSuffix(name, "-"+suffix); ok {
			id, entry = before, suffix
		}
	}
	all := append(slices.Clone(standIns), picky, same)
	f := all[slices.IndexFunc(all, func(f stamping) bool { return f.id == id })]
	f.version = r.Code.Version
	// Sometimes a run takes a while, so that data comes and the server dies in the middle of one.
	if entry != "configuration" && rand.IntN(4) == 0 {
		select {
		case <-time.After(time.Duration(rand.IntN(8)) * time.Millisecond):
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
	a.Start, a.Timing.Run = invoke.Cold, time.Millisecond
	switch {
	case entry == "configuration":
		a.Payload = []byte(f.configuration())
	case g.moody && rand.IntN(40) == 0:
		return a, &invoke.Failure{Blame: invoke.Operator, Code: "Sandbox.Moody", Text: "it would not start"}
	case entry == "bundle":
		a.Payload = []byte(f.bundle())
	default:
		a.Payload, err = f.process(r.ID, r.Event)
	}
	return a, err
}

// A haunted engine has workers that are taken for dead: their claim is given back as if it had lapsed, the work is
// claimed anew, and right after that, at the worst moment, they wake and commit what they have in hand.
type haunted struct {
	engine.Vaults
	mu   sync.Mutex
	dead map[string]lateCommit // by HAT and function
}

type lateCommit struct {
	plan plan.Plan
	out  vault.Output
}

func (h *haunted) Open(ctx context.Context, id hat.ID) (engine.Vault, func(), error) {
	v, release, err := h.Vaults.Open(ctx, id)
	return hauntedVault{v, h, string(id)}, release, err
}

type hauntedVault struct {
	engine.Vault
	*haunted
	hat string
}

func (h hauntedVault) Claim(ctx context.Context, c vault.Claim) (plan.Plan, error) {
	p, err := h.Vault.Claim(ctx, c)
	key := h.hat + " " + c.Function.String()
	h.mu.Lock()
	late, there := h.dead[key]
	delete(h.dead, key)
	h.mu.Unlock()
	if err == nil && there {
		// What it would write is what the test looks for; so nothing is made of the answer.
		_, _ = h.Vault.Commit(ctx, late.plan, late.out)
	}
	return p, err
}

func (h hauntedVault) Commit(ctx context.Context, p plan.Plan, out vault.Output) (vault.Committed, error) {
	if len(out.Responses) == 0 || rand.IntN(40) > 0 {
		return h.Vault.Commit(ctx, p, out)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead[h.hat+" "+p.Grant.Function.String()] = lateCommit{p, out}
	return vault.Committed{}, errors.Join(vault.ErrStale, h.Vault.Abandon(ctx, p))
}

// A stamping function writes, for each record it is shown, {"n","v","run"}: which record, which version of it, in which
// run. It writes the same for the same version twice only if it is run twice, and the run tells the two apart; else
// equal data would be dropped as duplicates and hide what the tests look for.
type stamping struct {
	id      string
	reads   []string
	output  string
	trigger string // of its configuration
	version string // "": 1.0.0
	filter  string // of its bundle at version 1.0.0
	same    bool   // it writes the same stamp about every record, and its equal results are kept
	useAll  bool   // it is always triggered with useAll, so it leaves out the run: to be shown all again must add nothing
}

const onData, onRequest, onceADay = `{"triggerType":"individual"}`, `{"triggerType":"manual"}`, `{"triggerType":"periodic","period":"P1D"}`

var standIns = []stamping{
	{id: "each", reads: []string{"in/a"}, output: "out/each", trigger: onData},
	{id: "both", reads: []string{"in/a", "in/b"}, output: "out/both", trigger: onData},
	{id: "chained", reads: []string{"out/each"}, output: "out/chained", trigger: onData},
	{id: "daily", reads: []string{"in/b"}, output: "out/daily", trigger: onceADay},
	{id: "asked", reads: []string{"in/b", "in/a"}, output: "out/asked", trigger: onRequest},
	{id: "all", reads: []string{"in/a"}, output: "out/all", trigger: onRequest, useAll: true},
}

// same says nothing of what it is shown: only that results of several runs are kept tells one from none and from two.
var same = stamping{id: "same", reads: []string{"in/a"}, output: "out/same", trigger: onData, same: true}

// picky asks for the first versions of records alone, and from its own second version on for all.
var picky = stamping{id: "picky", reads: []string{"in/a"}, output: "out/picky", trigger: onData,
	filter: `,"filters":[{"field":"v","operator":{"operator":"in","value":[1]}}]`}

func (f stamping) bundle() string {
	filter := f.filter
	if cmp.Or(f.version, "1.0.0") != "1.0.0" {
		filter = ""
	}
	var properties []string
	for _, e := range f.reads {
		properties = append(properties, fmt.Sprintf(`%q:{"endpoints":[{"endpoint":%q%s}]}`, e, e, filter))
	}
	return fmt.Sprintf(`{"name":%q,"bundle":{%s}}`, f.id, strings.Join(properties, ","))
}

func (f stamping) configuration() string {
	return fmt.Sprintf(`{"id":%q,"info":{"version":%q,"versionReleaseDate":"2024-01-08T10:00:00.000Z","name":"","headline":"",
		"description":{"text":""},"termsUrl":"","supportContact":"","graphics":{"banner":{"normal":""},"logo":{"normal":""},"screenshots":[]}},
		"developer":{"id":"","name":"","url":""},"trigger":%s,"dataBundle":%s,"status":{"available":true,"enabled":false}}`,
		f.id, cmp.Or(f.version, "1.0.0"), f.trigger, f.bundle())
}

// A stamp is the data of a record, stored by a person (without run) or derived.
type stamp struct {
	N   int    `json:"n"`
	V   int    `json:"v"`
	Run string `json:"run,omitempty"`
}

func (f stamping) process(run string, event []byte) ([]byte, error) {
	var e struct {
		Request struct {
			Data map[string][]struct {
				RecordID string
				Data     stamp
			}
		}
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	if f.useAll {
		run = ""
	}
	type response struct {
		Namespace     string   `json:"namespace"`
		Endpoint      string   `json:"endpoint"`
		Data          []stamp  `json:"data"`
		LinkedRecords []string `json:"linkedRecords"`
	}
	namespace, endpoint, _ := strings.Cut(f.output, "/")
	answers := []response{}
	for _, rows := range e.Request.Data {
		for _, r := range rows {
			s := stamp{r.Data.N, r.Data.V, run}
			if f.same {
				s = stamp{}
			}
			answers = append(answers, response{namespace, endpoint, []stamp{s}, []string{r.RecordID}})
		}
	}
	return json.Marshal(answers)
}

// install writes the projects of the functions and the she.yaml that registers them. Their code is never run.
func install(dir string, functions []stamping) (config string, err error) {
	var yaml strings.Builder
	yaml.WriteString("functions:\n")
	for _, f := range functions {
		version := cmp.Or(f.version, "1.0.0")
		project := filepath.Join(dir, f.id+"-"+version)
		if err := os.MkdirAll(project, 0o700); err != nil {
			return "", err
		}
		serverless := fmt.Sprintf("service: %[1]s\nprovider: {name: aws, runtime: python3.11, memorySize: 128, timeout: 10}\nfunctions:\n"+
			"  %[1]s: {handler: handler.process}\n  %[1]s-bundle: {handler: handler.bundle}\n  %[1]s-configuration: {handler: handler.configuration}\n", f.id)
		for name, text := range map[string]string{"serverless.yml": serverless, "handler.py": "# never run, version " + version + "\n"} {
			if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o600); err != nil {
				return "", err
			}
		}
		output, err := hat.ParseEndpoint(f.output)
		if err != nil {
			return "", err
		}
		equal := "drop"
		if f.same {
			equal = "keep"
		}
		fmt.Fprintf(&yaml, "  - {id: %s, version: %s, package: %s, namespace: %s, endpoint: %s, equal: %s}\n",
			f.id, version, project, output.Namespace(), output.Path(), equal)
	}
	config = filepath.Join(dir, "she.yaml")
	return config, os.WriteFile(config, []byte(yaml.String()), 0o600)
}
