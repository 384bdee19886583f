package invoke_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"she/internal/runtimes"
)

// said is what a runtime made of one event.
type said struct {
	path string // response, error, init/error, or exit
	kind string // the error's type, in its header
	body string
}

// converse gives the events to a runtime, started here on the host without walls, and gives what it said to each. It is for
// what is read and written, of which thousands are told in the time a sandbox takes to start.
func converse(t *testing.T, handler, dir string, env []string, events []string, command ...string) []said {
	t.Helper()
	heard := make(chan said, len(events)+1)
	next := make(chan string, len(events))
	for _, e := range events {
		next <- e
	}
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/"); {
		case path == "invocation/next":
			select {
			case e := <-next:
				w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
				w.Header().Set("Lambda-Runtime-Deadline-Ms", "9999999999999")
				w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:000000000000:function:f")
				w.Header().Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
				w.Header().Set("Lambda-Runtime-Client-Context", "") // Amazon's client for Java dies where one of them is absent
				w.Header().Set("Lambda-Runtime-Cognito-Identity", "")
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Length", strconv.Itoa(len(e)))
				_, _ = io.WriteString(w, e)
			case <-over:
			case <-r.Context().Done():
			}
		case r.Method == http.MethodPost:
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"status":"OK"}`)
			heard <- said{path[strings.LastIndex(path, "/")+1:], r.Header.Get("Lambda-Runtime-Function-Error-Type"), string(body)}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	defer close(over)
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=/nonexistent", "TMPDIR=" + t.TempDir(),
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(s.URL, "http://"), "_HANDLER=" + handler, "LAMBDA_TASK_ROOT=" + dir,
		"AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_LAMBDA_LOG_GROUP_NAME=g", "AWS_LAMBDA_LOG_STREAM_NAME=s", "AWS_REGION=eu-west-1",
	}, env...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var all []said
	for len(all) < len(events) {
		select {
		case a := <-heard:
			all = append(all, a)
		case err := <-ended:
			said := log.Bytes()
			t.Fatalf("%s: ended after %d of %d events, on %.200q: %v\n%s", command, len(all), len(events), events[len(all)], err, said[max(0, len(said)-2000):])
		}
	}
	_ = cmd.Process.Kill()
	<-ended
	return all
}

// shownAt is what a sandbox shows as to.
func shownAt(paths [][2]string, to string) string {
	for _, p := range paths {
		if p[1] == to {
			return p[0]
		}
	}
	return ""
}

// dotnetReads is what a handler's parameter is made of. Sources, all public: A is aws/aws-lambda-dotnet, the file named below
// Libraries/src/Amazon.Lambda.Serialization.SystemTextJson; M is the page named below
// learn.microsoft.com/dotnet/standard/serialization/system-text-json. What is read is told as a text, and comes back by the handler's stream.
var dotnetReads = []struct{ event, want, source string }{
	{`{"Text":"a"}`, `Text=a`, "A AbstractLambdaJsonSerializer.cs"},
	{`{"text":"a"}`, `Text=a`, "A AbstractLambdaJsonSerializer.cs: PropertyNameCaseInsensitive"},
	{`{"TEXT":"a"}`, `Text=a`, "A AbstractLambdaJsonSerializer.cs: PropertyNameCaseInsensitive"},
	{`{"te_xt":"a","unknown":{"a":1}}`, ``, "M handle-overflow: what is unknown is passed over"},
	{`{"Text":"a","Text":"b"}`, `Text=b`, "M how-to: the last of equal names is kept"},
	{`{"Text":null}`, ``, "A AbstractLambdaJsonSerializer.cs"},
	{`{"Text":1}`, `error`, "M converters-how-to: no conversion to text"},
	{`{"x-amz-id-2":"a"}`, `XAmzId2=a`, "A AwsNamingPolicy.cs"},
	{`{"XAmzId2":"a"}`, ``, "A AwsNamingPolicy.cs"},
	{`{"x-amz-request-id":"a"}`, `XAmzRequestId=a`, "A AwsNamingPolicy.cs"},
	{`{"When":"2024-01-02T03:04:05Z"}`, `When=2024-01-02T03:04:05.0000000Z`, "A Converters/DateTimeConverter.cs"},
	{`{"When":"2024-01-02"}`, `When=2024-01-02T00:00:00.0000000`, "A Converters/DateTimeConverter.cs; M support-for-datetime"},
	{`{"When":1500}`, `When=1970-01-01T00:25:00.0000000Z`, "A Converters/DateTimeConverter.cs: seconds"},
	{`{"When":-1}`, `When=1969-12-31T23:59:59.0000000Z`, "A Converters/DateTimeConverter.cs: seconds"},
	{`{"When":1500.5}`, `When=1970-01-01T00:25:00.5000000Z`, "A Converters/DateTimeConverter.cs: parts of seconds"},
	{`{"When":157753180801}`, `When=1974-12-31T20:19:40.8010000Z`, "A Converters/DateTimeConverter.cs: milliseconds after YEAR_5000_IN_SECONDS"},
	{`{"When":"1500"}`, `error`, "A Converters/DateTimeConverter.cs"},
	{`{"When":"01/02/2024"}`, `error`, "A Converters/DateTimeConverter.cs; M support-for-datetime"},
	{`{"When":true}`, `error`, "A Converters/DateTimeConverter.cs"},
	{`{"At":"2024-01-02T03:04:05+02:00"}`, `At=2024-01-02T03:04:05.0000000+02:00`, "M support-for-datetime"},
	{`{"At":1500}`, `error`, "A Converters/DateTimeConverter.cs: of DateTime alone"},
	{`{"Octets":"AQL/"}`, `Octets=01-02-FF`, "A Converters/ByteArrayConverter.cs: base64"},
	{`{"Octets":[1,2,255]}`, `Octets=01-02-FF`, "A Converters/ByteArrayConverter.cs: numbers"},
	{`{"Octets":[]}`, `Octets=`, "A Converters/ByteArrayConverter.cs"},
	{`{"Octets":null}`, ``, "A Converters/ByteArrayConverter.cs"},
	{`{"Octets":[256]}`, `error`, "A Converters/ByteArrayConverter.cs: GetByte"},
	{`{"Octets":"?"}`, `error`, "A Converters/ByteArrayConverter.cs: GetBytesFromBase64"},
	{`{"Stream":"AQL/"}`, `Stream=01-02-FF`, "A Converters/MemoryStreamConverter.cs"},
	{`{"Stream":"?"}`, `error`, "A Converters/MemoryStreamConverter.cs"},
	{`{"Count":12}`, `Count=12`, "A AbstractLambdaJsonSerializer.cs"},
	{`{"Count":"12"}`, `error`, "M invalid-json: numbers in quotes are not read unless NumberHandling says so"},
	{`{"Count":1.5}`, `error`, "M migrate-from-newtonsoft: no rounding"},
	{`{"Count":2147483648}`, `error`, "M migrate-from-newtonsoft: out of range"},
	{`{"Kind":1}`, `Kind=Run`, "M customize-properties#enums-as-strings: numbers by default"},
	{`{"Kind":7}`, `Kind=7`, "M customize-properties#enums-as-strings: numbers by default"},
	{`{"Kind":"Run"}`, `error`, "M customize-properties#enums-as-strings: no names by default"},
	{`{"Done":true}`, `Done=True`, "A AbstractLambdaJsonSerializer.cs"},
	{`{"Done":"true"}`, `error`, "M migrate-from-newtonsoft: no conversion"},
	{`{"Sum":0.10}`, `Sum=0.10`, "M how-to: decimal keeps its digits"},
	{`{"Ratio":NaN}`, `error`, "M invalid-json"},
	{`{"Ratio":"NaN"}`, `error`, "M invalid-json: only with AllowNamedFloatingPointLiterals"},
	{`{"Numbers":[1,2]}`, `Numbers=1,2`, "M supported-types"},
	{`{"Numbers":1}`, `error`, "M supported-types: no list of one"},
	{`{"Numbers":[1,]}`, `error`, "M invalid-json#allow-comments-and-trailing-commas"},
	{`{"Count":1/**/}`, `error`, "M invalid-json#allow-comments-and-trailing-commas"},
	{`{"Counts":{"a":1,"A":2,"":3}}`, `Counts=a:1,A:2,:3`, "M supported-types: keys are kept"},
	{`{"Id":"8476a536-e9f4-11e8-9739-2dfe598c3fcd"}`, `Id=8476a536-e9f4-11e8-9739-2dfe598c3fcd`, "M supported-types"},
	{`{"Id":"{8476a536-e9f4-11e8-9739-2dfe598c3fcd}"}`, `error`, "M migrate-from-newtonsoft: only that form"},
	{`{"Any":{"a":[1.50]}}`, `Any={"a":[1.50]}`, "M converters-how-to#deserialize-inferred-types-to-object-properties: a JsonElement"},
	{`{"Inner":{"inner":{"TEXT":"a"}}}`, `Inner={Inner={Text=a}}`, "A AbstractLambdaJsonSerializer.cs"},
	{`null`, `null`, "M how-to"},
	{`[]`, `error`, "M how-to"},
	{``, `error`, "M how-to"},
}

// dotnetWrites is what becomes of a handler's answer; sources as above.
var dotnetWrites = []struct{ which, want, source string }{
	{"nothing", `{}`, "A AbstractLambdaJsonSerializer.cs: WhenWritingNull leaves null out"},
	{"zero", `{"Count":0}`, "A AbstractLambdaJsonSerializer.cs: WhenWritingNull leaves nothing else out"},
	{"text", `{"Text":"Grüße <b>&amp;+' \"\\\n\u0001"}`, "A AbstractLambdaJsonSerializer.cs: UnsafeRelaxedJsonEscaping"},
	{"beyond", `{"Text":"\uD83D\uDE00"}`, "M character-encoding: beyond the basic plane is escaped"},
	{"half", `{"Text":"�"}`, "M character-encoding: half a pair is replaced"},
	{"name", `{"x-amz-id-2":"a"}`, "A AwsNamingPolicy.cs"},
	{"utc", `{"When":"2024-01-02T03:04:05Z"}`, "A Converters/DateTimeConverter.cs; M support-for-datetime"},
	{"day", `{"When":"2024-01-02T00:00:00"}`, "A Converters/DateTimeConverter.cs; M support-for-datetime"},
	{"ticks", `{"When":"2024-01-02T03:04:05.1234567Z"}`, "M support-for-datetime"},
	{"offset", `{"At":"2024-01-02T03:04:05+02:00"}`, "M support-for-datetime"},
	{"octets", `{"Octets":[1,2,255]}`, "A Converters/ByteArrayConverter.cs"},
	{"stream", `{"Stream":"AQL/"}`, "A Converters/MemoryStreamConverter.cs"},
	{"kind", `{"Kind":1}`, "M customize-properties#enums-as-strings"},
	{"decimal", `{"Sum":0.10}`, "M how-to"},
	{"ratio", `{"Ratio":0.1}`, "M how-to: the shortest text that is read as the same number"},
	{"whole", `{"Ratio":1}`, "M how-to: the shortest text that is read as the same number"},
	{"nan", `error`, "M invalid-json: only with AllowNamedFloatingPointLiterals"},
	{"infinite", `error`, "M invalid-json: only with AllowNamedFloatingPointLiterals"},
	{"numbers", `{"Numbers":[1,2]}`, "M supported-types"},
	{"counts", `{"Counts":{"B":1,"a":0}}`, "M customize-properties#use-a-naming-policy-for-dictionary-keys: kept by default"},
	{"inner", `{"Inner":{"Count":3}}`, "A AbstractLambdaJsonSerializer.cs"},
	{"cycle", `error`, "M preserve-references: a cycle is an error by default"},
	{"null", `null`, "M how-to"},
}

// TestWhatDotnetReadsAndWrites: values of a package that names no serializer are read and written as by Amazon's default.
func TestWhatDotnetReadsAndWrites(t *testing.T) {
	t.Parallel()
	dir := dotnetPackage(t)
	found, _, err := testDotnet.Find("dotnetcore3.1")
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := filepath.Join(shownAt(found.Paths, runtimes.Lang+"/dotnet"), "bootstrap.dll")
	ask := func(handler string, events []string) []said {
		return converse(t, "Answers::Tests.Answers::"+handler, dir, []string{"DOTNET_ROOT=" + filepath.Dir(found.Command[2])}, events, found.Command[2], "exec", bootstrap)
	}
	var events []string
	for _, c := range dotnetReads {
		events = append(events, c.event)
	}
	for i, a := range ask("Read", events) {
		c := dotnetReads[i]
		if c.want == "error" && (a.path != "error" || a.kind != "Runtime.UnmarshalError") || c.want != "error" && a.body != c.want {
			t.Errorf("%s is read as %s %s, want %s by %s", c.event, a.path, a.body, c.want, c.source)
		}
	}
	events = nil
	for _, c := range dotnetWrites {
		events = append(events, fmt.Sprintf("%q", c.which))
	}
	for i, a := range ask("Write", events) {
		c := dotnetWrites[i]
		if c.want == "error" && (a.path != "error" || a.kind != "Runtime.MarshalError") || c.want != "error" && a.body != c.want {
			t.Errorf("%s is written as %s %s, want %s by %s", c.which, a.path, a.body, c.want, c.source)
		}
	}
}
