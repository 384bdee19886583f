// Command bootstrap knocks at doors of the kernel that lead out of a sandbox, and reports which opened. Nothing is sent
// anywhere but to the catcher the record names.
package main

import (
	"encoding/json"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

type target struct {
	Host string `json:"host"` // an IPv4 address, for an ICMP echo
	Port uint32 `json:"port"` // of the host, by vsock
}

func main() {
	serve("syscalls", func(records []record) ([]response, error) {
		var t target
		for _, r := range records {
			_ = json.Unmarshal(r.Data, &t) // a record without a target still has the doors tried
		}
		opened, refused := []string{}, object{}
		for _, door := range doors(t) {
			if err := door.try(); err != nil {
				refused[door.name] = err.Error()
			} else {
				opened = append(opened, door.name)
			}
		}
		result := object{"opened": opened, "refused": refused}
		return []response{{"test", "out", []any{result}, []string{}}}, nil
	})
}

type door struct {
	name string
	try  func() error
}

func doors(t target) []door {
	return []door{
		{"socket packet", socket(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"socket vsock", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
		{"socket alg", socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
		{"socket xdp", socket(unix.AF_XDP, unix.SOCK_RAW, 0)},
		{"socket bluetooth", socket(unix.AF_BLUETOOTH, unix.SOCK_RAW, 0)},
		{"socket raw icmp", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
		{"socket raw", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)},
		{"vsock to the host", func() error { return vsock(t.Port) }},
		{"icmp echo", func() error { return echo(t.Host) }},
		{"add a route", addRoute},
		{"mount", mount},
		{"pivot_root", func() error { return unix.PivotRoot("/tmp", "/tmp") }},
		{"mknod", func() error { return unix.Mknod("/tmp/memory", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) }},
		{"unshare network and mount", func() error { return unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS) }},
		{"join the namespace of process 1", joinInit},
		{"ptrace process 1", traceInit},
		{"read memory of process 1", readInit},
		{"open by handle", openByHandle},
		{"bpf", func() error { return call(unix.SYS_BPF, 0, 0, 0) }},
		{"perf_event_open", perf},
		{"io_uring_setup", ring},
		{"userfaultfd", func() error { return call(unix.SYS_USERFAULTFD, 0, 0, 0) }},
		{"kexec_load", func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0) }},
		{"init_module", func() error { return call(unix.SYS_INIT_MODULE, 0, 0, 0) }},
		{"add_key", addKey},
		{"set the clock", setClock},
		{"sethostname", setHostname},
		{"write to the kernel's settings", writeSetting},
		{"kernel log", func() error { _, err := unix.Klogctl(3, make([]byte, 64)); return err }},
	}
}

func socket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, protocol)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
}

func vsock(port uint32) error {
	if port == 0 {
		return unix.EINVAL
	}
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: port})
}

func echo(host string) error {
	address := net.ParseIP(host).To4()
	if address == nil {
		return unix.EINVAL
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0} // type, code, checksum, id, sequence
	return unix.Sendto(fd, request, 0, &unix.SockaddrInet4{Addr: [4]byte(address)})
}

// addRoute asks for a way to elsewhere.
func addRoute() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// struct rtentry: destination 192.0.2.0 (for documentation, nobody's), its mask, RTF_UP | RTF_GATEWAY.
	var entry [120]byte
	for _, at := range []int{8, 24, 40} {
		entry[at] = unix.AF_INET
	}
	copy(entry[12:], []byte{192, 0, 2, 0})
	copy(entry[28:], []byte{127, 0, 0, 1})
	copy(entry[44:], []byte{255, 255, 255, 0})
	entry[56] = 3
	return call(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&entry)))
}

func mount() error {
	folder, err := os.MkdirTemp("/tmp", "mount-")
	if err != nil {
		return err
	}
	return unix.Mount("none", folder, "proc", 0, "")
}

func traceInit() error {
	err := unix.PtraceAttach(1)
	if err == nil {
		_ = unix.PtraceDetach(1)
	}
	return err
}

func joinInit() error {
	f, err := os.Open("/proc/1/ns/mnt")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Setns(int(f.Fd()), 0)
}

func readInit() error {
	f, err := os.Open("/proc/1/mem")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = f.ReadAt(make([]byte, 8), 0x400000)
	return err
}

func openByHandle() error {
	root, err := unix.Open("/", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(root) }()
	fd, err := unix.OpenByHandleAt(root, unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0}), unix.O_RDONLY)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// perf asks for a counter of the whole machine, which would show the work of others.
func perf() error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func ring() error {
	var parameters [120]byte
	return call(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&parameters)), 0)
}

func addKey() error {
	_, err := unix.AddKey("user", "she-canary", []byte("1"), unix.KEY_SPEC_USER_KEYRING)
	return err
}

// setClock sets the time that it is already, so that a sandbox that lets it does no harm.
func setClock() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}

// setHostname sets the name there is, for the same reason.
func setHostname() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return unix.Sethostname([]byte(name))
}

func writeSetting() error {
	f, err := os.OpenFile("/proc/sys/kernel/core_pattern", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}
