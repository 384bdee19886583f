package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"she/internal/durable"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// What is erased leaves free pages in the file. They are given back to the disk a piece at a time, as a upkeep: pages from
// the end of the file take their places, and the file is cut. Only files made with auto_vacuum can do that; older ones
// are copied once while nobody uses them.

const (
	mostFree    = 256 // pages that may be free before they are given back, 1 MB
	leastFree   = 64  // pages that are left, for what is written next
	freeShare   = 32  // as long as free pages are less than this share of the file, they are kept as well
	incremental = 2   // the value of auto_vacuum
)

// beginSpace reads whether the file can give back free pages, and whether it has many.
func (f *file) beginSpace(ctx context.Context, c *conn) error {
	var mode int
	if err := c.Get(ctx, "PRAGMA auto_vacuum", nil, &mode); err != nil {
		return err
	}
	f.shrinks = mode == incremental
	more, err := f.mayShrink(ctx, c)
	f.hasUpkeep = f.hasUpkeep || more
	return err
}

// mayShrink says that enough pages are free to give some back.
func (f *file) mayShrink(ctx context.Context, c *conn) (bool, error) {
	if !f.shrinks {
		return false, nil
	}
	free, err := freeBytes(ctx, c)
	if err != nil {
		return false, err
	}
	if f.shrinking {
		return free > leastFree*pageSize, nil
	}
	all, err := fileBytes(ctx, c)
	return free > mostFree*pageSize && free > all/freeShare, err
}

// shrink gives back at most so many pages.
func (t *transaction) shrink(pages int) (more bool, err error) {
	t.f.shrinking, err = t.f.mayShrink(context.Background(), t.conn)
	if err != nil || !t.f.shrinking {
		return false, err
	}
	free, err := freeBytes(context.Background(), t.conn)
	if err != nil {
		return false, err
	}
	pages = min(pages, int(free/pageSize)-leastFree)
	// A row comes of each page, and a page is moved for each row that is asked for.
	rows, err := t.c.QueryContext(context.Background(), fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
	if err != nil {
		return false, err
	}
	for rows.Next() {
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	// Where a page was, its content stays until the file is cut: when the log is emptied.
	t.noted |= ledger.Replacing
	if t.f.shrinking, err = t.f.mayShrink(context.Background(), t.conn); err == nil && !t.f.shrinking {
		t.noted |= ledger.Erasing
	}
	return true, err
}

// compactLocked copies the file of a closed vault to one that can give back free pages, and puts that in its place. It
// gives way at once to whoever wants the vault: then it is done another time. The caller holds s.mu; it is free meanwhile.
func (s *Store) compactLocked(sl *slot) {
	if s.closed || sl.wanted || s.slots[sl.id] != sl {
		return
	}
	select {
	case s.compacts <- struct{}{}:
		defer func() { <-s.compacts }()
	default:
		return // one at a time; it is this one's turn when it is closed again
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sl.compact = stop
	s.mu.Unlock()
	err := compact(ctx, s.path(sl.id), sl.id, s.o.Spare) // if it fails, the file is as it was
	s.mu.Lock()
	sl.compact = nil
	switch {
	case err == nil:
		delete(s.uncompacted, sl.id)
	case ctx.Err() != nil: // somebody wants the vault
	default:
		_, known := s.uncompacted[sl.id]
		s.uncompacted[sl.id] = struct{}{}
		// It is tried again each time the file is closed: told once it is enough.
		if report := s.o.NotCompacted; report != nil && !known {
			s.mu.Unlock()
			report(sl.id, err)
			s.mu.Lock()
		}
	}
}

// Uncompacted is how many vaults could not be compacted when that was tried last: what is erased there leaves its room in the
// file.
func (s *Store) Uncompacted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uncompacted)
}

// errNoSpare: a copy would leave too little of the disk.
var errNoSpare = errors.New("not enough of the disk is free for a copy")

// compact replaces a file that nobody has open by a copy of it with auto_vacuum. Until the last step the file is not
// touched; what a crash leaves of the copy is removed by the next NewStore.
func compact(ctx context.Context, path string, id vault.HAT, spare int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &disk); err != nil {
		return err
	}
	if int64(disk.Bavail)*disk.Bsize-info.Size() < spare {
		return errNoSpare
	}
	temporary := filepath.Join(filepath.Dir(path), string(id)+".compact"+unfinished)
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			_ = os.Remove(temporary + suffix)
		}
	}()
	// Made here, because SQLite would let others read it.
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	var before, after string
	err = withFile(ctx, path, func(ctx context.Context, c *conn) (err error) {
		if _, err := c.c.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA auto_vacuum = incremental"); err != nil {
			return err
		}
		if before, err = stateOfFile(ctx, c); err != nil {
			return err
		}
		_, err = c.c.ExecContext(ctx, "VACUUM INTO ?", temporary)
		return err
	})
	if err != nil {
		return err
	}
	err = withFile(ctx, temporary, func(ctx context.Context, c *conn) (err error) {
		var mode int
		if err := c.c.QueryRowContext(ctx, "PRAGMA auto_vacuum").Scan(&mode); err != nil {
			return err
		}
		if mode != incremental {
			return fmt.Errorf("the copy has auto_vacuum %d", mode)
		}
		if after, err = stateOfFile(ctx, c); err != nil {
			return err
		}
		_, err = c.c.ExecContext(ctx, "PRAGMA journal_mode = wal; PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	})
	switch {
	case err != nil:
		return err
	case before != after:
		return errors.New("the copy says something else than the file")
	}
	// A log beside the file belongs to it alone.
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.New("the file has a log that could not be emptied")
	}
	if err := durable.Sync(temporary); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// If we stop before this, the file is as it was; after it, it is the copy.
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(path))
}

// stateOfFile is what a copy of a file must say too.
func stateOfFile(ctx context.Context, c *conn) (string, error) {
	var (
		id, head                             string
		version, application                 int64
		seq, receipts, records, runs, tables sql.NullInt64
	)
	err := c.c.QueryRowContext(ctx, `SELECT id, seq, receipts, hex(head), (SELECT max(born) FROM records), (SELECT max(n) FROM runs),
		(SELECT count(*) FROM sqlite_schema) FROM hat`).Scan(&id, &seq, &receipts, &head, &records, &runs, &tables)
	if err == nil {
		err = c.c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	}
	if err == nil {
		err = c.c.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application)
	}
	return fmt.Sprint(id, seq, receipts, head, records, runs, tables, version, application), err
}
