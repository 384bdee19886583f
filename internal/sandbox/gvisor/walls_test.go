package gvisor_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"she/internal/sandbox/gvisor"
)

// TestEnterLeavesWhatGVisorLeaves compares the kernel of a sandbox that came to be through cmd/runsc/enter with one that
// gVisor made alone: identity, capabilities, filters, namespaces, mounts, what its root holds, and descriptors.
func TestEnterLeavesWhatGVisorLeaves(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for two sandboxes")
	}
	if _, err := os.Stat(gvisor.Companion(helpers.runsc)); err != nil {
		t.Fatalf("build it with: make build: %v", err)
	}
	alone := filepath.Join(t.TempDir(), "runsc")
	program, err := os.ReadFile(helpers.runsc)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(alone, program, 0o755); err != nil {
		t.Fatal(err)
	}
	ours, theirs := kernelSeen(t, helpers.runsc, served), kernelSeen(t, alone, served)
	if ours != theirs {
		t.Errorf("with cmd/runsc/enter the kernel of a sandbox is\n%s\nand gVisor alone leaves\n%s", ours, theirs)
	}
	for _, want := range []string{"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "CapAmb: 0000000000000000", "Uid: 65534 65534", "NoNewPrivs: 1", "Seccomp: 2"} {
		if !strings.Contains(ours, want) {
			t.Errorf("the kernel of a sandbox is not %q:\n%s", want, ours)
		}
	}
	if strings.Contains(ours, "/proc") {
		t.Errorf("the kernel of a sandbox still has a /proc:\n%s", ours)
	}
}

// TestKernelsAreMadeAsGVisorMakesThem compares the kernel of a sandbox that our launcher started itself, fresh and restored,
// with one that gVisor made alone. What may differ is that files come as images and not through a file server.
func TestKernelsAreMadeAsGVisorMakesThem(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	alone := strings.Split(kernelSeen(t, helpers.runsc, served), "\n")
	for _, how := range []string{fresh, copied} {
		ours := strings.Split(kernelSeen(t, helpers.runsc, how), "\n")
		for _, line := range ours {
			if !slices.Contains(alone, line) && !ofImages.MatchString(line) {
				t.Errorf("the kernel of a sandbox made %s has %q, and what gVisor makes has not", how, line)
			}
		}
		for _, line := range alone {
			if !slices.Contains(ours, line) && !strings.HasPrefix(line, "descriptor ") {
				t.Errorf("the kernel of a sandbox made %s has no %q, and what gVisor makes has", how, line)
			}
		}
	}
}

// ofImages are the descriptors a kernel has instead of its file server's: two images, and the pages of /tmp; if it is a copy, the
// pages of the snapshot it shares with others, for a moment the snapshot's files, and the ring that gVisor is given to release
// descriptors by.
var ofImages = regexp.MustCompile(`^descriptor ([-0-9a-fN]+\.erofs|N \(deleted\)|memfd:snapshot \(deleted\)|(checkpoint|pages|pages_meta)\.img|anon_inode:\[io_uring\])$`)

// How kernelSeen comes by a sandbox.
const (
	served = "with a file server"
	fresh  = "on images"
	copied = "on images, as a copy"
)

var startTime = regexp.MustCompile(`RUNSC_START_TIME_NANOS=[0-9]+\x00`)

var number = regexp.MustCompile(`[0-9]{2,}`)

// kernelSeen makes a sandbox and describes its kernel's process as the host sees it, without what differs each time.
func kernelSeen(t *testing.T, runsc, how string) string {
	t.Helper()
	state := t.TempDir()
	config := gvisor.Config{Runsc: runsc, Init: helpers.init, State: state}
	if how != served {
		config.Files = t.TempDir()
	}
	m, err := gvisor.New(config)
	if err != nil {
		t.Fatal(err)
	}
	closes(t, m)
	p, image := sleeper(t), filepath.Join(t.TempDir(), "image")
	if how != served { // this waits for the images
		if _, err := m.Checkpoint(t.Context(), p, nil, image); err != nil {
			t.Fatal(err)
		}
	}
	if how != copied {
		image = ""
	}
	running(t, m, p, image)
	for _, pid := range sandboxed(t, state) {
		if strings.HasPrefix(commandOf(pid), "runsc-sandbox\x00") {
			return describe(t, filepath.Join("/proc", strconv.Itoa(pid)))
		}
	}
	t.Fatal("no process of a sandbox's kernel is found")
	return ""
}

func describe(t *testing.T, dir string) string {
	t.Helper()
	var seen []string
	for line := range strings.Lines(string(content(t, filepath.Join(dir, "status")))) {
		f := strings.Fields(line)
		switch strings.TrimSuffix(f[0], ":") {
		case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			seen = append(seen, strings.Join(f, " "))
		case "NSpid":
			seen = append(seen, fmt.Sprintf("%s of %d namespaces, number %s", f[0], len(f)-1, f[len(f)-1]))
		}
	}
	environment := startTime.ReplaceAll(content(t, filepath.Join(dir, "environ")), nil) // of gVisor starting itself
	seen = append(seen, fmt.Sprintf("environment %q", environment),
		"ends for want of memory at "+string(content(t, filepath.Join(dir, "oom_score_adj"))))
	for line := range strings.Lines(string(content(t, filepath.Join(dir, "limits")))) {
		seen = append(seen, "limit "+strings.TrimSpace(line))
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts"} {
		of, err := os.Readlink(filepath.Join(dir, "ns", ns))
		if err != nil {
			t.Fatal(err)
		}
		own, err := os.Readlink(filepath.Join("/proc/self/ns", ns))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprintf("namespace %s is the host's: %t", ns, of == own))
	}
	for line := range strings.Lines(string(content(t, filepath.Join(dir, "mountinfo")))) {
		_, rest, _ := strings.Cut(line, ":") // the numbers before are the kernel's
		seen = append(seen, "mount "+number.ReplaceAllString(strings.TrimSpace(rest), "N"))
	}
	root := filepath.Join(dir, "root") + "/"
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			seen = append(seen, fmt.Sprintf("file %s %s", info.Mode(), strings.TrimPrefix(path, root)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var descriptors []string
	links, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		to, err := os.Readlink(filepath.Join(dir, "fd", l.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		descriptors = append(descriptors, "descriptor "+number.ReplaceAllString(filepath.Base(to), "N"))
	}
	slices.Sort(descriptors) // of what kinds, not how many: gVisor alone leaves itself a pipe more
	return strings.Join(append(seen, slices.Compact(descriptors)...), "\n")
}

func content(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
