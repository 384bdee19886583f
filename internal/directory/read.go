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

// OpenToRead locks the data directory for reading, together with other readers; no writer may hold it. It
// creates and changes nothing, and methods that write fail. ErrMissing, ErrInUse, ErrNewer, or ErrUnfinished,
// after which only Open helps.
func OpenToRead(dir string) (*Directory, error) {
	if err := IsThere(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, nodeFile)
	d := Nowhere()
	d.dir = dir
	lock, err := os.Open(filepath.Join(dir, lockFile))
	switch {
	case errors.Is(err, fs.ErrNotExist): // for example a copy of a directory
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

// IsThere returns nil if there is a data directory, ErrMissing if not, or why it can't be checked.
func IsThere(dir string) error {
	info, err := os.Stat(filepath.Join(dir, nodeFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return fmt.Errorf("%s: %w", dir, ErrMissing)
	}
	return err
}

// ErrUnfinished says that a process was killed and left commits in write-ahead logs, which a writer must read
// back first.
var ErrUnfinished = errors.New("the data directory has unfinished commits")

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
	// Nobody writes while the lock is held, so SQLite needs neither a lock nor an index of its log.
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

// Nowhere returns a directory without HATs that is not on the disk.
func Nowhere() *Directory {
	return &Directory{byDomain: map[hat.Domain]*entry{}, byID: map[hat.ID]*entry{}, proposed: map[proposedKey]proposal{}}
}
