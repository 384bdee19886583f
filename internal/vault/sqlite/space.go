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

// Erasing leaves free pages in the file. Upkeep gives them back to the disk piece by piece: pages from the
// end of the file move into them, and the file is truncated. This works only for files made with auto_vacuum.
// Older ones are copied once while nobody uses them.

const (
	mostFree    = 256 // free pages that are kept without shrinking, 1 MB
	leastFree   = 64  // free pages that remain for new data
	freeShare   = 32  // free pages below this share of the file are kept too
	incremental = 2   // the value of auto_vacuum
)

// beginSpace reads whether the file can give free pages back, and whether it has many.
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

// mayShrink reports whether enough pages are free to give some back.
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

// shrink gives back at most that many pages.
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
	// SQLite returns a row for each page, and moves a page for each row that is read.
	rows, err := t.c.QueryContext(context.Background(), fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
	if err != nil {
		return false, err
	}
	for rows.Next() {
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	// The old content of a moved page stays until the file is truncated, when the log is emptied.
	t.noted |= ledger.Replacing
	if t.f.shrinking, err = t.f.mayShrink(context.Background(), t.conn); err == nil && !t.f.shrinking {
		t.noted |= ledger.Erasing
	}
	return true, err
}

// compactLocked copies the file of a closed vault to one that can give free pages back, and puts that in its
// place. If somebody wants the vault, it stops at once and is done another time. The caller holds s.mu, which
// is released meanwhile.
func (s *Store) compactLocked(sl *slot) {
	if s.closed || sl.wanted || s.slots[sl.id] != sl {
		return
	}
	select {
	case s.compacts <- struct{}{}:
		defer func() { <-s.compacts }()
	default:
		return // one at a time; this one follows when it is closed again
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sl.compact = stop
	s.mu.Unlock()
	err := compact(ctx, s.path(sl.id), sl.id, s.o.Spare) // after an error the file is unchanged
	s.mu.Lock()
	sl.compact = nil
	switch {
	case err == nil:
		delete(s.uncompacted, sl.id)
	case ctx.Err() != nil: // somebody wants the vault
	default:
		_, known := s.uncompacted[sl.id]
		s.uncompacted[sl.id] = struct{}{}
		// It is tried each time the file is closed, but reported once.
		if report := s.o.NotCompacted; report != nil && !known {
			s.mu.Unlock()
			report(sl.id, err)
			s.mu.Lock()
		}
	}
}

// Uncompacted returns how many vaults could not be compacted at the last attempt. Their files do not shrink
// when data is erased.
func (s *Store) Uncompacted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uncompacted)
}

// errNoSpare: a copy would leave too little free space.
var errNoSpare = errors.New("not enough free disk space for a copy")

// compact replaces a closed file by a copy with auto_vacuum. Until the last step the file is not touched.
// After a crash the next NewStore removes the copy.
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
	// Created here, because SQLite would let other users read it.
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
		return errors.New("the copy differs from the file")
	}
	// The log belongs to this file only.
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.New("the file has a log that could not be emptied")
	}
	if err := durable.Sync(temporary); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// If we stop before this, the file is unchanged; after it, it is the copy.
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(path))
}

// stateOfFile returns what must be the same in a copy.
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
