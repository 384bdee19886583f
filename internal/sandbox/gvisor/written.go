package gvisor

import (
	"encoding/json"
	"errors"
	"hash/maphash"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"she/internal/sandbox/gvisor/launch"
)

// memory is what a sandbox's memory holds at one time: a sum of each page that has content, by its place in the
// file that gVisor keeps it in.
type memory map[uint64]uint64

// pageSize is the unit in which memory is shared and copied.
const pageSize = 4096

// seed is of this process alone: sums are compared, never kept.
var seed = maphash.MakeSeed()

// memory reads the memory of a sandbox. What is inside does not notice, and may go on writing.
func (i *instance) memory() (memory, error) {
	f, err := i.memoryFile()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := memory{}
	page := make([]byte, pageSize)
	for end := int64(0); ; {
		at, err := unix.Seek(int(f.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return m, nil
		}
		if err == nil {
			end, err = unix.Seek(int(f.Fd()), at, unix.SEEK_HOLE)
		}
		if err != nil {
			return nil, err
		}
		for ; at < end; at += pageSize {
			if _, err := f.ReadAt(page, at); err != nil {
				return nil, err
			}
			m[uint64(at)] = maphash.Bytes(seed, page)
		}
	}
}

// memoryFile opens the file in which gVisor keeps the memory of what runs inside, by one of the sandbox's processes.
func (i *instance) memoryFile() (*os.File, error) {
	groups := i.group.Dirs()
	if len(groups) == 0 {
		return nil, errors.New("without cgroups nobody tells the sandbox's processes")
	}
	procs, err := os.ReadFile(filepath.Join(groups[0], "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		fds, _ := filepath.Glob(filepath.Join("/proc", pid, "fd", "*"))
		for _, fd := range fds {
			if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "/memfd:runsc-memory ") {
				return os.Open(fd)
			}
		}
	}
	return nil, errors.New("the sandbox's memory was not found")
}

// changed are the stretches of memory that are others in later, in order.
func (m memory) changed(later memory) []launch.Stretch {
	var pages []uint64
	for at, sum := range later {
		if before, ok := m[at]; !ok || before != sum {
			pages = append(pages, at)
		}
	}
	return launch.Stretches(pages, pageSize)
}

// writeWritten notes beside a snapshot which pages an event writes.
func writeWritten(dir string, written []launch.Stretch) error {
	b, err := json.Marshal(written)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, launch.WrittenFile), b, 0o600)
}
