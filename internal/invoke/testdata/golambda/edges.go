package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// edge is edges.py in Go.
func edge(e event) any {
	switch e.Do {
	case "size":
		return strings.Repeat("x", e.Size-2)
	case "length":
		return len(e.Text)
	case "settings": // of the whole process
		syscall.Umask(0o777)
		os.Clearenv()
		err := errors.Join(os.Chdir("/"), os.Stdin.Close(), os.Stdout.Close())
		time.Local = nil
		if err != nil && !errors.Is(err, os.ErrClosed) {
			return err.Error()
		}
		return "set"
	case "processors":
		return runtime.GOMAXPROCS(0)
	case "fill":
		f, err := os.Create("/tmp/full")
		done, block := 0, make([]byte, 65536)
		for err == nil {
			var n int
			n, err = f.Write(block)
			done += n
		}
		return []any{done, code(err)}
	case "files":
		var kept []*os.File
		for {
			f, err := os.Open("/dev/null")
			if err != nil {
				return []any{len(kept), code(err)}
			}
			kept = append(kept, f)
		}
	case "processes":
		for n := range 2 * e.Size {
			if err := exec.Command("/bin/sleep", "600").Start(); err != nil {
				return []any{n, code(err)}
			}
		}
		return []any{2 * e.Size, ""}
	case "eat":
		var kept [][]byte
		for range 4096 {
			kept = append(kept, bytes.Repeat([]byte{1}, 1<<20))
		}
		return len(kept)
	case "sleep":
		child := exec.Command("/bin/sh", "-c", "trap '' TERM INT HUP; while :; do :; done")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return err.Error()
		}
		time.Sleep(10 * time.Minute)
	case "log":
		_, _ = os.Stdout.WriteString("head" + strings.Repeat(".", e.Size-8) + "tail")
	}
	return nil
}

func code(err error) string {
	for name, number := range map[string]syscall.Errno{"ENOSPC": syscall.ENOSPC, "EMFILE": syscall.EMFILE, "EAGAIN": syscall.EAGAIN} {
		if errors.Is(err, number) {
			return name
		}
	}
	return err.Error()
}
