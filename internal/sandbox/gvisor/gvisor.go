// Package gvisor is the wall: sandboxes of gVisor, each with a kernel of its own written in Go, so that a function's
// system calls never reach the host's kernel. DESIGN.md beside package sandbox says why and what is inside.
//
// On the host a sandbox is: a few processes in a cgroup of its own, a directory under /run for gVisor's state, and a
// directory for what the function writes to /tmp. Its mounts are in private namespaces and go with its processes. So
// removing it is killing the cgroup and deleting two directories, and Sweep after a crash is the same.
package gvisor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
	"she/internal/sandbox/cgroup"
	"she/internal/sandbox/gvisor/launch"
)

// Config says where things are. All paths are absolute.
type Config struct {
	Runsc string // gVisor's program
	Init  string // she-init
	State string // a directory of our own; /tmp of functions is kept here, so it wants disk space
	// Files is where images of runtimes' directories are kept, as large as these; several servers may share it. Without,
	// each sandbox has a process that opens its files for it.
	Files string
	// Rootless says that this process has no root, and is the first of namespaces that package rootless made: limits are
	// held without cgroups, and a sandbox's kernel is on the host whoever started this process. Files must be given.
	Rootless bool
	// Run is a directory for sockets, with a short name; empty means one below /run.
	Run string
}

// Files is the usual Config.Files.
const Files = "/var/cache/she/files"

// Companion is the program that gVisor's, at runsc, starts ahead of each sandbox's kernel (cmd/runsc/enter). Its place and
// name are gVisor's choice; without it gVisor does the same at more cost.
func Companion(runsc string) string {
	return filepath.Join(filepath.Dir(runsc), "gvisor-bin", "gvisor-sentry-prewarmer")
}

// Mechanism makes gVisor sandboxes. It must run as root: it makes cgroups and mounts.
type Mechanism struct {
	runsc string
	stamp string // of the helpers
	state string
	run   string // short, because sockets live below it
	root  *rootfs
	lower *lower // nil if there are no images
	cg    *cgroup.Tree
	lock  *os.File
	next  atomic.Uint64

	rootless bool

	launchers launchers
}

var _ sandbox.Copier = (*Mechanism)(nil)

// New prepares the directories, and takes a lock on State so that no two servers sweep each other's sandboxes. It
// starts no sandbox. The error of a missing helper says which, and so does that of a runsc that was built for another she.
func New(c Config) (*Mechanism, error) {
	if os.Geteuid() != 0 && !c.Rootless {
		return nil, errors.New("sandboxes need root: cgroups and mounts are made for each")
	}
	var stamp string
	for _, helper := range [][2]string{{"gVisor's runsc", c.Runsc}, {"she-init", c.Init}} {
		info, err := os.Stat(helper[1])
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return nil, fmt.Errorf("%s is not at %s; build it with: make build", helper[0], helper[1])
		}
		stamp += fmt.Sprintf("%d.%d ", info.Size(), info.ModTime().UnixNano())
	}
	if err := Fits(c.Runsc); err != nil {
		return nil, err
	}
	state, err := filepath.Abs(c.State)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(state))
	name := "she-" + hex.EncodeToString(hash[:5])
	m := &Mechanism{stamp: stamp + layout, state: state, run: filepath.Join(cmp.Or(c.Run, "/run"), name)}
	m.rootless = c.Rootless
	m.launchers.m = m
	for _, dir := range []string{state, m.tmpDir(), m.run, m.boxDir(), m.sharedDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if m.lock, err = os.OpenFile(filepath.Join(state, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(m.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another server uses %s", state), m.lock.Close())
	}
	if m.runsc = c.Runsc; !c.Rootless {
		m.runsc, err = reach(c.Runsc, m.run)
	}
	if err == nil {
		err = m.prepare(c, name)
	}
	if err != nil {
		return nil, errors.Join(err, unmountBelow(m.run), m.lock.Close())
	}
	return m, nil
}

// Fits asks gVisor's program whether it was built with the channel this program speaks; if not, no sandbox would start.
func Fits(runsc string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, runsc, launch.Command, launch.Version)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.Output(); err != nil || strings.TrimSpace(string(out)) != launch.Stamp() {
		return fmt.Errorf("%s was not built for this version of she: build and install them together (make build)", runsc)
	}
	return nil
}

func (m *Mechanism) prepare(c Config, name string) (err error) {
	// A sandbox that was starting when the earlier server was killed still makes mount points in the skeleton.
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	if c.Rootless {
		m.cg = cgroup.Watch(func(name string) string { return "--root=" + m.runDir(name) })
	} else if m.cg, err = cgroup.Open(ctx, name, filepath.Join(m.state, "cgroups")); err != nil {
		return err
	}
	if m.root, err = newRootfs(filepath.Join(m.state, "root"), c.Init); err != nil || c.Files == "" {
		return err
	}
	if _, err := os.Stat(Companion(c.Runsc)); err != nil {
		return nil // a sandbox without a file server needs it
	}
	m.lower, err = openLower(m.state, c)
	return err
}

// layout changes with what a sandbox is made of, so that images of memory made before are not used.
const layout = "2"

// sweepTimeout is what ending the processes of an earlier life may take.
const sweepTimeout = 10 * time.Second

func (m *Mechanism) tmpDir() string            { return filepath.Join(m.state, "tmp") }
func (m *Mechanism) boxDir() string            { return filepath.Join(m.run, "box") }
func (m *Mechanism) runDir(name string) string { return filepath.Join(m.boxDir(), name, "run") }
func (m *Mechanism) sharedDir() string         { return filepath.Join(m.run, "shared") }

// runscFlags are gVisor's global flags for every sandbox.
func (m *Mechanism) runscFlags() []string {
	return []string{
		"--shared-root=" + m.sharedDir(),
		"--platform=systrap", "--network=none", "--overlay2=none", "--directfs=false",
		"--ignore-cgroups",               // ours hold already
		"--host-settings=ignore",         // doctor's business
		"--file-access-mounts=exclusive", // nobody changes a package or a runtime under us
		"--character-device-policy=emulated-only",
	}
}

// Sweep implements sandbox.Mechanism.
func (m *Mechanism) Sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	problems := []error{m.cg.Sweep(ctx), unmountBelow(m.boxDir()), unmountBelow(m.sharedDir()), unmountBelow(m.state)}
	for _, dir := range []string{m.boxDir(), m.tmpDir(), m.sharedDir()} {
		problems = append(problems, empty(dir))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("sweep sandboxes: %w", err)
	}
	return m.cg.Forget()
}

// Close implements sandbox.Mechanism. What stays is the state directory with nothing of a sandbox in it.
func (m *Mechanism) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	m.launchers.close()
	m.lower.close()
	return errors.Join(
		m.cg.Close(ctx),
		unmountBelow(m.run), os.RemoveAll(m.run),
		empty(m.tmpDir()),
		m.lock.Close())
}

func (m *Mechanism) newName() string { return strconv.FormatUint(m.next.Add(1), 36) }

// unmountBelow detaches every mount under dir, innermost first.
func unmountBelow(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.SortFunc(points, func(a, b string) int { return len(b) - len(a) })
	var problems []error
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			problems = append(problems, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(problems...)
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var problems []error
	for _, e := range entries {
		problems = append(problems, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(problems...)
}
