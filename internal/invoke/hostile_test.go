package invoke_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/invoke"
	"she/internal/sandbox"
)

// hostileFunctions are the same hostile function in each managed language. What the machine offers is package seal's;
// here is what a runtime adds to it: places in the memory of our bootstraps, of the language and its library that
// outlive a call, and the protocol the bootstraps speak. places is how many of them a function knows, so that none
// gets lost unseen.
var hostileFunctions = []struct {
	language string
	places   int
	code     func(t *testing.T) invoke.Code
}{
	{"python", 46, func(t *testing.T) invoke.Code {
		return function(t, "python3.11", "hostile.handler", map[string]string{"hostile.py": source(t, "testdata/hostile/hostile.py")})
	}},
	{"nodejs", 55, func(t *testing.T) invoke.Code {
		return function(t, "nodejs20.x", "hostile.handler", map[string]string{
			"hostile.js": source(t, "testdata/hostile/hostile.js"), "dep.js": source(t, "testdata/hostile/dep.js"),
		})
	}},
	{"java", 30, func(t *testing.T) invoke.Code { return javaCode(t, javaClasses(t))("hostile.Hostile::handle") }},
	{"dotnet", 31, func(t *testing.T) invoke.Code {
		return dotnetCode(t, dotnetPackage(t), "Hostile::Tests.Hostile::Handle")
	}},
}

// leaks is what observers saw, by the name of the probe.
type leaks map[string]string

// hostile is one hostile function, with a way to run it.
type hostile struct {
	t     *testing.T
	v     *invoke.Invoker
	code  invoke.Code
	marks *[]string
	// naive is nil within the walls.
	naive *naive
}

// TestHostile runs each probe twice: without walls, in one process for all or two at once, where the observer must see
// the mark of another person's run; and in the copies the server would use, where it must see nothing.
// Defect B-57.
func TestHostile(t *testing.T) {
	slow(t)
	t.Parallel()
	for _, f := range hostileFunctions {
		t.Run(f.language, func(t *testing.T) {
			t.Parallel()
			c := f.code(t)
			c.Timeout, c.MemoryMB = time.Minute, 512
			c.Env = map[string]string{"PORT": freePort(t)}
			dir := t.TempDir()
			images := filepath.Join(dir, "images")
			walls := openIn(t, dir, invoke.Config{Images: images, MaxInstances: 4, Find: testDotnet})
			var marks []string
			within := hostile{t, walls, c, &marks, nil}
			within.ready()
			n := 0
			for _, group := range []struct {
				name  string
				reuse bool
				probe func(hostile) leaks
				names []string // nil: the function's own places
			}{
				{"next", true, hostile.next, nil},
				{"beside", false, hostile.beside, []string{"tmp", "shm", "listener"}},
				{"at the end", false, hostile.atTheEnd, []string{"exit-hook"}},
				{"protocol", true, hostile.protocol, protocolNames()},
				{"faults", false, hostile.faults, []string{"raised", "error-type", "init-error"}},
				{"out", false, hostile.out, []string{"client", "stream", "packet"}},
			} {
				t.Run(group.name, func(t *testing.T) {
					bare, naive := openNaive(t, group.reuse)
					without := group.probe(hostile{t, bare, c, new([]string), naive})
					names := group.names
					if names == nil {
						if names = slices.Sorted(maps.Keys(without)); len(names) != f.places {
							t.Errorf("%d places work without walls, want %d: %v", len(names), f.places, names)
						}
					}
					within.t = t
					open := group.probe(within)
					for _, name := range names {
						if without[name] == "" {
							t.Errorf("%s proves nothing: nobody sees it even without walls", name)
						}
						if open[name] != "" {
							t.Errorf("%s is open: %.200s", name, open[name])
						}
						n++
					}
					for name := range open {
						if !slices.Contains(names, name) {
							t.Errorf("%s is open, and not among those that were tried without walls", name)
						}
					}
				})
			}
			t.Run("rehearsed", func(t *testing.T) { rehearsed(t, c, &marks) })
			t.Logf("%d probes", n)

			// Whatever was a person's is nowhere on the machine.
			stats := fmt.Sprintf("%+v", walls.Stats())
			for _, mark := range marks {
				if found := searchFor(mark, dir, "/run"); len(found) > 0 || strings.Contains(stats, mark) {
					t.Errorf("the data of a run is left in %v, or in %s", found, stats)
				}
			}
			if s := onlyStats(t, walls); n > 0 && s.Warm+s.Restored < s.Cold {
				t.Errorf("hardly a copy was tried: %+v", s)
			}
		})
	}
}

// rehearsed shows within the walls that the probes see what a process keeps: a copy has what the rehearsal left, which
// had no data, or a piece of it, and nothing of any run.
func rehearsed(t *testing.T, c invoke.Code, marks *[]string) {
	dir := t.TempDir()
	h := hostile{t, openIn(t, dir, invoke.Config{Images: filepath.Join(dir, "images"), Find: testDotnet}), c, marks, nil}
	rehearsal := newMark()
	h.code.WarmUp = fmt.Appendf(nil, `{"do":"leave","mark":%q}`, rehearsal)
	h.ready()
	left := h.mark()
	var places []string
	h.decode("alice", event{"do": "leave", "mark": left}, &places)
	h.v.Settle()
	found := map[string]string{}
	a := h.decode("bob", event{"do": "find"}, &found)
	if a.Start == invoke.Cold {
		t.Fatal("this was no copy")
	}
	for name, text := range found {
		switch {
		case hasPiece(text, *h.marks...):
			t.Errorf("%s is open: %s", name, text)
		case !hasPiece(text, rehearsal):
			t.Errorf("%s has %s, and nobody left that", name, text)
		}
	}
	if len(found) < len(places)-2 {
		t.Errorf("of %v a copy has kept %v", places, slices.Sorted(maps.Keys(found)))
	}
	if len(searchFor(rehearsal, dir)) == 0 {
		t.Error("the search of the disk does not see what an image holds")
	}
}

// ready lets the first copy be made.
func (h hostile) ready() {
	h.t.Helper()
	if _, err := h.ask("nobody", event{"do": "find"}); err != nil {
		h.t.Fatal(err)
	}
	h.v.Settle()
}

type event map[string]any

func (h hostile) mark() string {
	m := newMark()
	*h.marks = append(*h.marks, m)
	return m
}

func (h hostile) ask(tenant invoke.Tenant, e event) (invoke.Answer, error) {
	h.t.Helper()
	return h.askAs(tenant, uuid.NewString(), e)
}

func (h hostile) askAs(tenant invoke.Tenant, id string, e event) (invoke.Answer, error) {
	h.t.Helper()
	body, err := json.Marshal(e)
	if err != nil {
		h.t.Fatal(err)
	}
	r := request(h.code, tenant, string(body))
	r.ID = id
	return h.v.Invoke(h.t.Context(), r)
}

func (h hostile) decode(tenant invoke.Tenant, e event, into any) invoke.Answer {
	h.t.Helper()
	a, err := h.ask(tenant, e)
	if err == nil {
		err = json.Unmarshal(a.Payload, into)
	}
	if err != nil {
		h.t.Fatalf("%v: %v\n%s\n%s", e["do"], err, a.Payload, a.Log)
	}
	return a
}

// open keeps of what was found what has a piece of the mark of any run. Within the walls there is nothing else.
func (h hostile) open(found map[string]string) leaks {
	maps.DeleteFunc(found, func(name, text string) bool {
		known := hasPiece(text, *h.marks...)
		if !known && h.naive == nil {
			h.t.Errorf("%s has %s, and nobody left that", name, text)
		}
		return !known
	})
	return found
}

// next: what one person's run leaves for the next one's.
func (h hostile) next() leaks {
	m, found := h.mark(), map[string]string{}
	var left []string
	if a := h.decode("alice", event{"do": "leave", "mark": m}, &left); len(left) == 0 {
		h.t.Fatalf("nothing could be left\n%s", a.Log)
	}
	h.v.Settle()
	h.decode("bob", event{"do": "find", "millis": 100}, &found)
	found = h.open(found)
	if h.naive != nil && len(searchFor(m, h.naive.private)) == 0 {
		h.t.Error("the search of the disk finds nothing without walls either")
	}
	return found
}

// beside: what a run shows others at the same time. They look until it is over. Nothing tells outside the walls when it
// has left its marks, so it is over too early on a machine that is too busy, and then holds for longer.
func (h hostile) beside() leaks {
	seen := leaks{}
	for hold := 1500 * time.Millisecond; ; hold *= 2 {
		m := h.mark()
		var alice struct{ Left, Ended float64 } // seconds since 1970
		over := make(chan struct{})
		go func() {
			defer close(over)
			h.decode("alice", event{"do": "hold", "mark": m, "millis": hold.Milliseconds()}, &alice)
		}()
		defer func() { <-over }() // it uses t
		var looks [][2]float64
		for going := true; going; {
			found := map[string]string{}
			a := h.decode("bob", event{"do": "find"}, &found)
			until := float64(time.Now().UnixMilli()) / 1000
			looks = append(looks, [2]float64{until - a.Timing.Run.Seconds(), until})
			maps.Copy(seen, h.open(found))
			select {
			case <-over:
				going = false
			default:
			}
		}
		if slices.ContainsFunc(looks, func(l [2]float64) bool { return alice.Left <= l[0] && l[1] <= alice.Ended }) {
			return seen
		}
		if h.t.Failed() || hold > 20*time.Second {
			h.t.Errorf("nobody looked while %+v held: %v", alice, looks)
			return seen
		}
	}
}

// atTheEnd: what is to be done when the process ends is not done, as it is killed; if it ends by itself, it is in its
// own log.
func (h hostile) atTheEnd() leaks {
	m := h.mark()
	a, err := h.ask("alice", event{"do": "exit", "mark": m, "exit": h.naive != nil})
	if h.naive == nil && err != nil {
		h.t.Error(err)
	}
	b, _ := h.ask("bob", event{"do": "find"})
	if bytes.Contains(append(a.Log, b.Log...), []byte(m)) {
		return leaks{"exit-hook": "the hook was run"}
	}
	return nil
}

const post = "POST /2018-06-01/runtime/%s HTTP/1.1\r\nHost: api\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s"

// says makes a request to the Runtime API; {id} becomes the invocation's own, and {mark} a mark.
func says(path, header, body string) string {
	return fmt.Sprintf(post, path, header, len(strings.ReplaceAll(body, "{mark}", newMark())), body)
}

const askNext = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: api\r\n\r\n"

// forgeries are things said to the Runtime API beside the answer, of which another person's run, or the host, might
// take notice. {mark} becomes the mark, {other} the id of the other run.
var forgeries = []struct {
	name       string
	now, later []string // before the answer, and after it
	millis     int      // how long the function goes on after now
}{
	{name: "answers-twice", now: []string{says("invocation/{id}/response", "", `"{mark}"`)}},
	{name: "answers-for-another", now: []string{says("invocation/{other}/response", "", `"{mark}"`)}},
	{name: "answers-late", later: []string{says("invocation/{id}/response", "", `"{mark}"`)}},
	{name: "fails-late", later: []string{says("invocation/{id}/error", "Lambda-Runtime-Function-Error-Type: T\r\n", `"{mark}"`)}},
	{name: "asks-for-next", later: []string{askNext, says("invocation/{id}/response", "", `"{mark}"`)}, millis: 300},
	{name: "prints-late", later: []string{"print {mark}"}},
	{name: "huge-header", now: []string{says("invocation/{id}/response", "X-Huge: {large}\r\n", `"{mark}"`)}},
}

func protocolNames() []string {
	names := []string{"frames"}
	for _, f := range forgeries {
		names = append(names, f.name)
	}
	return names
}

// protocol: what the next person's run, or the host, makes of what one says out of turn.
func (h hostile) protocol() leaks {
	seen := leaks{}
	for _, f := range forgeries {
		func() {
			h := h
			if h.naive != nil { // each forgery to a process of its own
				h.v, h.naive = openNaive(h.t, true)
			}
			m, other := h.mark(), uuid.NewString()
			e := event{"do": "speak", "mark": m, "now": []string{}, "later": []string{}, "millis": f.millis}
			for when, requests := range map[string][]string{"now": f.now, "later": f.later} {
				for _, r := range requests {
					r = strings.NewReplacer("{mark}", m, "{other}", other).Replace(r)
					e[when] = append(e[when].([]string), r)
				}
			}
			large := f.name == "huge-header"
			if large {
				e["large"] = 8 << 20
			}
			a, err := h.ask("alice", e)
			b, err2 := h.askAs("bob", other, event{"do": "find", "millis": 300})
			for what, text := range map[string]string{"bob's answer": string(b.Payload), "bob's log": string(b.Log), "bob's error": fmt.Sprint(err2)} {
				if strings.Contains(text, m) {
					seen[f.name] = what + ": " + text
				}
			}
			if large && string(a.Payload) == `"`+m+`"` {
				seen[f.name] = "it was accepted"
			}
			if h.naive == nil && (err != nil || err2 != nil || string(b.Payload) != "{}" || a.Start == invoke.Cold) {
				h.t.Errorf("%s: alice %v %s, bob %v %s\n%s", f.name, err, a.Payload, err2, b.Payload, a.Log)
			}
		}()
	}
	if evidence := h.frames(); evidence != "" {
		seen["frames"] = evidence
	}
	return seen
}

// frames: an answer in the form that process 1 and the host speak, written to whatever is open.
func (h hostile) frames() string {
	m := h.mark()
	body := `"forged ` + m + `"`
	frame := append([]byte{'A', 0, 0, 0, byte(len(body))}, body...)
	paths := []string{"/proc/self/fd"}
	if h.naive == nil {
		paths = append(paths, "/proc/1/fd") // outside, that would be the machine's
	}
	a, err := h.ask("alice", event{"do": "frames", "mark": m, "frame": hex.EncodeToString(frame), "paths": paths})
	if h.naive != nil {
		h.naive.endAll()
		if bytes.Contains(h.naive.channel.Bytes(), frame) {
			return "it is on the host's channel"
		}
		return ""
	}
	if !bytes.Contains(a.Log, frame) {
		h.t.Errorf("it was not even written to the log: %q", a.Log)
	}
	// Node.js takes what comes through a pipe of its own for pointers, and dies.
	var died *invoke.Failure
	if err != nil && !(errors.As(err, &died) && died.Code == sandbox.ExitError) {
		return err.Error()
	}
	if strings.Contains(string(a.Payload), "forged") {
		return string(a.Payload)
	}
	return ""
}

// faults: data in what the operator sees of a failed run.
func (h hostile) faults() leaks {
	seen, m := leaks{}, h.mark()
	const errorType = "Lambda-Runtime-Function-Error-Type: "
	document := fmt.Sprintf(`{"errorType":%q,"errorMessage":%[1]q,"stackTrace":[%[1]q]}`, m)
	for name, e := range map[string]event{
		"raised":     {"do": "fail", "mark": m},
		"error-type": {"do": "speak", "mark": m, "now": []string{says("invocation/{id}/error", errorType+m+"\r\n", document)}},
		"init-error": {"do": "speak", "mark": m, "now": []string{says("init/error", errorType+m+"\r\n", document)}},
	} {
		a, err := h.ask("alice", e)
		if strings.Contains(fmt.Sprint(err), m) {
			seen[name] = err.Error()
		}
		if h.naive == nil && name != "init-error" && !bytes.Contains(a.Payload, []byte(m)) {
			h.t.Errorf("%s: the owner does not see it: %s", name, a.Payload)
		}
	}
	return seen
}

// out: whom a function reaches with the means of its language.
func (h hostile) out() leaks {
	seen := leaks{}
	var mu sync.Mutex
	for _, host := range addresses(h.t) {
		l, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
		if err != nil {
			h.t.Fatal(err)
		}
		u, err := net.ListenPacket("udp4", l.Addr().String())
		if err != nil {
			h.t.Fatal(err)
		}
		m := h.mark()
		heard := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			for _, how := range []string{"client", "stream", "packet"} {
				if strings.Contains(text, m+"-"+how) {
					seen[how] = l.Addr().String() + " heard it"
				}
			}
		}
		web := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard(r.URL.Path) })}
		var listening sync.WaitGroup
		listening.Go(func() { _ = web.Serve(l) })
		listening.Go(func() {
			b := make([]byte, 1000)
			for {
				n, _, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				heard(string(b[:n]))
			}
		})
		if a, err := h.ask("alice", event{"do": "send", "mark": m, "target": l.Addr().String()}); err != nil {
			h.t.Errorf("%v\n%s", err, a.Log)
		}
		_, _ = web.Close(), u.Close()
		listening.Wait()
	}
	return seen
}

// addresses are this machine's own.
func addresses(t *testing.T) []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
