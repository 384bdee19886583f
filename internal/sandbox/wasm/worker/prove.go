package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"she/internal/sandbox/wasm"
)

// What an attempt meets. full is what a module meets, made by the same functions in the same order.
const (
	none       = "none"
	unfiltered = "unfiltered" // all but the filter of system calls
	full       = "full"
)

var walls = map[string]func() error{
	none: func() error { return nil },
	unfiltered: func() error {
		if err := enter(); err != nil {
			return err
		}
		return giveUp()
	},
	full: func() error {
		if err := enter(); err != nil {
			return err
		}
		return seal()
	},
}

// What a process that tries says on standard output, the reason behind the last two.
const (
	hasSucceeded = "succeeded"
	wasRefused   = "refused: "
	hadNoWalls   = "no walls: "
)

// prove makes every attempt in processes of their own, and writes what came of each as a wasm.Attempt in JSON.
func prove(to io.Writer) error {
	runtime.LockOSThread() // those that try die with this thread
	if err := beOuter(); err != nil {
		return err
	}
	listener, port, err := listen()
	if err != nil {
		return fmt.Errorf("listen for attempts: %w", err)
	}
	defer unix.Close(listener)
	out := json.NewEncoder(to)
	for _, a := range attempts {
		found := wasm.Attempt{Name: a.name, Tries: a.tries, Passes: a.passes, Others: a.others}
		for within, result := range map[string]*wasm.Tried{none: &found.Bare, unfiltered: &found.Unfiltered, full: &found.Walled} {
			if within == unfiltered && !a.others {
				continue
			}
			if *result, err = tryApart(within, a.name, target{os.Getpid(), port}); err != nil {
				return err
			}
		}
		if err := out.Encode(found); err != nil {
			return err
		}
	}
	return nil
}

// tryApart makes one attempt in a process of its own. The error is of the machine.
func tryApart(within, name string, t target) (wasm.Tried, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return wasm.Tried{}, err
	}
	defer r.Close()
	sys := apart()
	if within == none { // what it leaves in these goes with it
		sys = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL}
	}
	pid, err := spawn([]uintptr{0, w.Fd(), w.Fd(), 3}, sys, inner+wasm.Prove, within, name, strconv.Itoa(t.pid), strconv.Itoa(t.port))
	_ = w.Close()
	if err != nil {
		return wasm.Tried{Outcome: wasm.Untried, Detail: err.Error()}, nil
	}
	said, err := io.ReadAll(io.LimitReader(r, 300))
	if err != nil {
		return wasm.Tried{}, err
	}
	status, err := await(pid)
	return tried(string(said), status), err
}

// tried judges what one said, and how it ended.
func tried(said string, status int) wasm.Tried {
	reason, refused := strings.CutPrefix(said, wasRefused)
	switch {
	case said == hasSucceeded && status == 0:
		return wasm.Tried{Outcome: wasm.Succeeded}
	case refused && status == 0:
		return wasm.Tried{Outcome: wasm.Refused, Detail: reason}
	case said == "" && status == 128+int(syscall.SIGSYS):
		return wasm.Tried{Outcome: wasm.Ended}
	}
	return wasm.Tried{Outcome: wasm.Untried, Detail: fmt.Sprintf("status %d %s", status, said)}
}

// try makes an attempt behind walls and says what came of it. The arguments are those of tryApart.
func try(arguments []string, to io.Writer) error {
	runtime.LockOSThread() // rights are a thread's
	var within, name string
	var t target
	if _, err := fmt.Sscan(strings.Join(arguments, " "), &within, &name, &t.pid, &t.port); err != nil {
		return err
	}
	for _, a := range attempts {
		if a.name != name || walls[within] == nil {
			continue
		}
		said := hasSucceeded
		if err := walls[within](); err != nil {
			said = hadNoWalls + err.Error()
		} else if err := a.do(t); err != nil {
			said = wasRefused + err.Error()
		}
		_, err := io.WriteString(to, said)
		return err
	}
	return errors.New("no such attempt")
}

// listen gives a socket on loopback that takes connections.
func listen() (fd, port int, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	var at unix.Sockaddr
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = unix.Listen(fd, 64)
	}
	if err == nil {
		at, err = unix.Getsockname(fd)
	}
	own, is := at.(*unix.SockaddrInet4)
	if err != nil || !is {
		return 0, 0, errors.Join(err, unix.Close(fd))
	}
	return fd, own.Port, nil
}

// programText is where code of this program lies: in all its processes at the same address.
func programText() uintptr { return reflect.ValueOf(apart).Pointer() }
