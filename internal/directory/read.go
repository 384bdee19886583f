package directory

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"she/internal/hat"
)

// OpenToRead takes the data directory for reading, beside others that read: no process that writes may have it meanwhile.
// Nothing is made or changed. Methods that write fail. ErrMissing, ErrInUse, ErrNewer; ErrUnfinished, and only Open helps.
func OpenToRead(dir string) (*Directory, error) {
	if err := IsThere(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, nodeFile)
	d := Nowhere()
	d.dir = dir
	lock, err := os.Open(filepath.Join(dir, lockFile))
	switch {
	case errors.Is(err, fs.ErrNotExist): // a copy of a directory, say
	case err != nil:
		return nil, err
	default:
		d.lock = lock
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrInUse
			}
			return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), lock.Close())
		}
	}
	if err := d.openToRead(path); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), d.Close())
	}
	return d, nil
}

// IsThere says whether there is a data directory: nil, or ErrMissing, or why that can't be told.
func IsThere(dir string) error {
	info, err := os.Stat(filepath.Join(dir, nodeFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return fmt.Errorf("%s: %w", dir, ErrMissing)
	}
	return err
}

// ErrUnfinished: a process that was killed left commits in write-ahead logs, which have to be read back first.
var ErrUnfinished = errors.New("the data directory was left unfinished")

func (d *Directory) openToRead(path string) error {
	if _, err := readFormat(d.dir); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(escapeGlob(d.Vaults()), "*-wal"))
	if err != nil {
		return err
	}
	for _, log := range append(logs, path+"-wal") {
		if info, err := os.Stat(log); err == nil && info.Size() > 0 {
			return ErrUnfinished
		}
	}
	// Nobody writes while the lock is held, so that SQLite needs neither a lock nor an index of its log.
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"trusted_schema(off)"},
	}.Encode()}
	if d.db, err = sql.Open("sqlite", dsn.String()); err != nil {
		return fmt.Errorf("open node.db: %w", err)
	}
	d.db.SetMaxOpenConns(1)
	var version int
	if err := d.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("open node.db: %w", err)
	}
	switch {
	case version == 0:
		return ErrMissing
	case version > format:
		return fmt.Errorf("open node.db: %w: format %d, known up to %d", ErrNewer, version, format)
	}
	return d.load()
}

// Nowhere is a directory without HATs and without a place on the disk.
func Nowhere() *Directory {
	return &Directory{byDomain: map[hat.Domain]*entry{}, byID: map[hat.ID]*entry{}, proposed: map[proposedKey]proposal{}}
}
