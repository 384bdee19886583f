package gvisor_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
)

// looker is a program that answers with what it sees of its files: kinds, modes, owners, links, times and content in the
// machine's programs and in its package, its own program, what a shared library is when it is read rather than mapped, and
// that it can change nothing.
const looker = `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/9001
printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&3
while read -r line <&3; do
	line=${line%$'\r'}
	case "$line" in [Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d:*) id=${line#*: };; '') break;; esac
done
answer=$(
	exec 2>&1
	find /usr/bin /var/task -type d -printf '%p %m %U %G %n %T@\n' | sort
	find /usr/bin /var/task ! -type d -printf '%p %y %m %U %G %n %s %T@ %l\n' | sort
	find /etc /usr -maxdepth 1 -printf '%p %y %m\n' | sort
	cat /var/task/program | sha256sum
	sha256sum $(ldd /bin/bash | grep -o '/[^ ]*')
	readlink /proc/self/exe
	/var/task/program
	cat /var/task/closed
	for place in / /etc /var/task /usr/bin; do touch $place/new || chmod 777 $place || echo refused; done 2>/dev/null
	rm /var/task/program 2>/dev/null || echo refused
)
exec 4<>/dev/tcp/127.0.0.1/9001
LC_ALL=C
printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' "$id" "${#answer}" "$answer" >&4
sleep 1000
`

// TestFilesReadAsTheyAre compares what a program sees through images, fresh and in a copy, with what it sees through a
// file server, which only the last has.
func TestFilesReadAsTheyAre(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	p := sleeper(t)
	for name, content := range map[string]string{"bootstrap": looker, "program": "#!/bin/sh\necho it runs\n", "closed": "nobody's"} {
		if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Chmod(filepath.Join(p.Dir, "closed"), 0o600),
		os.Symlink("program", filepath.Join(p.Dir, "link")),
		os.Link(filepath.Join(p.Dir, "program"), filepath.Join(p.Dir, "same")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	served, serverRan := look(t, "", p, false)
	if !serverRan {
		t.Error("without images no file server runs: the test proves nothing")
	}
	// What the function can't read is not in an image at all.
	const closed = "/var/task/closed f 600 0 0 1 "
	served = strings.Replace(served, closed+"8", closed+"0", 1)
	for _, want := range []string{closed + "0", "/var/task/link l 777 0 0 1 7", "it runs", "/var/task/closed: Permission denied", "refused", "libc.so"} {
		if !strings.Contains(served, want) {
			t.Errorf("%q is not in what is seen", want)
		}
	}
	for _, copied := range []bool{false, true} {
		seen, serverRan := look(t, gvisor.Files, p, copied)
		if serverRan {
			t.Error("with images a file server runs")
		}
		if seen != served {
			t.Errorf("through images, copied: %t, it looks different:\n%s", copied, difference(served, seen))
		}
	}
}

func look(t *testing.T, files string, p sandbox.Program, copied bool) (seen string, serverRan bool) {
	t.Helper()
	state := t.TempDir()
	m := closes(t, openIn(t, state, files))
	memory := filepath.Join(t.TempDir(), "image")
	if _, err := m.Checkpoint(t.Context(), p, nil, memory); err != nil { // it waits for images
		t.Fatal(err)
	}
	if !copied {
		memory = ""
	}
	i := running(t, m, p, memory)
	for _, pid := range sandboxed(t, state) {
		serverRan = serverRan || strings.HasPrefix(commandOf(pid), "runsc-gofer\x00")
	}
	r, err := i.Run(t.Context(), sandbox.Call{ID: "1", Deadline: time.Now().Add(2 * time.Minute), Event: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	// bash is shown as /bin/sh: an image has it in the place of the link, a file server behind the link.
	return shells.ReplaceAllString(string(r.Payload), ""), serverRan
}

var shells = regexp.MustCompile(`(?m)^/(usr/)?bin/(sh|dash) .*\n`)

func difference(a, b string) string {
	in, of := strings.Split(a, "\n"), strings.Split(b, "\n")
	var lines []string
	for _, l := range in {
		if !slices.Contains(of, l) {
			lines = append(lines, "- "+l)
		}
	}
	for _, l := range of {
		if !slices.Contains(in, l) {
			lines = append(lines, "+ "+l)
		}
	}
	return strings.Join(lines[:min(len(lines), 40)], "\n")
}
