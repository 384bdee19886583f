package sqlite

import (
	"container/list"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	modernc "modernc.org/sqlite"

	"she/internal/durable"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// Options of a Store.
type Options struct {
	MaxOpen  int           // how many vaults may be open at a time; default MaxVaults
	IdleFor  time.Duration // how long an unused vault stays open; default 1 minute
	MaxBytes int64         // of one vault's file; 0: as the disk allows. Over it: vault.ErrFull
	// Reserve is how many bytes of the disk are reserved for what must work when it is full; 0: none. See
	// reserve.
	Reserve int64
	Spare   int64 // how many bytes must stay free on the disk when a file is copied to compact it
	// NotCompacted is called once for each file that can't be compacted; nil: not called.
	NotCompacted func(id vault.HAT, err error)
	// Storage returns how much a HAT may hold; nil: no bound. It is called each time, so the bound may differ
	// between HATs and change. Unlike with MaxBytes, erasing and ending still work at the bound.
	Storage func(id vault.HAT) plan.Storage
	// ReadOnly: no file is created or changed, and a vault that would need it is not opened. Nobody else may
	// write meanwhile, and no vault may have a write-ahead log.
	ReadOnly bool
	Now      func() time.Time // default time.Now
	// Boot names this start of the server, so that leases of earlier starts are known to have lapsed; default
	// random.
	Boot string
	// AtCommit, for tests, is called before and after each commit with the names of its transactions
	// ("append", "claim", …) and whether they are on disk. Its error counts as one of the disk.
	AtCommit func(ops []string, persisted bool) error
	// Observe: see ledger.Setup.
	Observe func(op string, took time.Duration, err error)
	// AtPrepare, for tests, is called with each statement that is prepared, by the goroutine that needs it.
	AtPrepare func(statement string)
}

// A Store is a folder of vaults, of which a bounded number is open. The lock of package directory makes sure
// that one process at a time uses the folder.
type Store struct {
	dir      string
	o        Options
	template func() ([]byte, error) // the content of an empty vault's file

	mu      sync.Mutex
	slots   map[vault.HAT]*slot
	files   map[*slot]struct{}   // all slots that are not gone, even if their file has closed itself and they are no longer in slots
	idle    *list.List           // slots that nobody uses, least recently used first
	tidier  *time.Timer          // closes slots that are idle for long; nil: none is idle
	open    int                  // files open, also those of slots no longer in the map
	changed chan struct{}        // closed and replaced when waiting callers should look again
	checked map[vault.HAT]bool   // since the start
	damaged map[vault.HAT]damage // not opened until the file is replaced
	checks  chan struct{}        // full while a file is checked

	reserve  *reserve
	compacts chan struct{}  // full while a file is compacted
	work     sync.WaitGroup // goroutines that open and close files; started under mu while the store is open; Close waits for them
	// uncompacted are the vaults whose file could not be compacted at the last attempt.
	uncompacted map[vault.HAT]struct{}
	closed      bool
}

// A slot is a vault that is open, or is being opened or closed.
type slot struct {
	id    vault.HAT
	ready chan struct{} // closed when f or err is set
	gone  chan struct{} // closed when the file is closed
	f     *file
	err   error

	refs    int
	idle    *list.Element
	since   time.Time // when it became idle
	closing bool
	wanted  bool   // somebody waits to open it again
	compact func() // stops the compaction of the closed file; nil: none is in progress
}

const suffix, unfinished = ".vault", ".unfinished"

var idPattern = regexp.MustCompile(`^[0-9a-z-]{1,64}$`)

// NewStore opens the folder and removes files that a crash left unfinished.
func NewStore(dir string, o Options) (*Store, error) {
	if o.MaxOpen <= 0 {
		o.MaxOpen = MaxVaults()
	}
	if o.IdleFor <= 0 {
		o.IdleFor = time.Minute
	}
	if o.Storage == nil {
		o.Storage = func(vault.HAT) plan.Storage { return plan.Storage{} }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Boot == "" {
		o.Boot = rand.Text()
	}
	var left []string
	var err error
	if !o.ReadOnly {
		left, err = filepath.Glob(filepath.Join(escapeGlob(dir), "*"+unfinished+"*"))
	}
	if err != nil {
		return nil, fmt.Errorf("open vaults: %w", err)
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("open vaults: %w", err)
		}
	}
	s := &Store{
		dir: dir,
		o:   o,
		template: onceMade(func() ([]byte, error) {
			return makeTemplate(filepath.Join(dir, "template"+unfinished))
		}),
		slots:       map[vault.HAT]*slot{},
		files:       map[*slot]struct{}{},
		uncompacted: map[vault.HAT]struct{}{},
		idle:        list.New(),
		changed:     make(chan struct{}),
		checked:     map[vault.HAT]bool{},
		damaged:     map[vault.HAT]damage{},
		checks:      make(chan struct{}, 1),
		compacts:    make(chan struct{}, 1),
	}
	if o.Reserve > 0 {
		if s.reserve, err = newReserve(dir, o.Reserve); err != nil {
			return nil, fmt.Errorf("open vaults: %w", err)
		}
	}
	return s, nil
}

func escapeGlob(s string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(s, `\$0`)
}

// onceMade calls f until it succeeds once. On a full disk it fails, but everything else must go on.
func onceMade(f func() ([]byte, error)) func() ([]byte, error) {
	var mu sync.Mutex
	var made []byte
	return func() (_ []byte, err error) {
		mu.Lock()
		defer mu.Unlock()
		if made == nil {
			made, err = f()
		}
		return made, err
	}
}

// makeTemplate returns the content of a vault's file with an empty schema. Copying it is several times
// cheaper than creating the tables.
func makeTemplate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	err = withFile(context.Background(), path, func(ctx context.Context, c *conn) error {
		if _, err := c.c.ExecContext(ctx, "PRAGMA auto_vacuum = incremental; PRAGMA journal_mode = wal"); err != nil {
			return err
		}
		return migrate(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// withFile runs f on a file that nobody else has open.
func withFile(ctx context.Context, path string, f func(context.Context, *conn) error) error {
	connector, err := modernc.NewConnector(dsn(path, 0, false))
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1)
	c, err := newConn(ctx, db)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	err = f(ctx, c)
	return errors.Join(err, c.close(), db.Close())
}

func (s *Store) path(id vault.HAT) string { return filepath.Join(s.dir, string(id)+suffix) }

// Create creates the vault of a new HAT with its Owner. When it returns, the vault is complete and durable.
// If it stops earlier, there is none. vault.ErrExists.
func (s *Store) Create(ctx context.Context, id vault.HAT, owner vault.User) (err error) {
	if !idPattern.MatchString(string(id)) {
		return fmt.Errorf("create vault: %.80q is no id of a HAT", id)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("create vault %s: %w", id, err)
		}
	}()
	if _, err := os.Lstat(s.path(id)); err == nil {
		return vault.ErrExists
	}
	temporary := filepath.Join(s.dir, string(id)+"."+rand.Text()+unfinished)
	defer os.Remove(temporary)
	template, err := s.template()
	if err != nil {
		return named(temporary, err)
	}
	if err := os.WriteFile(temporary, template, 0o600); err != nil {
		return err
	}
	if err := s.addOwner(ctx, temporary, id, owner); err != nil {
		return named(temporary, err)
	}
	// If we stop here, the next NewStore removes the unfinished file.
	if err := durable.Sync(temporary); err != nil {
		return err
	}
	// Link, unlike Rename, never replaces a file.
	if err := os.Link(temporary, s.path(id)); errors.Is(err, fs.ErrExist) {
		return vault.ErrExists
	} else if err != nil {
		return err
	}
	// If we stop here, the vault is either complete under its name or not there.
	return durable.Sync(s.dir)
}

func (s *Store) addOwner(ctx context.Context, path string, id vault.HAT, owner vault.User) error {
	return withFile(ctx, path, func(ctx context.Context, c *conn) error {
		if _, err := c.Exec(ctx, "PRAGMA synchronous = off"); err != nil { // the whole file is synced once at the end
			return err
		}
		if _, err := c.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		c.prepared = s.o.AtPrepare
		if err := ledger.Create(ctx, c, id, s.o.Now(), owner); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "COMMIT")
		return err
	})
}

// Open returns the vault of a HAT, and a function to give it back. If MaxOpen vaults are in use, it waits.
// vault.ErrNotFound, ErrDamaged and ErrNewer concern this HAT only.
func (s *Store) Open(ctx context.Context, id vault.HAT) (*ledger.Vault, func(), error) {
	for {
		sl, wait, err := s.take(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if sl == nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, nil, fmt.Errorf("open vault %s: %w", id, ctx.Err())
			}
		}
		<-sl.ready
		if sl.err != nil {
			s.give(sl)
			return nil, nil, sl.err
		}
		return sl.f.vault, sync.OnceFunc(func() { s.give(sl) }), nil
	}
}

// take adds a reference to the vault's slot, opening it if needed, or returns what to wait for.
func (s *Store) take(ctx context.Context, id vault.HAT) (*slot, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fmt.Errorf("open vault %s: %w", id, vault.ErrClosed)
	}
	if sl := s.slots[id]; sl != nil {
		switch {
		case sl.closing:
			sl.wanted = true
			if sl.compact != nil {
				sl.compact()
			}
			return nil, sl.gone, nil
		case sl.f != nil && !sl.f.usable():
			// It closed itself. Its writer is gone, so the file can be opened again beside its last readers.
			delete(s.slots, id)
			if sl.refs == 0 {
				s.closeLocked(sl)
				return nil, sl.gone, nil
			}
		default:
			s.useLocked(sl)
			return sl, nil, nil
		}
	}
	if !idPattern.MatchString(string(id)) { // ids of slots always match
		return nil, nil, fmt.Errorf("open vault: %.80q is no id of a HAT: %w", id, vault.ErrNotFound)
	}
	if s.open >= s.o.MaxOpen {
		if front := s.idle.Front(); front != nil {
			s.closeLocked(front.Value.(*slot))
		}
		return nil, s.changed, nil
	}
	if d, found := s.damaged[id]; found {
		if d.is(s.path(id)) {
			return nil, nil, d.err
		}
		delete(s.damaged, id)
	}
	sl := &slot{id: id, ready: make(chan struct{}), gone: make(chan struct{}), refs: 1}
	s.slots[id], s.files[sl] = sl, struct{}{}
	s.open++
	check := !s.checked[id] && small(s.path(id))
	s.work.Go(func() { s.openSlot(ctx, sl, check) })
	return sl, nil, nil
}

func (s *Store) openSlot(ctx context.Context, sl *slot, check bool) {
	f, err := open(ctx, sl.id, s.path(sl.id), s.o, s.reserve)
	if (errors.Is(err, vault.ErrFull) || errors.Is(err, vault.ErrMachine)) && s.reserve.use() {
		f, err = open(ctx, sl.id, s.path(sl.id), s.o, s.reserve) // the index of the write-ahead log takes room
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl.f, sl.err = f, err
	if err != nil {
		delete(s.slots, sl.id)
		s.checkedLocked(sl.id, err)
	} else if check {
		f.check(s.checks, func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.checkedLocked(sl.id, err)
		})
	}
	close(sl.ready)
}

// checkedLocked remembers that a file was found whole, or damaged.
func (s *Store) checkedLocked(id vault.HAT, err error) {
	switch {
	case err == nil:
		s.checked[id] = true
	case errors.Is(err, vault.ErrDamaged):
		s.damaged[id] = damaged(s.path(id), err)
	}
}

func (s *Store) useLocked(sl *slot) {
	sl.refs++
	if sl.idle != nil {
		s.idle.Remove(sl.idle)
		sl.idle = nil
	}
}

// give removes one reference.
func (s *Store) give(sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.refs--; sl.refs > 0 {
		return
	}
	switch {
	case sl.err != nil, s.closed: // there is no file, or Close closes it
		s.open--
		s.goneLocked(sl)
	case s.slots[sl.id] != sl:
		if !sl.closing {
			s.closeLocked(sl)
		}
	default:
		sl.idle, sl.since = s.idle.PushBack(sl), time.Now()
		if s.tidier == nil {
			s.tidier = time.AfterFunc(s.o.IdleFor, s.tidy)
		}
	}
	s.wakeLocked()
}

// tidy closes vaults that were not used for long, to free memory and descriptors.
func (s *Store) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		front := s.idle.Front()
		if front == nil || s.closed {
			s.tidier = nil
			return
		}
		sl := front.Value.(*slot)
		if left := s.o.IdleFor - time.Since(sl.since); left > 0 {
			s.tidier = time.AfterFunc(left, s.tidy)
			return
		}
		s.closeLocked(sl)
	}
}

// goneLocked forgets a slot whose file is closed.
func (s *Store) goneLocked(sl *slot) {
	delete(s.files, sl)
	if s.slots[sl.id] == sl {
		delete(s.slots, sl.id)
	}
	close(sl.gone)
}

// closeLocked starts to close an unused slot, while the store is open. Nobody opens the file again until
// its gone is closed.
func (s *Store) closeLocked(sl *slot) {
	sl.closing = true
	if sl.idle != nil {
		s.idle.Remove(sl.idle)
		sl.idle = nil
	}
	s.work.Go(func() {
		err := sl.f.close() // everything committed is on disk already
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		s.wakeLocked()
		if err == nil && !sl.f.shrinks && !s.o.ReadOnly {
			s.compactLocked(sl)
		}
		s.goneLocked(sl)
		s.wakeLocked()
	})
}

func (s *Store) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close closes all vaults, those in use too; their users get vault.ErrClosed. It returns when the files are
// closed.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.tidier != nil {
		s.tidier.Stop()
	}
	for sl := range s.files {
		if sl.compact != nil {
			sl.compact()
		}
	}
	s.mu.Unlock()
	s.work.Wait()
	s.reserve.close()
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.files))
	s.mu.Unlock()
	var err error
	for _, sl := range left {
		if sl.f != nil {
			err = errors.Join(err, sl.f.close())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.idle.Len() > 0 {
		sl := s.idle.Remove(s.idle.Front()).(*slot)
		sl.idle = nil
		s.open--
		s.goneLocked(sl)
	}
	return err
}

// OpenVaults returns how many files are open, including those that are being opened or closed.
func (s *Store) OpenVaults() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// FileSize returns how many bytes of the disk a HAT's vault takes, with its write-ahead log; 0 if there is
// none.
func (s *Store) FileSize(id vault.HAT) (n int64) {
	if !idPattern.MatchString(string(id)) {
		return 0
	}
	for _, path := range []string{s.path(id), s.path(id) + "-wal"} {
		if info, err := os.Stat(path); err == nil {
			n += info.Size()
		}
	}
	return n
}

// List returns the ids of all vaults in the folder.
func (s *Store) List() ([]vault.HAT, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list vaults: %w", err)
	}
	var ids []vault.HAT
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok {
			ids = append(ids, vault.HAT(id))
		}
	}
	return ids, nil
}
