// Package doctor checks what the engine needs on a machine and says how to fix what is missing. It changes
// nothing.
package doctor

import (
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/runtimes"
	"she/internal/sandbox"
	"she/internal/sandbox/cgroup"
	"she/internal/sandbox/gvisor"
)

// A Finding is the result of one check.
type Finding struct {
	What  string `json:"what"`
	Level Level  `json:"level"`
	Found string `json:"found"`
	Fix   string `json:"fix,omitempty"`
}

// A Level says how bad a Finding is.
type Level string

const (
	Good    Level = "ok"
	Hint    Level = "hint"    // the server works, but could work better
	Problem Level = "problem" // the server does not work, or not safely
)

func ok(what, format string, args ...any) Finding {
	return Finding{What: what, Level: Good, Found: fmt.Sprintf(format, args...)}
}

// or makes a finding worse, and adds how to fix it.
func (f Finding) or(l Level, fix string) Finding { f.Level, f.Fix = l, fix; return f }

// A Machine is what is checked: this machine, for a server with these settings.
type Machine struct {
	Data    string // directory; may be empty
	Listen  string // address that the server will listen on
	Vaults  int    // how many vaults may be open; 0: as many as the machine allows
	Reserve int64  // bytes of the disk that functions must leave free
	Serving bool   // a server uses the data directory and answers
}

// Examine does all checks. It changes nothing, except that it writes a file to measure the disk and removes
// it.
func Examine(m Machine) (all []Finding) {
	for _, look := range []func(Machine) []Finding{
		examineKernel, examineRights, examineCgroups, examineHelpers, examineRuntimes, examineFiles, examineDisk, examineClock, examineMemory, examinePort,
	} {
		all = append(all, look(m)...)
	}
	return all
}

// A release is a kernel version, major and minor.
type release [2]int

func (r release) String() string { return fmt.Sprintf("%d.%d", r[0], r[1]) }

func (r release) before(other release) bool { return slices.Compare(r[:], other[:]) < 0 }

// The oldest kernel that gVisor's systrap supports, and the first one that can kill a whole cgroup.
var oldestKernel, killingKernel = release{4, 14}, release{5, 14}

func examineKernel(Machine) (all []Finding) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return []Finding{ok("kernel", "%v", err).or(Problem, "")}
	}
	text := unix.ByteSliceToString(name.Release[:])
	f := ok("kernel", "Linux %s, %s", text, runtime.GOARCH)
	var r release
	switch _, err := fmt.Sscanf(text, "%d.%d", &r[0], &r[1]); {
	case err != nil || r.before(oldestKernel):
		f = f.or(Problem, fmt.Sprintf("gVisor wants Linux %s or newer: upgrade the kernel", oldestKernel))
	case r.before(killingKernel):
		f = f.or(Hint, fmt.Sprintf("Linux %s and newer end a whole cgroup at once; here processes are killed one by one, which works", killingKernel))
	}
	all = append(all, f)
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		all = append(all, ok("processor", "%s", runtime.GOARCH).or(Problem, "gVisor runs on amd64 and arm64 only"))
	}
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	f = ok("seccomp", "filters with traps")
	if err != nil || !slices.Contains(strings.Fields(string(actions)), "trap") {
		f = ok("seccomp", "missing").or(Problem, "the kernel must be built with CONFIG_SECCOMP_FILTER: every sandbox is behind such a filter")
	}
	all = append(all, f)
	var missing []string
	for _, ns := range []string{"ipc", "mnt", "net", "pid", "uts"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			missing = append(missing, ns)
		}
	}
	f = ok("namespaces", "ipc, mnt, net, pid, uts")
	if len(missing) > 0 {
		f = ok("namespaces", "without %s", strings.Join(missing, ", ")).or(Problem, "the kernel must be built with these namespaces")
	}
	all = append(all, f)
	const shmem = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
	if b, err := os.ReadFile(shmem); err == nil {
		_, chosen, _ := strings.Cut(string(b), "[")
		chosen, _, _ = strings.Cut(chosen, "]")
		f := ok("huge pages of shared memory", "%s", chosen)
		if chosen == "never" || chosen == "deny" {
			f = f.or(Hint, "copies answer 10 to 20 % sooner with: echo advise > "+shmem)
		}
		all = append(all, f)
	}
	return all
}

func examineRights(Machine) []Finding {
	f := ok("root", "user id %d", os.Geteuid())
	if os.Geteuid() != 0 {
		return []Finding{f.or(Problem, "she serve must run as root: sandboxes need mounts and cgroups. Functions don't: they run as nobody, inside")}
	}
	effective, err := effectiveCapabilities()
	if err != nil {
		return []Finding{f, ok("capabilities", "%v", err).or(Hint, "")}
	}
	var missing []string
	for name, bit := range map[string]uint{
		"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_SYS_CHROOT": unix.CAP_SYS_CHROOT, "CAP_SETUID": unix.CAP_SETUID, "CAP_SETGID": unix.CAP_SETGID,
		"CAP_SETPCAP": unix.CAP_SETPCAP, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE, "CAP_KILL": unix.CAP_KILL, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_CHOWN": unix.CAP_CHOWN,
	} {
		if effective&(1<<bit) == 0 {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		return []Finding{f, ok("capabilities", "without %s", strings.Join(missing, ", ")).or(Problem, "give them to the container or the service she runs in")}
	}
	return []Finding{f, ok("capabilities", "all that are needed")}
}

func effectiveCapabilities() (uint64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, is := strings.CutPrefix(line, "CapEff:"); is {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, errors.New("the kernel does not say")
}

func examineCgroups(Machine) []Finding {
	kind, missing, err := cgroup.Kind()
	switch {
	case errors.Is(err, cgroup.ErrReadOnly):
		return []Finding{ok("cgroups", "%v", err).or(Problem, "a container wants them writable, and of its own: podman or docker run --privileged --cgroupns=private")}
	case err != nil:
		return []Finding{ok("cgroups", "%v", err).or(Problem, "mount them: mount -t cgroup2 none /sys/fs/cgroup")}
	case len(missing) > 0:
		return []Finding{ok("cgroups", "%s, without %s", kind, strings.Join(missing, ", ")).or(Problem, "enable these controllers on the kernel's command line, or delegate them to the service (systemd: Delegate=yes)")}
	}
	return []Finding{ok("cgroups", "%s, with memory, cpu and pids", kind)}
}

func examineHelpers(Machine) (all []Finding) {
	self, err := os.Executable()
	if err != nil {
		return []Finding{ok("helpers", "%v", err).or(Problem, "")}
	}
	own := revision()
	for _, name := range []string{"runsc", gvisor.Companion("runsc"), "she-init", "she-wasm", "she-probe"} {
		path := filepath.Join(filepath.Dir(self), name)
		info, err := os.Stat(path)
		switch {
		case err != nil && name == "she-probe":
			all = append(all, ok(name, "is not beside she").or(Hint, "she doctor --seal needs it: make build"))
			continue
		case err != nil && name == gvisor.Companion("runsc"):
			all = append(all, ok(name, "is not beside she").or(Hint, "a sandbox takes a third more CPU without it: make build"))
			continue
		case err != nil && name == "she-wasm":
			all = append(all, ok(name, "is not beside she").or(Hint, "functions compiled to WebAssembly need it: make build"))
			continue
		case err != nil || info.Mode()&0o111 == 0:
			all = append(all, ok(name, "is not beside she").or(Problem, "install it together with she: make build"))
			continue
		}
		built, err := buildinfo.ReadFile(path)
		if err != nil {
			all = append(all, ok(name, "is no program of ours: %v", err).or(Problem, "install it together with she: make build"))
			continue
		}
		version := built.Main.Version
		f := ok(name, "%s, %s", cmp.Or(version, "unknown version"), built.GoVersion)
		if theirs := vcs(built); !strings.HasSuffix(built.Main.Path, "/runsc") && own != "" && theirs != "" && theirs != own {
			f = f.or(Hint, "it was built from another revision than she: build and install them together")
		}
		if name == "runsc" {
			if err := gvisor.Fits(path); err != nil {
				f = f.or(Problem, "no sandbox can start: build runsc and she together, and install both: make build")
			}
		}
		all = append(all, f)
	}
	return all
}

// revision returns the revision of the source; "" if the build does not know it.
func revision() string {
	info, is := debug.ReadBuildInfo()
	if !is {
		return ""
	}
	return vcs(info)
}

func vcs(info *debug.BuildInfo) string {
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

func examineRuntimes(m Machine) (all []Finding) {
	dir, err := os.MkdirTemp("", "she-doctor-")
	if err != nil {
		return []Finding{ok("runtimes", "%v", err).or(Hint, "")}
	}
	defer os.RemoveAll(dir)
	finder := runtimes.Finder{Compiled: filepath.Join(dir, "compiled")}
	for _, name := range []string{"nodejs20.x", "python3.11", "java17", "dotnet8"} {
		family := strings.TrimRight(name, "0123456789.x")
		r, _, err := finder.Find(name)
		if err != nil {
			_, install, _ := strings.Cut(err.Error(), ": ")
			all = append(all, ok("runtime "+family, "not installed").or(Hint, "functions written for it can't run; it wants "+install))
			continue
		}
		f := ok("runtime "+family, "%s", r.Name)
		if !r.Copies {
			f = f.or(Hint, "its instances can't be copied, so each starts anew")
		}
		all = append(all, f)
	}
	return all
}

// examineFiles checks the room for file images.
func examineFiles(Machine) []Finding {
	system, _, err := runtimes.Finder{}.Find("provided.al2023")
	if err != nil {
		return []Finding{ok("images of files", "%v", err).or(Hint, "")}
	}
	var binds []sandbox.Bind
	for _, path := range system.Paths {
		binds = append(binds, sandbox.Bind{Source: path[0], Target: path[1]})
	}
	taken, wanted, free, enough, err := gvisor.Room(gvisor.Files, binds)
	f := ok("images of files", "%d MB in %s", taken>>20, gvisor.Files)
	switch {
	case err != nil:
		f = f.or(Hint, err.Error())
	case !enough:
		f = f.or(Hint, fmt.Sprintf("sandboxes take half as much CPU again without: one for the programs of this machine has %d MB and is made on a disk that has four times that free, this one has %d MB",
			wanted>>20, free>>20))
	}
	return []Finding{f}
}

// networks are the types, as in statfs(2), of file systems on which SQLite's locks and syncs don't work.
var networks = map[int64]string{
	0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x517b: "SMB", 0x01021997: "9P", 0x00c36400: "Ceph", 0x5346414f: "AFS", 0x6b414653: "AFS", 0x7461636f: "OCFS2", 0x01161970: "GFS2",
}

const (
	tmpfsMagic, fuseMagic = 0x01021994, 0x65735546
	slowSync              = 20 * time.Millisecond
)

func examineDisk(m Machine) (all []Finding) {
	if m.Data == "" {
		return []Finding{ok("data directory", "not given").or(Hint, "say which one with --data, and its disk is examined too")}
	}
	dir := m.Data
	for { // it may not exist yet: then look at its parent
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []Finding{ok("data directory", "%v", err).or(Problem, "make it, on a local disk")}
	}
	if network := networks[int64(uint32(st.Type))]; network != "" {
		all = append(all, ok("data directory", "on %s, a network file system", network).or(Problem, "move it to a local disk: locks and syncs of vaults do not hold over a network"))
	} else if int64(st.Type) == tmpfsMagic {
		all = append(all, ok("data directory", "in memory").or(Problem, "move it to a disk: nothing here survives a restart"))
	} else if int64(st.Type) == fuseMagic {
		all = append(all, ok("data directory", "on FUSE").or(Hint, "make sure that it is local and that fsync reaches the disk"))
	} else {
		all = append(all, ok("data directory", "%s, on a local file system", dir))
	}
	free := int64(st.Bavail) * st.Bsize
	f := ok("free space", "%d MB, %d %% of the disk", free>>20, 100*int64(st.Bavail)/max(1, int64(st.Blocks)))
	switch {
	case free < m.Reserve:
		f = f.or(Problem, fmt.Sprintf("functions do not start below %d MB, so that vaults have room: free some, or use a larger disk", m.Reserve>>20))
	case free < 4*m.Reserve:
		f = f.or(Hint, "each running function may write 512 MB to its /tmp, on this disk")
	}
	all = append(all, f)
	if st.Files > 0 && st.Ffree < 100_000 {
		all = append(all, ok("free inodes", "%d", st.Ffree).or(Hint, "packages and runtimes are many files: make a file system with more inodes"))
	}
	took, err := syncLatency(dir)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR):
		all = append(all, ok("disk sync", "not measured: the file system makes no files without a name").or(Hint, ""))
	case errors.Is(err, fs.ErrPermission):
		all = append(all, ok("disk sync", "not measured: no right to write").or(Hint, "run doctor as the user of the server"))
	case err != nil:
		all = append(all, ok("disk sync", "%v", err).or(Problem, "the data directory must be writable"))
	default:
		median, worst := took[len(took)/2], took[len(took)-1]
		f := ok("disk sync", "%.1f ms in the middle, %.1f ms at worst", inMs(median), inMs(worst))
		if median > slowSync {
			f = f.or(Hint, "each durable write waits that long: a disk with power-loss protection answers in under 1 ms")
		}
		all = append(all, f)
	}
	return all
}

// syncLatency measures fdatasync after small writes. The result is sorted.
func syncLatency(dir string) (took []time.Duration, err error) {
	// A file without a name, so that nothing is left in the directory even after a kill.
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "make a file without a name in", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	defer func() { err = errors.Join(err, f.Close()) }()
	block := make([]byte, 4096)
	for range 40 {
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}

func examineClock(Machine) []Finding {
	now := time.Now()
	f := ok("clock", "%s", now.UTC().Format(time.RFC3339))
	if self, err := os.Executable(); err == nil {
		if info, err := os.Stat(self); err == nil && now.Before(info.ModTime().Add(-time.Hour)) {
			return []Finding{f.or(Problem, "it is before she was built: set it. Triggers, tokens and receipts depend on it")}
		}
	}
	var t unix.Timex
	const unsynchronised = 0x40 // STA_UNSYNC of adjtimex(2)
	state, err := unix.Adjtimex(&t)
	if err == nil && (state == unix.TIME_ERROR || t.Status&unsynchronised != 0) {
		return []Finding{f.or(Hint, "nothing keeps it right: install chrony or systemd-timesyncd")}
	}
	if err != nil {
		return []Finding{f.or(Hint, "whether something keeps it right can't be seen here")}
	}
	return []Finding{ok("clock", "%s, kept right within %d ms", now.UTC().Format(time.RFC3339), t.Maxerror/1000)}
}

// examineShortage checks which processes the kernel kills when the machine is out of memory. It should be
// sandboxes, but two settings choose others.
func examineShortage() Finding {
	for _, setting := range [][2]string{
		{"panic_on_oom", "the whole machine stops"},
		{"oom_kill_allocating_task", "whoever asks for memory next is ended, the server or another"},
	} {
		b, err := os.ReadFile("/proc/sys/vm/" + setting[0])
		if err == nil && strings.TrimSpace(string(b)) != "0" {
			return ok("out of memory", "%s", setting[1]).or(Hint, "sandboxes would be ended first, and their runs tried again, with: sysctl vm."+setting[0]+"=0")
		}
	}
	if err := unix.Access("/proc/self/oom_score_adj", unix.W_OK); err != nil {
		return ok("out of memory", "the order in which the kernel ends processes can't be set: %v", err).or(Problem, "no sandbox can start: mount /proc writable")
	}
	return ok("out of memory", "sandboxes are ended first, and their runs tried again")
}

func examineMemory(m Machine) (all []Finding) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return []Finding{ok("memory", "%v", err).or(Hint, "")}
	}
	total := int64(info.Totalram) * int64(info.Unit)
	f := ok("memory", "%d MB, %d processors", total>>20, runtime.NumCPU())
	if total < 1<<30 {
		f = f.or(Hint, "an instance takes its own memory and 64 MB: with less than 1 GB few wait ready")
	}
	all = append(all, f, examineShortage())
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		want := uint64(5*m.Vaults + 1024) // the default depends on the limit itself
		f := ok("open files", "%d", limit.Max)
		if limit.Max < want {
			f = f.or(Problem, fmt.Sprintf("vaults, connections and sandboxes may need %d: LimitNOFILE=%d in the service, or ulimit -n", want, 2*want))
		}
		all = append(all, f)
	}
	return all
}

func examinePort(m Machine) []Finding {
	if m.Serving {
		return []Finding{ok("server", "runs, and answers at its socket")}
	}
	l, err := net.Listen("tcp", m.Listen)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return []Finding{ok("address", "%s: %v", m.Listen, err).or(Problem, "ports below 1024 need root; choose another with --listen, or run doctor as the server runs")}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return []Finding{ok("address", "%s: %v", m.Listen, err).or(Problem, "this machine has no such address: choose another with --listen")}
	case err != nil:
		return []Finding{ok("address", "%s: %v", m.Listen, err).or(Problem, "end what listens there, or choose another with --listen")}
	}
	_ = l.Close()
	return []Finding{ok("address", "%s is free", m.Listen)}
}

func inMs(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
