package invoke_test

import (
	"strings"
	"testing"

	"she/internal/invoke"
)

// TestLayers: what layers hold is found at /opt, where each runtime of Lambda looks, and can't be written to.
func TestLayers(t *testing.T) {
	slow(t)
	t.Parallel()
	layered := func(c invoke.Code, files map[string]string) invoke.Code {
		l := function(t, "", "", files)
		c.Layers, c.LayersDir = "sha256:layers of "+t.Name(), l.Dir
		return c
	}
	t.Run("python", func(t *testing.T) {
		v := openInvoker(t, invoke.Config{Images: t.TempDir(), Waiting: 1})
		c := layered(function(t, "python3.11", "app.run", map[string]string{"app.py": `
import os, subprocess, first, second, own
def run(event, context):
    try:
        open("/opt/new", "w")
        wrote = True
    except OSError:
        wrote = False
    return [first.value, second.value, own.value, sorted(os.listdir("/opt")), open("/opt/data.txt").read(), wrote,
            subprocess.run(["tool"], capture_output=True, text=True).stdout]
`, "own.py": "value = 'the package'"}), map[string]string{
			"python/first.py": "value = 1", "python/lib/python3.12/site-packages/second.py": "value = 2", "python/own.py": "value = 'a layer'",
			"data.txt": "data", "bin/tool": "#!/bin/sh\nprintf tool",
		})
		const want = `[1, 2, "the package", ["bin", "data.txt", "python"], "data", false, "tool"]`
		for range 3 { // cold, and copies
			wantAnswer(t, v, c, `{}`, want)
			v.Settle()
		}
		c.Layers, c.LayersDir = "", ""
		if _, err := ask(t, v, c, `{}`); err == nil || !strings.Contains(err.Error(), "ImportModuleError") {
			t.Errorf("without its layers: %v", err)
		}
		plain := function(t, "python3.11", "app.run", map[string]string{"app.py": "import os\ndef run(e, c): return os.listdir('/opt')"})
		wantAnswer(t, v, plain, `{}`, `[]`)
	})
	t.Run("nodejs", func(t *testing.T) {
		c := layered(function(t, "nodejs20.x", "app.run", map[string]string{
			"app.js": `const kit = require("kit"), old = require("old"); exports.run = async () => [kit, old]`,
		}), map[string]string{"nodejs/node_modules/kit/index.js": `module.exports = "kit of " + require("inner")`,
			"nodejs/node_modules/inner/index.js": `module.exports = "inner"`, "nodejs/node_modules/old/index.js": `module.exports = "old"`})
		wantAnswer(t, newInvoker(t), c, `{}`, `["kit of inner","old"]`)
	})
	t.Run("a runtime in a layer", func(t *testing.T) {
		program := golambda(t)
		c := program
		empty := function(t, c.Runtime, c.Handler, map[string]string{"handler.txt": "x"})
		c.Layers, c.LayersDir = "sha256:runtime of "+t.Name(), program.Dir
		c.Dir, c.Package = empty.Dir, empty.Package
		a, err := ask(t, newInvoker(t), c, `{"name":"n"}`)
		if err != nil || !strings.Contains(string(a.Payload), `"name":"test-dev-fn"`) {
			t.Errorf("%s, %v", a.Payload, err)
		}
		c.LayersDir = empty.Dir
		wantFailure(t, newInvoker(t), c, `{}`, invoke.Author, "Runtime.InvalidEntrypoint", "")
	})
}
