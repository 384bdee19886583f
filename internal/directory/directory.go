// Package directory stores which HATs exist: their domains, their keys, and where each vault is. It also
// manages the data directory itself: one process at a time, one format version.
//
//	DIR/            0700
//	  lock          held with flock by the process that uses DIR
//	  node.db       this package's: what is not a person's
//	  vaults/       one file for each HAT, package vault's
//
// It reads no vault. Domains are few and kept in memory; a key is parsed when its HAT is first asked for.
package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"she/internal/durable"
	"she/internal/hat"
)

var (
	ErrNotFound = errors.New("no such HAT")
	ErrExists   = errors.New("a HAT with this domain exists already")
	ErrInUse    = errors.New("another process is using the data directory")
	ErrNewer    = errors.New("the data directory was written by a newer version")
	ErrMissing  = errors.New("there is no data directory")
)

// format is the version of the layout and of node.db, kept as its user_version and in the file format.
const format = 1

const nodeFile, lockFile = "node.db", "lock"

const schema = `
CREATE TABLE hats (
	id      TEXT PRIMARY KEY,
	domain  TEXT NOT NULL UNIQUE,
	key     TEXT NOT NULL,    -- PKCS #8 in PEM
	created INTEGER NOT NULL  -- microseconds since 1970
) STRICT, WITHOUT ROWID`

// proposedSchema adds to the tables of the format. An earlier version that opens the directory ignores it.
const proposedSchema = `
CREATE TABLE IF NOT EXISTS proposed (
	kind    TEXT NOT NULL,
	id      TEXT NOT NULL,
	terms   TEXT NOT NULL,     -- digest of the last ones
	changed INTEGER NOT NULL,  -- there were others before
	PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID`

// A HAT is one entry of the directory.
type HAT struct {
	ID      hat.ID // random; names the vault's file; says nothing about the person
	Domain  hat.Domain
	Key     *rsa.PrivateKey // nil in List
	Created time.Time
}

// A Directory is an open data directory. All methods may be called concurrently.
type Directory struct {
	dir  string
	lock *os.File
	db   *sql.DB

	mu       sync.RWMutex
	byDomain map[hat.Domain]*entry
	byID     map[hat.ID]*entry
	proposed map[proposedKey]proposal
}

// A proposedKey names a function or an application.
type proposedKey struct{ kind, id string }

type proposal struct {
	terms   hat.TermsDigest
	changed bool
}

// An entry parses its HAT's key once, on first use.
type entry struct {
	HAT
	once sync.Once
	err  error
}

// Open locks the data directory for this process, and creates it if it does not exist. ErrInUse, ErrNewer.
func Open(dir string) (*Directory, error) {
	// Take the lock first, so that two processes can't both create the layout.
	if err := os.MkdirAll(filepath.Join(dir, "vaults"), 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	d := Nowhere()
	d.dir, d.lock = dir, lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), lock.Close())
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), d.Close())
	}
	return d, nil
}

func (d *Directory) open() error {
	// Check the format before reading anything else, because a newer version may have changed its meaning.
	written, err := readFormat(d.dir)
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, nodeFile)
	// SQLite would make the file readable to others, with the keys inside.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open node.db: %w", err)
	}
	if err := errors.Join(f.Close(), durable.Sync(d.dir)); err != nil {
		return err
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"journal_mode(wal)", "synchronous(full)", "trusted_schema(off)"},
		"_txlock": {"immediate"},
	}.Encode()}
	if d.db, err = sql.Open("sqlite", dsn.String()); err != nil {
		return fmt.Errorf("open node.db: %w", err)
	}
	d.db.SetMaxOpenConns(1)
	if err := d.migrate(); err != nil {
		return fmt.Errorf("open node.db: %w", err)
	}
	if _, err := d.db.Exec(proposedSchema); err != nil {
		return fmt.Errorf("open node.db: %w", err)
	}
	if written != format {
		// On a full disk the next start tries again, because this one must still be able to erase.
		if err := writeFormat(d.dir); err != nil && !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("write the format of the data directory: %w", err)
		}
	}
	return d.load()
}

func (d *Directory) migrate() error {
	tx, err := d.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == format:
		return nil
	case version > format:
		return fmt.Errorf("%w: format %d, known up to %d", ErrNewer, version, format)
	}
	if _, err := tx.Exec(schema + fmt.Sprintf("; PRAGMA user_version = %d", format)); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *Directory) load() error {
	rows, err := d.db.Query("SELECT id, domain, created FROM hats")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			id      hat.ID
			domain  string
			created int64
		)
		if err := rows.Scan(&id, &domain, &created); err != nil {
			return err
		}
		parsed, err := hat.ParseDomain(domain)
		if err != nil {
			return fmt.Errorf("HAT %s: %w", id, err)
		}
		d.add(&entry{HAT: HAT{ID: id, Domain: parsed, Created: time.UnixMicro(created).UTC()}})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var there bool // missing in a directory of an earlier version that is open for reading
	if err := d.db.QueryRow("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'proposed')").Scan(&there); err != nil || !there {
		return err
	}
	return d.loadProposed()
}

func (d *Directory) loadProposed() error {
	rows, err := d.db.Query("SELECT kind, id, terms, changed FROM proposed")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			key   proposedKey
			terms string
			p     proposal
		)
		if err := rows.Scan(&key.kind, &key.id, &terms, &p.changed); err != nil {
			return err
		}
		if p.terms, err = hat.ParseTermsDigest(terms); err != nil {
			p.changed = true // the former terms are not known, so they count as changed
		}
		d.proposed[key] = p
	}
	return rows.Err()
}

// Propose stores which terms of something can be agreed to from now on, durably, and reports whether they
// have ever been different.
func (d *Directory) Propose(kind, id string, terms hat.TermsDigest) (changed bool, err error) {
	key := proposedKey{kind, id}
	d.mu.RLock()
	before, known := d.proposed[key]
	d.mu.RUnlock()
	if known && before.terms == terms {
		return before.changed, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before, known = d.proposed[key]
	now := proposal{terms, before.changed || known && before.terms != terms}
	_, err = d.db.Exec("INSERT OR REPLACE INTO proposed (kind, id, terms, changed) VALUES (?, ?, ?, ?)", kind, id, terms.String(), now.changed)
	if err != nil {
		return true, fmt.Errorf("note the terms of %s %s: %w", kind, id, err)
	}
	d.proposed[key] = now
	return now.changed, nil
}

func (d *Directory) add(e *entry) {
	d.byID[e.ID], d.byDomain[e.Domain] = e, e
}

// Close releases the data directory.
func (d *Directory) Close() error {
	var err error
	if d.db != nil {
		err = d.db.Close()
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

func escapeGlob(s string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(s, `\$0`)
}

// Vaults returns the folder with the vaults' files.
func (d *Directory) Vaults() string { return filepath.Join(d.dir, "vaults") }

// Create adds a HAT with a new id and key. It is durable on return; the caller creates the vault. ErrExists.
func (d *Directory) Create(ctx context.Context, domain hat.Domain) (HAT, error) {
	if domain == (hat.Domain{}) {
		return HAT{}, fmt.Errorf("create HAT: %s", domain)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return HAT{}, fmt.Errorf("create HAT %s: %w", domain, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return HAT{}, fmt.Errorf("create HAT %s: %w", domain, err)
	}
	e := &entry{HAT: HAT{
		ID:      hat.NewID(),
		Domain:  domain,
		Key:     key,
		Created: time.Now().UTC().Truncate(time.Microsecond),
	}}
	_, err = d.db.ExecContext(ctx, "INSERT INTO hats (id, domain, key, created) VALUES (?, ?, ?, ?)",
		e.ID, domain.String(), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), e.Created.UnixMicro())
	var lite *sqlite.Error
	if errors.As(err, &lite) && lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
		err = ErrExists
	}
	if err != nil {
		return HAT{}, fmt.Errorf("create HAT %s: %w", domain, err)
	}
	d.mu.Lock()
	d.add(e)
	d.mu.Unlock()
	return e.HAT, nil
}

// ByDomain returns the HAT with that domain. ErrNotFound.
func (d *Directory) ByDomain(domain hat.Domain) (HAT, error) {
	d.mu.RLock()
	e := d.byDomain[domain]
	d.mu.RUnlock()
	return d.withKey(e)
}

// ByID returns the HAT with that id. ErrNotFound.
func (d *Directory) ByID(id hat.ID) (HAT, error) {
	d.mu.RLock()
	e := d.byID[id]
	d.mu.RUnlock()
	return d.withKey(e)
}

// List returns all HATs by domain, without their keys.
func (d *Directory) List() []HAT {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]HAT, 0, len(d.byID))
	for _, e := range d.byID {
		all = append(all, HAT{ID: e.ID, Domain: e.Domain, Created: e.Created})
	}
	slices.SortFunc(all, func(a, b HAT) int { return cmp.Compare(a.Domain.String(), b.Domain.String()) })
	return all
}

func (d *Directory) withKey(e *entry) (HAT, error) {
	if e == nil {
		return HAT{}, ErrNotFound
	}
	e.once.Do(func() {
		if e.Key == nil {
			e.Key, e.err = d.readKey(e.ID)
		}
	})
	if e.err != nil {
		return HAT{}, fmt.Errorf("HAT %s: %w", e.ID, e.err)
	}
	return e.HAT, nil
}

func (d *Directory) readKey(id hat.ID) (*rsa.PrivateKey, error) {
	var text []byte
	if err := d.db.QueryRow("SELECT key FROM hats WHERE id = ?", id).Scan(&text); err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("its key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its key can't be read")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("its key is not an RSA key")
	}
	return key, nil
}
