package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"she/internal/config"
	"she/internal/demo"
)

// Commands that need the whole of a configuration tell all its faults, and make nothing.
func TestCommandsTellEveryFaultOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "she.yaml")
	if err := os.WriteFile(file, []byte("listen: \"7777\"\nlisen: x\ninstances: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"serve", "--data", filepath.Join(dir, "data")}, {"doctor"}} {
		var stderr strings.Builder
		code := run(t.Context(), strings.NewReader(""), io.Discard, &stderr, append(command, "--config", file))
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if code != exitFailed || len(lines) != 3 || !strings.HasPrefix(lines[2], "she: "+file+":3: ") {
			t.Errorf("%v: code %d, %s", command, code, stderr.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a data directory was made for a configuration that is refused")
	}
}

// The configuration that the README serves registers what the demonstration does.
func TestExampleConfig(t *testing.T) {
	served, err := config.Load(t.Context(), "../../functions/she.yaml")
	if err != nil {
		t.Fatal(err)
	}
	functions, err := filepath.Abs("../../functions")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := demo.Config(functions)
	if err != nil || !reflect.DeepEqual(served, shown) {
		t.Errorf("served %+v\nshown %+v %v", served, shown, err)
	}
}
