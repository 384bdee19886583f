package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"she/internal/vault"
)

// A file is checked as a whole once in each life of the server. That takes up to some 30 ms, longer than somebody who
// wants one record should wait, so it is done beside the first requests, for one vault at a time. What it finds closes
// the vault, and the file is set aside: nobody opens it again until it is another.

// maxCheck is the size up to which a file is checked. Of larger ones SQLite notices damage where it reads.
const maxCheck = 8 << 20

// A damage is what was found, and in which file.
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

// is says that the file is still the one that was found damaged.
func (d damage) is(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == d.size && info.ModTime().Equal(d.at)
}

func small(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() <= maxCheck
}

// check has the file checked when there is a place in turns, and tells done of the result unless the vault is closed
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
			// Once, so it is not kept; and neither is the whole file in memory.
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
	case f.turn <- struct{}{}:
		if f.usable() {
			f.closeItself(err)
		}
		<-f.turn
	case <-f.closed: // somebody else has closed it, and keeps the turn
	}
	return err
}
