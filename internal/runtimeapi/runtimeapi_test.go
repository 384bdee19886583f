package runtimeapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

type api struct {
	t      *testing.T
	s      *Server
	server *httptest.Server
}

func serve(t *testing.T) *api {
	a := &api{t: t, s: NewServer(100)}
	a.server = httptest.NewServer(a.s)
	t.Cleanup(func() {
		a.server.CloseClientConnections()
		a.server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return a
}

func (a *api) do(method, path, body string, header ...string) (*http.Response, string) {
	a.t.Helper()
	r, err := http.NewRequest(method, a.server.URL+version+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := a.server.Client().Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer, string(b)
}

func (a *api) want(status int, method, path, body string, header ...string) {
	a.t.Helper()
	if got, text := a.do(method, path, body, header...); got.StatusCode != status {
		a.t.Errorf("%s %s: %d %s, want %d", method, path, got.StatusCode, text, status)
	}
}

// next gives the one event of a test and fetches it.
func (a *api) next() {
	a.t.Helper()
	a.s.Give(Invocation{ID: "id-1", ARN: "arn", DeadlineMS: 12345, Trace: "Root=1"}, []byte(`{"n":1}`))
	r, body := a.do("GET", "invocation/next", "")
	if body != `{"n":1}` || r.Header.Get("Lambda-Runtime-Aws-Request-Id") != "id-1" || r.Header.Get("Lambda-Runtime-Deadline-Ms") != "12345" ||
		r.Header.Get("Lambda-Runtime-Invoked-Function-Arn") != "arn" || r.Header.Get("Lambda-Runtime-Trace-Id") != "Root=1" {
		a.t.Fatalf("next gave %v %s", r.Header, body)
	}
}

func TestAnswerOnce(t *testing.T) {
	a := serve(t)
	a.want(400, "POST", "invocation/id-1/response", "early")
	a.next()
	a.want(400, "POST", "invocation/other/response", "foreign")
	a.want(410, "POST", "invocation/id-1/response", "foreign", "Lambda-Runtime-Invocation-Id", "other")
	a.want(404, "POST", "invocation/id-1/elsewhere", "")
	a.want(404, "GET", "invocation/id-1/response", "")
	a.want(404, "PUT", "../../etc", "")
	a.want(403, "POST", "init/error", "late")
	a.want(202, "POST", "invocation/id-1/response", "the answer")
	a.want(400, "POST", "invocation/id-1/response", "a second")
	a.want(400, "POST", "invocation/id-1/error", "a third")
	<-a.s.Ended()
	if e := a.s.End(); string(e.Answer) != "the answer" || e.Fault != nil {
		t.Errorf("ended with %+v", e)
	}
}

func TestAnswerSize(t *testing.T) {
	a := serve(t)
	a.next()
	a.want(202, "POST", "invocation/id-1/response", strings.Repeat("x", 100))
	for name, body := range map[string]io.Reader{"known": strings.NewReader(strings.Repeat("x", 101)), "chunked": io.MultiReader(strings.NewReader(strings.Repeat("x", 101)))} {
		a := serve(t)
		a.next()
		r, err := http.Post(a.server.URL+version+"invocation/id-1/response", "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != 413 || !strings.Contains(string(text), `"RequestEntityTooLarge"`) {
			t.Errorf("%s length: %d %s", name, r.StatusCode, text)
		}
		<-a.s.Ended()
		if e := a.s.End(); e.Fault == nil || e.Fault.Type != "Function.ResponseSizeTooLarge" || e.Fault.Init {
			t.Errorf("%s length: ended with %+v", name, e)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ path, header, body, want string }{
		{"init/error", "Runtime.ImportModuleError", `{}`, "Runtime.ImportModuleError"},
		{"restore/error", "", `{"errorType":"Hook"}`, "Hook"},
		{"invocation/id-1/error", "Unhandled", `{"errorType":"ValueError","errorMessage":"m"}`, "ValueError"},
		{"invocation/id-1/error", "", `garbage`, ""},
		{"invocation/id-1/error", strings.Repeat("T", 200), `{}`, "Unhandled"},
	} {
		a := serve(t)
		if strings.HasPrefix(c.path, "invocation") {
			a.next()
		}
		a.want(202, "POST", c.path, c.body, "Lambda-Runtime-Function-Error-Type", c.header)
		e := a.s.End()
		if e.Fault == nil || e.Fault.Type != c.want || string(e.Document) != c.body || e.Fault.Init != !strings.HasPrefix(c.path, "invocation") {
			t.Errorf("%+v: ended with %+v %s", c, e.Fault, e.Document)
		}
	}
}

func TestStreamedErrorInTrailer(t *testing.T) {
	a := serve(t)
	a.next()
	r, err := http.NewRequest("POST", a.server.URL+version+"invocation/id-1/response", io.MultiReader(strings.NewReader("half an")))
	if err != nil {
		t.Fatal(err)
	}
	r.Trailer = http.Header{"Lambda-Runtime-Function-Error-Type": {"Broken"}}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if e := a.s.End(); e.Fault == nil || e.Fault.Type != "Broken" || e.Answer != nil {
		t.Errorf("ended with %+v", e)
	}
}

func TestRestoreHooksWaitForTheCopy(t *testing.T) {
	a := serve(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.want(200, "GET", "restore/next", "")
	}()
	<-a.s.Ready()
	a.next()
	<-done
}

func TestRewind(t *testing.T) {
	a := serve(t)
	a.next()
	a.want(202, "POST", "invocation/id-1/response", "rehearsed")
	asked := make(chan string)
	go func() { // asks before or after Rewind, as it comes
		r, body := a.do("GET", "invocation/next", "")
		asked <- r.Header.Get("Lambda-Runtime-Aws-Request-Id") + body
	}()
	a.s.Rewind()
	<-a.s.Ready()
	a.want(400, "POST", "invocation/id-1/response", "late")
	a.s.Give(Invocation{ID: "id-2"}, []byte("two"))
	if got := <-asked; got != "id-2two" {
		t.Errorf("got %s", got)
	}
	a.want(400, "POST", "invocation/id-1/response", "late")
	a.want(202, "POST", "invocation/id-2/response", "second")
	if e := a.s.End(); string(e.Answer) != "second" {
		t.Errorf("ended with %+v", e)
	}

	a = serve(t)
	a.next()
	a.want(202, "POST", "invocation/id-1/response", "rehearsed")
	a.s.Finish(Fault{Type: "Runtime.ExitError", Exited: true, Status: 2})
	a.s.Rewind()
	<-a.s.Ended()
	if e := a.s.End(); e.Fault == nil || e.Fault.Status != 2 {
		t.Errorf("a runtime that died after its rehearsal: %+v", e)
	}
}

func TestHeadTail(t *testing.T) {
	text := []byte("abcdefghijklmnopqrstuvwxyz")
	for limit := range 40 {
		for step := 1; step < 30; step++ {
			h := NewHeadTail(limit)
			for rest := text; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				h.Write(rest[:min(step, len(rest))])
			}
			got := string(h.Bytes())
			want := string(text)
			if limit < len(text) {
				head, tail := limit/2, limit-limit/2
				want = fmt.Sprintf("%s\n[%d bytes dropped here]\n%s", text[:head], len(text)-limit, text[len(text)-tail:])
			}
			if got != want {
				t.Fatalf("limit %d, step %d: %q, want %q", limit, step, got, want)
			}
		}
	}
}

// pair joins a Host and an Inside by pipes.
func pair(t *testing.T, s Setup) (*Host, *Inside) {
	t.Helper()
	fromHost, toInside := io.Pipe()
	fromInside, toHost := io.Pipe()
	t.Cleanup(func() { fromHost.Close(); toInside.Close(); fromInside.Close(); toHost.Close() })
	return NewHost(toInside, fromInside, s.MaxAnswer, s.MaxLog), NewInside(fromHost, toHost)
}

func TestChannel(t *testing.T) {
	setup := Setup{Command: []string{"a", "b"}, Env: []string{"X=1"}, Dir: "/d", UID: 1, GID: 2, OwnUID: 3, Processes: 4, MaxAnswer: 10, MaxLog: 100}
	host, in := pair(t, setup)
	inside := make(chan error, 1)
	go func() {
		inside <- func() error {
			got, err := in.Setup()
			if err != nil || fmt.Sprint(got) != fmt.Sprint(setup) {
				return fmt.Errorf("setup %+v %v", got, err)
			}
			if _, err := in.Log().Write([]byte("init ")); err != nil {
				return err
			}
			if err := in.Ready(); err != nil {
				return err
			}
			i, event, err := in.Event(10)
			if err != nil || i.ID != "id" || string(event) != "event" {
				return fmt.Errorf("event %+v %s %v", i, event, err)
			}
			if _, err := in.Log().Write(bytes.Repeat([]byte("x"), 500)); err != nil {
				return err
			}
			return in.Finish(End{Document: []byte("doc"), Fault: &Fault{Type: "T", Exited: true, Status: 3}})
		}()
	}()
	if err := host.Start(setup); err != nil {
		t.Fatal(err)
	}
	_, err := host.Invoke(Invocation{ID: "id"}, []byte("event"))
	var f *FaultError
	if !errors.As(err, &f) || f.Fault != (Fault{Type: "T", Exited: true, Status: 3}) || string(f.Document) != "doc" {
		t.Errorf("ended with %v", err)
	}
	if want := "init " + strings.Repeat("x", 45) + "\n[405 bytes dropped here]\n" + strings.Repeat("x", 50); string(host.Log()) != want {
		t.Errorf("log %q", host.Log())
	}
	if err := <-inside; err != nil {
		t.Error(err)
	}
}

// TestLogOfWhoIsKilled: what a process 1 has not sent when it is killed is lost, and the log says so.
func TestLogOfWhoIsKilled(t *testing.T) {
	const lost = "\n[what was printed after this is lost: the sandbox was ended]\n"
	for printed, want := range map[int]string{49: strings.Repeat("x", 49), 50: strings.Repeat("x", 50) + lost, 500: strings.Repeat("x", 50) + lost} {
		var fromInside bytes.Buffer
		var setup bytes.Buffer
		if err := writeMessages(&setup, message{kindSetup, encode(Setup{MaxLog: 100})}); err != nil {
			t.Fatal(err)
		}
		in := NewInside(&setup, &fromInside)
		if _, err := in.Setup(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Log().Write(bytes.Repeat([]byte("x"), printed)); err != nil {
			t.Fatal(err)
		}
		host := NewHost(io.Discard, &fromInside, 10, 100)
		if _, err := host.Invoke(Invocation{}, nil); !Ended(err) {
			t.Errorf("got %v", err)
		}
		if got := string(host.Log()); got != want {
			t.Errorf("of %d bytes the log has %q", printed, got)
		}
	}
}

// FuzzHost feeds arbitrary bytes to the host: it must stay within its bounds and fail in a known way.
func FuzzHost(f *testing.F) {
	message := func(k kind, body string) []byte {
		var b bytes.Buffer
		_ = writeMessages(&b, message{k, []byte(body)})
		return b.Bytes()
	}
	f.Add(message(kindReady, ""))
	f.Add(append(message(kindReady, ""), message(kindAnswer, "{}")...))
	f.Add(append(message(kindReady, ""), message(kindAnswer, strings.Repeat("a", 65))...))
	f.Add(bytes.Join([][]byte{message(kindLog, "log"), message(kindDropped, "\xff\xff\xff\xff\xff\xff\xff\xff"), message(kindDocument, "{}"), message(kindFault, `{"type":"T"}`)}, nil))
	f.Add(message(kindFault, `{"type":"T"} trailing`))
	f.Add([]byte{byte(kindAnswer), 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{byte(kindLog), 0, 0, 0, 9, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		const maxAnswer, maxLog = 64, 128
		h := NewHost(io.Discard, bytes.NewReader(in), maxAnswer, maxLog)
		err := h.Start(Setup{})
		var answer []byte
		if err == nil {
			answer, err = h.Invoke(Invocation{}, nil)
		}
		if len(answer) > maxAnswer || len(h.Log()) > maxLog+60 {
			t.Fatalf("%d bytes of answer, %d of log", len(answer), len(h.Log()))
		}
		var fault *FaultError
		if err != nil && !Ended(err) && !errors.Is(err, ErrProtocol) && !errors.As(err, &fault) {
			t.Fatalf("unknown error %v", err)
		}
		if fault != nil && len(fault.Document) > maxDocument {
			t.Fatal("document too large")
		}
	})
}

// FuzzServer sends arbitrary requests as the function would.
func FuzzServer(f *testing.F) {
	f.Add("POST", "invocation/id-1/response", "Lambda-Runtime-Invocation-Id", "id-1", []byte("x"))
	f.Add("POST", "invocation/id-1/error", "Lambda-Runtime-Function-Error-Type", "T", []byte(`{"errorType":"X"}`))
	f.Add("POST", "invocation//response", "", "", []byte{})
	f.Add("POST", "init/error", "", "", []byte("[[[["))
	f.Fuzz(func(t *testing.T, method, path, header, value string, body []byte) {
		if strings.HasSuffix(path, "/next") {
			t.Skip("waits, as it should")
		}
		r, err := http.NewRequest(method, "http://x"+version, bytes.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.URL.Path = version + path
		r.Header.Set(header, value)
		s := NewServer(100)
		s.Give(Invocation{ID: "id-1"}, nil)
		s.fetched = true // as next would
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		e := s.End()
		if len(e.Answer) > 100 || len(e.Document) > maxDocument || (e.Fault != nil && len(e.Fault.Type) > 128) {
			t.Fatalf("out of bounds: %d %d", len(e.Answer), len(e.Document))
		}
		if (w.Code == 202 || w.Code == 413) == (e.Answer == nil && e.Fault == nil) && len(body) > 0 {
			t.Fatalf("status %d and end %+v", w.Code, e)
		}
	})
}

// TestAnotherEventFollows: after an answer to an event with Again comes another, with a log of its own. Ready may be said once
// in between, and nowhere else.
func TestAnotherEventFollows(t *testing.T) {
	for readies, refused := range []bool{false, false, true} {
		var ends [4]*os.File // with room, as the host has them
		for n := 0; n < len(ends); n += 2 {
			var err error
			if ends[n], ends[n+1], err = os.Pipe(); err != nil {
				t.Fatal(err)
			}
			defer ends[n].Close()
			defer ends[n+1].Close()
		}
		done := make(chan error, 1)
		go func() {
			done <- func() error {
				in := NewInside(ends[0], ends[3])
				if _, err := in.Setup(); err != nil {
					return err
				}
				if err := in.Ready(); err != nil {
					return err
				}
				i, event, err := in.Event(100)
				if err != nil || !i.Again || i.Entry != First || string(event) != "one" {
					return fmt.Errorf("the first event is %+v %s, %v", i, event, err)
				}
				fmt.Fprint(in.Log(), "said of one")
				if err := in.Answer([]byte("1")); err != nil {
					return err
				}
				fmt.Fprint(in.Log(), "said between, ")
				for range readies {
					if err := in.Ready(); err != nil {
						return err
					}
				}
				i, event, err = in.Event(100)
				if err != nil || i.Again || i.Entry != Own || string(event) != "two" {
					return fmt.Errorf("the second event is %+v %s, %v", i, event, err)
				}
				fmt.Fprint(in.Log(), "said of two")
				return in.Finish(End{Answer: []byte("2")})
			}()
		}()
		h := NewHost(ends[1], ends[2], 100, 1000)
		if err := h.Start(Setup{MaxLog: 1000}); err != nil {
			t.Fatal(err)
		}
		first, err := h.Invoke(Invocation{ID: "a", Entry: First, Again: true}, []byte("one"))
		if err != nil || string(first) != "1" || string(h.Log()) != "said of one" {
			t.Errorf("the first answer is %s, %v, with the log %q", first, err, h.Log())
		}
		second, err := h.Invoke(Invocation{ID: "b"}, []byte("two"))
		switch {
		case refused && !errors.Is(err, ErrProtocol):
			t.Errorf("Ready was said %d times: %v", readies, err)
		case !refused && (err != nil || string(second) != "2" || string(h.Log()) != "said between, said of two"):
			t.Errorf("the second answer is %s, %v, with the log %q", second, err, h.Log())
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
