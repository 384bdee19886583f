// Package shetest runs the real server, with the real programs and real sandboxes, in a temporary
// directory, and uses it as a client would. Stories, benchmarks and tests that kill the server share it.
package shetest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Server is a data directory and, while it runs, the process that serves it. Only one goroutine at a time
// may use it.
type Server struct {
	Data    string // data directory
	Config  string // she.yaml
	Temp    string // the process's directory for temporary files; empty: that of the test
	Address string // host:port, from Start on
	Log     Buffer // everything that its processes printed
	// Program returns the process that serves, given the arguments of she serve; nil: the real one.
	Program func(args ...string) *exec.Cmd

	cmd   *exec.Cmd
	ready chan string // receives the address it listens on; closed when the process has closed its output
}

// wait bounds each wait of a story.
const wait = 2 * time.Minute

// Bin returns the folder of the programs, found above the working directory. An error says how to build
// them.
func Bin() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	bin := filepath.Join(dir, "bin")
	for _, name := range []string{"she", "she-init", "runsc"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("bin/%s is missing: run make build first", name)
		}
	}
	return bin, nil
}

// She runs a command of she to its end and returns its output on both streams.
func She(stdin string, args ...string) (string, error) {
	bin, err := Bin()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(filepath.Join(bin, "she"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("she %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// CreateHAT creates NAME.test, whose owner NAME has the password that Password returns.
func (s *Server) CreateHAT(name string) (string, error) {
	return She(Password(name)+"\n", "hat", "create", name, "--domain", name+".test", "--data", s.Data, "--password-stdin")
}

// CreatePlatform creates a platform user of NAME.test, with the password that Password returns.
func (s *Server) CreatePlatform(user, name string) (string, error) {
	return She(Password(user)+"\n", "hat", "platform", user, "--hat", name, "--data", s.Data, "--password-stdin")
}

// Password returns the password of a user, for example of the owner of a HAT that CreateHAT created.
func Password(name string) string { return "secret-of-" + name }

var listening = regexp.MustCompile(`listening on http://(\S+)`)

// Start starts the server on a free port and returns when it is ready.
func (s *Server) Start(flags ...string) error {
	if err := s.Begin(flags...); err != nil {
		return err
	}
	if err := s.Ready(); err != nil {
		return err
	}
	_, err := s.Client("").Until("GET", "/healthz", regexp.MustCompile(`"OK"`))
	return err
}

// Begin starts the server and does not wait for it. Call Ready or Kill next.
func (s *Server) Begin(flags ...string) error {
	if s.cmd != nil {
		return errors.New("the server runs already")
	}
	program := s.Program
	if program == nil {
		bin, err := Bin()
		if err != nil {
			return err
		}
		program = func(args ...string) *exec.Cmd { return exec.Command(filepath.Join(bin, "she"), args...) }
	}
	cmd := program(append([]string{"serve", "--data", s.Data, "--listen", "127.0.0.1:0", "--config", s.Config}, flags...)...)
	if s.Temp != "" {
		if cmd.Env == nil {
			cmd.Env = os.Environ()
		}
		cmd.Env = append(cmd.Env, "TMPDIR="+s.Temp)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = &s.Log
	if err := cmd.Start(); err != nil {
		return err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			_, _ = s.Log.Write(append(lines.Bytes(), '\n'))
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1]
			}
		}
	}()
	s.cmd, s.ready = cmd, ready
	return nil
}

// Ready returns when the process that Begin started listens. After an error there is no process any more.
func (s *Server) Ready() error {
	select {
	case address, ok := <-s.ready:
		if !ok {
			cmd := s.cmd
			s.cmd = nil
			return fmt.Errorf("the server ended before it was ready: %w\n%s", cmd.Wait(), s.Log.String())
		}
		s.Address = address
	case <-time.After(wait):
		return errors.Join(errors.New("the server did not say where it listens"), s.Kill())
	}
	return nil
}

// UntilLog waits until the output of the processes matches.
func (s *Server) UntilLog(want *regexp.Regexp) error {
	deadline := time.After(wait)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !want.MatchString(s.Log.String()) {
		select {
		case <-deadline:
			return fmt.Errorf("the server never printed %s:\n%s", want, s.Log.String())
		case <-tick.C:
		}
	}
	return nil
}

// Running reports whether there is a process.
func (s *Server) Running() bool { return s.cmd != nil }

// PID returns the id of the process, which must be running.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop asks the process to end; its exit code must be 0.
func (s *Server) Stop() error { return s.signal(syscall.SIGTERM) }

// Kill ends the process at once, as a crash would, unless it has ended already.
func (s *Server) Kill() error {
	err := s.signal(syscall.SIGKILL)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (s *Server) signal(sig syscall.Signal) error {
	if s.cmd == nil {
		return errors.New("no server runs")
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return cmd.Wait()
}

// NothingLeft checks from the host that the data directory and its sandboxes have left no mount, no
// process, no directory of a sandbox, and no cgroup.
func (s *Server) NothingLeft() error {
	sandboxes := filepath.Join(s.Data, "run", "sandboxes")
	// Each line is a cgroup that holds the server's sandboxes. Its last element also names the sandboxes of
	// this directory in other places.
	groups, err := os.ReadFile(filepath.Join(sandboxes, "cgroups"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no server has run
	} else if err != nil {
		return err
	}
	// The cgroups of WebAssembly, if the server could run it.
	modules, err := os.ReadFile(filepath.Join(s.Data, "run", "wasm", "cgroups"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	groups = append(groups, modules...)
	names := []string{s.Data + "/"}
	empty := []string{filepath.Join(sandboxes, "tmp")}
	for dir := range strings.FieldsSeq(string(groups)) {
		name := filepath.Base(dir)
		names, empty = append(names, "/"+name+"/"), append(empty, dir, filepath.Join("/run", name, "box"))
	}
	if len(names) == 1 {
		return errors.New("no cgroup is known, so nobody can say whether one is left")
	}
	ours := func(text []byte) bool {
		return slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(text, []byte(name)) })
	}

	var left []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(mounts) {
		if ours(line) {
			left = append(left, "mount "+string(line))
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range commands {
		if b, err := os.ReadFile(file); err == nil && ours(b) {
			left = append(left, "process "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	for _, dir := range empty {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if e.IsDir() { // a cgroup has files of its own
				left = append(left, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

// FindOutsideVaults looks for a word that was stored as owner data everywhere except in the vaults: in the
// server's log, the rest of the data directory, the server's directory for temporary files, and new files
// in the machine's. since is the beginning of the story: older files can't contain the word. except are
// files and folders that may contain it.
//
// Other servers and tests write to the machine's directory at the same time, but no other test uses a word
// that Canary returned.
func (s *Server) FindOutsideVaults(word string, since time.Time, except ...string) error {
	if strings.Contains(s.Log.String(), word) {
		return errors.New("owner data in the server's log")
	}
	since = since.Add(-time.Second) // file systems round
	dirs := []string{s.Data}
	if s.Temp != "" {
		dirs = append(dirs, s.Temp)
	}
	fresh, err := bornSince(os.TempDir(), since)
	if err != nil {
		return err
	}
	skip := append(slices.Clone(except), filepath.Join(s.Data, "vaults"))
	var found error
	for _, dir := range append(dirs, fresh...) {
		found = errors.Join(found, find(word, dir, since, skip))
	}
	return found
}

// bornSince returns the entries of a directory that were created since a time. That leaves out a file to
// which the output of the test is redirected, because it is older.
func bornSince(dir string, since time.Time) (all []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var of unix.Statx_t
		if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME|unix.STATX_CTIME, &of) != nil {
			continue // it was removed meanwhile
		}
		born := of.Btime
		if of.Mask&unix.STATX_BTIME == 0 {
			born = of.Ctime
		}
		if !time.Unix(born.Sec, int64(born.Nsec)).Before(since) {
			all = append(all, path)
		}
	}
	return all, err
}

// find looks for a word in the files below top that changed since a time.
func find(word, top string, since time.Time, skip []string) (found error) {
	root, err := os.Stat(top)
	if err != nil {
		return nil // it was removed meanwhile
	}
	return errors.Join(filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was removed meanwhile, or can't be read by anybody
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		// Mounts below it belong to others, and a /proc has files without end.
		of := info.Sys().(*syscall.Stat_t)
		foreign := of.Dev != root.Sys().(*syscall.Stat_t).Dev
		switch leave := foreign || strings.HasPrefix(d.Name(), "go-build") || slices.Contains(skip, path); {
		case leave && d.IsDir():
			return fs.SkipDir
		case leave || d.IsDir():
			return nil
		}
		// ctime is set by the kernel. Unlike mtime, no program can set it.
		const large = 64 << 20
		if !info.Mode().IsRegular() || info.Size() > large || time.Unix(of.Ctim.Unix()).Before(since) {
			return nil
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(word)) {
			found = errors.Join(found, fmt.Errorf("owner data outside its vault, in %s", path))
		}
		return nil
	}), found)
}

// Canary returns a word that is nowhere else on this machine, for FindOutsideVaults.
func Canary() string { return "canary-" + strings.ToLower(rand.Text()) }

// A Client speaks to one HAT of a server over HTTP.
type Client struct {
	address string
	name    string // name of the HAT; empty: any HAT
	token   string
}

// Client returns a client of the HAT that CreateHAT(name) created, not logged in.
func (s *Server) Client(name string) *Client { return &Client{address: s.Address, name: name} }

// Follow makes the client use the address at which the server listens now, with its present token.
func (c *Client) Follow(s *Server) { c.address = s.Address }

// Login logs in as the owner.
func (c *Client) Login() error { return c.LoginAs(c.name) }

// LoginAs logs in as a user of the HAT, with the password that Password returns.
func (c *Client) LoginAs(username string) error {
	status, body, err := c.do("GET", "/users/access_token", nil, http.Header{
		"Username": {url.QueryEscape(username)}, "Password": {url.QueryEscape(Password(username))},
	})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("login of %s: %d %s", username, status, body)
	}
	return err
}

// Do makes one request and returns its status and body, whatever the status.
func (c *Client) Do(method, path string, body []byte) (int, []byte, error) {
	return c.do(method, path, body, http.Header{})
}

func (c *Client) do(method, path string, body []byte, header http.Header) (int, []byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+c.address+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	if c.name != "" {
		req.Host = c.name + ".test"
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if t := resp.Header.Get("X-Auth-Token"); t != "" {
		c.token = t
	}
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Must is Do for requests whose status must be 2xx.
func (c *Client) Must(method, path string, body []byte) ([]byte, error) {
	status, answer, err := c.Do(method, path, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return answer, err
}

// Until repeats a request until its body matches. It polls, because another process can't signal through a
// channel.
func (c *Client) Until(method, path string, want *regexp.Regexp) (answer []byte, err error) {
	deadline := time.After(wait)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, answer, err = c.Do(method, path, nil); err == nil && want.Match(answer) {
			return answer, nil
		}
		select {
		case <-deadline:
			return answer, fmt.Errorf("%s %s never matched %s; last: %s %w", method, path, want, answer, err)
		case <-tick.C:
		}
	}
}

// A Buffer holds what a process writes, for a test to read.
type Buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{} // closed at the next write; nil: nobody waits
}

func (l *Buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrote != nil {
		close(l.wrote)
		l.wrote = nil
	}
	return l.b.Write(p)
}

// Await returns when the written text matches.
func (l *Buffer) Await(want *regexp.Regexp) error {
	deadline := time.After(wait)
	for {
		l.mu.Lock()
		if want.Match(l.b.Bytes()) {
			l.mu.Unlock()
			return nil
		}
		if l.wrote == nil {
			l.wrote = make(chan struct{})
		}
		wrote := l.wrote
		l.mu.Unlock()
		select {
		case <-wrote:
		case <-deadline:
			return fmt.Errorf("no line of the log matches %s", want)
		}
	}
}

func (l *Buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
