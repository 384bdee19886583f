package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

// event is what she-probe is told; the fields mean what its verbs make of them.
type event struct {
	Do      string            `json:"do"`
	Mark    string            `json:"mark,omitempty"`
	Targets map[string]string `json:"targets,omitempty"`
	Paths   []string          `json:"paths,omitempty"`
	Bytes   int               `json:"bytes,omitempty"`
	Pid     int               `json:"pid,omitempty"`
	Address uint64            `json:"address,omitempty"`
	Millis  int               `json:"millis,omitempty"`
}

// A place is where a trial happens: behind the walls, or not.
type place struct {
	*suite
	m     sandbox.Mechanism
	walls bool
	root  string // everything of this place on the host
	dir   string // the package
	roomy bool   // with memory for many processes: each costs a few MB in the walls
}

// Files of the package that attempts use.
const (
	sharedFile  = "she-probe-mark"
	sharedPages = "she-probe-pages"
	pagesBytes  = 4 << 20
)

func (s *suite) newPlace(m sandbox.Mechanism, walls bool) (*place, error) {
	p := &place{suite: s, m: m, walls: walls, root: filepath.Join(s.Dir, fmt.Sprint("place", s.places))}
	for _, dir := range []string{p.root, p.tmp(), p.home(), p.outside()} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o777)); err != nil { // whoever the function runs as
			return nil, err
		}
	}
	// Within the walls nobody can change the package, so one is enough, and so is one image of it.
	p.dir = filepath.Join(s.Dir, "package")
	if !walls {
		p.dir = filepath.Join(p.root, "package")
	}
	if _, err := os.Stat(p.dir); err == nil {
		return p, nil
	}
	return p, s.publish(p.dir)
}

// publish makes the hostile package.
func (s *suite) publish(dir string) error {
	program, err := os.ReadFile(s.Program)
	if err != nil {
		return fmt.Errorf("the hostile program: %w", err)
	}
	problems := []error{os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755), os.Symlink(filepath.Join(s.Dir, "secret"), filepath.Join(dir, "out"))}
	for _, f := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{
		{"bootstrap", program, 0o755}, {sharedFile, []byte("shared"), 0o644}, {sharedPages, make([]byte, pagesBytes), 0o644},
		{"package-file", []byte("as published"), 0o644}, {"package-old", nil, 0o644},
	} {
		problems = append(problems, os.WriteFile(filepath.Join(dir, f.name), f.content, f.mode))
	}
	return errors.Join(problems...)
}

func (p *place) tmp() string     { return filepath.Join(p.root, "tmp") }     // /tmp of those without walls
func (p *place) home() string    { return filepath.Join(p.root, "home") }    // and their home
func (p *place) outside() string { return filepath.Join(p.root, "outside") } // of the host's alone
func (p *place) secret() string  { return filepath.Join(p.Dir, "secret") }

// limits are small, so that going beyond them does no harm.
var limits = sandbox.Limits{Memory: 128 << 20, CPU: 1, Tmp: 16 << 20, Processes: 64, Files: 128, Init: 3 * time.Second}

func (p *place) program(env ...string) sandbox.Program {
	e := []string{"AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001", "HOME=/tmp", "PATH=/bin"}
	if !p.walls {
		e = []string{"HOME=" + p.home(), "TMPDIR=" + p.tmp(), "LOOP=1"}
	}
	l := limits
	if len(env) == 0 {
		l.Init = 30 * time.Second // the machine may be busy
	}
	if p.roomy {
		l.Memory = 1 << 30
	}
	return sandbox.Program{Dir: p.dir, Command: []string{"/var/task/bootstrap"}, Env: append(e, env...), Limits: l}
}

// ample is how long an attempt may take that is not about time.
const ample = 30 * time.Second

// run starts an instance, gives it one event, and closes it.
func (p *place) run(ctx context.Context, e event, limit time.Duration, env ...string) (sandbox.Result, error) {
	i, failed, err := p.m.Start(ctx, p.program(env...))
	if err != nil {
		return failed, err
	}
	r, err := give(ctx, i, e, limit)
	if closeErr := i.Close(); closeErr != nil {
		return r, errors.Join(err, closeErr)
	}
	return r, err
}

func give(ctx context.Context, i sandbox.Instance, e event, limit time.Duration) (sandbox.Result, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return sandbox.Result{}, err
	}
	return i.Run(ctx, sandbox.Call{ID: uuid.NewString(), ARN: "arn:aws:lambda:eu-west-1:000000000000:function:probe", Deadline: time.Now().Add(limit), Event: body})
}

// ask runs an event that must be answered.
func (p *place) ask(ctx context.Context, e event, into any) error {
	r, err := p.run(ctx, e, ample)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Do, err)
	}
	if err := json.Unmarshal(r.Payload, into); err != nil {
		return fmt.Errorf("%s: the answer: %w", e.Do, err)
	}
	return nil
}

// managed runs an attempt whose own answer is the evidence.
func (p *place) managed(ctx context.Context, e event) (map[string]string, error) {
	var got map[string]string
	err := p.ask(ctx, e, &got)
	return got, err
}
