package main

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// output is the pipe that is the function's standard output and error, in the order of writing.
type output struct {
	write *os.File
	read  syscall.RawConn // never blocks

	mu    sync.Mutex // one read at a time, so that the log keeps the order
	logTo io.Writer
	buf   []byte
}

// pipeSize is what a pipe holds.
const pipeSize = 64 << 10

func newOutput(logTo io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	raw, err := r.SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &output{write: w, read: raw, logTo: logTo, buf: make([]byte, pipeSize)}
	go func() {
		// It lasts as long as this process: what prints may outlive the function.
		_ = raw.Read(func(fd uintptr) (done bool) {
			for {
				if n, err := o.take(fd); n == 0 {
					return !errors.Is(err, unix.EAGAIN)
				}
			}
		})
		_ = r.Close()
	}()
	return o, nil
}

// take reads once.
func (o *output) take(fd uintptr) (n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		n, err = unix.Read(int(fd), o.buf)
		if err != unix.EINTR {
			break
		}
	}
	if n <= 0 {
		return 0, err
	}
	if _, err := o.logTo.Write(o.buf[:n]); err != nil {
		return 0, err
	}
	return n, nil
}

// drain takes what is in the pipe now, no more: a process in the background may hold it open and print for ever.
func (o *output) drain() {
	_ = o.read.Control(func(fd uintptr) {
		for left := pipeSize; left > 0; {
			n, _ := o.take(fd)
			if n == 0 {
				return
			}
			left -= n
		}
	})
}
