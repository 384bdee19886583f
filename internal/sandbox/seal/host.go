package seal

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// aroundTheWalls: the machine itself, its other processes, its kernel.
func aroundTheWalls() []trial {
	trials := []trial{
		{
			channel: "host", observer: "a secret in a file, a directory, the package, the kernel's log and the cgroups of this machine, read before and after",
			probes: [][2]string{
				{"host-file", "read a file of the machine by its path"}, {"host-file-dotdot", "read it through .."}, {"host-file-by-link", "read it through a link in the package"},
				{"host-file-by-root", "read it through the root of process 1"}, {"host-file-by-cwd", "read it through the directory of process 1"}, {"open-by-handle", "read it by its file handle"},
				{"write-host", "write into a directory of the machine"}, {"write-package", "change a file of its own package"}, {"add-to-package", "add a file to it"}, {"rename-in-package", "rename a file of it"},
				{"write-kernel-log", "write to the kernel's log"}, {"make-cgroup", "make a cgroup"}, {"shadow", "read the machine's passwords"},
				{"kcore", "read the kernel's memory"}, {"process-1-environment", "read the environment of process 1"}, {"kernel-log", "read the kernel's log"}, {"kallsyms", "read the kernel's addresses"},
				{"host-paths", "learn where it lies on the machine"}, {"kernel-version", "learn the machine's kernel"},
				{"device-mem", "open /dev/mem"}, {"device-port", "open /dev/port"}, {"device-kvm", "open /dev/kvm"}, {"device-net-tun", "make a network interface with /dev/net/tun"},
				{"device-vsock", "open /dev/vsock"}, {"device-vhost-net", "open /dev/vhost-net"}, {"device-loop-control", "open /dev/loop-control"}, {"device-cpu-0-msr", "open /dev/cpu/0/msr"}, {"device-rtc0", "open /dev/rtc0"},
				{"mknod-disk", "make a device node for the disk and read it"},
			},
			try: hostFiles,
		},
		{
			channel: "host", observer: "the kernel, which answers those who have the right otherwise than those who have not",
			probes: [][2]string{
				{"mount", "mount"}, {"remount", "mount again"}, {"bind-mount", "bind"}, {"unmount", "unmount"}, {"pivot-root", "pivot_root"}, {"open-tree", "open_tree"}, {"fsopen", "fsopen"},
				{"open-by-handle-at", "open_by_handle_at"}, {"bpf", "bpf"}, {"perf", "perf_event_open"}, {"userfaultfd", "userfaultfd"}, {"io-uring", "io_uring_setup"}, {"kexec", "kexec_load"},
				{"init-module", "init_module"}, {"delete-module", "delete_module"}, {"swapon", "swapon"}, {"quotactl", "quotactl"}, {"acct", "acct"}, {"syslog", "read the kernel's log with syslog"}, {"iopl", "iopl"}, {"ioperm", "ioperm"},
				{"clock-settime", "clock_settime"}, {"adjtimex", "adjtimex"}, {"setdomainname", "setdomainname"}, {"move-pages", "move_pages"}, {"kcmp", "kcmp"},
				{"setuid", "become root"}, {"setgid", "become root's group"}, {"setgroups", "join groups"}, {"setuid-of-process-1", "become the user of process 1"},
				{"user-namespace", "make a user namespace"}, {"mount-namespace", "make a mount namespace"}, {"network-namespace", "make a network namespace"}, {"pid-namespace", "make a process namespace"},
				{"new-privileges", "gain privileges by a set-user-ID program"}, {"capabilities", "have a capability"},
			},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				var name unix.Utsname
				if err := unix.Uname(&name); err != nil {
					return nil, err
				}
				return p.managed(ctx, event{Do: "kernel", Pid: os.Getpid(), Mark: "Linux version " + unix.ByteSliceToString(name.Release[:])})
			},
		},
	}
	for _, of := range [][2]string{{"other", "another process of this machine"}, {"init", "process 1 of the sandbox, which alone can speak to the server"}} {
		prefix, who := of[0], of[1]
		t := trial{channel: "host", observer: "that process, which keeps a secret and tells of signals; without walls it is one of ours in both cases", try: func(ctx context.Context, p *place) (map[string]string, error) {
			return attack(ctx, p, prefix)
		}}
		for _, a := range [][2]string{
			{"cmdline", "read the arguments of"}, {"environ", "read the environment of"}, {"mem", "read /proc/…/mem of"}, {"process-vm-readv", "read the memory of"}, {"process-vm-writev", "write the memory of"},
			{"descriptor", "open a descriptor of"}, {"pidfd-getfd", "take a descriptor of"}, {"pidfd-signal", "signal, by descriptor,"}, {"signal", "signal"}, {"prlimit", "read the limits of"}, {"affinity", "move to another CPU"},
			{"priority", "change the priority of"}, {"setns", "join the namespaces of"}, {"root", "see the root directory of"}, {"ptrace", "trace"}, {"stop", "stop"}, {"kill", "kill"},
		} {
			t.probes = append(t.probes, [2]string{prefix + "-" + a[0], a[1] + " " + who})
		}
		trials = append(trials, t)
	}
	return trials
}

func hostFiles(ctx context.Context, p *place) (map[string]string, error) {
	mark := newMark()
	if err := os.WriteFile(p.secret(), []byte(mark), 0o644); err != nil {
		return nil, err
	}
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, p.secret(), 0)
	text := ""
	if err == nil {
		text = hex.EncodeToString(append(binary.BigEndian.AppendUint32(nil, uint32(handle.Type())), handle.Bytes()...))
	}
	var name unix.Utsname
	var st unix.Stat_t
	if err := errors.Join(unix.Uname(&name), unix.Stat(p.Dir, &st)); err != nil {
		return nil, err
	}
	e := event{Do: "host", Mark: mark, Paths: []string{p.secret(), p.outside(), text, p.Dir, unix.ByteSliceToString(name.Release[:])}}
	if unix.Major(st.Dev) != 0 {
		e.Paths = append(e.Paths, strconv.Itoa(int(st.Dev)))
	}
	kernelLog, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(kernelLog)
		_, _ = unix.Seek(kernelLog, 0, io.SeekEnd)
	}
	got, err := p.managed(ctx, e)
	if err != nil {
		return got, err
	}
	see := func(name, file, want string) {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), want) {
			got[name] = "the observer sees " + file
		}
	}
	see("write-host", filepath.Join(p.outside(), "written"), mark)
	see("write-host", filepath.Join(p.outside(), "written-by-root"), mark)
	see("write-package", filepath.Join(p.dir, "package-file"), mark)
	see("add-to-package", filepath.Join(p.dir, "package-new"), "")
	see("rename-in-package", filepath.Join(p.dir, "package-moved"), "")
	if kernelLog >= 0 {
		b := make([]byte, 8192)
		for n, err := unix.Read(kernelLog, b); err == nil; n, err = unix.Read(kernelLog, b) {
			if strings.Contains(string(b[:n]), mark) {
				got["write-kernel-log"] = "the observer sees it"
			}
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + mark)
	for _, g := range append(groups, "/sys/fs/cgroup/"+mark) {
		if unix.Rmdir(g) == nil {
			got["make-cgroup"] = "the observer sees " + g
		}
	}
	return got, nil
}

// attack lets the function go for a process. Without walls both are ours.
func attack(ctx context.Context, p *place, prefix string) (map[string]string, error) {
	v, err := newVictim(p.Program)
	if err != nil {
		return nil, err
	}
	defer v.close()
	e := event{Do: "process", Mark: v.mark, Pid: v.cmd.Process.Pid, Address: v.address, Paths: []string{prefix}}
	if prefix == "init" && p.walls {
		e.Pid, e.Address = 1, 0x400000
	}
	got, err := p.managed(ctx, e)
	if err != nil {
		return got, err
	}
	if seen := v.close(); seen != "" && got[prefix+"-signal"] == "" {
		got[prefix+"-signal"] = seen
	}
	return got, nil
}

// A victim is a process with a secret.
type victim struct {
	mark    string
	cmd     *exec.Cmd
	address uint64
	pipe    *os.File // what comes out of its descriptor 3
	out     *bufio.Reader
	once    sync.Once
	seen    string
}

func newVictim(program string) (*victim, error) {
	v := &victim{mark: newMark()}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	v.pipe = r
	v.cmd = exec.Command(program, "victim", v.mark)
	v.cmd.Env = []string{"SECRET=" + v.mark}
	v.cmd.ExtraFiles = []*os.File{w}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := v.cmd.Start(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	v.out = bufio.NewReader(out)
	line, err := v.out.ReadString('\n')
	if err == nil {
		v.address, err = strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	}
	if err != nil {
		v.close()
		return nil, fmt.Errorf("the observer did not start: %w", err)
	}
	return v, nil
}

// close ends the victim and says what it noticed.
func (v *victim) close() string {
	v.once.Do(func() {
		_ = v.cmd.Process.Kill()
		told, _ := io.ReadAll(v.out)
		written, _ := io.ReadAll(v.pipe)
		_ = v.cmd.Wait()
		_ = v.pipe.Close()
		v.seen = strings.TrimSpace(string(told) + string(written))
	})
	return v.seen
}
