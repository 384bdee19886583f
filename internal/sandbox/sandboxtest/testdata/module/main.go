// A WASI command that does what its event says, and all of it is forbidden or awkward.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"
)

type event struct {
	Do     string   `json:"do"`
	Mark   string   `json:"mark,omitempty"`
	Paths  []string `json:"paths,omitempty"`
	Bytes  int      `json:"bytes,omitempty"`
	Millis int      `json:"millis,omitempty"`
}

func main() {
	if os.Getenv("TELL") != "" {
		fmt.Fprintln(os.Stderr, time.Now().Format(time.RFC3339Nano))
	}
	switch os.Getenv("INIT") {
	case "endless":
		time.Sleep(time.Hour)
	case "exit":
		fmt.Fprintln(os.Stderr, "printed in INIT")
		os.Exit(7)
	case "error":
		fail("Secret.Name", "secret")
	case "eat":
		eat(64 << 30)
	case "says":
		fmt.Print(`"early"`)
		return
	case "leaves":
		return
	}
	in, err := io.ReadAll(os.Stdin)
	var e event
	if err != nil || json.Unmarshal(in, &e) != nil {
		os.Exit(9)
	}
	switch e.Do {
	case "echo":
		os.Stdout.Write(in)
	case "self":
		self()
	case "exit":
		os.Exit(3)
	case "error":
		fail(e.Mark, e.Mark)
	case "longerror":
		fail("Boom", strings.Repeat("x", e.Bytes))
	case "trap":
		*(*byte)(unsafe.Pointer(uintptr(0xfffffff0))) = 1 // outside of its memory
	case "sleep":
		time.Sleep(time.Duration(e.Millis) * time.Millisecond)
	case "loop":
		for {
		}
	case "unending":
		for {
			fmt.Print("a")
			time.Sleep(10 * time.Millisecond)
		}
	case "floodanswer":
		for {
			fmt.Print(strings.Repeat("a", 64<<10))
		}
	case "spin":
		for began := time.Now(); time.Since(began) < time.Duration(e.Bytes)*time.Millisecond; {
		}
		fmt.Print(`"spun"`)
	case "eat":
		eat(e.Bytes)
		fmt.Print(`"ate"`)
	case "size":
		fmt.Print(`"` + strings.Repeat("a", e.Bytes-2) + `"`)
	case "flood":
		fmt.Fprintln(os.Stderr, "the head", e.Mark)
		line := strings.Repeat("f", 1023) + "\n"
		for range e.Bytes >> 9 {
			os.Stderr.WriteString(line)
		}
		fmt.Fprintln(os.Stderr, "the tail", e.Mark)
		fmt.Print(`"flooded"`)
	case "calls":
		random := make([]byte, 64)
		for n := range e.Bytes {
			rand.Read(random)
			fmt.Fprintf(os.Stderr, "%d %x %s\n", n, random, time.Now())
			os.Stat("/none")
			if n%1000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		fmt.Print(`"called"`)
	case "reach":
		reach(e)
	}
}

func fail(errorType, message string) {
	json.NewEncoder(os.Stdout).Encode(map[string]string{"errorType": errorType, "errorMessage": message})
	os.Exit(1)
}

var eaten [][]byte

func eat(most int) {
	if most == 0 {
		most = 64 << 30
	}
	for n := 0; n < most; n += 1 << 20 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = byte(i)
		}
		eaten = append(eaten, b)
	}
}

func self() {
	random := make([]byte, 16)
	rand.Read(random)
	json.NewEncoder(os.Stdout).Encode(map[string]string{
		"time": time.Now().Format(time.RFC3339Nano), "random": fmt.Sprintf("%x", random),
		"env": strings.Join(os.Environ(), "\n"), "args": strings.Join(os.Args, " "), "eaten": fmt.Sprint(len(eaten)),
	})
}

func reach(e event) {
	reached := []string{}
	for _, p := range e.Paths {
		if _, err := os.Stat(p); err == nil {
			reached = append(reached, "stat "+p)
		}
		if _, err := os.ReadFile(p); err == nil {
			reached = append(reached, "read "+p)
		}
		if os.WriteFile(p, nil, 0o666) == nil {
			reached = append(reached, "write "+p)
		}
		if os.Mkdir(p+"x", 0o777) == nil {
			reached = append(reached, "mkdir "+p)
		}
	}
	if _, err := net.Dial("tcp", e.Mark); err == nil {
		reached = append(reached, "dial")
	}
	for fd := uintptr(3); fd < 64; fd++ {
		if f := os.NewFile(fd, "x"); f != nil {
			if _, err := f.Stat(); err == nil {
				reached = append(reached, fmt.Sprint("descriptor ", fd))
			}
		}
	}
	if _, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{}); err == nil {
		reached = append(reached, "start a process")
	}
	json.NewEncoder(os.Stdout).Encode(reached)
}
