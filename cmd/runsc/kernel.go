package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/server"
	"gvisor.dev/gvisor/pkg/hostos"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/gvisorbinaries"
	gvisor "gvisor.dev/gvisor/runsc/sandbox"
	"gvisor.dev/gvisor/runsc/specutils"

	"she/internal/sandbox/cgroup"
	"she/internal/sandbox/gvisor/launch"
)

// kernel makes a sandbox that needs no file server: one process, its kernel, which is then told to start a program or to
// restore one. gVisor's own way there (runsc/container and runsc/sandbox) keeps the state of a container in a locked file,
// reads and writes it four times, and hands on its own standard streams, so that sandboxes could only be made one after the other.
// TestKernelsAreMadeAsGVisorMakesThem compares what comes of the two.
func (l *launcher) kernel(conf *config.Config, job launch.Job, files []*os.File) (<-chan launch.End, error) {
	snapshot, release, err := l.snapshot(job)
	if err != nil {
		return nil, err
	}
	cmd, up, err := l.startKernel(job, files, snapshot)
	if err != nil {
		release()
		return nil, err
	}
	defer up.Close()
	ended := make(chan launch.End, 1)
	go func() {
		end := endOf(cmd)
		release()
		ended <- end
	}()
	var ready [1]byte
	if n, err := up.Read(ready[:]); err != nil || n != 1 {
		return nil, fmt.Errorf("waiting for sandbox to start: %w", err)
	}
	s := running(job)
	s.Pid.Store(cmd.Process.Pid)
	if job.Image != "" {
		return ended, s.Restore(conf, &specs.Spec{}, job.ID, job.Image, false, false, nil)
	}
	return ended, s.StartRoot(conf, &specs.Spec{})
}

// running is a sandbox as gVisor's calls to its kernel need it.
func running(job launch.Job) *gvisor.Sandbox {
	return &gvisor.Sandbox{ID: job.ID, ControlSocketPath: controlSocket(job)}
}

func controlSocket(job launch.Job) string { return filepath.Join(job.Run, "runsc-"+job.ID+".sock") }

// save has a sandbox's kernel write down what is in its memory, and end.
func save(job launch.Job) (err error) {
	defer recovered(&err)
	return running(job).Checkpoint(&config.Config{}, job.ID, job.Save, gvisor.CheckpointOpts{Compression: statefile.CompressionLevelDefault, ExcludeCommittedZeroPages: true})
}

// snapshot is what a copy shares with others of the same snapshot, nil if it shares nothing.
func (l *launcher) snapshot(job launch.Job) (_ *os.File, release func(), err error) {
	if job.Image == "" || !sharing {
		return nil, func() {}, nil
	}
	return l.shared.open(job.Image)
}

// startKernel starts the process, and closes snapshot. up becomes readable when it listens.
func (l *launcher) startKernel(job launch.Job, stdio []*os.File, snapshot *os.File) (cmd *exec.Cmd, up *os.File, err error) {
	var ours []*os.File // the process has its own copies
	if snapshot != nil {
		ours = append(ours, snapshot)
	}
	defer func() {
		for _, f := range ours {
			_ = f.Close()
		}
	}()
	open := func(file string) *os.File {
		f, openErr := os.Open(file)
		if openErr != nil {
			err = errors.Join(err, openErr)
			return nil
		}
		ours = append(ours, f)
		return f
	}
	root, own, spec := open(job.Files.Root), open(job.Files.Own), open(filepath.Join(job.Bundle, "config.json"))
	if err != nil {
		return nil, nil, err
	}
	tmp, err := pagesOf(job.Files.Tmp)
	if err != nil {
		return nil, nil, fmt.Errorf("make a file for the pages of /tmp: %w", err)
	}
	ours = append(ours, tmp)
	up, ready, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = up.Close()
		}
	}()
	ours = append(ours, ready)
	listening, err := server.CreateSocket(controlSocket(job))
	if err != nil {
		return nil, nil, fmt.Errorf("make the control socket: %w", err)
	}
	control := os.NewFile(uintptr(listening), "control")
	ours = append(ours, control)
	for _, f := range stdio { // the program's are pipes of ours, which it opens anew as nobody
		if err := f.Chown(nobody, nobody); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EROFS) {
			return nil, nil, err
		}
	}
	memory, err := hostos.TotalSystemMemory()
	if err != nil {
		return nil, nil, err
	}
	// What a sandbox sees, in the order of its configuration: the root, /tmp, /var (gvisor/rootfs.go).
	mounts := specutils.GoferMountConfFlags{
		{Lower: specutils.Erofs, Upper: specutils.NoOverlay},
		{Lower: specutils.NoneLower, Upper: specutils.SelfOverlay},
		{Lower: specutils.Erofs, Upper: specutils.NoOverlay},
	}
	enter, err := gvisorbinaries.GvisorSentryPrewarmer.Path()
	if err != nil {
		return nil, nil, err
	}
	cmd = exec.Command(enter, specutils.ExePath, "runsc-sandbox")
	cmd.Args = append(append(cmd.Args, features()...), "--root="+job.Run)
	cmd.Args = append(cmd.Args, job.Flags...)
	cmd.Args = append(cmd.Args, "boot", "--bundle="+job.Bundle, "--gofer-mount-confs="+mounts.String(), "--setup-root",
		"--total-host-memory", strconv.FormatUint(memory, 10), "--total-memory", strconv.FormatUint(memory, 10))
	give := func(flag string, files ...*os.File) {
		for _, f := range files {
			cmd.Args = append(cmd.Args, fmt.Sprintf("--%s=%d", flag, firstExtra+len(cmd.ExtraFiles)))
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	give("io-fds", root, own)
	give("gofer-filestore-fds", tmp)
	give("start-sync-fd", ready)
	give("controller-fd", control)
	give("spec-fd", spec)
	give("stdio-fds", stdio...)
	if snapshot != nil { // the last: gVisor's filter of system calls knows the number of the control socket
		const first = 3 // behind both programs and the name
		cmd.Args = slices.Insert(cmd.Args, first+len(features()), fmt.Sprintf("%s%d", snapshotFlag, firstExtra+len(cmd.ExtraFiles)))
		cmd.ExtraFiles = append(cmd.ExtraFiles, snapshot)
	}
	cmd.Args = append(cmd.Args, job.ID)
	cmd.Env = []string{}
	if cmd.SysProcAttr, err = asNobody(); err != nil {
		return nil, nil, err
	}
	return cmd, up, l.bear(cmd, job)
}

// firstExtra is the descriptor of the first of exec.Cmd's ExtraFiles.
const firstExtra = 3

// nobody is who a sandbox's kernel is, on the host and in its user namespace.
const nobody = 65534

// asNobody has a process started in new namespaces of every kind, with the capabilities that making an empty root takes.
func asNobody() (*syscall.SysProcAttr, error) {
	capabilities := []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SETPCAP}
	p, err := platform.Lookup("systrap")
	if err != nil {
		return nil, err
	}
	if p.Requirements().RequiresCapSysPtrace {
		capabilities = append(capabilities, unix.CAP_SYS_PTRACE)
	}
	itself := []syscall.SysProcIDMap{{ContainerID: nobody, HostID: nobody, Size: 1}}
	return &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		UidMappings: itself, GidMappings: itself,
		AmbientCaps: capabilities,
	}, nil
}

// bear starts a process in the sandbox's cgroup: what it uses counts as the sandbox's from the first page on. Only the
// thread that starts it is there for that moment.
func (l *launcher) bear(cmd *exec.Cmd, job launch.Job) error {
	l.moving.RLock()
	defer l.moving.RUnlock()
	err := cgroup.Place{Dirs: job.Groups, Unified: job.Unified}.Start(cmd, job.Waits)
	var stray *cgroup.StrayError
	if errors.As(err, &stray) {
		// In a sandbox's cgroup we would die with it, later and without a reason.
		fmt.Fprintln(os.Stderr, "runsc: launch:", err)
		os.Exit(1)
	}
	return err
}

// endOf waits for the end of a process, whenever that is.
func endOf(cmd *exec.Cmd) launch.End {
	state, err := cmd.Process.Wait()
	if err != nil {
		return launch.End{}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return launch.End{}
	case status.Signaled():
		return launch.End{Signal: int(status.Signal())}
	}
	return launch.End{Status: status.ExitStatus()}
}

// pagesOf makes the file that holds the pages of a sandbox's /tmp, in a directory that is there for it. gVisor makes one
// only beside a file server.
func pagesOf(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	pgalloc.IMAWorkAroundForMemFile(f.Fd())
	return f, nil
}
