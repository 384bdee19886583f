package sandboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

func limits(t *testing.T, s *suite) {
	t.Run("processes", func(t *testing.T) {
		p := s.program()
		p.Limits.Memory = 1 << 30 // so that memory does not end first: a process costs a few MB in the walls
		r, err := s.run(t, p, event{Do: "fork"}, ample)
		var got struct {
			Children int
			Error    string
		}
		if err != nil || json.Unmarshal(r.Payload, &got) != nil {
			t.Fatalf("%v %s", err, r.Payload)
		}
		if got.Children < 32 || got.Children > 64+16 {
			t.Errorf("%d children could be started, the limit is 64", got.Children)
		}
		if got.Error != "resource temporarily unavailable" {
			t.Errorf("fork failed with %q", got.Error)
		}
	})
	t.Run("files", func(t *testing.T) {
		got := answer[map[string]any](t, s, event{Do: "files"})
		if n := got["open"].(float64); n < 64 || n > 128 {
			t.Errorf("%v files could be opened, the limit is 128: %v", n, got["error"])
		}
	})
	t.Run("tmp", func(t *testing.T) {
		got := answer[map[string]any](t, s, event{Do: "fill"})
		if n := got["bytes"].(float64); n < 15<<20 || n > 16<<20 || !strings.Contains(got["error"].(string), "no space left") {
			t.Errorf("/tmp of %d bytes took %v: %v", 16<<20, n, got["error"])
		}
	})
	t.Run("tmp is not memory", func(t *testing.T) {
		p := s.program()
		p.Limits.Tmp = 2 * (p.Limits.Memory + 64<<20)
		r, err := s.run(t, p, event{Do: "fill"}, 2*ample)
		if err != nil || !strings.Contains(string(r.Payload), "no space left") {
			t.Errorf("filling a /tmp larger than the memory: %s %v", r.Payload, err)
		}
	})
	t.Run("neighbours", func(t *testing.T) { neighbours(t, s) })
	resources(t, s)
}

// neighbours has four functions for each CPU compute with many threads beside one with a single thread: it gets about as
// much CPU as each of them, however many threads they have. As processes of one cgroup it gets next to nothing.
func neighbours(t *testing.T, s *suite) {
	if testing.Short() {
		t.Skip("keeps all CPUs busy for seconds")
	}
	const threads, millis, fair = 24, 1500, 0.5
	greedy := 4 * runtime.NumCPU()
	used := make([]time.Duration, greedy+1) // the last is the modest one
	events := make([]event, len(used))
	for i := range events {
		events[i] = event{Do: "spin", Bytes: millis, Threads: threads}
	}
	events[greedy].Threads = 1
	share := func() float64 {
		var theirs time.Duration
		for _, u := range used[:greedy] {
			theirs += u
		}
		return float64(used[greedy]) / float64(theirs) * float64(greedy)
	}

	var all sync.WaitGroup
	for i, e := range events {
		p := s.program()
		instance, _, err := s.m.Start(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := instance.Close(); err != nil {
				t.Error(err)
			}
		}()
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			r, err := instance.Run(t.Context(), sandbox.Call{ID: uuid.NewString(), Deadline: time.Now().Add(4 * ample), Event: body})
			if err != nil {
				t.Error(err)
			}
			used[i] = r.Usage.CPU
		})
	}
	all.Wait()
	walled := share()

	for i, e := range events {
		all.Go(func() {
			cmd := exec.Command(filepath.Join(s.dir, s.file), "spin", strconv.Itoa(e.Bytes), strconv.Itoa(e.Threads))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v %s", err, out)
			}
			used[i] = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		})
	}
	all.Wait()
	bare := share()
	t.Logf("of what each of %d neighbours with %d threads got, one with one thread had %.2f; without walls %.2f", greedy, threads, walled, bare)
	if bare > fair {
		t.Error("without walls it gets as much: the test proves nothing")
	}
	if walled < fair {
		t.Error("neighbours take another's share of the CPU")
	}
}

// resources are limits of every kind of program.
func resources(t *testing.T, s *suite) {
	t.Run("memory", func(t *testing.T) {
		r, err := s.run(t, s.program(), event{Do: "eat"}, ample)
		f := wantFailure(t, err, sandbox.Author, sandbox.OutOfMemory)
		if !strings.Contains(f.Text, "128 MB") {
			t.Errorf("the text does not name the limit: %s", f.Text)
		}
		if r.Usage.MaxMemory != 0 && r.Usage.MaxMemory > 300<<20 {
			t.Errorf("it had %d bytes", r.Usage.MaxMemory)
		}
	})
	t.Run("cpu", func(t *testing.T) {
		use := func(cpus float64) time.Duration {
			p := s.program()
			p.Limits.CPU = cpus
			r, err := s.run(t, p, event{Do: "spin", Bytes: 1500}, ample)
			if err != nil {
				t.Fatal(err)
			}
			return r.Usage.CPU
		}
		little, much := use(0.1), use(1)
		if much == 0 {
			t.Skip("the mechanism can't tell CPU time")
		}
		if much < time.Second {
			t.Skipf("the machine is too busy to tell: it gave %s to who may have 1.5 s", much)
		}
		if !s.unheld && much-little < 500*time.Millisecond {
			t.Errorf("spinning for 1.5 s took %s of a tenth of a CPU and %s of a whole one", little, much)
		}
	})
	t.Run("time", func(t *testing.T) {
		began := time.Now()
		_, err := s.run(t, s.program(), event{Do: "sleep", Millis: 60_000}, time.Second)
		wantFailure(t, err, sandbox.Author, sandbox.Timedout)
		if took := time.Since(began); took > ample {
			t.Errorf("a limit of one second was enforced after %s", took)
		}
	})
	t.Run("time of an answer", func(t *testing.T) {
		_, err := s.run(t, s.program(), event{Do: "unending"}, time.Second)
		wantFailure(t, err, sandbox.Author, sandbox.Timedout)
	})
	t.Run("answer", func(t *testing.T) {
		r, err := s.run(t, s.program(), event{Do: "size", Bytes: sandbox.MaxAnswer}, ample)
		if err != nil || len(r.Payload) != sandbox.MaxAnswer {
			t.Errorf("an answer of the largest size: %d bytes, %v", len(r.Payload), err)
		}
		r, err = s.run(t, s.program(), event{Do: "size", Bytes: sandbox.MaxAnswer + 1}, ample)
		wantFailure(t, err, sandbox.Author, sandbox.ResponseSizeTooLarge)
		if len(r.Payload) != 0 {
			t.Errorf("%d bytes of an answer that is too large came through", len(r.Payload))
		}
	})
}

func endings(t *testing.T, s *suite) {
	_, err := s.run(t, s.program(), event{Do: "exit"}, ample)
	if f := wantFailure(t, err, sandbox.Author, sandbox.ExitError); !strings.Contains(f.Text, "status 3") {
		t.Errorf("the text does not name the status: %s", f.Text)
	}
	r, err := s.run(t, s.program(), event{Do: "error", Mark: "Secret.Name"}, ample)
	f := wantFailure(t, err, sandbox.Author, sandbox.Unhandled)
	if strings.Contains(f.Error(), "Secret") {
		t.Errorf("the function's words are in the failure: %v", f)
	}
	if !strings.Contains(string(r.Payload), "Secret.Name") {
		t.Errorf("the function's document is lost: %s", r.Payload)
	}
	r, err = s.run(t, s.program(), event{Do: "longerror", Bytes: 5 << 20}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.Unhandled)
	if len(r.Payload) > 1<<20 {
		t.Errorf("an error document of %d bytes came through", len(r.Payload))
	}
}

// processEndings are those of programs that have processes.
func processEndings(t *testing.T, s *suite) {
	endings(t, s)
	_, err := s.run(t, s.program(), event{Do: "signal"}, ample)
	if f := wantFailure(t, err, sandbox.Author, sandbox.ExitError); !strings.Contains(f.Text, "signal: killed") {
		t.Errorf("the text does not name the signal: %s", f.Text)
	}
	// A child that lives on, and prints on, does not hold up the answer.
	began := time.Now()
	if got := answer[string](t, s, event{Do: "linger"}); got != "left a child" || time.Since(began) > ample {
		t.Errorf("%s after %s", got, time.Since(began))
	}
}

func logs(t *testing.T, s *suite) {
	r, err := s.run(t, s.program(), event{Do: "flood", Mark: "of it", Bytes: 8 << 20}, ample)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Log) > sandbox.MaxLog+100 || len(r.Log) < sandbox.MaxLog/2 {
		t.Errorf("of 16 MiB, %d bytes of log were kept", len(r.Log))
	}
	if !bytes.HasPrefix(r.Log, []byte("the head of it\n")) || !bytes.HasSuffix(r.Log, []byte("the tail of it\n")) {
		t.Error("head or tail of the log is missing")
	}
	if !bytes.Contains(r.Log, []byte("bytes dropped here]\n")) {
		t.Error("the log does not say that something is missing")
	}
}

func initFailures(t *testing.T, s *suite) {
	p := s.program("INIT=endless")
	p.Limits.Init = 2 * time.Second
	_, err := s.run(t, p, event{}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.Timedout)

	r, err := s.run(t, s.program("INIT=exit"), event{}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.ExitError)
	if string(r.Log) != "printed in INIT\n" {
		t.Errorf("the log of a failed INIT is %q", r.Log)
	}
	r, err = s.run(t, s.program("INIT=error"), event{}, ample)
	f := wantFailure(t, err, sandbox.Author, sandbox.Unhandled)
	if strings.Contains(f.Error(), "Secret") || !strings.Contains(string(r.Payload), "Secret.Name") {
		t.Errorf("failure %v, document %s", f, r.Payload)
	}
	_, err = s.run(t, s.program("INIT=eat"), event{}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.OutOfMemory)

	p = s.program()
	p.Command = []string{"/var/task/missing"}
	_, err = s.run(t, p, event{}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.InvalidEntrypoint)
}

// cancel ends instances from outside, in INIT and in a run.
func cancel(t *testing.T, s *suite) {
	for name, p := range map[string]sandbox.Program{"INIT": s.program("INIT=endless"), "run": s.program()} {
		ctx, stop := context.WithCancelCause(t.Context())
		reason := errors.New("the test has seen enough")
		if name == "INIT" {
			timer := time.AfterFunc(300*time.Millisecond, func() { stop(reason) })
			defer timer.Stop()
			_, _, err := s.m.Start(ctx, p)
			if !errors.Is(err, reason) {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		timer := time.AfterFunc(time.Second, func() { stop(reason) })
		defer timer.Stop()
		if _, err := s.runContext(ctx, t, p, event{Do: "sleep", Millis: 60_000}, ample); !errors.Is(err, reason) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
