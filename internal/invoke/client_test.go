package invoke_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/invoke"
)

// TestOfficialNodeClient: what Amazon publishes for Node.js in images of one's own, unmodified with its native part,
// as the program of a custom runtime.
func TestOfficialNodeClient(t *testing.T) {
	needRoot(t)
	t.Parallel()
	if resolved, _, err := newInvoker(t).Supports("nodejs"); err != nil || resolved < "nodejs20" {
		t.Skipf("the client wants Node.js 20 or newer, here is %s", resolved)
	}
	dir, err := filepath.Abs("../../functions/testdata/echo-ric")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules/aws-lambda-ric/rapid-client.node")); err != nil {
		missing(t, "make functions (its native part wants cmake, g++ and xz)")
	}
	v := newInvoker(t)
	c := function(t, "provided.al2023", "", nil)
	c.Dir, c.Timeout = dir, time.Minute
	with := func(handler string) invoke.Code { c := c; c.Handler = handler; return c }

	a := wantAnswer(t, v, with("handler.describe"), `1`,
		`["test-dev-fn","256",36,"arn:aws:lambda:eu-west-1:000000000000:function:test-dev-fn",true,"/var/task","undefined"]`)
	if !strings.Contains(string(a.Log), "printed") {
		t.Errorf("log %q", a.Log)
	}
	const record = `{"request":{"data":{"test/in":[{"recordId":"1","data":`
	wantAnswer(t, v, with("handler.process"), record+`{"text":"Grüße 😀"}}]}}}`,
		`[{"namespace":"test","endpoint":"out","data":[{"of":"1","data":{"text":"Grüße 😀"}}],"linkedRecords":["1"]}]`)
	wantFailure(t, v, with("handler.process"), record+`{"fail":"secret word"}}]}}}`, invoke.Author, "Unhandled", `"errorType":"RangeError","errorMessage":"secret word"`)
	wantFailure(t, v, with("nowhere.process"), `1`, invoke.Author, "Runtime.ImportModuleError", "nowhere")
	wantFailure(t, v, with("handler.nothing"), `1`, invoke.Author, "Runtime.HandlerNotFound", "nothing")
}
