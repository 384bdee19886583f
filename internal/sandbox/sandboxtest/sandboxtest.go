// Package sandboxtest holds what every sandbox mechanism must pass: answers, limits, endings and logs at their edges,
// and the proof of package seal that no channel leads out.
package sandboxtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

// Mechanism runs the suite against mechanisms that open makes; each is closed by the suite.
func Mechanism(t *testing.T, open func(t *testing.T) sandbox.Mechanism) {
	mechanism(t, &suite{dir: build(t), file: "bootstrap"}, open)
}

// WithoutCgroups is Mechanism for one that counts CPU and does not hold it, and for tests that can't compile where they
// run: hostile is the package that BuildHostile made.
func WithoutCgroups(t *testing.T, hostile string, open func(t *testing.T) sandbox.Mechanism) {
	mechanism(t, &suite{dir: hostile, file: "bootstrap", unheld: true}, open)
}

func mechanism(t *testing.T, s *suite, open func(t *testing.T) sandbox.Mechanism) {
	s.each(t, open, []test{
		{"Answers", answers}, {"Surroundings", surroundings}, {"Limits", limits}, {"Endings", processEndings}, {"RuntimeAPI", runtimeAPI},
		{"Log", logs}, {"INIT", initFailures}, {"Between", between}, {"Cancel", cancel},
	})
}

// Modules runs what of the suite holds for WebAssembly, where a program has no processes and no files to begin with,
// and what holds only there.
func Modules(t *testing.T, open func(t *testing.T) sandbox.Mechanism) {
	s := &suite{dir: buildModule(t), file: module}
	s.each(t, open, []test{
		{"Answers", answers}, {"Surroundings", surroundingsOfModule}, {"Limits", resources}, {"Endings", moduleEndings},
		{"Log", logs}, {"INIT", initFailures}, {"Ahead", ahead}, {"Calls", calls}, {"Cancel", cancel}, {"Unfit", unfit},
	})
}

type test struct {
	name string
	run  func(*testing.T, *suite)
}

func (s *suite) each(t *testing.T, open func(t *testing.T) sandbox.Mechanism, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			own := *s
			own.m = open(t)
			t.Cleanup(func() {
				if err := own.m.Close(); err != nil {
					t.Error(err)
				}
			})
			test.run(t, &own)
		})
	}
}

type suite struct {
	m    sandbox.Mechanism
	dir  string // the hostile package
	file string // its program

	unheld bool // CPU is counted, not held
}

// build compiles the hostile function: a static program, so that it needs nothing of the host.
func build(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := BuildHostile(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// BuildHostile puts the package of the hostile function into a directory.
func BuildHostile(dir string) error {
	return GoBuild("", filepath.Join(dir, "bootstrap"), "she/cmd/she-probe")
}

func (s *suite) program(env ...string) sandbox.Program {
	return sandbox.Program{
		Dir: s.dir, Command: []string{"/var/task/" + s.file},
		Env: append([]string{"AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001", "HOME=/tmp", "PATH=/bin"}, env...),
		Limits: sandbox.Limits{
			Memory: 128 << 20, CPU: 1, Tmp: 16 << 20, Processes: 64, Files: 128, Init: 30 * time.Second,
		},
	}
}

// event is what the hostile function is told.
type event struct {
	Do     string   `json:"do"`
	Paths  []string `json:"paths,omitempty"`
	Mark   string   `json:"mark,omitempty"`
	Bytes  int      `json:"bytes,omitempty"`
	Millis int      `json:"millis,omitempty"`

	Threads int `json:"threads,omitempty"`

	Pid     int    `json:"pid,omitempty"`     // bytes, for the measurements of caches
	Address uint64 `json:"address,omitempty"` // when they begin, in ms since 1970
}

const ample = 20 * time.Second

// run starts a fresh instance, gives it one event, and closes it.
func (s *suite) run(t *testing.T, p sandbox.Program, e event, limit time.Duration) (sandbox.Result, error) {
	t.Helper()
	return s.runContext(t.Context(), t, p, e, limit)
}

func (s *suite) runContext(ctx context.Context, t *testing.T, p sandbox.Program, e event, limit time.Duration) (sandbox.Result, error) {
	t.Helper()
	i, failed, err := s.m.Start(ctx, p)
	if err != nil {
		return failed, err
	}
	defer func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}()
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return i.Run(ctx, sandbox.Call{ID: uuid.NewString(), ARN: "arn:aws:lambda:eu-west-1:000000000000:function:hostile", Deadline: time.Now().Add(limit), Event: body})
}

// answer runs an event that must be answered, and decodes the answer.
func answer[T any](t *testing.T, s *suite, e event) (v T) {
	t.Helper()
	r, err := s.run(t, s.program(), e, ample)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", e.Do, err, r.Payload, r.Log)
	}
	if err := json.Unmarshal(r.Payload, &v); err != nil {
		t.Fatalf("%s: %v\n%s", e.Do, err, r.Payload)
	}
	return v
}

func wantFailure(t *testing.T, err error, blame sandbox.Blame, code string) *sandbox.Failure {
	t.Helper()
	var f *sandbox.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure %s", err, code)
	}
	if f.Blame != blame || f.Code != code {
		t.Errorf("got %v, want %s: %s", f, blame, code)
	}
	return f
}

func answers(t *testing.T, s *suite) {
	got := answer[event](t, s, event{Do: "echo", Mark: "Grüße \x00 \U0001f600"})
	if got.Mark != "Grüße \x00 \U0001f600" {
		t.Errorf("the event came back as %+v", got)
	}
	out := answer[map[string]string](t, s, event{Do: "self"})
	now, err := time.Parse(time.RFC3339Nano, out["time"])
	if off := time.Since(now); err != nil || off < -time.Second || off > 10*time.Second {
		t.Errorf("its clock is off by %s (%v)", off, err)
	}
}
