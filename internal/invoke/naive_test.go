package invoke_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"she/internal/invoke"
	"she/internal/sandbox"
)

// naive is a mechanism without walls, against which they are measured: the program is a process of this machine, and
// the Runtime API it speaks to believes everything. With reuse one process takes all events, as containers do elsewhere.
// What it sees at /var, /tmp and /dev/shm is its own, so that nothing it does there hurts the machine.
type naive struct {
	reuse   bool
	private string // holds tmp and shm, for all its processes
	channel *bytes.Buffer

	mu   sync.Mutex
	kept *naiveProcess
	all  []*naiveProcess
}

type naiveProcess struct {
	cmd     *exec.Cmd
	web     *http.Server
	events  chan sandbox.Call
	asked   chan struct{}
	answers chan naiveAnswer // in the order in which they came, whatever for
	exited  chan struct{}
	readers sync.WaitGroup

	mu  sync.Mutex
	log bytes.Buffer
}

type naiveAnswer struct {
	body  []byte
	error string
}

func openNaive(t *testing.T, reuse bool) (*invoke.Invoker, *naive) {
	t.Helper()
	needRoot(t)
	m := &naive{reuse: reuse, private: t.TempDir(), channel: &bytes.Buffer{}}
	for _, dir := range []string{"tmp", "shm"} {
		if err := os.Mkdir(filepath.Join(m.private, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	v, err := invoke.New(invoke.Config{Sandbox: m, Runtimes: filepath.Join(t.TempDir(), "runtimes"), WaitingBytes: -1, Find: testDotnet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v, m
}

// privately shows the given directories where a sandbox would, and becomes the program. In namespaces of its own it is
// process 1, so what it starts ends with it.
const privately = `set -e
mount --make-rprivate /
private=$1; shift
mkdir -p "$private/var"
mount --rbind /var "$private/var"
mount -t tmpfs none /var
while [ "$1" != -- ]; do [ ! -d "$1" ] || mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done; shift
mount --bind "$private/shm" /dev/shm
mount --rbind "$private/tmp" /tmp
mount -t proc proc /proc
cd /var/task
exec "$@"`

func (m *naive) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept != nil {
		return naiveInstance{m.kept, false}, sandbox.Result{}, nil
	}
	n, err := m.begin(p)
	if err != nil {
		return nil, sandbox.Result{}, err
	}
	m.all = append(m.all, n)
	select {
	case <-n.asked:
	case <-n.exited:
		return nil, sandbox.Result{Log: n.printed()}, errors.New("it ended in INIT")
	case <-ctx.Done():
		return nil, sandbox.Result{}, context.Cause(ctx)
	}
	if m.reuse {
		m.kept = n
	}
	return naiveInstance{n, !m.reuse}, sandbox.Result{}, nil
}

func (m *naive) begin(p sandbox.Program) (*naiveProcess, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &naiveProcess{events: make(chan sandbox.Call), asked: make(chan struct{}, 64), answers: make(chan naiveAnswer, 64), exited: make(chan struct{})}
	n.web = &http.Server{Handler: n, MaxHeaderBytes: 64 << 20}
	// The machine's own /var, where a checkout may be too, is to be had there meanwhile.
	below := func(dir string) string {
		if at, ok := strings.CutPrefix(dir, "/var/"); ok {
			return filepath.Join(m.private, "var", at)
		}
		return dir
	}
	args := []string{"-c", privately, "sh", m.private, below(p.Dir), "/var/task"}
	for _, b := range p.Binds {
		if source := below(b.Source); source != b.Target {
			args = append(args, source, b.Target)
		} else if at, hidden := strings.CutPrefix(b.Source, "/tmp/"); hidden {
			args = append(args, b.Source, filepath.Join(m.private, "tmp", at))
		}
	}
	n.cmd = exec.Command("/bin/sh", append(append(args, "--"), p.Command...)...)
	n.cmd.Env = append(append([]string{}, p.Env...), "AWS_LAMBDA_RUNTIME_API="+l.Addr().String())
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	output, printing, err1 := os.Pipe()
	channel, host, err2 := os.Pipe() // as a careless host leaves it open
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	n.cmd.Stdout, n.cmd.Stderr, n.cmd.ExtraFiles = printing, printing, []*os.File{host}
	err = n.cmd.Start()
	_, _ = printing.Close(), host.Close()
	n.readers.Go(func() { _, _ = io.Copy(n, output); output.Close() })
	n.readers.Go(func() { _, _ = io.Copy(locked{&m.mu, m.channel}, channel); channel.Close() })
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go func() { _ = n.web.Serve(l) }()
	go func() {
		_ = n.cmd.Wait()
		close(n.exited)
	}()
	return n, nil
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (n *naiveProcess) Write(p []byte) (int, error) { return locked{&n.mu, &n.log}.Write(p) }

// printed gives what was printed since it was last asked.
func (n *naiveProcess) printed() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.log.Reset()
	return bytes.Clone(n.log.Bytes())
}

// ServeHTTP is a Runtime API that checks nothing.
func (n *naiveProcess) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/next") {
		n.asked <- struct{}{}
		select {
		case c := <-n.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", c.ID)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(c.Deadline.UnixMilli()))
			_, _ = w.Write(c.Event)
		case <-r.Context().Done():
		}
		return
	}
	if r.Method != http.MethodPost { // such as a request that only tries the connection
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a := naiveAnswer{body: body}
	if strings.HasSuffix(r.URL.Path, "/error") {
		a.error = r.Header.Get("Lambda-Runtime-Function-Error-Type") + ": " + string(body)
	}
	n.answers <- a
	w.WriteHeader(http.StatusAccepted)
}

type naiveInstance struct {
	*naiveProcess
	closes bool
}

func (n naiveInstance) Memory() int64 { return 0 }

func (n naiveInstance) Run(ctx context.Context, c sandbox.Call) (sandbox.Result, error) {
	ctx, cancel := context.WithDeadline(ctx, c.Deadline)
	defer cancel()
	select {
	case n.events <- c:
	case <-n.exited:
		return sandbox.Result{Log: n.printed()}, errors.New("the process is gone")
	case <-ctx.Done():
		return sandbox.Result{Log: n.printed()}, ctx.Err()
	}
	select {
	case a := <-n.answers:
		if a.error != "" { // as a naive server reports it
			return sandbox.Result{Payload: a.body, Log: n.printed()}, errors.New(a.error)
		}
		return sandbox.Result{Payload: a.body, Log: n.printed()}, nil
	case <-n.exited:
		n.readers.Wait()
		return sandbox.Result{Log: n.printed()}, errors.New("the process ended")
	case <-ctx.Done():
		return sandbox.Result{Log: n.printed()}, ctx.Err()
	}
}

func (n naiveInstance) Close() error {
	if n.closes {
		n.end()
	}
	return nil
}

func (n *naiveProcess) end() {
	_ = n.cmd.Process.Kill()
	<-n.exited
	_ = n.web.Close()
	n.readers.Wait()
}

func (m *naive) Sweep(context.Context) error { return nil }

func (m *naive) Close() error { m.endAll(); return nil }

func (m *naive) endAll() {
	for _, n := range m.all {
		n.end()
	}
}
