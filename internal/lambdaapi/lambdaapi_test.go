package lambdaapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"she/internal/accesskey"
	"she/internal/catalog"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/lambdaapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is in payloads, answers and logs of functions. It must never be in the server's log, or unencrypted
// on the disk.
const canary = "canary-7f3a91"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A world is the API over two functions, counter and other. Only the part that runs their code is a stand-in.
type world struct {
	t       *testing.T
	url     string
	dir     string
	keys    *accesskey.Keys
	key     accesskey.Key // reaches only counter
	queue   *lambdaapi.Queue
	server  *httptest.Server
	handler http.Handler

	mu   sync.Mutex
	logs bytes.Buffer
	do   func(d engine.Direct) engine.Reply
	now  time.Time
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.Write(b)
}

func (w *world) Functions() []catalog.Function {
	function := func(id string) catalog.Function {
		entry := func(key string) catalog.Entry {
			return catalog.Entry{
				Name: "analytics-dev-" + key, Handler: "main.handler", Runtime: "python3.11", Memory: 256, Timeout: 3 * time.Second,
				Package: catalog.Package{Digest: "sha256:" + strings.Repeat("ab", 32)},
			}
		}
		return catalog.Function{
			Registered:    catalog.Registered{ID: must(hat.ParseFunctionID(id)), Version: must(hat.ParseVersion("1.0.0"))},
			Configuration: entry(id + "-configuration"), Bundle: entry(id + "-bundle"), Process: entry(id),
		}
	}
	return []catalog.Function{function("counter"), function("other")}
}

func (w *world) Direct(ctx context.Context, d engine.Direct) (engine.Reply, error) {
	if ctx.Err() != nil {
		return engine.Reply{}, ctx.Err()
	}
	w.mu.Lock()
	do := w.do
	w.mu.Unlock()
	return do(d), nil
}

func (w *world) answers(do func(d engine.Direct) engine.Reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.do = do
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), now: time.Now()}
	w.answers(func(d engine.Direct) engine.Reply {
		return engine.Reply{Payload: d.Event, Log: []byte(canary + " printed\n")}
	})
	w.keys = must(accesskey.Open(w.dir))
	w.key = must(w.keys.Create([]hat.FunctionID{must(hat.ParseFunctionID("counter"))}, "tests", w.now))
	log := slog.New(slog.NewTextHandler(w, nil))
	w.queue = must(lambdaapi.OpenQueue(w.dir, log, w.clock))
	w.handler = lambdaapi.New(lambdaapi.Options{Functions: w, Keys: w.keys, Events: w.queue, Log: log, Now: w.clock})
	w.server = httptest.NewServer(w.handler)
	w.url = w.server.URL
	t.Cleanup(func() {
		w.server.Close()
		http.DefaultClient.CloseIdleConnections()
		w.mu.Lock()
		defer w.mu.Unlock()
		if strings.Contains(w.logs.String(), canary) {
			t.Error("the log holds a payload")
		}
	})
	return w
}

// client is AWS's own client. Only its address is changed.
func (w *world) client(key accesskey.Key) *lambda.Client {
	return lambda.New(lambda.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(w.url), HTTPClient: w.server.Client(),
		Credentials:      credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
		RetryMaxAttempts: 1,
	})
}

const counter = "analytics-dev-counter"

func TestInvoke(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.key)
	event := []byte(`{"n":1,"text":"` + canary + ` ü"}`)
	for _, name := range []string{
		counter, counter + ":$LATEST", "function:" + counter, "000000000000:function:" + counter,
		"arn:aws:lambda:eu-west-1:000000000000:function:" + counter, "arn:aws:lambda:eu-west-1:000000000000:function:" + counter + ":$LATEST",
	} {
		out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &name, Payload: event, LogType: types.LogTypeTail})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tail := string(must(base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))))
		if string(out.Payload) != string(event) || out.StatusCode != 200 || aws.ToString(out.ExecutedVersion) != "$LATEST" || out.FunctionError != nil ||
			!strings.HasPrefix(tail, "START RequestId: ") || !strings.Contains(tail, canary+" printed\nEND RequestId: ") || !strings.Contains(tail, "Memory Size: 256 MB") {
			t.Errorf("%s: %s, %d, %v, tail %s", name, out.Payload, out.StatusCode, out.FunctionError, tail)
		}
	}
	// Without a payload the event is an empty object. Without a request for the log there is no tail.
	out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter)})
	if err != nil || string(out.Payload) != "{}" || out.LogResult != nil {
		t.Errorf("%s, %v, %v", out.Payload, out.LogResult, err)
	}
	dry, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter), InvocationType: types.InvocationTypeDryRun})
	if err != nil || dry.StatusCode != 204 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
}

func TestFunctionsThatFail(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.key)
	for name, f := range map[string]struct {
		reply engine.Reply
		want  string
	}{
		"its own document": {engine.Reply{Payload: []byte(`{"errorType":"KeyError","errorMessage":"'x'","stackTrace":["a"]}`), Fault: hat.NewFault(hat.Author, "KeyError", "the function failed")},
			`{"errorType":"KeyError","errorMessage":"'x'","stackTrace":["a"]}`},
		"too slow": {engine.Reply{Fault: hat.NewFault(hat.Author, "Sandbox.Timedout", "it took longer than it may")}, "Task timed out after 3.00 seconds"},
		"gone":     {engine.Reply{Fault: hat.NewFault(hat.Author, "Runtime.ExitError", "the runtime ended with status 1")}, `"errorType":"Runtime.ExitError"`},
	} {
		w.answers(func(engine.Direct) engine.Reply { return f.reply })
		out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter)})
		if err != nil || out.StatusCode != 200 || aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), f.want) {
			t.Errorf("%s: %v, %+v", name, err, out)
		}
	}
	w.answers(func(engine.Direct) engine.Reply {
		return engine.Reply{Fault: hat.NewFault(hat.Operator, "Sandbox.Failed", "no room for a sandbox")}
	})
	_, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter)})
	var service *types.ServiceException
	if !errors.As(err, &service) {
		t.Errorf("the operator's fault is %v, want a ServiceException, which clients try again", err)
	}
}

// Errors come in the form for which AWS's clients have types.
func TestErrorsAsClientsReadThem(t *testing.T) {
	w := newWorld(t)
	all := must(w.keys.Create(nil, "", w.now))
	wrong, unknown := w.key, w.key
	wrong.Secret = strings.ToUpper(w.key.Secret)
	unknown.ID = "SHEAAAAAAAAAAAAAAAAA"
	invoke := func(key accesskey.Key, in lambda.InvokeInput) error {
		_, err := w.client(key).Invoke(t.Context(), &in)
		return err
	}
	large := []byte(`"` + strings.Repeat("x", 6<<20-2) + `"`)
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"no such function, to who reaches all": {invoke(all, lambda.InvokeInput{FunctionName: aws.String("nobody")}), "ResourceNotFoundException"},
		"no such function, to who reaches one": {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String("nobody")}), "AccessDeniedException"},
		"another's function":                   {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String("analytics-dev-other")}), "AccessDeniedException"},
		"no such version":                      {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter), Qualifier: aws.String("7")}), "ResourceNotFoundException"},
		"two versions":                         {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter + ":$LATEST"), Qualifier: aws.String("7")}), "InvalidParameterValueException"},
		"no name":                              {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String("a b")}), "ValidationException"},
		"no JSON":                              {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter), Payload: []byte(canary)}), "InvalidRequestContentException"},
		"one byte too many":                    {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter), Payload: append(large, ' ')}), "RequestTooLargeException"},
		"an event too large to wait":           {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter), InvocationType: types.InvocationTypeEvent, Payload: large[:len(large)-1]}), "InvalidRequestContentException"},
		"another secret":                       {invoke(wrong, lambda.InvokeInput{FunctionName: aws.String(counter)}), "InvalidSignatureException"},
		"a key that nobody has":                {invoke(unknown, lambda.InvokeInput{FunctionName: aws.String(counter)}), "UnrecognizedClientException"},
		"as much as may be":                    {invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter), Payload: large}), ""},
	} {
		var api smithy.APIError
		switch {
		case c.code == "" && c.err == nil:
		case !errors.As(c.err, &api) || api.ErrorCode() != c.code:
			t.Errorf("%s: %v, want %s", name, c.err, c.code)
		}
	}
	if err := w.keys.Delete(w.key.ID); err != nil {
		t.Fatal(err)
	}
	var api smithy.APIError
	if err := invoke(w.key, lambda.InvokeInput{FunctionName: aws.String(counter)}); !errors.As(err, &api) || api.ErrorCode() != "UnrecognizedClientException" {
		t.Errorf("a key that was deleted: %v", err)
	}
}

func TestStreaming(t *testing.T) {
	w := newWorld(t)
	answer := []byte(`"` + strings.Repeat("ü", 200<<10) + `"`)
	w.answers(func(engine.Direct) engine.Reply { return engine.Reply{Payload: answer} })
	read := func() (text []byte, end types.InvokeWithResponseStreamCompleteEvent) {
		t.Helper()
		out, err := w.client(w.key).InvokeWithResponseStream(t.Context(), &lambda.InvokeWithResponseStreamInput{FunctionName: aws.String(counter), LogType: types.LogTypeTail})
		if err != nil {
			t.Fatal(err)
		}
		stream := out.GetStream()
		defer stream.Close()
		for event := range stream.Events() {
			switch e := event.(type) {
			case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
				text = append(text, e.Value.Payload...)
			case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
				end = e.Value
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		return text, end
	}
	if text, end := read(); !bytes.Equal(text, answer) || end.ErrorCode != nil || end.LogResult == nil {
		t.Errorf("%d bytes, %+v", len(text), end)
	}
	w.answers(func(engine.Direct) engine.Reply {
		return engine.Reply{Fault: hat.NewFault(hat.Author, "Runtime.ExitError", "the runtime ended")}
	})
	if text, end := read(); len(text) > 0 || aws.ToString(end.ErrorCode) != "Runtime.ExitError" {
		t.Errorf("%s, %+v", text, end)
	}
}

func TestListsAndDescriptions(t *testing.T) {
	w := newWorld(t)
	c := w.client(must(w.keys.Create(nil, "", w.now)))
	var names []string
	pages := lambda.NewListFunctionsPaginator(c, &lambda.ListFunctionsInput{MaxItems: aws.Int32(4)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			names = append(names, aws.ToString(f.FunctionName))
		}
	}
	if got := strings.Join(names, " "); got != "analytics-dev-counter analytics-dev-counter-bundle analytics-dev-counter-configuration "+
		"analytics-dev-other analytics-dev-other-bundle analytics-dev-other-configuration" {
		t.Error(got)
	}
	out, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String(counter)})
	if err != nil || out.Code != nil || out.Configuration.Runtime != types.RuntimePython311 || aws.ToInt32(out.Configuration.Timeout) != 3 ||
		out.Configuration.Architectures[0] != types.ArchitectureX8664 || len(must(base64.StdEncoding.DecodeString(aws.ToString(out.Configuration.CodeSha256)))) != 32 {
		t.Errorf("%+v, %v", out, err)
	}
	conf, err := c.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(counter)})
	if err != nil || conf.State != types.StatePending || aws.ToInt32(conf.MemorySize) != 256 {
		t.Errorf("%+v, %v", conf, err)
	}
	few := must(w.client(w.key).ListFunctions(t.Context(), &lambda.ListFunctionsInput{}))
	if len(few.Functions) != 3 {
		t.Errorf("a key for one function is shown %d names", len(few.Functions))
	}
}

// A signed request is altered on its way, or arrives late.
func TestAlteredRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, alter := range map[string]func(r *http.Request){
		"as it was":      func(*http.Request) {},
		"another body":   func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"n":2}`)) },
		"another path":   func(r *http.Request) { r.URL.Path += "/"; r.URL.RawPath = "" },
		"a query":        func(r *http.Request) { r.URL.RawQuery = "Qualifier=%24LATEST" },
		"another kind":   func(r *http.Request) { r.Header.Set("X-Amz-Invocation-Type", "DryRun") },
		"one digit":      func(r *http.Request) { flip(r, "Signature=") },
		"another region": func(r *http.Request) { replace(r, "/eu-west-1/", "/eu-west-2/") },
		"another day":    func(r *http.Request) { replace(r, "Credential="+w.key.ID+"/2", "Credential="+w.key.ID+"/1") },
		"fewer headers":  func(r *http.Request) { replace(r, "host;", "") },
		"no signature":   func(r *http.Request) { r.Header.Del("Authorization") },
		"an hour before": func(r *http.Request) { w.advance(-time.Hour) },
		"an hour after":  func(r *http.Request) { w.advance(time.Hour) },
	} {
		c := w.client(w.key)
		var status int
		_, _ = c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter), Payload: []byte(`{"n":1}`)}, func(o *lambda.Options) {
			o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
				alter(r)
				resp, err := w.server.Client().Do(r)
				if err == nil {
					status = resp.StatusCode
				}
				return resp, err
			})
		})
		w.mu.Lock()
		w.now = time.Now()
		w.mu.Unlock()
		if good := name == "as it was"; good && status != 200 || !good && status != 403 && status != 404 {
			t.Errorf("%s: %d", name, status)
		}
	}
}

type doer func(r *http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

func replace(r *http.Request, old, with string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
}

func flip(r *http.Request, after string) {
	text := []byte(r.Header.Get("Authorization"))
	i := bytes.Index(text, []byte(after)) + len(after)
	if text[i] == '0' {
		text[i] = '1'
	} else {
		text[i] = '0'
	}
	r.Header.Set("Authorization", string(text))
}

// When a key has too many calls under way, further calls are told to come again, and take no slot.
func TestCallsOfOneKeyAreBounded(t *testing.T) {
	w := newWorld(t)
	entered, goOn := make(chan struct{}), make(chan struct{})
	w.answers(func(engine.Direct) engine.Reply {
		entered <- struct{}{}
		<-goOn
		return engine.Reply{Payload: []byte("1")}
	})
	var calls sync.WaitGroup
	for range 64 {
		calls.Go(func() {
			if _, err := w.client(w.key).Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter)}); err != nil {
				t.Error(err)
			}
		})
		<-entered
	}
	_, err := w.client(w.key).Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(counter)})
	var tooMany *types.TooManyRequestsException
	if !errors.As(err, &tooMany) || tooMany.Reason != types.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
		t.Errorf("one call more: %v", err)
	}
	close(goOn)
	calls.Wait()
}

// A stranger is told the same of every path, also of those that a router would send elsewhere.
func TestNoPathIsAnsweredUnsigned(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/", "//", "/x", "/2015-03-31/functions", "/2015-03-31/functions/", "//2015-03-31/functions/", "/2015-03-31//functions/", "/2015-03-31/./functions/",
		"/x/../2015-03-31/functions/", "/..", "/2015-03-31/functions/a/invocations/", "/2015-03-31/functions/%2e%2e/", "/2015-03-31/functions/a%2Fb", "/%C3%BC",
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT"} {
			r := httptest.NewRequest(method, "http://h/", nil)
			r.URL = must(r.URL.Parse("http://h/x"))
			r.URL.Path, r.URL.RawPath = must(url.PathUnescape(path)), path
			got := httptest.NewRecorder()
			w.handler.ServeHTTP(got, r)
			if got.Code != 403 || got.Header().Get("Location") != "" || got.Header().Get("X-Amzn-Errortype") != "MissingAuthenticationTokenException" {
				t.Errorf("%s %s: %d %v", method, path, got.Code, got.Header())
			}
		}
	}
}

// Whatever AWS's own signer signs is taken: paths, queries and headers of every kind, as they come over a wire.
func TestWhateverIsSignedIsTaken(t *testing.T) {
	w := newWorld(t)
	sign := func(path, query string, header http.Header) *http.Request {
		r := must(http.NewRequestWithContext(t.Context(), "GET", w.url+path+query, nil))
		for name, values := range header {
			r.Header[name] = values
		}
		digest := sha256.Sum256(nil)
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: w.key.ID, SecretAccessKey: w.key.Secret}, r,
			hex.EncodeToString(digest[:]), "lambda", "eu-west-1", w.clock()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	do := func(r *http.Request) int {
		resp := must(w.server.Client().Do(r))
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, path := range []string{"/", "/x", "/x/", "/a%2Fb", "/a%252Fb", "/%C3%BC", "/a+b", "/a%20b", "/a:b@c,d;e=f", "/-._~", "/$LATEST", "/%24LATEST", "/a'(b)!*"} {
		for _, query := range []string{
			"", "?", "?a", "?a=", "?a=b", "?b=1&a=2", "?a=2&a=1", "?a=1&a-b=1&a.b=1&a0=1&A=1", "?a=%2B%20%26%3D%25", "?%C3%BC=%C3%BC", "?a=a/b", "?a==", "?a=%7E~*'()",
		} {
			if got := do(sign(path, query, nil)); got != 404 {
				t.Errorf("%s%s: %d", path, query, got)
			}
		}
	}
	for _, header := range []http.Header{
		{"X-Amz-Meta": {"one", "two"}}, {"X-Amz-Meta": {"  a   b  "}}, {"X-Amz-Meta": {""}}, {"X-Amz-Meta": {"a,b", "c"}}, {"X-Amz-Meta": {"\"a  b\""}},
		{"Content-Type": {"application/json; charset=utf-8"}}, {"X-Amz-Security-Token": {"abc/+="}}, {"X-Amz-Meta": {"ü"}},
	} {
		if got := do(sign("/x", "", header)); got != 404 {
			t.Errorf("%v: %d", header, got)
		}
	}
	// What was not signed.
	for name, alter := range map[string]func(r *http.Request){
		"another slash":     func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b", "/a/b" },
		"escaped once more": func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a%2Fb", "/a%252Fb" },
		"a plus":            func(r *http.Request) { r.URL.RawQuery = "a=b+c" },
		"a value":           func(r *http.Request) { r.URL.RawQuery = "a=b%20c&a=" },
		"another host":      func(r *http.Request) { r.Host = "example.org" },
		"a digest":          func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
		"a kind":            func(r *http.Request) { r.Header.Set("X-Amz-Invocation-Type", "DryRun") },
	} {
		r := sign("/a%2Fb", "?a=b%20c", nil)
		alter(r)
		if got := do(r); got != 403 {
			t.Errorf("%s: %d", name, got)
		}
	}
}
