package invoke_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"she/internal/invoke"
	"she/internal/sandbox/gvisor/launch"
)

// modelled holds so many MB of what no event is expected to write, and does to it what programs do to memory. Each
// event tells whether it found all as INIT left it, and whether it then held what was to be there.
const modelled = `
import ctypes, hashlib, mmap, os, random, threading
size = %d << 20
page = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
def made(seed, n):
    return bytearray(random.Random(seed).randbytes(n))
model = made(1, size)
want = hashlib.sha256(model).hexdigest()
anonymous = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
anonymous[:] = bytes(made(2, len(anonymous)))
common = mmap.mmap(-1, 1 << 20)
common[:] = bytes(made(3, len(common)))
whole = hashlib.sha256(anonymous[:]).hexdigest()

def address(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))

def handler(event, context):
    if not event.get("write"):
        return "rested"
    found = [hashlib.sha256(model).hexdigest() == want, hashlib.sha256(anonymous[:]).hexdigest() == whole, bytes(common[:]) == bytes(made(3, len(common)))]
    chance = random.Random(os.urandom(8))
    mirror = bytearray(model)
    held = []
    # Single bytes here and there, by several threads.
    places = [chance.randrange(size) for _ in range(400)]
    def poke(some):
        for at in some:
            model[at] = mirror[at] = (mirror[at] + 1) & 255
    threads = [threading.Thread(target=poke, args=(sorted(set(places))[n::4],)) for n in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    held.append(model == mirror)
    # The kernel writes and reads.
    r, w = os.pipe()
    at = chance.randrange(size - 40000)
    some = os.urandom(30000)
    os.write(w, some)
    with open(r, "rb", buffering=0) as f:
        n = f.readinto(memoryview(model)[at:at + 30000])
    mirror[at:at + n] = some[:n]
    held.append(model == mirror)
    with open("/tmp/model", "wb") as f:
        f.write(memoryview(model)[size // 2:])
    with open("/tmp/model", "rb") as f:
        held.append(f.read() == mirror[size // 2:])
    # A child has a copy, and what it writes is its own; what the parent writes meanwhile is not the child's.
    child = os.fork()
    if child == 0:
        ok = model == mirror
        model[0:size:4096] = bytes(len(range(0, size, 4096)))
        ok = ok and not any(model[0:size:4096])
        os._exit(0 if ok else 1)
    model[5] = mirror[5] = mirror[5] ^ 255
    held.append(os.waitpid(child, 0)[1] == 0)
    held.append(model == mirror)
    # Memory that is given back, made readable alone and writable again, moved and made larger.
    base = address(anonymous)
    anonymous.madvise(mmap.MADV_DONTNEED, 0, 64 * page)
    held.append(not any(anonymous[:64 * page]) and hashlib.sha256(anonymous[64 * page:]).hexdigest() == hashlib.sha256(bytes(made(2, len(anonymous)))[64 * page:]).hexdigest())
    held.append(libc.mprotect(base + 100 * page, 10 * page, mmap.PROT_READ) == 0 and libc.mprotect(base + 100 * page, 10 * page, mmap.PROT_READ | mmap.PROT_WRITE) == 0)
    anonymous[105 * page] = 7
    held.append(anonymous[105 * page] == 7 and anonymous[105 * page + 1] == made(2, len(anonymous))[105 * page + 1])
    libc.mremap.restype = ctypes.c_void_p
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    moved = libc.mremap(base + 512 * page, 256 * page, 1024 * page, 1)
    held.append(moved is not None and moved != ctypes.c_void_p(-1).value and ctypes.string_at(moved, 256 * page) == bytes(made(2, len(anonymous))[512 * page:768 * page]) and not any(ctypes.string_at(moved + 256 * page, 768 * page)))
    ctypes.memset(moved + 3, 1, 5000)
    held.append(ctypes.string_at(moved, 5010)[3:5003] == b"\x01" * 5000)
    # All of it.
    model[:] = bytes(size)
    held.append(not any(model))
    return {"found": found, "held": held}
`

// TestWhatIsSharedStaysAsItWas: copies of a function have the memory of its INIT in common, each finds it as INIT
// left it whatever others do to theirs, and none is charged for what it does not write.
func TestWhatIsSharedStaysAsItWas(t *testing.T) {
	slow(t)
	t.Parallel()
	for name, warmUp := range map[string][]byte{
		"what an event writes is known": []byte(`{"rest":true}`),
		"nothing is known":              nil,
	} {
		t.Run(name, func(t *testing.T) {
			const megabytes = 32
			dir := t.TempDir()
			v := openInvoker(t, invoke.Config{Images: dir})
			c := function(t, "python3.11", "app.handler", map[string]string{"app.py": fmt.Sprintf(modelled, megabytes)})
			c.MemoryMB, c.WarmUp = 512, warmUp
			wantStart(t, v, c, `"rested"`, invoke.Cold)
			v.Settle()
			s := v.Stats()
			if s.Waiting == 0 {
				t.Fatalf("nothing waits: %+v", s)
			}
			if each := s.WaitingBytes / int64(s.Waiting); each > megabytes<<20 { // a copy of nothing has 16 MB
				t.Errorf("one that waits has %d MB of its own", each>>20)
			}
			if bytes, known := noted(t, dir); known != (warmUp != nil) || known && (bytes == 0 || bytes > 8<<20) {
				t.Errorf("noted (%t): an event writes %d bytes", known, bytes)
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					a, err := ask(t, v, c, `{"write": true}`)
					if err != nil {
						t.Errorf("%v %s %s", err, a.Payload, a.Log)
						return
					}
					if a.Start == invoke.Cold {
						t.Errorf("started %s: %+v", a.Start, v.Stats())
					}
					var got map[string][]bool
					if err := json.Unmarshal(a.Payload, &got); err != nil || len(got["found"]) != 3 || len(got["held"]) != 11 {
						t.Errorf("%v %s", err, a.Payload)
					}
					for what, all := range got {
						for n, ok := range all {
							if !ok {
								t.Errorf("%s %d is not what it was: %s", what, n, a.Payload)
							}
						}
					}
				})
			}
			wg.Wait()

			// Copies that wait have what they need of a snapshot that is gone.
			v.Settle()
			if v.Stats().Waiting == 0 {
				t.Fatal("nothing waits")
			}
			files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no snapshot: %v %v", files, err)
			}
			for _, f := range files {
				if err := os.WriteFile(f, []byte("gone"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
			a, err := ask(t, v, c, `{"write": true}`)
			if err != nil || a.Start != invoke.Warm {
				t.Errorf("started %s after the snapshot was removed: %v %s", a.Start, err, a.Payload)
			}
			var got map[string][]bool
			if err := json.Unmarshal(a.Payload, &got); err != nil || len(got["found"]) != 3 || !got["found"][0] {
				t.Errorf("%v %s", err, a.Payload)
			}
		})
	}
}

// noted is how much memory an event writes, as the only snapshot in a directory tells.
func noted(t *testing.T, dir string) (bytes uint64, known bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", launch.WrittenFile))
	if err != nil || len(files) == 0 {
		return 0, false
	}
	var written []launch.Stretch
	b, err := os.ReadFile(files[0])
	if err == nil {
		err = json.Unmarshal(b, &written)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range written {
		bytes += s.End - s.Start
	}
	return bytes, true
}
