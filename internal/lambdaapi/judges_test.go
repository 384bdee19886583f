package lambdaapi_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/accesskey"
)

// judged runs one of AWS's own clients against the world. `make clients` fetches these clients.
func (w *world) judged(key accesskey.Key, needs, program string, args ...string) string {
	w.t.Helper()
	if _, err := os.Stat(needs); err != nil {
		if os.Getenv("SHE_TEST_ALL") != "" {
			w.t.Fatalf("%v: run make clients", err)
		}
		w.t.Skipf("%v: run make clients", err)
	}
	python := must(filepath.Abs("../../.cache/aws-python"))
	cmd := exec.CommandContext(w.t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+key.ID, "AWS_SECRET_ACCESS_KEY="+key.Secret, "AWS_ENDPOINT_URL="+w.url, "AWS_REGION=eu-west-1",
		"AWS_DEFAULT_REGION=eu-west-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_PAGER=", "PYTHONPATH="+python, "PYTHONWARNINGS=ignore")
	text, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, text)
	}
	return string(text)
}

const boto3, sdkJS, sdkPython = "../../.cache/aws-python/boto3", "testdata/js/node_modules/@aws-sdk/client-lambda", "/usr/bin/python3"

// wants checks that got contains these lines.
func wants(t *testing.T, got string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("want the line\n%s\nin\n%s", line, got)
		}
	}
}

const listed = "list analytics-dev-counter analytics-dev-counter-bundle analytics-dev-counter-configuration " +
	"analytics-dev-other analytics-dev-other-bundle analytics-dev-other-configuration"

func TestBoto3(t *testing.T) {
	w := newWorld(t)
	wants(t, w.judged(must(w.keys.Create(nil, "", w.now)), boto3, sdkPython, "testdata/judge.py", counter),
		`answer {"n": 1, "text": "ü"} 200 $LATEST`, "event 202", "dry 204", `stream "streamed"`, listed,
		"error ResourceNotFoundException 0", "error InvalidRequestContentException 0")
}

func TestSDKForJavaScript(t *testing.T) {
	w := newWorld(t)
	wants(t, w.judged(must(w.keys.Create(nil, "", w.now)), sdkJS, "node", "testdata/js/judge.mjs", counter),
		`answer {"n":1,"text":"ü"} 200 `+canary+" printed", "event 202", `stream "streamed"`, listed, "error ResourceNotFoundException 1")
}

func TestSDKForJava(t *testing.T) {
	w := newWorld(t)
	jars := must(filepath.Abs("../../.cache/aws-java"))
	wants(t, w.judged(must(w.keys.Create(nil, "", w.now)), jars+"/.done", "java", "-XX:TieredStopAtLevel=1", "-cp", jars+"/*", "testdata/java/Judge.java", counter),
		`answer {"n":1} 200 $LATEST`, "event 202", "dry 204", listed, "error ResourceNotFoundException 1")
}

func TestCommandLineOfAWS(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(t.TempDir(), "out.json")
	got := w.judged(w.key, boto3, sdkPython, "-m", "awscli", "lambda", "invoke", "--function-name", counter,
		"--payload", `{"n":1}`, "--log-type", "Tail", "--query", "[StatusCode,ExecutedVersion]", "--output", "text", out)
	wants(t, got, "200\t$LATEST")
	if text := string(must(os.ReadFile(out))); text != `{"n":1}` {
		t.Errorf("the answer is %s", text)
	}
	wants(t, w.judged(w.key, boto3, sdkPython, "-m", "awscli", "lambda", "get-function-configuration", "--function-name", counter,
		"--query", "[Runtime,MemorySize,Timeout,State]", "--output", "text"), "python3.11\t256\t3\tPending")
	wants(t, w.judged(w.key, boto3, sdkPython, "-m", "awscli", "lambda", "list-functions", "--query", "length(Functions)", "--output", "text"), "3")
}
