package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"she/internal/shetest"
)

// smallMemory is what the server under attack has, its page cache and SQLite's memory included.
const smallMemory = 1 << 30

// A target is the real server in a small cgroup, with two HATs: mallory's, which attacks, and bob's, who goes on.
type target struct {
	testing.TB
	*shetest.Server
	bob     *http.Client
	tokens  map[string]string
	posted  int
	usage   string // a file with the most memory so far; "" where the kernel does not tell
	stopped bool
}

// smallGroup makes a cgroup with so much memory and answers the file that takes its members.
func smallGroup(t testing.TB, limit int64) (members, usage string) {
	t.Helper()
	parent, file, usage := "/sys/fs/cgroup", "memory.max", "memory.peak"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		parent, file, usage = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
	} else {
		_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	dir := filepath.Join(parent, fmt.Sprintf("she-attack-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	t.Cleanup(func() {
		// The server's own groups for sandboxes are below it, empty.
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				inner, _ := filepath.Glob(filepath.Join(path, "*", "*"))
				for _, p := range inner {
					_ = syscall.Rmdir(p)
				}
				own, _ := filepath.Glob(filepath.Join(path, "*"))
				for _, p := range own {
					_ = syscall.Rmdir(p)
				}
			}
			return nil
		})
		if err := syscall.Rmdir(dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		t.Skipf("no limit can be set here: %v", err)
	}
	return filepath.Join(dir, "cgroup.procs"), filepath.Join(dir, usage)
}

func newTarget(t testing.TB) *target {
	t.Helper()
	bin, err := shetest.Bin()
	if err != nil {
		t.Fatal(err)
	}
	members, usage := smallGroup(t, smallMemory)
	dir := t.TempDir()
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: filepath.Join(dir, "she.yaml")}
	s.Program = func(args ...string) *exec.Cmd {
		script := `echo $$ > "$0" && exec "$@"`
		return exec.Command("/bin/sh", append([]string{"-c", script, members, filepath.Join(bin, "she")}, args...)...)
	}
	if err := os.WriteFile(s.Config, []byte("limits: {reserveMB: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &target{TB: t, Server: s, bob: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}, tokens: map[string]string{}, usage: usage}
	for _, name := range []string{"mallory", "bob"} {
		if out, err := s.CreateHAT(name); err != nil {
			t.Fatal(err, out)
		}
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.bob.CloseIdleConnections()
		if g.stopped {
			return
		}
		if err := s.Stop(); err != nil {
			t.Errorf("%v\n%s", err, s.Log.String())
		}
	})
	for _, name := range []string{"mallory", "bob"} {
		r := g.request(name, "GET", "/users/access_token", nil)
		r.Header.Set("username", name)
		r.Header.Set("password", shetest.Password(name))
		answer, err := g.bob.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if g.tokens[name] = answer.Header.Get("X-Auth-Token"); g.tokens[name] == "" {
			t.Fatalf("login of %s: %s", name, answer.Status)
		}
	}
	return g
}

func (g *target) request(name, method, path string, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+g.Address+path, body)
	if err != nil {
		g.Fatal(err)
	}
	r.Host = name + ".test"
	r.Header.Set("Content-Type", "application/json")
	if token := g.tokens[name]; token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	return r
}

// post is one record of bob's. It must be stored.
func (g *target) post() time.Duration {
	g.Helper()
	g.posted++
	began := time.Now()
	answer, err := g.bob.Do(g.request("bob", "POST", "/api/v2.6/data/rumpel/notes", strings.NewReader(fmt.Sprintf(`{"n":%d}`, g.posted))))
	took := time.Since(began)
	if err != nil {
		g.stopped = !g.alive()
		g.Fatalf("post %d: %v; the server lives: %v", g.posted, err, !g.stopped)
	}
	text, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		g.Fatalf("post %d: %s %.200s", g.posted, answer.Status, text)
	}
	return took
}

func (g *target) alive() bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	return err == nil && !bytes.Contains(status, []byte("State:\tZ"))
}

// attackers run until the returned function ends them.
func (g *target) attackers(n int, one func(ctx context.Context, i int)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { one(ctx, i) })
	}
	return func() { cancel(); all.Wait() }
}

// dial connects until ctx ends; nil: not this time.
func (g *target) dial(ctx context.Context) net.Conn {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", g.Address)
	if err != nil {
		return nil
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn
}

// each repeats what one attacker does, on a connection of its own each time, a few times a second.
func (g *target) each(ctx context.Context, do func(net.Conn)) {
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		if conn := g.dial(ctx); conn != nil {
			do(conn)
			_ = conn.Close()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// drip sends a byte now and then until the connection or ctx ends.
func drip(ctx context.Context, conn net.Conn, text string) {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// An attack begins and answers what ends it. Each is more than the server's memory if it is not bounded.
type attack struct {
	name  string
	begin func(g *target) (stop func())
}

var attacks = []attack{
	{"nothing", func(*target) func() { return func() {} }},
	{"bodies without a token", func(g *target) func() {
		body := bytes.Repeat([]byte("x"), 10<<20)
		paths := []string{"/control/v2/auth/passwordReset", "/control/v2/auth/claim", "/api/v2.6/data/rumpel/notes", "/nowhere", "/api/v2.6/data-batch"}
		return g.attackers(32, func(ctx context.Context, i int) {
			g.each(ctx, func(conn net.Conn) {
				length := fmt.Sprintf("Content-Length: %d", len(body))
				if i%2 == 1 {
					length = "Transfer-Encoding: chunked"
				}
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: mallory.test\r\nContent-Type: application/json\r\n%s\r\n\r\n", paths[i%len(paths)], length)
				if i%2 == 1 {
					fmt.Fprintf(conn, "%x\r\n", len(body))
				}
				_, _ = conn.Write(body)
			})
		})
	}},
	{"large headers", func(g *target) func() {
		line := "GET /healthz HTTP/1.1\r\nHost: mallory.test\r\nX: " + strings.Repeat("x", 60<<10)
		return g.attackers(1000, func(ctx context.Context, i int) {
			g.each(ctx, func(conn net.Conn) {
				text := line
				if i%2 == 1 {
					text = "GET / HTTP/1.1\r\nHost: mallory.test\r\n" + strings.Repeat("a: \r\n", 10_000)
				}
				if _, err := io.WriteString(conn, text); err == nil {
					drip(ctx, conn, "x")
				}
			})
		})
	}},
	{"slow headers", func(g *target) func() {
		return g.attackers(2000, func(ctx context.Context, _ int) {
			g.each(ctx, func(conn net.Conn) {
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: mallory.test\r\n"); err == nil {
					drip(ctx, conn, "X: y\r\n")
				}
			})
		})
	}},
	{"slow bodies", func(g *target) func() {
		return g.attackers(300, func(ctx context.Context, _ int) {
			g.each(ctx, func(conn net.Conn) {
				fmt.Fprintf(conn, "POST /api/v2.6/data/rumpel/notes HTTP/1.1\r\nHost: mallory.test\r\nContent-Type: application/json\r\nX-Auth-Token: %s\r\nContent-Length: 10000000\r\n\r\n", g.tokens["mallory"])
				drip(ctx, conn, strings.Repeat(" ", 8<<10))
			})
		})
	}},
	{"sorted reads nobody takes", func(g *target) func() {
		if list, _ := g.bob.Do(g.request("mallory", "GET", "/api/v2.6/data/rumpel/large?take=1", nil)); list != nil {
			text, _ := io.ReadAll(list.Body)
			_ = list.Body.Close()
			for n := 0; len(text) < 10 && n < 12; n++ {
				var records []json.RawMessage
				for i := range 400 {
					records = append(records, json.RawMessage(fmt.Sprintf(`{"n":%d,"text":%q}`, (i*7919+n)%1000, strings.Repeat(strconv.Itoa(n), 10<<10))))
				}
				body, _ := json.Marshal(records)
				answer, err := g.bob.Do(g.request("mallory", "POST", "/api/v2.6/data/rumpel/large", bytes.NewReader(body)))
				if err != nil || answer.StatusCode != http.StatusCreated {
					g.Fatal(err, answer)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
		}
		return g.attackers(60, func(ctx context.Context, _ int) {
			g.each(ctx, func(conn net.Conn) {
				fmt.Fprintf(conn, "GET /api/v2.6/data/rumpel/large?orderBy=n&take=100000 HTTP/1.1\r\nHost: mallory.test\r\nX-Auth-Token: %s\r\n\r\n", g.tokens["mallory"])
				// It reads the beginning of the answer, and then nothing.
				_, _ = io.ReadFull(conn, make([]byte, 1))
				<-ctx.Done()
			})
		})
	}},
	{"batches of 10 MB", func(g *target) func() {
		return g.attackers(16, func(ctx context.Context, i int) {
			var b strings.Builder
			b.WriteString("[")
			for n := range 45_000 {
				if n > 0 {
					b.WriteString(",")
				}
				fmt.Fprintf(&b, `{"endpoint":"rumpel/batch","data":{"n":"%d-%d","text":%q}}`, i, n, strings.Repeat("x", 140))
			}
			b.WriteString("]")
			body := b.String()
			g.each(ctx, func(conn net.Conn) {
				fmt.Fprintf(conn, "POST /api/v2.6/data-batch HTTP/1.1\r\nHost: mallory.test\r\nContent-Type: application/json\r\nX-Auth-Token: %s\r\nContent-Length: %d\r\n\r\n", g.tokens["mallory"], len(body))
				_, _ = io.WriteString(conn, body)
				_, _ = io.ReadFull(conn, make([]byte, 12))
			})
		})
	}},
	{"event streams", func(g *target) func() {
		return g.attackers(600, func(ctx context.Context, _ int) {
			g.each(ctx, func(conn net.Conn) {
				fmt.Fprintf(conn, "GET /api/she/v1/events HTTP/1.1\r\nHost: mallory.test\r\nX-Auth-Token: %s\r\n\r\n", g.tokens["mallory"])
				_, _ = io.Copy(io.Discard, conn)
			})
		})
	}},
}

// TestAttackersEndNobody: whatever is sent to the server, with or without a token, it lives, in a cgroup of 1 GB, and each
// post of another person is stored.
func TestAttackersEndNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	g := newTarget(t)
	pid := g.PID()
	for _, a := range attacks {
		stop := a.begin(g)
		began := time.Now()
		n, longest := 0, time.Duration(0)
		for ; n < 100 || time.Since(began) < 3*time.Second; n++ {
			longest = max(longest, g.post())
		}
		stop()
		most, _ := os.ReadFile(g.usage)
		bytes, _ := strconv.ParseInt(strings.TrimSpace(string(most)), 10, 64)
		t.Logf("%s: %d posts, the slowest took %v; the cgroup held %d MB at most", a.name, n, longest, bytes>>20)
	}
	if !g.alive() || g.PID() != pid {
		t.Error("the server is another process")
	}
}

// BenchmarkNeighbour is how long a post of one person takes while another attacks, in the same small cgroup.
func BenchmarkNeighbour(b *testing.B) {
	g := newTarget(b)
	for _, a := range attacks {
		b.Run(strings.ReplaceAll(a.name, " ", "-"), func(b *testing.B) {
			stop := a.begin(g)
			defer stop()
			for range 20 {
				g.post()
			}
			var all []time.Duration
			for b.Loop() {
				all = append(all, g.post())
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
