package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"she/internal/shetest"
)

// exampleOf is a command line from the help of a command, for a data directory.
func exampleOf(line, data, hatName, function, runID, config string) []string {
	line, _, _ = strings.Cut(line, " > ")
	line, _, _ = strings.Cut(line, " < ")
	var args []string
	for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(strings.TrimSpace(line), -1)[1:] {
		args = append(args, strings.Trim(word, `"`))
	}
	for i, arg := range args {
		switch {
		case i > 0 && args[i-1] == "--data":
			args[i] = data
		case i > 0 && args[i-1] == "--config":
			args[i] = config
		case strings.HasPrefix(arg, "alice.localhost"):
			args[i] = hatName
		case arg == "busy-hours":
			args[i] = function
		case strings.HasSuffix(arg, "-…"):
			args[i] = runID
		}
	}
	return args
}

// A described command is one leaf of the tree of commands.
type described struct {
	path, effect string
	lines        []string // of its example, those that name a data directory
}

// withoutDirectory are commands for which there is no data directory; she invoke calls its records --data.
var withoutDirectory = []string{"she data sample", "she invoke", "she build", "she help"}

func leaves(c *cobra.Command) (all []described) {
	if c.HasSubCommands() {
		for _, sub := range c.Commands() {
			all = append(all, leaves(sub)...)
		}
		return all
	}
	d := described{path: c.CommandPath(), effect: c.Annotations[effectKey]}
	if slices.Contains(withoutDirectory, d.path) {
		return all
	}
	for line := range strings.Lines(c.Example) {
		if strings.Contains(line, " --data ") && !strings.Contains(line, "--seal") { // which keeps its verdict there
			d.lines = append(d.lines, line)
		}
	}
	return append(all, d)
}

// treeOf is what a directory looks like: names, modes, sizes and times.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s %d %d\n", strings.TrimPrefix(path, dir), info.Mode(), info.Size(), info.ModTime().UnixNano())
		return nil
	})
	must(t, err)
	return b.String()
}

// A command that only reads makes and changes nothing; one that changes makes no data directory. All commands there are.
func TestCommandsThatOnlyRead(t *testing.T) {
	all := leaves(rootCommand())
	if len(all) < 15 {
		t.Fatalf("%d commands", len(all))
	}
	asks := standIns[4]
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	config, err := install(filepath.Join(dir, "functions"), []stamping{asks})
	must(t, err)
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config, Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice"})
	start(t, s)
	alice := s.Client("alice")
	must(t, alice.Login())
	for _, path := range []string{"", "/enable"} {
		if answer, err := alice.Until("GET", "/api/v2.6/she/function/asked"+path, regexp.MustCompile(`"available":true`)); err != nil {
			t.Fatal(err, string(answer))
		}
	}
	_, err = alice.Must("GET", "/api/v2.6/she/function/asked/trigger?useAll=true", nil)
	must(t, err)
	must(t, s.Stop())
	out, _ := sheSays(t, "runs", "ls", "--hat", "alice", "--data", s.Data)
	runID := strings.Fields(strings.Split(out, "\n")[1])[0]

	try := func(t *testing.T, data, line string) (code int, said string) {
		args := exampleOf(line, data, "alice", "asked", runID, config)
		args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--log" }) // asks at the terminal
		var stdout, stderr strings.Builder
		code = run(t.Context(), strings.NewReader("password\n"), &stdout, &stderr, args)
		return code, strings.Join(args, " ") + ": " + stderr.String()
	}
	tried := 0
	for _, c := range all {
		if c.effect != creating && len(c.lines) == 0 && c.path != "she version" && !strings.HasPrefix(c.path, "she completion") {
			t.Errorf("%s has no example with --data: it can't be tried", c.path)
		}
		for _, line := range c.lines {
			if c.effect == creating {
				continue
			}
			tried++
			t.Run(c.path, func(t *testing.T) {
				if c.path == "she doctor" && testing.Short() {
					t.Skip("it looks at the whole machine")
				}
				above := t.TempDir()
				missing, empty := filepath.Join(above, "missing"), filepath.Join(above, "empty")
				must(t, os.Mkdir(empty, 0o755))
				before := treeOf(t, above)
				for _, data := range []string{missing, filepath.Join(missing, "deeper"), empty} {
					code, said := try(t, data, line)
					if after := treeOf(t, above); after != before {
						t.Fatalf("%s\nbefore\n%safter\n%s", said, before, after)
					}
					if c.path != "she doctor" && (code != exitFailed || !strings.Contains(said, "there is no data directory") && !strings.Contains(said, "terminal")) && code != exitUsage {
						t.Errorf("exit %d, %s", code, said)
					}
				}
				if c.effect != "" {
					return
				}
				before = treeOf(t, s.Data)
				code, said := try(t, s.Data, line)
				if after := treeOf(t, s.Data); after != before {
					t.Errorf("%s\nbefore\n%safter\n%s", said, before, after)
				}
				if code != exitOK && c.path != "she doctor" {
					t.Errorf("exit %d, %s", code, said)
				}
			})
		}
	}
	if tried < 12 {
		t.Errorf("%d command lines were tried", tried)
	}

	t.Run("the list of --config", func(t *testing.T) {
		above := t.TempDir()
		before := treeOf(t, above)
		out, _ := sheSays(t, "function", "list", "--data", filepath.Join(above, "missing"), "--config", config)
		if after := treeOf(t, above); after != before || !strings.Contains(out, "asked") {
			t.Errorf("%s\n%s", out, after)
		}
		data := treeOf(t, s.Data)
		out, _ = sheSays(t, "function", "list", "--data", s.Data, "--config", config)
		if after := treeOf(t, s.Data); after != data || !strings.Contains(out, "yes, as of 20") {
			t.Errorf("%s\nbefore\n%safter\n%s", out, data, after)
		}
	})

	t.Run("without permission", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can be somebody else")
		}
		program := filepath.Join(dir, "she.test")
		text, err := os.ReadFile(os.Args[0])
		must(t, err)
		must(t, os.WriteFile(program, text, 0o755))
		must(t, os.Chmod(filepath.Dir(dir), 0o755))
		before := treeOf(t, s.Data)
		for _, c := range all {
			for _, line := range c.lines {
				if c.effect == creating {
					continue
				}
				cmd := exec.Command(program, exampleOf(line, s.Data, "alice", "asked", runID, config)...)
				cmd.Env = append(os.Environ(), standInRuns+"=yes", "TMPDIR="+t.TempDir())
				cmd.Dir = "/"
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				out, err := cmd.CombinedOutput()
				if err == nil || !strings.Contains(string(out), "permission denied") && c.path != "she doctor" && c.effect == "" {
					t.Errorf("%s: %v %s", line, err, out)
				}
			}
		}
		if after := treeOf(t, s.Data); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}

// What a server that was killed left in write-ahead logs is read too.
func TestReadingAfterAKill(t *testing.T) {
	dir := t.TempDir()
	config, err := install(filepath.Join(dir, "functions"), []stamping{standIns[0]})
	must(t, err)
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config, Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice"})
	start(t, s)
	alice := s.Client("alice")
	must(t, alice.Login())
	_, err = alice.Must("POST", "/api/v2.6/data/in/a", []byte(`{"n":1,"v":1}`))
	must(t, err)
	s.Kill()
	if out, _ := sheSays(t, "hat", "show", "alice", "--data", s.Data); !strings.Contains(out, "records  1,") {
		t.Error(out)
	}
	if out, _ := sheSays(t, "hat", "list", "--data", s.Data); !strings.Contains(out, "alice.test") {
		t.Error(out)
	}
}
