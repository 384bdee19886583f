package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
)

// bare is a mechanism without any walls: the program is a process of this machine, as root, and the Runtime API it
// speaks to believes everything. It is what each wall is measured against. Only its mounts and host name are its own,
// so that nothing it does there outlives it.
type bare struct {
	reuse bool // one process takes all events, as containers are reused elsewhere

	mu   sync.Mutex
	kept *process
	all  []*process
}

// process is one process with a Runtime API of its own.
type process struct {
	cmd    *exec.Cmd
	web    *http.Server
	exe    string // known by this, with its children
	exited chan struct{}

	mu      sync.Mutex
	output  []byte
	asked   chan struct{} // one entry each time it asks for an event
	events  chan []byte
	answer  []byte
	failed  bool
	readers sync.WaitGroup
}

type bareInstance struct {
	*process
	closes bool
}

// Start waits for INIT without a limit of its own.
func (b *bare) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept != nil {
		return &bareInstance{b.kept, false}, sandbox.Result{}, nil
	}
	n, err := newProcess(p)
	if err != nil {
		return nil, sandbox.Result{}, err
	}
	b.all = append(b.all, n)
	select {
	case <-n.asked:
	case <-n.exited:
		r := n.result()
		return nil, r, fmt.Errorf("INIT failed: %s", r.Payload)
	case <-ctx.Done():
		return nil, sandbox.Result{}, context.Cause(ctx)
	}
	if b.reuse {
		b.kept = n
	}
	return &bareInstance{n, !b.reuse}, sandbox.Result{}, nil
}

func (b *bare) Sweep(context.Context) error { return nil }

func (b *bare) Close() error {
	var problems []error
	for _, n := range b.all {
		problems = append(problems, n.end())
	}
	return errors.Join(problems...)
}

func newProcess(p sandbox.Program) (*process, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &process{exe: filepath.Join(p.Dir, "bootstrap"), exited: make(chan struct{}), asked: make(chan struct{}, 16), events: make(chan []byte)}
	n.web = &http.Server{Handler: http.HandlerFunc(n.serve), MaxHeaderBytes: 64 << 20}
	go func() { _ = n.web.Serve(l) }()
	n.cmd = exec.Command(n.exe)
	n.cmd.Dir = p.Dir
	n.cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String()}, p.Env...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	if slicesContain(p.Env, "BARE=log") { // the naive server's own log is where functions print
		n.cmd.Stdout, n.cmd.Stderr = os.Stdout, os.Stderr
	} else {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, n.web.Close())
		}
		n.cmd.Stdout, n.cmd.Stderr = w, w
		defer w.Close()
		n.readers.Go(func() { n.collect(r) })
	}
	if slicesContain(p.Env, "BARE=nobody") {
		n.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := n.cmd.Start(); err != nil {
		return nil, errors.Join(err, n.web.Close())
	}
	go func() {
		_ = n.cmd.Wait()
		close(n.exited)
	}()
	return n, nil
}

// nobody is a user nothing else on the machine runs as.
const nobody = 1<<31 - 20993

func slicesContain(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

func (n *process) collect(r *os.File) {
	defer r.Close()
	b := make([]byte, 64<<10)
	for {
		k, err := r.Read(b)
		n.mu.Lock()
		n.output = append(n.output, b[:k]...)
		n.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// serve is a Runtime API that checks nothing: any answer under any name counts, and the last one stands.
func (n *process) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/next") {
		select {
		case n.asked <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		select {
		case e := <-n.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "00000000-0000-0000-0000-000000000001")
			_, _ = w.Write(e)
		case <-r.Context().Done():
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	n.mu.Lock()
	n.answer, n.failed = body, strings.HasSuffix(r.URL.Path, "/error")
	n.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

func (n *process) result() sandbox.Result {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := sandbox.Result{Payload: n.answer, Log: n.output}
	n.answer = nil
	return r
}

// Run waits for the answer as long as it takes, or nearly.
func (n *bareInstance) Run(ctx context.Context, c sandbox.Call) (sandbox.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Until(c.Deadline)+ample)
	defer cancel()
	select {
	case n.events <- c.Event:
	case <-n.exited:
		return n.result(), errors.New("the process is gone")
	case <-ctx.Done():
		return n.result(), ctx.Err()
	}
	select {
	case <-n.asked: // it wants more: it has answered
	case <-n.exited:
	case <-ctx.Done():
		return n.result(), ctx.Err()
	}
	n.mu.Lock()
	failed := n.failed
	n.mu.Unlock()
	r := n.result()
	if failed {
		return r, errors.New(string(r.Payload)) // as a naive server reports it
	}
	return r, nil
}

func (n *bareInstance) Memory() int64 { return 0 }

func (n *bareInstance) Close() error {
	if !n.closes {
		return nil
	}
	return n.end()
}

// end kills the process and everything it started, which is known by its executable, and waits.
func (n *process) end() error {
	for pid := range processesOf(n.exe) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_ = n.cmd.Process.Kill()
	<-n.exited
	err := n.web.Close()
	n.readers.Wait()
	return err
}

// processesOf gives the arguments of every process of an executable.
func processesOf(exe string) map[int]string {
	found := map[int]string{}
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.TrimSuffix(to, " (deleted)") == exe {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			found[pid] = string(line)
		}
	}
	return found
}
