package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"gvisor.dev/gvisor/pkg/hostarch"
	pages "gvisor.dev/gvisor/pkg/sentry/pgalloc/pgalloc_metadata_go_proto"

	"she/internal/sandbox/gvisor/launch"
)

// stretch is so many pages from a page on.
func stretch(from, pages uint64) launch.Stretch {
	return launch.Stretch{Start: from * hostarch.PageSize, End: (from + pages) * hostarch.PageSize}
}

func TestWhatIsShared(t *testing.T) {
	const few, many = least / hostarch.PageSize / 2, least / hostarch.PageSize
	const gap = bridged / hostarch.PageSize
	for name, c := range map[string]struct{ saved, written, want []launch.Stretch }{
		"nothing":                    {},
		"all":                        {saved: []launch.Stretch{stretch(0, many)}, want: []launch.Stretch{stretch(0, many)}},
		"a few pages":                {saved: []launch.Stretch{stretch(7, few)}},
		"few and few":                {saved: []launch.Stretch{stretch(0, few), stretch(few+gap, few)}, want: []launch.Stretch{stretch(0, 2*few+gap)}},
		"far from each other":        {saved: []launch.Stretch{stretch(0, many), stretch(many+gap+1, many)}, want: []launch.Stretch{stretch(0, many), stretch(many+gap+1, many)}},
		"all is written":             {saved: []launch.Stretch{stretch(5, many)}, written: []launch.Stretch{stretch(0, 3*many)}},
		"written from before":        {saved: []launch.Stretch{stretch(5, 2*many)}, written: []launch.Stretch{stretch(0, 5+few)}, want: []launch.Stretch{stretch(5+few, 2*many-few)}},
		"written to behind":          {saved: []launch.Stretch{stretch(5, 2*many)}, written: []launch.Stretch{stretch(5+many, 9*many)}, want: []launch.Stretch{stretch(5, many)}},
		"written in the middle":      {saved: []launch.Stretch{stretch(0, 2*many+1)}, written: []launch.Stretch{stretch(many, 1)}, want: []launch.Stretch{stretch(0, many), stretch(many+1, many)}},
		"written here and there":     {saved: []launch.Stretch{stretch(0, 3*many)}, written: []launch.Stretch{stretch(few, 1), stretch(many, 1)}, want: []launch.Stretch{stretch(many+1, 2*many-1)}},
		"written elsewhere":          {saved: []launch.Stretch{stretch(9*many, many)}, written: []launch.Stretch{stretch(0, many), stretch(20*many, many)}, want: []launch.Stretch{stretch(9*many, many)}},
		"written across two of them": {saved: []launch.Stretch{stretch(0, 2*many), stretch(9*many, 2*many)}, written: []launch.Stretch{stretch(many, 9*many)}, want: []launch.Stretch{stretch(0, many), stretch(10*many, many)}},
	} {
		var runs []run
		for _, s := range c.saved {
			runs = append(runs, run{Stretch: s})
		}
		if got := toShare(runs, c.written); !slices.Equal(got, c.want) {
			t.Errorf("%s: shared %v, want %v", name, got, c.want)
		}
	}
}

// saved makes a snapshot's files: of each stretch of memory its content is the number of the page.
func saved(t *testing.T, written []launch.Stretch, memory ...launch.Stretch) (dir string) {
	t.Helper()
	dir = t.TempDir()
	m := pages.MemoryFileMetadataProto{Version: 1, Chunks: []*pages.ChunkInfoProto{{}}}
	var content []byte
	for _, s := range memory {
		m.MemAcct = append(m.MemAcct, &pages.MemAcctRangeProto{Start: s.Start, End: s.End, KnownCommitted: true})
		for at := s.Start; at < s.End; at += hostarch.PageSize {
			content = append(content, bytes.Repeat([]byte{byte(at / hostarch.PageSize)}, hostarch.PageSize)...)
		}
	}
	b, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"pages_meta.img":   append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...),
		"pages.img":        content,
		launch.WrittenFile: list,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newShared(most int64) *sharedPages {
	return &sharedPages{most: most, stay: unused, known: map[identity]*sharedSnapshot{}}
}

// shared is what a sandbox gets that ends at once.
func shared(t *testing.T, s *sharedPages, dir string) *os.File {
	t.Helper()
	f, end := sharedBy(t, s, dir)
	end()
	return f
}

// sharedBy is what a sandbox gets until it ends.
func sharedBy(t *testing.T, s *sharedPages, dir string) (f *os.File, end func()) {
	t.Helper()
	f, end, err := s.open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f != nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return f, end
}

func sameFile(t *testing.T, a, b *os.File) bool {
	t.Helper()
	one, err1 := a.Stat()
	other, err2 := b.Stat()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(one, other)
}

const manyPages = 2 * least / hostarch.PageSize

func TestPagesAreSharedAsTheyWereSaved(t *testing.T) {
	dir := saved(t, []launch.Stretch{stretch(3, 1)}, stretch(3, manyPages), stretch(2*manyPages, manyPages))
	s := newShared(1 << 30)
	f := shared(t, s, dir)
	page := make([]byte, hostarch.PageSize)
	for at := range uint64(4 * manyPages) {
		if _, err := f.ReadAt(page, int64(at*hostarch.PageSize)); err != nil {
			t.Fatal(err)
		}
		want := byte(at)
		if at <= 3 || at >= 3+manyPages && at < 2*manyPages || at >= 3*manyPages {
			want = 0
		}
		if !bytes.Equal(page, bytes.Repeat([]byte{want}, hostarch.PageSize)) {
			t.Fatalf("page %d is not as it was saved, it begins with %d", at, page[0])
		}
	}

	// Nobody can change them, by no descriptor.
	again, err := os.OpenFile("/proc/self/fd/"+fdOf(f), os.O_RDWR, 0)
	if err == nil {
		defer again.Close()
		_, err = again.WriteAt([]byte("x"), 0)
	}
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("shared pages can be written: %v", err)
	}
	if again != nil {
		if err := again.Truncate(0); !errors.Is(err, unix.EPERM) {
			t.Errorf("shared pages can be cut off: %v", err)
		}
		if _, err := unix.Mmap(int(again.Fd()), 0, hostarch.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			t.Error("shared pages can be mapped for writing")
		}
	}
	if _, err := unix.Mmap(int(f.Fd()), 0, hostarch.PageSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED); err != nil {
		t.Errorf("shared pages can't be mapped as a sandbox does: %v", err)
	}

	if other := shared(t, s, dir); !sameFile(t, f, other) {
		t.Error("two copies of one snapshot share nothing")
	}
	// Another in its place, with the same name, is another.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(saved(t, nil, stretch(3, manyPages)), dir); err != nil {
		t.Fatal(err)
	}
	if other := shared(t, s, dir); sameFile(t, f, other) {
		t.Error("pages of a snapshot that was replaced are shared with its successor")
	}
	if _, err := f.ReadAt(page, 4*hostarch.PageSize); err != nil || page[0] != 4 {
		t.Errorf("whoever has the pages of a snapshot that was replaced lost them: %v %d", err, page[0])
	}
}

func fdOf(f *os.File) string {
	b, _ := json.Marshal(f.Fd())
	return string(b)
}

func TestBrokenSnapshotsAreNotShared(t *testing.T) {
	for name, do := range map[string]func(dir string) error{
		"pages cut off":    func(dir string) error { return os.Truncate(filepath.Join(dir, "pages.img"), 5000) },
		"no pages":         func(dir string) error { return os.Remove(filepath.Join(dir, "pages.img")) },
		"no layout":        func(dir string) error { return os.Remove(filepath.Join(dir, "pages_meta.img")) },
		"an empty layout":  func(dir string) error { return os.Truncate(filepath.Join(dir, "pages_meta.img"), 0) },
		"a layout cut off": func(dir string) error { return os.Truncate(filepath.Join(dir, "pages_meta.img"), 12) },
		"a list that is not JSON": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, launch.WrittenFile), []byte("{"), 0o600)
		},
	} {
		dir := saved(t, nil, stretch(3, manyPages))
		if err := do(dir); err != nil {
			t.Fatal(err)
		}
		s := newShared(1 << 30)
		f, _, err := s.open(dir)
		if err == nil || f != nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v %v", name, f, err)
		}
		if len(s.known) != 0 || s.bytes != 0 {
			t.Errorf("%s: it is still known: %+v", name, s)
		}
	}
}

func TestSharedPagesKeepTheirBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := int64(manyPages * hostarch.PageSize)
		s := newShared(2 * size)
		if f := shared(t, s, saved(t, nil, stretch(0, 3*manyPages))); f != nil {
			t.Error("a snapshot larger than the budget is shared")
		}
		first, second, third := saved(t, nil, stretch(0, manyPages)), saved(t, nil, stretch(0, manyPages)), saved(t, nil, stretch(0, manyPages))
		a := shared(t, s, first)
		time.Sleep(time.Second)
		shared(t, s, second)
		time.Sleep(time.Second)
		shared(t, s, first)
		time.Sleep(time.Second)
		shared(t, s, third)
		if s.bytes != 2*size || len(s.known) != 2 {
			t.Errorf("%d bytes of %d snapshots are kept, %d may be", s.bytes, len(s.known), s.most)
		}
		if !sameFile(t, a, shared(t, s, first)) {
			t.Error("what was used last had to go")
		}
		// What a sandbox has counts until it ends, whoever comes.
		_, end := sharedBy(t, s, first)
		if f := shared(t, s, saved(t, nil, stretch(0, 2*manyPages))); f != nil || s.bytes > s.most {
			t.Errorf("one in use had to go: %d bytes of %d", s.bytes, s.most)
		}
		time.Sleep(2 * unused)
		synctest.Wait()
		if s.bytes != size || len(s.known) != 1 {
			t.Errorf("%d bytes of %d snapshots are kept, and one is in use", s.bytes, len(s.known))
		}
		end()
		time.Sleep(unused + time.Second)
		synctest.Wait()
		if s.bytes != 0 || len(s.known) != 0 {
			t.Errorf("%d bytes of %d snapshots are kept though nobody asks for them", s.bytes, len(s.known))
		}
		if sameFile(t, a, shared(t, s, first)) {
			t.Error("what was given back is shared again")
		}
		time.Sleep(unused + time.Second)
	})
}
