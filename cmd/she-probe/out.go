package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// send puts the mark to each target, "kind address", as that kind of traffic. Whether it arrived only who listens
// there can say; the answer tells where nothing could be sent, and why.
func send(e event, _ call) any {
	refused := managed{}
	for name, target := range e.Targets {
		kind, address, _ := strings.Cut(target, " ")
		if err := sendTo(kind, address, []byte(e.Mark)); err != nil {
			refused[name] = err.Error()
		}
	}
	return refused
}

func sendTo(kind, address string, mark []byte) error {
	switch kind {
	case "dns":
		return ask(address, string(mark))
	case "icmp":
		return raw(unix.SOCK_RAW, unix.IPPROTO_ICMP, address, echo(8, mark))
	case "icmp6":
		return raw(unix.SOCK_RAW, unix.IPPROTO_ICMPV6, address, echo(128, mark))
	case "ping":
		return raw(unix.SOCK_DGRAM, unix.IPPROTO_ICMP, address, echo(8, mark))
	case "ip":
		return raw(unix.SOCK_RAW, unnamedProtocol, address, mark)
	case "packet":
		return packet(address, mark)
	case "netlink":
		return socketAnd(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK, func(fd int) error {
			header := make([]byte, 16, 16+len(mark))
			binary.NativeEndian.PutUint32(header, uint32(16+len(mark)))
			return unix.Sendto(fd, append(header, mark...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
		})
	case "vsock":
		cid, port, _ := strings.Cut(address, ":")
		return socketAnd(unix.AF_VSOCK, unix.SOCK_STREAM, 0, func(fd int) error {
			c, _ := strconv.ParseUint(cid, 10, 32)
			p, _ := strconv.ParseUint(port, 10, 32)
			if err := unix.Connect(fd, &unix.SockaddrVM{CID: uint32(c), Port: uint32(p)}); err != nil {
				return err
			}
			_, err := unix.Write(fd, mark)
			return err
		})
	case "descriptors":
		return descriptors(mark)
	}
	conn, err := net.DialTimeout(kind, address, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(mark)
	return err
}

// unnamedProtocol is one of those RFC 3692 sets apart for experiments.
const unnamedProtocol = 253

// ask sends a question for a name that holds the mark to a resolver, as leaking by DNS is done.
func ask(resolver, mark string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", resolver)
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := r.LookupHost(ctx, mark+".example.")
	return err
}

func socketAnd(domain, typ, protocol int, use func(fd int) error) error {
	fd, err := unix.Socket(domain, typ, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return use(fd)
}

func raw(typ, protocol int, address string, body []byte) error {
	to, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	if to.Is6() {
		return socketAnd(unix.AF_INET6, typ, protocol, func(fd int) error {
			return unix.Sendto(fd, body, 0, &unix.SockaddrInet6{Addr: to.As16()})
		})
	}
	return socketAnd(unix.AF_INET, typ, protocol, func(fd int) error {
		return unix.Sendto(fd, body, 0, &unix.SockaddrInet4{Addr: to.As4()})
	})
}

// echo is an ICMP message (RFC 792, RFC 4443) with the mark as its data. For version 6 the kernel adds the checksum.
func echo(typ byte, mark []byte) []byte {
	m := append([]byte{typ, 0, 0, 0, 0, 1, 0, 1}, mark...)
	if typ == 8 {
		var sum uint32
		for i := 0; i+1 < len(m); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(m[i:]))
		}
		if len(m)%2 == 1 {
			sum += uint32(m[len(m)-1]) << 8
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(m[2:], ^uint16(sum))
	}
	return m
}

// packet sends an Ethernet frame of a local experimental type (IEEE 802) out of the interface with that number.
func packet(index string, mark []byte) error {
	n, err := strconv.Atoi(index)
	if err != nil {
		return err
	}
	frame := append(make([]byte, 12, 14+len(mark)), 0x88, 0xb5)
	return socketAnd(unix.AF_PACKET, unix.SOCK_RAW, 0, func(fd int) error {
		return unix.Sendto(fd, append(frame, mark...), 0, &unix.SockaddrLinklayer{Ifindex: n, Protocol: 0xb588})
	})
}

// descriptors writes the mark to everything that was open before this program opened anything, but to the first three.
func descriptors(mark []byte) error {
	written := 0
	for fd := 3; fd < 1024; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.SetNonblock(fd, true)
			if n, _ := unix.Write(fd, mark); n > 0 {
				written++
			}
		}
	}
	if written == 0 {
		return fmt.Errorf("no descriptor to write to")
	}
	return nil
}

// families asks for every other kind of socket that leads out of a machine or into its kernel.
func families(e event, _ call) any {
	got := managed{}
	for name, s := range map[string][3]int{
		"af-alg": {unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, "af-bluetooth": {unix.AF_BLUETOOTH, unix.SOCK_RAW, 0},
		"af-can": {unix.AF_CAN, unix.SOCK_RAW, 0}, "af-xdp": {unix.AF_XDP, unix.SOCK_RAW, 0},
		"af-tipc": {unix.AF_TIPC, unix.SOCK_STREAM, 0}, "af-rds": {unix.AF_RDS, unix.SOCK_SEQPACKET, 0},
		"sctp": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, "mptcp": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
		"netlink-generic": {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC},
		"netlink-audit":   {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
		"netlink-diag":    {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG},
	} {
		if socketAnd(s[0], s[1], s[2], func(int) error { return nil }) == nil {
			got[name] = "the kernel gave a socket"
		}
	}
	// Interfaces of the host would show what it is connected to.
	interfaces, err := net.Interfaces()
	if err != nil {
		return got
	}
	for _, i := range interfaces {
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			for _, of := range e.Paths {
				if a.String() == of {
					got["interfaces"] = "the host's address " + of
				}
			}
		}
	}
	return got
}

// speak prints the mark in every way there is: what a function says must not end in the server's own log.
func speak(e event, _ call) any {
	fmt.Println(e.Mark)
	fmt.Fprintln(os.Stderr, e.Mark)
	for _, file := range append([]string{"/dev/stdout", "/dev/stderr", "/proc/self/fd/1"}, e.Paths...) {
		if f, err := os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_, _ = f.WriteString(e.Mark + "\n")
			f.Close()
		}
	}
	return "spoken"
}

// crash leaves an image of its memory behind, with the mark in it, if it may.
func crash(e event) any {
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_CORE, &limit) != nil {
		_ = unix.Getrlimit(unix.RLIMIT_CORE, &limit)
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
	_ = os.Chdir(os.TempDir())
	cmd := spawn("abort", e.Mark)
	if cmd != nil {
		_ = cmd.Wait()
	}
	return "crashed"
}
