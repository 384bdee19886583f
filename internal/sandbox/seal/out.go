package seal

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
)

// outward: data that leaves the machine, or the sandbox for this machine.
func outward() []trial {
	return []trial{
		{
			channel: "out", observer: "listeners on this machine's loopback, address, sockets and interface",
			probes: [][2]string{
				{"tcp-loopback", "connect to 127.0.0.1"}, {"tcp-loopback6", "connect to ::1"}, {"tcp-host", "connect to the machine's address"},
				{"udp-loopback", "send to 127.0.0.1"}, {"udp-loopback6", "send to ::1"}, {"udp-host", "send to the machine's address"},
				{"dns", "ask a resolver for a name that holds data"},
				{"unix-path", "connect to a socket in a directory"}, {"unix-abstract", "connect to an abstract socket"},
				{"unixgram-path", "send to a socket in a directory"}, {"unixgram-abstract", "send to an abstract socket"},
				{"icmp", "send an ICMP echo"}, {"icmp6", "send an ICMPv6 echo"}, {"ping-socket", "send an ICMP echo without being root"},
				{"raw-ip", "send an IP packet of an unused protocol"}, {"packet-socket", "send an Ethernet frame"},
				{"netlink-multicast", "send to a netlink group"}, {"vsock", "connect to the machine through AF_VSOCK"},
				{"inherited-descriptor", "write to every pipe it was started with"},
			},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				c, err := newCatcher(newMark(), p.outside())
				if err != nil {
					return nil, err
				}
				defer c.close()
				var refused map[string]string
				if err := p.ask(ctx, event{Do: "send", Mark: c.mark, Targets: c.targets}, &refused); err != nil {
					return nil, err
				}
				return c.collect(), nil
			},
		},
		{
			channel: "out", observer: "the kernel that gives a socket; the machine's list of its addresses",
			probes: [][2]string{
				{"af-alg", "a socket to the kernel's cryptography"}, {"af-bluetooth", "a Bluetooth socket"}, {"af-can", "a CAN socket"},
				{"af-xdp", "a socket past the network stack"}, {"af-tipc", "a TIPC socket"}, {"af-rds", "an RDS socket"}, {"sctp", "an SCTP socket"},
				{"mptcp", "an MPTCP socket"}, {"netlink-generic", "a generic netlink socket"}, {"netlink-audit", "an audit netlink socket"},
				{"netlink-diag", "a netlink socket that lists sockets"}, {"interfaces", "list the machine's network interfaces"},
			},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				var own []string
				addresses, err := net.InterfaceAddrs()
				if err != nil {
					return nil, err
				}
				for _, a := range addresses {
					if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
						own = append(own, n.String())
					}
				}
				return p.managed(ctx, event{Do: "families", Paths: own})
			},
		},
		{
			channel: "out", observer: "the text of the server's own error, and what the process prints, read back",
			probes: [][2]string{
				{"process-log", "print, also to /dev/stderr and the descriptors of process 1"},
				{"error-text", "raise an error whose type and message are data"}, {"init-error-text", "the same in INIT"},
			},
			try: words,
		},
		{
			channel: "out", observer: "a search through the disk for the data, once the sandbox is gone",
			probes: [][2]string{
				{"left-on-disk", "write data to files, print it, answer with it"}, {"core-dump", "crash with data in memory"},
			},
			try: leftOnDisk,
		},
		{
			channel: "out", observer: "the answer the server takes",
			probes: [][2]string{
				{"second-answer", "answer twice"}, {"foreign-request", "answer other invocations"},
			},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				got := map[string]string{}
				r, err := p.run(ctx, event{Do: "twice"}, ample)
				if err == nil && string(r.Payload) != `"first"` || err != nil && !p.walls {
					got["second-answer"] = "the last answer counted"
				} else if err != nil {
					return got, err
				}
				var status map[string]string
				if err := p.ask(ctx, event{Do: "foreign"}, &status); err != nil {
					return got, err
				}
				for of, s := range status {
					if strings.HasPrefix(s, "2") {
						got["foreign-request"] = "an answer to " + of + " was taken"
					}
				}
				return got, nil
			},
		},
	}
}

// words tries what a server might repeat.
func words(ctx context.Context, p *place) (map[string]string, error) {
	got := map[string]string{}
	mark := newMark()
	// Inside, process 1 holds the way to the server; outside, that would be somebody else's process.
	env, to := []string(nil), []string{"/proc/1/fd/1", "/proc/1/fd/2", "/dev/console", "/dev/log", "/dev/tty"}
	if !p.walls {
		env, to = []string{"BARE=log"}, nil
	}
	var failures []string
	printed, err := captured(p.outside(), func() error {
		for _, e := range []event{{Do: "speak", Mark: mark, Paths: to}, {Do: "error", Mark: mark}} {
			_, err := p.run(ctx, e, ample, env...)
			if e.Do == "error" {
				failures = append(failures, textOf(err))
			} else if err != nil {
				return err
			}
		}
		_, _, err := p.m.Start(ctx, p.program("INIT=error"))
		failures = append(failures, textOf(err))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if strings.Contains(printed, mark) {
		got["process-log"] = "the mark is in the process's output"
	}
	if strings.Contains(failures[0], mark) {
		got["error-text"] = "the mark is in the error"
	}
	if strings.Contains(failures[1], "secret") {
		got["init-error-text"] = "the function's message is in the error"
	}
	return got, nil
}

func textOf(err error) string {
	var f *sandbox.Failure
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return f.Text + f.Code + err.Error()
	}
	return err.Error()
}

// captured runs f with this process's standard output and error in a file, and gives what came there. Whoever else
// prints meanwhile is caught too, so it is for a command that does nothing else.
func captured(dir string, f func() error) (_ string, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "printed"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for _, fd := range []int{1, 2} {
		kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(kept)
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, unix.Dup3(kept, fd, 0)) }()
	}
	if err := f(); err != nil {
		return "", err
	}
	b, err := os.ReadFile(file.Name())
	return string(b), err
}

// leftOnDisk looks for data where sandboxes keep what they need.
func leftOnDisk(ctx context.Context, p *place) (map[string]string, error) {
	got := map[string]string{}
	for name, do := range map[string]string{"left-on-disk": "leave", "core-dump": "crash"} {
		mark, began := newMark(), time.Now()
		e := event{Do: do, Mark: mark}
		if !p.walls {
			e.Bytes = 1
		}
		if _, err := p.run(ctx, e, ample); err != nil {
			return got, err
		}
		if found := search(mark, began, append([]string{p.root}, p.Search...)...); len(found) > 0 {
			got[name] = "the mark is in " + found[0]
		}
	}
	return got, nil
}
