package bench

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/shetest"
)

const (
	rounds    = 5 // of each server, alternating, so that a busy moment of the machine hits both
	roundTime = 3 * time.Second
	warmUp    = time.Second
)

// A server under load: clients that are logged in, and what one of them does.
type server struct {
	name    string
	pid     int
	clients []*client
	post    func(*client) error
}

// BenchmarkPost measures single records over HTTP: 32 logged-in clients, each waiting for its answer before it sends
// the next record. she acknowledges what is on disk (synchronous=FULL), each client in a HAT of its own; PocketBase
// what a loss of power may still take (synchronous=NORMAL), all in one collection.
func BenchmarkPost(b *testing.B) {
	const n, wanted = 32, 2.0
	servers := []server{startShe(b, n), startPocketBase(b, n)}
	for _, s := range servers {
		_, _, err := load(s.clients, warmUp, s.post)
		must(b, err)
	}
	rates := map[string][]float64{}
	took := map[string][]float64{}
	used := map[string][]float64{}
	for range rounds {
		for _, s := range servers {
			before := cpu(b, s.pid)
			rate, all, err := load(s.clients, roundTime, s.post)
			must(b, err)
			used[s.name] = append(used[s.name], (cpu(b, s.pid)-before)/float64(len(all)))
			rates[s.name] = append(rates[s.name], rate)
			took[s.name] = append(took[s.name], all...)
		}
	}
	for _, s := range servers {
		b.ReportMetric(median(rates[s.name]), s.name+"-posts/s")
		b.ReportMetric(quantile(took[s.name], 0.5), s.name+"-p50-ms")
		b.ReportMetric(quantile(took[s.name], 0.99), s.name+"-p99-ms")
		b.ReportMetric(median(used[s.name]), s.name+"-cpu-ms/post")
	}
	ratio := median(rates["she"]) / median(rates["pocketbase"])
	b.ReportMetric(ratio, "she/pocketbase")
	b.ReportMetric(0, "ns/op")
	if ratio < wanted {
		b.Logf("missed: she acknowledges %.2f times as many as PocketBase, want %.1f: %.0f a second at %.2f ms of processor time each, PocketBase %.0f at %.2f",
			ratio, wanted, median(rates["she"]), median(used["she"]), median(rates["pocketbase"]), median(used["pocketbase"]))
	}
}

func startShe(b *testing.B, n int) server {
	tmp := b.TempDir()
	config := filepath.Join(tmp, "she.yaml")
	must(b, os.WriteFile(config, nil, 0o600))
	s := &shetest.Server{Data: filepath.Join(tmp, "data"), Config: config}
	must(b, s.Start())
	b.Cleanup(func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})
	out := server{name: "she", pid: s.PID(), post: func(c *client) error {
		_, err := c.do("POST", "/api/v2.6/data/bench/records", nil, record(), http.StatusCreated)
		return err
	}}
	for i := range n {
		name := fmt.Sprintf("hat%d", i)
		_, err := s.CreateHAT(name)
		must(b, err)
		c, err := dial(s.Address, name+".test", i+1)
		must(b, err)
		credentials := http.Header{"username": {url.QueryEscape(name)}, "password": {url.QueryEscape(shetest.Password(name))}}
		must(b, c.login("GET", "/users/access_token", credentials, nil, "accessToken"))
		c.auth, c.refresh = "X-Auth-Token", "X-Auth-Token"
		out.clients = append(out.clients, c)
	}
	return out
}

func startPocketBase(b *testing.B, n int) server {
	tmp := b.TempDir()
	program := filepath.Join(tmp, "pocketbase")
	build := exec.Command("go", "build", "-o", program, "./pocketbase")
	build.Dir, build.Stderr = dir, os.Stderr
	must(b, build.Run())
	cmd := exec.Command(program, filepath.Join(tmp, "data"), fmt.Sprint(n))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address := ""
	for lines := bufio.NewScanner(stdout); address == "" && lines.Scan(); {
		if at, found := strings.CutPrefix(lines.Text(), "listening on http://"); found {
			address = at
		}
	}
	if address == "" {
		b.Fatal("pocketbase did not say where it listens")
	}
	out := server{name: "pocketbase", pid: cmd.Process.Pid, post: func(c *client) error {
		body := append(append([]byte(`{"data":`), record()...), '}')
		_, err := c.do("POST", "/api/collections/records/records", nil, body, http.StatusOK)
		return err
	}}
	for i := range n {
		c, err := dial(address, address, i+1)
		must(b, err)
		body := fmt.Appendf(nil, `{"identity":"user%d@bench.test","password":"password-%d"}`, i, i)
		must(b, c.login("POST", "/api/collections/users/auth-with-password", nil, body, "token"))
		c.auth = "Authorization"
		out.clients = append(out.clients, c)
	}
	return out
}
