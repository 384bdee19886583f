package invoke_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"she/internal/invoke"
	"she/internal/sandbox/wasm"
)

func TestWebAssembly(t *testing.T) {
	slow(t)
	c := function(t, "wasm", "count.wasm", map[string]string{"go.mod": "module count\n", "main.go": `package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	event, _ := io.ReadAll(os.Stdin)
	fmt.Fprintln(os.Stderr, "counted for", os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
	fmt.Print(len(event))
}
`})
	cmd := exec.Command("go", "build", "-o", filepath.Join(c.Dir, "count.wasm"), ".")
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	v := openInvoker(t, invoke.Config{Wasm: wasm.New()})
	for range 2 {
		if a := wantAnswer(t, v, c, `"12345"`, `7`); string(a.Log) != "counted for test-dev-fn\n" || a.Start != invoke.Cold {
			t.Errorf("log %q, started %s", a.Log, a.Start)
		}
	}
	if resolved, _, err := v.Supports("wasm"); resolved != "wasm" || err != nil {
		t.Errorf("%s %v", resolved, err)
	}
	c.Handler = "../count.wasm"
	wantFailure(t, v, c, `1`, invoke.Author, "Runtime.InvalidEntrypoint", "")
	wantFailure(t, newInvoker(t), c, `1`, invoke.Operator, "Runtime.InvalidRuntime", "not enabled")
}
