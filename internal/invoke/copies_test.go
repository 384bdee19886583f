package invoke_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"she/internal/invoke"
)

// remembering tells what is left of earlier invocations: nothing, whichever way its instance came to be.
const remembering = `
import os
print("printed in INIT")
open("/tmp/init", "w").write("i")
n = 0
def handler(event, context):
    global n
    n += 1
    print("printed in the run")
    with open("/tmp/runs", "a") as f:
        f.write("r")
    return [n, os.path.getsize("/tmp/runs"), os.path.getsize("/tmp/init")]
`

func wantStart(t *testing.T, v *invoke.Invoker, c invoke.Code, want string, starts ...invoke.Start) invoke.Answer {
	t.Helper()
	a := wantAnswer(t, v, c, `{}`, want)
	for _, s := range starts {
		if a.Start == s {
			return a
		}
	}
	t.Errorf("started %s, want %v: %+v", a.Start, starts, v.Stats())
	return a
}

func onlyStats(t *testing.T, v *invoke.Invoker) invoke.FunctionStats {
	t.Helper()
	s := v.Stats()
	if len(s.Functions) != 1 {
		t.Fatalf("stats %+v", s)
	}
	return s.Functions[0]
}

func TestCopiesArePristine(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := t.TempDir()
	v := openInvoker(t, invoke.Config{Images: dir})
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": remembering})
	a := wantStart(t, v, c, `[1, 1, 1]`, invoke.Cold)
	if string(a.Log) != "printed in INIT\nprinted in the run\n" || a.Timing.Init <= 0 || a.Timing.Init > a.Timing.Sandbox {
		t.Errorf("log %q, timing %+v", a.Log, a.Timing)
	}
	for range 3 {
		v.Settle()
		a := wantStart(t, v, c, `[1, 1, 1]`, invoke.Warm)
		if string(a.Log) != "printed in the run\n" {
			t.Errorf("the log of a copy is %q", a.Log)
		}
	}
	v.Settle()
	s := onlyStats(t, v)
	if s.Cold != 1 || s.Warm != 3 || s.Fallbacks != 0 || s.NoCopies != "" || s.ImageBytes == 0 || s.Waiting != 1 || v.Stats().WaitingBytes == 0 {
		t.Errorf("stats %+v", s)
	}

	// More at once than wait.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { wantStart(t, v, c, `[1, 1, 1]`, invoke.Warm, invoke.Restored) })
	}
	wg.Wait()
	v.Settle()
	if s := onlyStats(t, v); s.Cold != 1 || s.Restored == 0 {
		t.Errorf("stats %+v", s)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}

	// A later life of the server has the images.
	v = openInvoker(t, invoke.Config{Images: dir})
	wantStart(t, v, c, `[1, 1, 1]`, invoke.Restored)
	v.Forget(c.Package)
	if s := v.Stats(); len(s.Functions) != 0 {
		t.Errorf("forgotten, and still %+v", s)
	}
}

func TestBrokenImageFallsBack(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := t.TempDir()
	v := openInvoker(t, invoke.Config{Images: dir, WaitingBytes: 1}) // an image, but nothing waits
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": remembering})
	c.WarmUp = nil
	wantStart(t, v, c, `[1, 1, 1]`, invoke.Cold)
	v.Settle()
	wantStart(t, v, c, `[1, 1, 1]`, invoke.Restored)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no image: %v %v", files, err)
	}
	for _, f := range files {
		if err := os.Truncate(f, 1000); err != nil {
			t.Fatal(err)
		}
	}
	wantStart(t, v, c, `[1, 1, 1]`, invoke.Cold)
	if s := onlyStats(t, v); s.Fallbacks != 1 || s.NoCopies != "" {
		t.Errorf("stats %+v", s)
	}
	v.Settle()
	wantStart(t, v, c, `[1, 1, 1]`, invoke.Restored)
}

// TestDamagedImages: an image that an earlier life of the server left, and that is not what was written, is made again.
func TestDamagedImages(t *testing.T) {
	slow(t)
	t.Parallel()
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": remembering})
	dir := t.TempDir()
	life := func(do func(v *invoke.Invoker)) {
		v := openInvoker(t, invoke.Config{Images: dir, WaitingBytes: 1}) // an image, but nothing waits
		do(v)
		v.Settle()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	life(func(v *invoke.Invoker) { wantStart(t, v, c, `[1, 1, 1]`, invoke.Cold) })
	life(func(v *invoke.Invoker) { wantStart(t, v, c, `[1, 1, 1]`, invoke.Restored) })
	for damage, do := range map[string]func(file string) error{
		"pages that are zeros": func(file string) error {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			info, err := f.Stat()
			if err == nil {
				_, err = f.WriteAt(make([]byte, 4096), info.Size()/2)
			}
			return errors.Join(err, f.Close())
		},
		"a bit": func(file string) error {
			b, err := os.ReadFile(file)
			if err == nil && len(b) > 0 {
				b[len(b)/2] ^= 1
				err = os.WriteFile(file, b, 0o600)
			}
			return err
		},
		"cut off": func(file string) error { return os.Truncate(file, 1000) },
		"nothing": func(file string) error { return os.Truncate(file, 0) },
		"removed": os.Remove,
	} {
		files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("no image: %v %v", files, err)
		}
		largest := slices.MaxFunc(files, func(a, b string) int { return cmp.Compare(size(t, a), size(t, b)) })
		if err := do(largest); err != nil {
			t.Fatal(err)
		}
		life(func(v *invoke.Invoker) {
			wantStart(t, v, c, `[1, 1, 1]`, invoke.Cold)
			if s := onlyStats(t, v); s.Fallbacks != 0 {
				t.Errorf("%s: it was restored and failed: %+v", damage, s)
			}
		})
		life(func(v *invoke.Invoker) { wantStart(t, v, c, `[1, 1, 1]`, invoke.Restored) })
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestRehearsal(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{Images: t.TempDir()})
	node := function(t, "nodejs20.x", "app.handler", map[string]string{"app.js": `
let n = 0
exports.handler = async (event) => {
	console.log('event', JSON.stringify(event))
	if (event.die) process.exit(1)
	return Math.min(++n, 3)
}`})
	c := node
	c.WarmUp = []byte(`{"warm":true}`)
	wantStart(t, v, c, `1`, invoke.Cold)
	v.Settle()
	// Once at least before the image was made, and once in the copy.
	if a := wantStart(t, v, c, `3`, invoke.Warm); string(a.Log) != "event {}\n" || !a.Warmed {
		t.Errorf("warmed %t, log %q", a.Warmed, a.Log)
	}

	// Another event is another image, and what is left of it in the copies is of nothing else.
	c = function(t, "python3.11", "app.handler", map[string]string{"app.py": `
seen = set()
def handler(event, context):
    before = sorted(seen)
    seen.update(r["data"]["text"] for records in event["request"]["data"].values() for r in records)
    return before
`})
	sample := func(text string) string {
		return fmt.Sprintf(`{"request":{"data":{"notes":[{"endpoint":"rumpel/notes","data":{"text":%q}}]}}}`, text)
	}
	for _, warmUp := range []string{"a sample", "another sample"} {
		c.WarmUp = []byte(sample(warmUp))
		for _, want := range []string{`[]`, fmt.Sprintf("[%q]", warmUp), fmt.Sprintf("[%q]", warmUp)} {
			a, err := ask(t, v, c, sample("a person's"))
			if err != nil || string(a.Payload) != want || a.Warmed != (want != `[]`) {
				t.Errorf("tried with %s, started %s, it remembers %s, want %s: %v", warmUp, a.Start, a.Payload, want, err)
			}
			v.Settle()
		}
	}

	// A function that dies of its rehearsal is copied without.
	c = node
	c.WarmUp = []byte(`{"die":true}`)
	wantStart(t, v, c, `1`, invoke.Cold)
	v.Settle()
	if a := wantStart(t, v, c, `1`, invoke.Warm); a.Warmed {
		t.Error("it is said to be warmed")
	}
}

func TestCustomRuntimeIsNotCopiedButWaits(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{Images: t.TempDir()})
	c := golambda(t)
	c.WarmUp, c.Sample = []byte(`{"n":7}`), true
	for _, want := range []invoke.Start{invoke.Cold, invoke.Warm, invoke.Warm} {
		a, err := ask(t, v, c, `{"n":1}`)
		if err != nil || a.Start != want || string(a.Log) != "seen 1\n" {
			t.Errorf("started %s with the log %q, want %s: %v", a.Start, a.Log, want, err)
		}
		v.Settle()
	}
	if s := onlyStats(t, v); s.NoCopies == "" || s.ImageBytes != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestInstanceThatDiesOfItsRehearsal(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{})
	c := golambda(t)
	c.WarmUp, c.Sample = []byte(`{"fail":"panic"}`), true
	for _, want := range []invoke.Start{invoke.Cold, invoke.Warm, invoke.Warm} {
		if a, err := ask(t, v, c, `{"n":1}`); err != nil || a.Start != want || a.Warmed {
			t.Errorf("started %s, want %s, warmed %t: %v", a.Start, want, a.Warmed, err)
		}
		v.Settle()
	}
}

func TestFailedINITIsNotCopied(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{Images: t.TempDir()})
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": "raise ValueError('secret')"})
	for range 2 {
		wantFailure(t, v, c, `1`, invoke.Author, "Unhandled", "secret")
		v.Settle()
	}
	if s := onlyStats(t, v); s.NoCopies != "its INIT fails" || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

const (
	pythonRandom = `
import os, random, secrets, uuid, tempfile, time, ssl
ahead = time.time() - time.monotonic()
random.random(); uuid.uuid4(); uuid.uuid1(); ssl.RAND_bytes(8); tempfile.mktemp(); secrets.token_hex(8)
def handler(event, context):
    return {"random": random.random(), "uuid4": str(uuid.uuid4()), "uuid1": str(uuid.uuid1()), "tls": ssl.RAND_bytes(16).hex(), "temp": tempfile.mktemp(),
            "secrets": secrets.token_hex(16), "urandom": os.urandom(16).hex(), "system": random.SystemRandom().random(), "request": context.aws_request_id,
            "order": str(random.sample(range(60), 60)), "new": random.Random().random(), "bits": random.getrandbits(64), "getrandom": os.getrandom(16).hex(),
            "folder": tempfile.mkdtemp(), "file": tempfile.mkstemp()[1], "key": ssl.RAND_bytes(32).hex(),
            "kernel": open("/proc/sys/kernel/random/uuid").read() if os.path.exists("/proc/sys/kernel/random/uuid") else str(uuid.uuid4()),
            "clock": time.time(), "drift": time.time() - time.monotonic() - ahead}
`
	// What a copy can't help repeating.
	pythonSeeds = `
drawn = handler
def handler(event, context):
    return {**drawn(event, context), "hash": str(hash("x")), "order": str(list({str(n) for n in range(60)}))}
`
	nodeRandom = `
const crypto = require('crypto'), fs = require('fs'), { Worker } = require('worker_threads')
const ahead = Date.now() - performance.now()
fs.mkdtempSync('/tmp/x'); Math.random(); crypto.randomUUID(); crypto.randomBytes(8); crypto.getRandomValues(new Uint8Array(8))
exports.handler = async (event, context) => ({
	math: Math.random(), uuid: crypto.randomUUID(), bytes: crypto.randomBytes(16).toString('hex'), int: crypto.randomInt(2**47),
	web: Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex'), web2: globalThis.crypto.randomUUID(),
	fill: crypto.randomFillSync(Buffer.alloc(16)).toString('hex'),
	later: await new Promise((done, failed) => crypto.randomBytes(16, (e, b) => e ? failed(e) : done(b.toString('hex')))),
	prime: Buffer.from(crypto.generatePrimeSync(96)).toString('hex'), key: crypto.generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' }).toString('hex'),
	folder: fs.mkdtempSync('/tmp/x'), password: crypto.scryptSync('', crypto.randomBytes(16), 16, { N: 2 }).toString('hex'),
	aes: Buffer.from(await crypto.subtle.exportKey('raw', await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt']))).toString('hex'),
	worker: await new Promise((done, failed) => new Worker('require("worker_threads").parentPort.postMessage(Math.random())', { eval: true }).on('message', done).on('error', failed)),
	request: context.awsRequestId, clock: Date.now() / 1000, drift: (Date.now() - performance.now() - ahead) / 1000,
})
`
)

// TestCopiesDontRepeat collects every source of randomness from many copies of one instance that has used each before.
func TestCopiesDontRepeat(t *testing.T) {
	slow(t)
	t.Parallel()
	for name, c := range map[string]invoke.Code{
		"python": function(t, "python3.11", "app.handler", map[string]string{"app.py": pythonRandom}),
		"nodejs": function(t, "nodejs20.x", "app.handler", map[string]string{"app.js": nodeRandom}),
	} {
		t.Run(name, func(t *testing.T) {
			v := openInvoker(t, invoke.Config{Images: t.TempDir(), MaxInstances: 3})
			distinct(t, v, c, 200)
		})
	}
	// What is not copied does not repeat either: instances of a custom runtime that waited, and cold starts.
	t.Run("go", func(t *testing.T) {
		noneTwice(t, openInvoker(t, invoke.Config{Images: t.TempDir(), MaxInstances: 3}), golambda(t), copiesToDraw())
	})
	t.Run("no copies", func(t *testing.T) {
		c := function(t, "python3.11", "app.handler", map[string]string{"app.py": pythonRandom + pythonSeeds})
		c.NoCopies = true
		v := openInvoker(t, invoke.Config{Images: t.TempDir(), MaxInstances: 3})
		noneTwice(t, v, c, copiesToDraw())
		if s := onlyStats(t, v); s.Restored != 0 || s.Warm == 0 || s.ImageBytes != 0 || s.NoCopies == "" {
			t.Errorf("stats %+v", s)
		}
	})
}

// copiesToDraw is how many copies of the slower runtimes are compared: 200 when everything is tested.
func copiesToDraw() int {
	if os.Getenv("SHE_TEST_ALL") == "1" {
		return 200
	}
	return 20
}

// distinct fails if any value occurs twice in the answers of n copies.
func distinct(t *testing.T, v *invoke.Invoker, c invoke.Code, n int) {
	t.Helper()
	if copies := noneTwice(t, v, c, n); copies < n*9/10 {
		t.Errorf("only %d of %d were copies: %+v", copies, n, v.Stats())
	}
}

// noneTwice is the same for instances of any kind, and says how many were not started for their event.
func noneTwice(t *testing.T, v *invoke.Invoker, c invoke.Code, n int) (copies int) {
	t.Helper()
	if a, err := ask(t, v, c, "{}"); err != nil {
		t.Fatalf("%v %s %s", err, a.Payload, a.Log)
	}
	v.Settle()
	var mu sync.Mutex
	seen := map[string]bool{}
	repeated := map[string]int{}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			before := time.Now()
			a, err := ask(t, v, c, `{"draw":true}`)
			after := time.Now()
			if err != nil {
				t.Errorf("%v %s", err, a.Payload)
				return
			}
			var values map[string]any
			if err := json.Unmarshal(a.Payload, &values); err != nil {
				t.Errorf("%v: %s", err, a.Payload)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if a.Start != invoke.Cold {
				copies++
			}
			for source, value := range values {
				if source == "drift" { // of the monotonic clock against the other
					if drift := value.(float64); drift < -1 || drift > 1 {
						t.Errorf("in a copy one clock went %f s further than the other", drift)
					}
					continue
				}
				if source == "clock" {
					at := time.UnixMicro(int64(value.(float64) * 1e6))
					if at.Before(before.Add(-time.Second)) || at.After(after.Add(time.Second)) {
						t.Errorf("a copy says %v, it was between %v and %v", at, before, after)
					}
					continue
				}
				value := fmt.Sprint(source, " ", value)
				if seen[value] {
					repeated[source]++
				}
				seen[value] = true
			}
		})
	}
	wg.Wait()
	if len(repeated) > 0 {
		t.Errorf("sources that repeat, and how often: %v", repeated)
	}
	return copies
}
