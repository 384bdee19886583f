package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"she/internal/vault"
)

// A file is checked as a whole once after each start of the server. That takes up to about 30 ms, too long
// for somebody who wants one record, so it runs beside the first requests, for one vault at a time. If it
// finds damage, the vault closes, and the file is not opened again until it is replaced.

// maxCheck is the largest file that is checked. In larger ones SQLite notices damage when it reads it.
const maxCheck = 8 << 20

// A damage is what was found, and in which version of the file.
type damage struct {
	err  error
	size int64
	at   time.Time // of the file's last change
}

func damaged(path string, err error) damage {
	d := damage{err: err}
	if info, err := os.Stat(path); err == nil {
		d.size, d.at = info.Size(), info.ModTime()
	}
	return d
}

// is reports whether the file is still the damaged one.
func (d damage) is(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == d.size && info.ModTime().Equal(d.at)
}

func small(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() <= maxCheck
}

// check checks the file when turns has a slot. It calls done with the result, unless the vault is closed
// before.
func (f *file) check(turns chan struct{}, done func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stopCheck = cancel
	f.checks.Go(func() {
		defer cancel()
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-ctx.Done():
			return
		}
		var verdict string
		err := f.readOne(ctx, func(c *conn) error {
			// It runs once, so neither the statement nor the pages of the file are cached.
			err := c.c.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
			_, _ = c.c.ExecContext(context.WithoutCancel(ctx), "PRAGMA shrink_memory")
			return err
		})
		switch {
		case err == nil && verdict == "ok":
			done(nil)
		case err == nil, errors.Is(err, vault.ErrDamaged):
			done(f.setAside())
		}
	})
}

// setAside closes the vault because its file is damaged.
func (f *file) setAside() error {
	err := fmt.Errorf("vault %s: %w, and set aside until it is replaced: %s", f.id, vault.ErrDamaged, f.path)
	select {
	case f.writerLock <- struct{}{}:
		if f.usable() {
			f.closeItself(err)
		}
		<-f.writerLock
	case <-f.closed: // it is closed already, with the writer lock held
	}
	return err
}
