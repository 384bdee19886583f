package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"she/internal/config"
	"she/internal/local"
	"she/internal/metrics"
	"she/internal/server"
	"she/internal/shetest"
)

// Names under .localhost lead to this machine in every command, without a name server, however the HAT is named: by its
// domain, its host, its name or its address in a browser.
func TestLocalhostInEveryCommand(t *testing.T) {
	was := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = was })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a name server was asked")
		return nil, errors.New("there is none")
	}}
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")

	dir := t.TempDir()
	configFile, err := install(filepath.Join(dir, "functions"), []stamping{standIns[4]})
	must(t, err)
	config, err := config.Load(t.Context(), configFile)
	must(t, err)
	data := filepath.Join(dir, "data")
	config.Metrics = "metrics.localhost:0"
	s, err := server.Start(t.Context(), server.Options{Data: data, Listen: "bob.localhost:0", Config: config, Log: io.Discard, Invoker: goFunctions{}})
	must(t, err)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil || host != "127.0.0.1" {
		t.Fatalf("it listens at %s", s.Address)
	}
	does := func(stdin string, args ...string) (code int, out, said string) {
		var stdout, stderr strings.Builder
		code = run(t.Context(), strings.NewReader(stdin), &stdout, &stderr, args)
		return code, stdout.String(), stderr.String()
	}
	domain := "bob.localhost:" + port
	password := shetest.Password("bob")
	if code, _, said := does(password, "hat", "create", "bob", "--domain", "http://"+domain+"/", "--data", data, "--password-stdin"); code != exitOK {
		t.Fatal(said)
	}
	forms := []string{domain, "http://" + domain, "http://" + domain + "/"}
	if testing.Short() {
		forms = forms[1:2]
	}
	for _, to := range forms {
		code, out, said := does(password, "data", "sample", "--to", to, "--months", "1", "--username", "bob", "--password-stdin")
		if code != exitOK || !strings.HasPrefix(out, "stored ") {
			t.Errorf("--to %s: exit %d, %s", to, code, said)
		}
	}
	if code, out, _ := does("", "doctor", "--listen", "bob.localhost:0"); !strings.Contains(out, "127.0.0.1:0 is free") {
		t.Errorf("doctor: exit %d, %s", code, out)
	}

	tried := map[string]bool{}
	for _, c := range leaves(rootCommand()) {
		for _, line := range c.lines {
			if !strings.Contains(line, "alice.localhost") || c.effect == creating {
				continue
			}
			by := func(name string) (int, string) {
				args := exampleOf(line, data, name, "asked", "01900000-0000-7000-8000-000000000000", configFile)
				args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--log" })
				if strings.HasPrefix(c.path, "she hat platform") && !slices.Contains(args, "--off") || c.path == "she function enable" {
					args = append(args, "--password-stdin")
				}
				code, _, said := does(password, args...)
				return code, said
			}
			tried[c.path] = true
			want, wantSaid := by("bob")
			names := []string{"BOB.localhost", "http://" + domain + "/", domain, "bob.localhost", "http://" + domain, "http://bob.localhost", "Bob.localhost.", "bob.localhost.:" + port}
			if testing.Short() {
				names = names[:2]
			}
			for _, name := range names {
				code, said := by(name)
				if code != want || strings.Contains(said, "no HAT") {
					t.Errorf("%s of %s: exit %d, %s; of bob: %d, %s", c.path, name, code, said, want, wantSaid)
				}
			}
			if code, said := by("eve.localhost:" + port); code != exitFailed || !strings.Contains(said, "no HAT") {
				t.Errorf("%s of eve: exit %d, %s", c.path, code, said)
			}
		}
	}
	if len(tried) < 12 {
		t.Errorf("tried %v", tried)
	}

	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Host }))
	defer collector.Close()
	_, port, _ = net.SplitHostPort(collector.Listener.Addr().String())
	over := local.Transport()
	defer over.CloseIdleConnections()
	must(t, metrics.New().Exporter("http://collector.localhost:"+port+"/v1/metrics", "test", over).Export(t.Context()))
	if host := <-got; host != "collector.localhost:"+port {
		t.Errorf("the collector is asked for %s", host)
	}
}
