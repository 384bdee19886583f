package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"gvisor.dev/gvisor/pkg/hostarch"
	pages "gvisor.dev/gvisor/pkg/sentry/pgalloc/pgalloc_metadata_go_proto"
	"gvisor.dev/gvisor/pkg/sentry/state/checkpointfiles"

	"she/internal/sandbox/gvisor/launch"
)

// sharedPages are the pages of snapshots, each in a memfd that all copies made from it have in common: of what a copy never
// writes there is one for all (ADR 0034). They are read once, and nobody can change them from then on. What they take is
// charged to this process, and is never more than most: beyond that, copies read their pages as if there were no others.
type sharedPages struct {
	most int64         // bytes of all
	stay time.Duration // while nobody uses them

	mu    sync.Mutex
	known map[identity]*sharedSnapshot
	bytes int64
}

// identity tells one snapshot from another that took its place.
type identity struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

// sharedSnapshot is one of them. The lock of sharedPages guards users, used and gone.
type sharedSnapshot struct {
	once   sync.Once
	memory *os.File // nil if there was no room
	err    error
	bytes  int64
	used   time.Time
	users  int // sandboxes that have it
	gone   *time.Timer
}

// open gives a descriptor of a snapshot's shared pages, which the caller closes, or nil if there is no room for them. Room is
// taken until release is called, when the sandbox has ended.
func (s *sharedPages) open(dir string) (file *os.File, release func(), err error) {
	saved, err := os.Open(filepath.Join(dir, checkpointfiles.PagesFileName))
	if err != nil {
		return nil, nil, err
	}
	defer saved.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(saved.Fd()), &stat); err != nil {
		return nil, nil, err
	}
	id := identity{stat.Dev, stat.Ino, stat.Size, stat.Ctim}
	i := s.use(id)
	release = func() { s.release(id, i) }
	i.once.Do(func() { i.memory, i.err = s.read(i, dir, saved) })
	if i.err == nil && i.memory != nil {
		var fd int
		if fd, err = unix.FcntlInt(i.memory.Fd(), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			return os.NewFile(uintptr(fd), "snapshot"), release, nil
		}
	}
	release()
	if err := errors.Join(i.err, err); err != nil {
		return nil, nil, fmt.Errorf("share a snapshot's pages: %w", err)
	}
	return nil, func() {}, nil
}

func (s *sharedPages) use(id identity) *sharedSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.known[id]
	if i == nil {
		i = &sharedSnapshot{}
		s.known[id] = i
	}
	i.users++
	i.used = time.Now()
	if i.gone != nil {
		i.gone.Stop()
	}
	return i
}

// release lets a snapshot go once nobody has used it for a while, at once if it is not there.
func (s *sharedPages) release(id identity, i *sharedSnapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.users--; i.users > 0 {
		return
	}
	if i.memory == nil {
		s.drop(id, i)
		return
	}
	i.used = time.Now()
	i.gone = time.AfterFunc(s.stay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i.users == 0 && s.known[id] == i && time.Since(i.used) >= s.stay {
			s.drop(id, i)
		}
	})
}

// makeRoom counts what a snapshot is going to take. Others that nobody uses have to go for it, the least recently used first.
func (s *sharedPages) makeRoom(i *sharedSnapshot, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+bytes > s.most {
		var oldest identity
		var found *sharedSnapshot
		for id, o := range s.known {
			if o.users == 0 && (found == nil || o.used.Before(found.used)) {
				oldest, found = id, o
			}
		}
		if found == nil {
			return false
		}
		s.drop(oldest, found)
	}
	s.bytes += bytes
	i.bytes = bytes
	return true
}

// drop forgets a snapshot that nobody uses. The lock is held.
func (s *sharedPages) drop(id identity, i *sharedSnapshot) {
	if s.known[id] == i {
		delete(s.known, id)
	}
	s.bytes -= i.bytes
	i.bytes = 0
	if i.gone != nil {
		i.gone.Stop()
	}
	if i.memory != nil {
		_ = i.memory.Close()
	}
}

// run is a stretch of a sandbox's memory, and where in the file of its pages its content begins.
type run struct {
	launch.Stretch
	at uint64
}

const (
	// bridged is the longest stretch without content, in bytes, that is shared as zeros between others.
	bridged = 16 * hostarch.PageSize
	// least is the shortest stretch that is shared, in bytes. Each is one more mapping in each copy, made when it is first read;
	// to read a few pages costs less.
	least = 64 * hostarch.PageSize
)

// toShare says which memory to share: what has content, is not written by an event, and is not in small pieces.
func toShare(runs []run, written []launch.Stretch) (shared []launch.Stretch) {
	var joined []launch.Stretch
	for _, r := range runs {
		if n := len(joined); n > 0 && r.Start-joined[n-1].End <= bridged {
			joined[n-1].End = r.End
		} else {
			joined = append(joined, r.Stretch)
		}
	}
	keep := func(start, end uint64) {
		if end >= start+least {
			shared = append(shared, launch.Stretch{Start: start, End: end})
		}
	}
	for _, j := range joined {
		for len(written) > 0 && written[0].End <= j.Start {
			written = written[1:]
		}
		for _, w := range written {
			if w.Start >= j.End {
				break
			}
			if w.Start > j.Start {
				keep(j.Start, w.Start)
			}
			j.Start = min(w.End, j.End)
		}
		keep(j.Start, j.End)
	}
	return shared
}

// read makes a memfd of what is shared of a snapshot, each page where it was in the sandbox's memory.
func (s *sharedPages) read(i *sharedSnapshot, dir string, saved *os.File) (*os.File, error) {
	size, runs, err := layoutOf(filepath.Join(dir, checkpointfiles.PagesMetadataFileName))
	if err != nil {
		return nil, err
	}
	written, err := writtenOf(filepath.Join(dir, launch.WrittenFile))
	if err != nil {
		return nil, err
	}
	shared := toShare(runs, written)
	var bytes int64
	for _, s := range shared {
		bytes += int64(s.End - s.Start)
	}
	if bytes == 0 || !s.makeRoom(i, bytes) {
		return nil, nil
	}
	fd, err := unix.MemfdCreate("snapshot", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	memory := os.NewFile(uintptr(fd), "snapshot")
	defer memory.Close()
	if err := memory.Truncate(int64(size)); err != nil {
		return nil, err
	}
	for _, part := range shared {
		if err := copyPages(memory, saved, part, runs); err != nil {
			return nil, err
		}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("seal it: %w", err)
	}
	// A descriptor for reading alone: before Linux 6.7 a sealed file can be mapped for sharing by no other.
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// copyPages copies one stretch, with zeros where it had no content.
func copyPages(memory, saved *os.File, s launch.Stretch, runs []run) error {
	buffer := make([]byte, 256<<10)
	for s.Start < s.End {
		for len(runs) > 0 && runs[0].End <= s.Start {
			runs = runs[1:]
		}
		part := buffer[:min(uint64(len(buffer)), s.End-s.Start)]
		switch {
		case len(runs) == 0:
			clear(part)
		case runs[0].Start > s.Start:
			part = part[:min(uint64(len(part)), runs[0].Start-s.Start)]
			clear(part)
		default:
			part = part[:min(uint64(len(part)), runs[0].End-s.Start)]
			if _, err := saved.ReadAt(part, int64(runs[0].at+s.Start-runs[0].Start)); err != nil {
				return fmt.Errorf("read %s: %w", saved.Name(), err)
			}
		}
		if _, err := memory.WriteAt(part, int64(s.Start)); err != nil {
			return err
		}
		s.Start += uint64(len(part))
	}
	return nil
}

// writtenOf reads which memory an event writes; none if nobody has noted it.
func writtenOf(file string) (written []launch.Stretch, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &written); err != nil {
		return nil, fmt.Errorf("%s is broken: %w", file, err)
	}
	return written, nil
}

// layoutOf reads which parts of a sandbox's memory have content, in the order of the file that holds it.
func layoutOf(file string) (size uint64, runs []run, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, nil, err
	}
	broken := func() (uint64, []run, error) { return 0, nil, fmt.Errorf("%s is broken", file) }
	if len(b) < 8 {
		return broken()
	}
	length := binary.LittleEndian.Uint64(b)
	if length > uint64(len(b)-8) {
		return broken()
	}
	var m pages.MemoryFileMetadataProto
	if err := proto.Unmarshal(b[8:8+length], &m); err != nil {
		return 0, nil, fmt.Errorf("%s is broken: %w", file, err)
	}
	const chunk = 1 << 30 // gVisor's unit of memory
	size = uint64(len(m.Chunks)) * chunk
	var at, last uint64
	for _, r := range m.MemAcct {
		if r.Start < last || r.End <= r.Start || r.End > size || (r.Start|r.End)%hostarch.PageSize != 0 {
			return broken()
		}
		last = r.End
		if r.KnownCommitted {
			runs = append(runs, run{launch.Stretch{Start: r.Start, End: r.End}, at})
			at += r.End - r.Start
		}
	}
	return size, runs, nil
}

// snapshotFlag hands a sandbox's kernel the descriptor of the pages it shares. It stands before gVisor's own arguments.
const snapshotFlag = "--she-snapshot="

// takeSnapshot uses what was handed, and gives the arguments without it.
func takeSnapshot(args []string) ([]string, error) {
	if len(args) < 2 || !strings.HasPrefix(args[1], snapshotFlag) {
		return args, nil
	}
	fd, err := strconv.Atoi(strings.TrimPrefix(args[1], snapshotFlag))
	if err != nil {
		return nil, err
	}
	return slices.Delete(slices.Clone(args), 1, 2), useSnapshot(fd)
}

// unused is how long a snapshot's pages are kept after the last sandbox that had them.
const unused = time.Minute

func newSharedPages() *sharedPages {
	return &sharedPages{most: launch.MostShared(), stay: unused, known: map[identity]*sharedSnapshot{}}
}
