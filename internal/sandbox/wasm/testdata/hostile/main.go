// A WASI command that does what its event says, and all of it is forbidden.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

var eaten [][]byte

func main() {
	var e struct {
		Do    string
		Mark  string
		Bytes int
		Paths []string
	}
	in, _ := io.ReadAll(os.Stdin)
	if err := json.Unmarshal(in, &e); err != nil {
		os.Exit(9)
	}
	switch e.Do {
	case "echo":
		os.Stdout.Write(in)
	case "exit":
		os.Exit(3)
	case "trap":
		var p *int
		*p = 1
	case "sleep":
		time.Sleep(time.Hour)
	case "spin":
		for {
		}
	case "eat":
		for {
			eaten = append(eaten, make([]byte, 1<<20))
		}
	case "size":
		fmt.Print(`"` + strings.Repeat("a", e.Bytes-2) + `"`)
	case "flood":
		fmt.Fprintln(os.Stderr, "the head")
		for range e.Bytes >> 10 {
			os.Stderr.WriteString(strings.Repeat("f", 1023) + "\n")
		}
		fmt.Fprintln(os.Stderr, "the tail")
		fmt.Print(`"flooded"`)
	case "reach":
		reached := []string{}
		for _, p := range e.Paths {
			if _, err := os.Stat(p); err == nil {
				reached = append(reached, "stat "+p)
			}
			if os.WriteFile(p, nil, 0o666) == nil {
				reached = append(reached, "write "+p)
			}
		}
		if _, err := net.Dial("tcp", e.Mark); err == nil {
			reached = append(reached, "dial")
		}
		for fd := uintptr(3); fd < 20; fd++ {
			if f := os.NewFile(fd, "x"); f != nil {
				if _, err := f.Stat(); err == nil {
					reached = append(reached, fmt.Sprint("descriptor ", fd))
				}
			}
		}
		json.NewEncoder(os.Stdout).Encode(reached)
	case "self":
		json.NewEncoder(os.Stdout).Encode(map[string]any{"env": os.Environ(), "time": time.Now(), "args": os.Args, "eaten": len(eaten)})
	}
}
