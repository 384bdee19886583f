package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What stays open, so that it can be measured.

// duration answers after the time it is told: a letter of a code.
func duration(e event, _ call) any {
	if e.Millis > 0 || e.Bytes > 0 {
		end := time.Now().Add(time.Duration(e.Millis)*time.Millisecond + time.Duration(e.Bytes)*time.Microsecond)
		for time.Now().Before(end) {
		}
	}
	return "late"
}

// window is one moment of cache: when, and what it took to walk one's own memory.
type window struct {
	At   time.Time
	Took int64 // ns
}

// cache walks memory the size of a cache in windows of one millisecond, at times both sides know. As sender (with a
// Mark, one character for each slot of e.Bytes ms: '1' walks, '0' spins without memory) it sends; without a Mark it
// measures how long its own walk takes.
func cache(e event, _ call) any {
	memory := make([]byte, e.Pid)
	for i := range memory {
		memory[i] = byte(i)
	}
	start := time.UnixMilli(int64(e.Address))
	slot := time.Duration(e.Bytes) * time.Millisecond
	for time.Now().Before(start) {
	}
	if e.Mark != "" {
		for i, c := range []byte(e.Mark) {
			for end := start.Add(time.Duration(i+1) * slot); time.Now().Before(end); {
				if c == '1' {
					walk(memory)
				}
			}
		}
		return len(e.Mark)
	}
	var seen []window
	for end := start.Add(time.Duration(e.Millis) * time.Millisecond); time.Now().Before(end); {
		began := time.Now()
		walk(memory)
		seen = append(seen, window{began, time.Since(began).Nanoseconds()})
		for pause := time.Now().Add(200 * time.Microsecond); time.Now().Before(pause); {
		}
	}
	return seen
}

func walk(memory []byte) {
	var sum byte
	for i := 0; i < len(memory); i += 64 {
		sum += memory[i]
	}
	memory[0] = sum
}

// pages touches (with a Mark: the pages whose character is '1') or times (without) pages of a file of the package.
func pages(e event, _ call) any {
	f, err := os.Open(sharedData)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const stride = 64 << 10 // further apart than the kernel reads ahead
	b := make([]byte, 1)
	_, _, _ = unix.Syscall6(unix.SYS_FADVISE64, f.Fd(), 0, 0, unix.FADV_RANDOM, 0, 0)
	if e.Mark != "" {
		for i, c := range []byte(e.Mark) {
			if c == '1' {
				_, _ = f.ReadAt(b, int64(i)*stride)
			}
		}
		return len(e.Mark)
	}
	took := make([]int64, e.Bytes)
	for i := range took {
		began := time.Now()
		_, _ = f.ReadAt(b, int64(i)*stride)
		took[i] = time.Since(began).Nanoseconds()
	}
	return took
}
