package gvisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"she/internal/sandbox"
)

// Identities inside. None of them exists on the host's side of the wall: there the kernel of the sandbox runs as
// nobody whatever happens inside.
const (
	functionUID = 993 // Lambda's sandbox user
	functionGID = 990
	initUID     = 992 // process 1, once the function runs
)

// rootfs is the one skeleton all sandboxes share: empty directories to mount on, a minimal /etc, and she-init. It is
// read-only inside and holds nothing of the host.
type rootfs struct {
	dir string
	mu  sync.Mutex
	has map[string]bool // mount points made
}

// etc is all a C library or a language runtime looks for. There is no resolver, because there is no network.
var etc = map[string]string{
	"passwd":        "root:x:0:0:root:/:/bin/false\nsandbox:x:993:990:sandbox:/tmp:/bin/sh\nshe:x:992:992:she:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"group":         "root:x:0:\nsandbox:x:990:\nshe:x:992:\nnogroup:x:65534:\n",
	"hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"hostname":      "sandbox\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
	"resolv.conf":   "",
}

func newRootfs(dir, init string) (*rootfs, error) {
	// Built anew in each life: cheap, and a changed she-init or a half-written skeleton can't linger.
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	r := &rootfs{dir: dir, has: map[string]bool{}}
	for _, d := range []string{"etc", "proc", "sys", "dev", "tmp", "var/task", "var/runtime", "var/opt", "usr"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	// os.MkdirAll obeys the umask; inside, everyone must be able to walk here.
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(p, 0o755)
	}); err != nil {
		return nil, err
	}
	if err := os.Symlink(strings.TrimPrefix(sandbox.Layers, "/"), filepath.Join(dir, "opt")); err != nil {
		return nil, err
	}
	for name, content := range etc {
		if err := writeFile(filepath.Join(dir, "etc", name), strings.NewReader(content), 0o644); err != nil {
			return nil, err
		}
	}
	// Where a C library looks for shared libraries outside its default directories; a list of paths.
	if err := copyFile("/etc/ld.so.cache", filepath.Join(dir, "etc/ld.so.cache"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := copyFile(init, filepath.Join(dir, "she-init"), 0o755); err != nil {
		return nil, err
	}
	// /bin, /lib… are what they are on the host: links into /usr nearly everywhere, else directories to bind.
	for _, d := range []string{"bin", "sbin", "lib", "lib32", "lib64"} {
		if to, err := os.Readlink("/" + d); err == nil {
			if err := os.Symlink(to, filepath.Join(dir, d)); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// mountPoint makes the place a bind lands on. gVisor would do it too, but as whoever it is and for each sandbox.
func (r *rootfs) mountPoint(b sandbox.Bind) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has[b.Target] {
		return nil
	}
	info, err := os.Stat(b.Source)
	if err != nil {
		return fmt.Errorf("a directory the runtime needs: %w", err)
	}
	at := filepath.Join(r.dir, b.Target)
	if info.IsDir() {
		err = os.MkdirAll(at, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(at), 0o755); err == nil {
		err = writeFile(at, strings.NewReader(""), 0o644)
	}
	if err != nil {
		return err
	}
	r.has[b.Target] = true
	return nil
}

// spec is the OCI configuration of one sandbox. Everything that differs between two runs of a function is outside of
// it, so that a function can't tell them apart by it.
//
// With images there is nothing a process on the host would have to open; without, the directories are bound.
func (r *rootfs) spec(p sandbox.Program, tmp string, files images) *specs.Spec {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755", "size=65536"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro", "nosuid", "nodev", "noexec"}},
		// she-init sets the process limit here; to the function it is read-only by ownership.
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/tmp", Type: "bind", Source: tmp, Options: []string{"bind", "rw", "nosuid", "nodev"}},
	}
	ro := []string{"ro", "nosuid", "nodev", "noatime"}
	if files.there() {
		mounts = append(mounts, specs.Mount{Destination: own, Type: "erofs", Source: files.own, Options: ro})
	} else {
		for _, b := range shown(p) {
			mounts = append(mounts, specs.Mount{Destination: b.Target, Type: "bind", Source: b.Source, Options: append([]string{"bind"}, ro...)})
		}
	}
	identity := []string{"CAP_SETUID", "CAP_SETGID"} // she-init gives them up before the function's first instruction
	const hint, root = "dev.gvisor.spec.mount.tmp.", "dev.gvisor.spec.rootfs."
	// /tmp is gVisor's own file system with its pages in a file under tmp, so a full /tmp costs disk and not the memory the
	// function paid for.
	annotations := map[string]string{
		hint + "source":  tmp,
		hint + "type":    "tmpfs",
		hint + "share":   "container",
		hint + "options": fmt.Sprintf("size=%d", p.Limits.Tmp),
	}
	if files.there() {
		annotations[root+"source"], annotations[root+"type"] = files.root, "erofs"
	}
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: "sandbox",
		Root:     &specs.Root{Path: r.dir, Readonly: true},
		Mounts:   mounts,
		Process: &specs.Process{
			Args: []string{"/she-init"},
			Env:  []string{"GOMAXPROCS=1", "GOTRACEBACK=none"},
			Cwd:  "/",
			Capabilities: &specs.LinuxCapabilities{
				Bounding: identity, Effective: identity, Permitted: identity,
			},
			NoNewPrivileges: true,
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_NOFILE", Hard: uint64(p.Limits.Files), Soft: uint64(p.Limits.Files)},
				{Type: "RLIMIT_NPROC", Hard: uint64(p.Limits.Processes), Soft: uint64(p.Limits.Processes)},
				{Type: "RLIMIT_CORE", Hard: 0, Soft: 0},
			},
		},
		Annotations: annotations,
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

func writeSpec(dir string, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
}

func copyFile(from, to string, mode fs.FileMode) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(to, f, mode)
}

func writeFile(to string, content io.Reader, mode fs.FileMode) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
