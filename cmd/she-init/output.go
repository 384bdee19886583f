package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// output is the pipe that is the function's standard output and error, in the order of writing.
type output struct {
	write *os.File
	read  *os.File
	logTo io.Writer
	idle  chan struct{} // closed when the copying goroutine has ended
}

func newOutput(logTo io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{write: w, read: r, logTo: logTo}
	o.copy()
	return o, nil
}

func (o *output) copy() {
	idle := make(chan struct{})
	o.idle = idle
	go func() {
		defer close(idle)
		_, _ = io.Copy(struct{ io.Writer }{o.logTo}, o.read)
	}()
}

// drain takes what is in the pipe now, no more: a process in the background may hold it open and print for ever.
func (o *output) drain() {
	if err := o.read.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return
	}
	<-o.idle
	raw, err := o.read.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10) // the size of a pipe
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.Read(int(fd), buf); err == nil && n > 0 {
			_, _ = o.logTo.Write(buf[:n])
		}
	})
	if o.read.SetReadDeadline(time.Time{}) == nil {
		o.copy()
	}
}
