package seal

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A catcher listens wherever a function might send to, on this machine only.
type catcher struct {
	mark    string
	targets map[string]string // probe -> kind and address, as she-probe reads them
	absent  map[string]error  // probes without a listener here
	look    []func()          // each notes what has come
	caught  map[string]string
	closers []func()
}

func newCatcher(mark, dir string) (*catcher, error) {
	c := &catcher{mark: mark, targets: map[string]string{}, absent: map[string]error{}, caught: map[string]string{}}
	own := ownAddress()
	for name, listen := range map[string][2]string{
		"tcp-loopback": {"tcp", "127.0.0.1:0"}, "tcp-loopback6": {"tcp", "[::1]:0"}, "tcp-host": {"tcp", net.JoinHostPort(own, "0")},
		"udp-loopback": {"udp", "127.0.0.1:0"}, "udp-loopback6": {"udp", "[::1]:0"}, "udp-host": {"udp", net.JoinHostPort(own, "0")}, "dns": {"udp", "127.0.0.1:0"},
		"unix-path": {"unix", filepath.Join(dir, "s")}, "unix-abstract": {"unix", "@" + mark},
		"unixgram-path": {"unixgram", filepath.Join(dir, "d")}, "unixgram-abstract": {"unixgram", "@d" + mark},
	} {
		if err := c.listen(name, listen[0], listen[1]); err != nil {
			c.absent[name] = err
		}
	}
	if own == "" {
		for _, name := range []string{"tcp-host", "udp-host"} {
			c.absent[name] = errors.New("this machine has no address but loopback")
			delete(c.targets, name)
		}
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	const frames = 0xb588 // the type 0x88b5 in network order
	for _, r := range []struct {
		name, target          string
		domain, typ, protocol int
		bind                  unix.Sockaddr
	}{
		{"icmp", "icmp 127.0.0.1", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, nil},
		{"icmp6", "icmp6 ::1", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, nil},
		{"ping-socket", "ping 127.0.0.1", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, nil},
		{"raw-ip", "ip 127.0.0.1", unix.AF_INET, unix.SOCK_RAW, 253, nil},
		{"packet-socket", fmt.Sprint("packet ", lo.Index), unix.AF_PACKET, unix.SOCK_RAW, frames, &unix.SockaddrLinklayer{Protocol: frames, Ifindex: lo.Index}},
		{"netlink-multicast", "netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}},
	} {
		if err := c.raw(r.name, r.domain, r.typ, r.protocol, r.bind); err != nil {
			c.absent[r.name] = err
			continue
		}
		c.targets[r.name] = r.target
	}
	c.vsock()
	return c, c.pipe()
}

// ownAddress is an address of this machine that is not loopback.
func ownAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}

// patience is how long a listener waits for what has been sent already.
const patience = 30 * time.Millisecond

func (c *catcher) listen(name, network, address string) error {
	kind := network
	if name == "dns" {
		kind = "dns"
	}
	b := make([]byte, 4096)
	switch network {
	case "udp", "unixgram":
		l, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		c.closers = append(c.closers, func() { _ = l.Close() })
		c.targets[name] = kind + " " + l.LocalAddr().String()
		c.look = append(c.look, func() {
			for {
				_ = l.SetReadDeadline(time.Now().Add(patience))
				n, _, err := l.ReadFrom(b)
				if err != nil {
					return
				}
				c.note(name, b[:n])
			}
		})
	default:
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		c.closers = append(c.closers, func() { _ = l.Close() })
		c.targets[name] = kind + " " + l.Addr().String()
		c.look = append(c.look, func() {
			for {
				_ = l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(patience))
				conn, err := l.Accept()
				if err != nil {
					return
				}
				c.caught[name] = "a connection"
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				n, _ := conn.Read(b)
				c.note(name, b[:n])
				_ = conn.Close()
			}
		})
	}
	if path := address; network == "unix" || network == "unixgram" {
		if filepath.IsAbs(path) {
			return os.Chmod(path, 0o777)
		}
	}
	return nil
}

// raw listens on a socket of that kind without blocking.
func (c *catcher) raw(name string, domain, typ, protocol int, bind unix.Sockaddr) error {
	fd, err := unix.Socket(domain, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() { _ = unix.Close(fd) })
	if bind != nil {
		if err := unix.Bind(fd, bind); err != nil {
			return err
		}
	}
	c.look = append(c.look, func() { c.drain(name, fd) })
	return nil
}

func (c *catcher) drain(name string, fd int) {
	b := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, b)
		if err != nil || n <= 0 {
			return
		}
		c.note(name, b[:n])
	}
}

// vsock listens for what virtual machines and their host say to each other.
func (c *catcher) vsock() {
	const name, port = "vsock", 20993
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		c.closers = append(c.closers, func() { _ = unix.Close(fd) })
		err = errors.Join(unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}), unix.Listen(fd, 4))
	}
	if err != nil {
		c.absent[name] = err
		return
	}
	c.targets[name] = fmt.Sprintf("vsock %d:%d", unix.VMADDR_CID_LOCAL, port)
	c.look = append(c.look, func() {
		for {
			conn, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			c.caught[name] = "a connection"
			unix.Close(conn)
		}
	})
}

// pipe is a descriptor that this process does not close for its children.
func (c *catcher) pipe() error {
	const name = "inherited-descriptor"
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return errors.Join(err, c.close())
	}
	c.closers = append(c.closers, func() { _ = unix.Close(p[0]); _ = unix.Close(p[1]) })
	c.targets[name] = "descriptors"
	c.look = append(c.look, func() { c.drain(name, p[0]) })
	return unix.SetNonblock(p[0], true)
}

func (c *catcher) note(name string, b []byte) {
	if strings.Contains(string(b), c.mark) {
		c.caught[name] = "the mark arrived"
	}
}

// collect gives what has arrived by now.
func (c *catcher) collect() map[string]string {
	for _, look := range c.look {
		look()
	}
	return c.caught
}

func (c *catcher) close() error {
	for _, f := range c.closers {
		f()
	}
	return nil
}
