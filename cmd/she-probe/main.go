// Command she-probe is a function that does what it is told, and all of it is forbidden. The suites of package sandbox
// run it inside the walls, where it must not succeed, and outside of them, where it must.
//
// It is a custom runtime: it speaks the Runtime API itself, so that it can also speak it wrongly. The event is
// {"do": verb, …}. An attempt answers with what it managed, by the name of the probe; the suites believe their own
// observers more than this answer. It aims at nothing but what the event names.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// event is what package seal sends; see there.
type event struct {
	Do      string            `json:"do"`
	Mark    string            `json:"mark"`
	Targets map[string]string `json:"targets"`
	Paths   []string          `json:"paths"`
	Bytes   int               `json:"bytes"`
	Pid     int               `json:"pid"`
	Address uint64            `json:"address"`
	Millis  int               `json:"millis"`
	Threads int               `json:"threads"`
}

// managed is the answer of an attempt: what succeeded, by the name of the probe, and how it showed.
type managed map[string]string

// A verb gives the answer; nil means it has spoken to the API itself.
var verbs = map[string]func(event, call) any{
	"echo": func(e event, _ call) any { return e },
	"self": self,
	"read": read,

	"send":     send,
	"families": families,
	"speak":    speak,
	"crash":    func(e event, _ call) any { return crash(e) },

	"leave":    leave,
	"find":     find,
	"counters": counters,
	"busy":     busy,
	"hold":     hold,
	"watch":    watch,

	"host":    host,
	"process": process,
	"kernel":  kernel,

	"fork":   fork,
	"files":  files,
	"fill":   fill,
	"inodes": inodes,
	"eat":    func(e event, _ call) any { return eat(e.Bytes) },
	"sleep": func(e event, _ call) any {
		spawn("linger")
		time.Sleep(time.Duration(e.Millis) * time.Millisecond)
		return "slept"
	},
	"spin":            spin,
	"flood":           flood,
	"exit":            func(event, call) any { os.Exit(3); return nil },
	"signal":          func(event, call) any { suicide(); return nil },
	"linger":          func(event, call) any { spawn("linger"); return "left a child" },
	"garbage":         func(_ event, c call) any { c.post("response", []byte("\x00\xff{not json"), nil); return nil },
	"size":            func(e event, c call) any { c.size(e.Bytes); return nil },
	"twice":           twice,
	"foreign":         foreign,
	"headers":         headers,
	"unending":        unending,
	"again":           again,
	"broken":          broken,
	"late":            late,
	"error":           func(e event, c call) any { c.fail(e.Mark, e.Mark); return nil },
	"count":           func(event, call) any { counted++; return counted },
	"count then fail": func(_ event, c call) any { counted++; c.fail("Rehearsed", "badly"); return nil },
	"longerror":       func(e event, c call) any { c.fail("Boom", strings.Repeat("x", e.Bytes)); return nil },

	"duration": duration,
	"cache":    cache,
	"pages":    pages,
}

var counted int

func main() {
	if len(os.Args) > 1 { // a child of ours
		child(os.Args[1:])
		return
	}
	switch os.Getenv("INIT") {
	case "endless":
		time.Sleep(time.Hour)
	case "slow":
		time.Sleep(4 * time.Second)
	case "exit":
		fmt.Println("printed in INIT")
		os.Exit(7)
	case "error":
		post("init/error", []byte(`{"errorType":"Secret.Name","errorMessage":"secret"}`), nil)
		os.Exit(1)
	case "leave":
		fmt.Println("printed in INIT")
		os.WriteFile("/tmp/init", []byte("left in INIT"), 0o600)
	case "eat":
		eat(64 << 30)
	case "dies": // between INIT and its event
		time.AfterFunc(200*time.Millisecond, func() { os.Exit(5) })
	}
	for {
		one()
		if os.Getenv("LOOP") == "" {
			time.Sleep(time.Hour)
		}
	}
}

// one asks for an event and does it.
func one() {
	answer, err := http.Get(base() + "invocation/next")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	deadline, _ := strconv.ParseInt(answer.Header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
	c := call{answer.Header.Get("Lambda-Runtime-Aws-Request-Id"), time.UnixMilli(deadline)}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		c.fail("Runtime.UnmarshalError", err.Error())
		return
	}
	if result := verbs[e.Do](e, c); result != nil {
		b, err := json.Marshal(result)
		if err != nil {
			panic(err)
		}
		c.post("response", b, nil)
	}
}

func base() string { return "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/" }

type call struct {
	id       string
	deadline time.Time
}

func (c call) post(what string, body []byte, header map[string]string) string {
	return post("invocation/"+c.id+"/"+what, body, header)
}

func (c call) fail(errorType, message string) {
	b, _ := json.Marshal(map[string]string{"errorType": errorType, "errorMessage": message})
	c.post("error", b, map[string]string{"Lambda-Runtime-Function-Error-Type": errorType})
}

// size answers with a JSON string that has n bytes with its quotes.
func (c call) size(n int) {
	fmt.Println("status", c.post("response", []byte(`"`+strings.Repeat("a", n-2)+`"`), nil))
}

func post(path string, body []byte, header map[string]string) string {
	r, err := http.NewRequest("POST", base()+path, bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	return answer.Status
}

func twice(_ event, c call) any {
	c.post("response", []byte(`"first"`), nil)
	c.post("response", []byte(`"second"`), nil)
	c.fail("Second", "second")
	return nil
}

func foreign(_ event, c call) any {
	out := map[string]string{}
	for _, id := range []string{"00000000-0000-0000-0000-000000000000", "", "..", strings.Repeat("9", 5000)} {
		out["id of "+fmt.Sprint(len(id))] = post("invocation/"+id+"/response", []byte(`"foreign"`), nil)
	}
	out["other invocation"] = c.post("response", []byte(`"foreign"`), map[string]string{"Lambda-Runtime-Invocation-Id": "other"})
	out["init error"] = post("init/error", []byte(`{}`), nil)
	return out
}

func headers(_ event, c call) any {
	return c.post("response", []byte(`"huge"`), map[string]string{"X-Huge": strings.Repeat("h", 8<<20)})
}

// again asks for an event before it has answered.
func again(event, call) any {
	answer, err := http.Get(base() + "invocation/next")
	if err == nil {
		answer.Body.Close()
	}
	return "was given another"
}

// late answers when its time is over, also by a clock that runs a percent ahead: gVisor knows its rate from a few milliseconds.
func late(_ event, c call) any {
	time.Sleep(time.Until(c.deadline.Add(20 * time.Millisecond)))
	return "late"
}

// broken speaks HTTP badly, each time on a connection of its own, and gives the first lines of the replies.
func broken(_ event, c call) any {
	head := "POST /2018-06-01/runtime/invocation/" + c.id + "/response HTTP/1.1\r\nHost: x\r\n"
	out := map[string]string{}
	for name, request := range map[string]string{
		"no http": "garbage\r\n\r\n", "nothing": "", "zeros": strings.Repeat("\x00", 1<<16), "endless line": "GET /" + strings.Repeat("a", 8<<20),
		"a later version": "GET / HTTP/9.9\r\n\r\n", "no host": "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n",
		"a header without a colon": head + "X\r\n\r\n", "a length below zero": head + "Content-Length: -1\r\n\r\n",
		"two lengths": head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n\"a\"", "a length and chunks": head + "Content-Length: 3\r\nTransfer-Encoding: chunked, x\r\n\r\n\"a\"",
		"a body that ends early": head + "Content-Length: 1000\r\n\r\n\"half", "a chunk of no length": head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		out[name] = rawly(request)
	}
	return out
}

func rawly(request string) string {
	conn, err := net.Dial("tcp", os.Getenv("AWS_LAMBDA_RUNTIME_API"))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

type drip struct{}

func (drip) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return copy(p, "1"), nil
}

func unending(_ event, c call) any {
	_, err := http.Post(base()+"invocation/"+c.id+"/response", "application/json", drip{})
	return fmt.Sprint(err)
}

func flood(e event, _ call) any {
	fmt.Println("the head", e.Mark)
	line := []byte(strings.Repeat("f", 1023) + "\n")
	for range e.Bytes / len(line) {
		os.Stdout.Write(line)
		os.Stderr.Write(line)
	}
	fmt.Println("the tail", e.Mark)
	return "flooded"
}
