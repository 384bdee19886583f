// Package launch is the channel between the server and the launcher, a process of gVisor's program that stays and
// brings sandboxes up. So a new sandbox costs no start of that large program for each step of its making, and the
// server does not have gVisor linked into it.
//
// The channel is a Unix socket of sequenced packets. A Job goes one way with three descriptors, a Reply comes back;
// several jobs may be under way, and replies come in the order of being done. Both sides are ours and run as root.
// The program at the other end also has the kernel of a sandbox without some system calls (ADR 0015).
package launch

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Command is the argument that makes gVisor's program a launcher. It finds its socket at descriptor Socket.
const (
	Command = "she-launch"
	Socket  = 3
)

// MostShared is how many bytes of snapshots the launcher has in memory for all sandboxes, beside its own.
func MostShared() int64 {
	const least = 256 << 20
	var machine unix.Sysinfo_t
	if unix.Sysinfo(&machine) != nil {
		return least
	}
	return max(least, int64(machine.Totalram)*int64(machine.Unit)/8)
}

// WrittenFile is beside the pages of a snapshot. It lists, as JSON, the stretches of memory that an event writes: a copy has them to
// itself from the start. Without it any page may be written.
const WrittenFile = "written.json"

// A Stretch of a sandbox's memory, in bytes from its beginning, with the end after the last.
type Stretch struct {
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
}

// Stretches puts pages together that follow each other.
func Stretches(pages []uint64, size uint64) (all []Stretch) {
	slices.Sort(pages)
	for _, at := range pages {
		if n := len(all); n > 0 && all[n-1].End == at {
			all[n-1].End += size
		} else {
			all = append(all, Stretch{at, at + size})
		}
	}
	return all
}

// Version behind Command makes gVisor's program print Stamp and end.
const Version = "version"

//go:embed launch.go
var source []byte

// Stamp names this form of the channel: both sides have it from this very file, so it can't be forgotten to change.
func Stamp() string {
	sum := sha256.Sum256(source)
	return hex.EncodeToString(sum[:8])
}

// maxPacket bounds a packet in bytes. A packet holds paths and flags.
const maxPacket = 64 << 10

// A Job asks for one sandbox, or with Save for the memory of one that runs. With the first come its standard input, output
// and error.
type Job struct {
	Number  uint64   `json:"number"`
	Flags   []string `json:"flags"`           // gVisor's global flags, but for --root
	Run     string   `json:"run"`             // gVisor's directory for this sandbox alone: its --root
	ID      string   `json:"id"`              // the container's name
	Bundle  string   `json:"bundle"`          // the directory with its config.json
	Files   *Files   `json:"files,omitempty"` // what it sees; without, gVisor starts a process that opens its files
	Image   string   `json:"image,omitempty"` // restore from here; empty starts the program
	Save    string   `json:"save,omitempty"`  // end the sandbox, and keep its memory in this directory
	Groups  []string `json:"groups"`          // the cgroup directories its processes are born in
	Unified bool     `json:"unified"`         // these are of version 2
	Waits   []string `json:"waits"`           // the launcher's own, where it goes back to
}

// Files are what a sandbox sees that needs no process to open its files: two images, and a directory for the pages of /tmp.
type Files struct {
	Root string `json:"root"` // of the machine's programs, at /
	Own  string `json:"own"`  // of the program's own
	Tmp  string `json:"tmp"`
}

// A Reply says that a Job's sandbox runs, or is saved, or why not. Error is gVisor's text about paths and kernel calls of the host. For a
// sandbox that was made there is another Reply, with Ended, when the process that is its kernel is gone.
type Reply struct {
	Number uint64 `json:"number"`
	Error  string `json:"error,omitempty"`
	Ended  *End   `json:"ended,omitempty"`
}

// An End is how a process ended: by a signal, or by itself with a status.
type End struct {
	Signal int `json:"signal,omitempty"`
	Status int `json:"status,omitempty"`
}

// Send writes v as one packet, with copies of the given files.
func Send(socket int, v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxPacket {
		return fmt.Errorf("a packet of %d bytes, at most %d fit", len(body), maxPacket)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	for {
		err = unix.Sendmsg(socket, body, rights, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Receive reads one packet into v, and gives the files that came with it. io.EOF says that the other side is gone.
func Receive(socket int, v any) (files []*os.File, err error) {
	body, rights := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(16*4))
	var n, nr, flags int
	for {
		n, nr, flags, _, err = unix.Recvmsg(socket, body, rights, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:nr])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // credentials, or something newer
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "donated"))
		}
	}
	switch {
	case n == 0:
		err = io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("a packet is larger than allowed")
	default:
		err = json.Unmarshal(body[:n], v)
	}
	if err != nil {
		Close(files)
		return nil, err
	}
	return files, nil
}

// Close closes files that came with a packet.
func Close(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
