package mm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/safemem"
	"gvisor.dev/gvisor/pkg/sentry/memmap"
)

// snapshotFile is what memory was when it was saved, in one sealed memfd that all sandboxes restored from it have in common.
// Each page is where it was in the MemoryFile; what had no content is a hole.
//
// Private memory that is restored starts as a mapping of it, copied when written. It stays as long as the process, so
// references are not counted.
type snapshotFile struct {
	memmap.DefaultMemoryType
	memmap.NoBufferedIOFallback

	fd     int
	memory []byte
	saved  []memmap.FileRange
}

// snapshot is nil where memory is read instead. It is set once, before anything is restored.
var snapshot *snapshotFile

// UseSnapshot has what is restored from now on start from a memfd. Nobody may be able to change it any more.
func UseSnapshot(fd int) error {
	const sealed = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || seals&sealed != sealed {
		return fmt.Errorf("the snapshot's pages are not sealed: %#x %v", seals, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	memory, err := unix.Mmap(fd, 0, int(stat.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the snapshot's pages: %w", err)
	}
	s := &snapshotFile{fd: fd, memory: memory}
	for end := int64(0); ; {
		start, err := unix.Seek(fd, end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err == nil {
			end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		}
		if err != nil {
			return fmt.Errorf("look for content in the snapshot's pages: %w", err)
		}
		s.saved = append(s.saved, memmap.FileRange{Start: uint64(start), End: uint64(end)})
	}
	snapshot = s
	return nil
}

// HasSnapshot says whether restored memory starts from one.
func HasSnapshot() bool { return snapshot != nil }

// ShareSnapshot puts the snapshot in the place of private memory that has the same content, and so need not be read.
func (mm *MemoryManager) ShareSnapshot() {
	mm.mappingMu.RLock()
	defer mm.mappingMu.RUnlock()
	mm.activeMu.Lock()
	defer mm.activeMu.Unlock()
	for pseg := mm.pmas.FirstSegment(); pseg.Ok(); pseg = pseg.NextSegment() {
		p := pseg.ValuePtr()
		if !p.private || p.file != memmap.File(mm.mf) {
			continue
		}
		fr, ok := snapshot.firstIn(pseg.fileRange())
		if !ok {
			continue
		}
		start := pseg.Start() + hostarch.Addr(fr.Start-p.off)
		pseg = mm.pmas.Isolate(pseg, hostarch.AddrRange{Start: start, End: start + hostarch.Addr(fr.Length())})
		p = pseg.ValuePtr()
		p.file = snapshot
		p.needCOW = true
		p.effectivePerms.Write = false
		p.maxPerms.Write = false
		p.huge = false
		p.internalMappings = safemem.BlockSeq{}
		mm.mf.DecRef(fr)
	}
}

// firstIn is the first part of a range that has content.
func (s *snapshotFile) firstIn(fr memmap.FileRange) (memmap.FileRange, bool) {
	for _, saved := range s.saved {
		if saved.Overlaps(fr) {
			return saved.Intersect(fr), true
		}
	}
	return memmap.FileRange{}, false
}

// copyUnit is how much is copied where a page is written: less takes more faults, more leaves memory unused.
const copyUnit = hostarch.Addr(64 << 10)

// copied is what of ordinary to copy when ar of the pma is written.
func (p *pma) copied(ar, ordinary hostarch.AddrRange) hostarch.AddrRange {
	if _, ok := p.file.(*snapshotFile); !ok {
		return ordinary
	}
	return ordinary.Intersect(hostarch.AddrRange{
		Start: ar.Start &^ (copyUnit - 1),
		End:   (ar.End + copyUnit - 1) &^ (copyUnit - 1),
	})
}

var errShared = errors.New("what still shares its memory with others can't be saved")

// refuseSnapshot fails if the memory of a process is not all its own.
func (mm *MemoryManager) refuseSnapshot() error {
	mm.activeMu.RLock()
	defer mm.activeMu.RUnlock()
	for pseg := mm.pmas.FirstSegment(); pseg.Ok(); pseg = pseg.NextSegment() {
		if _, ok := pseg.ValuePtr().file.(*snapshotFile); ok {
			return errShared
		}
	}
	return nil
}

// IncRef implements memmap.File.IncRef.
func (*snapshotFile) IncRef(memmap.FileRange, uint32) {}

// DecRef implements memmap.File.DecRef.
func (*snapshotFile) DecRef(memmap.FileRange) {}

// MapInternal implements memmap.File.MapInternal.
func (s *snapshotFile) MapInternal(fr memmap.FileRange, at hostarch.AccessType) (safemem.BlockSeq, error) {
	if at.Write || at.Execute {
		panic(fmt.Sprintf("a snapshot can only be read, not %v", at))
	}
	return safemem.BlockSeqOf(safemem.BlockFromSafeSlice(s.memory[fr.Start:fr.End:fr.End])), nil
}

// DataFD implements memmap.File.DataFD.
func (s *snapshotFile) DataFD(memmap.FileRange) (int, error) { return s.fd, nil }

// FD implements memmap.File.FD.
func (s *snapshotFile) FD() int { return s.fd }
