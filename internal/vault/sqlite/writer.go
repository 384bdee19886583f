package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"she/internal/vault"
	"she/internal/vault/ledger"
)

// maxBatch bounds how many transactions share one COMMIT, so that the first of many does not wait too long.
const maxBatch = 64

// A job is one transaction that a caller waits for.
type job struct {
	op   string
	ctx  context.Context // checked only before the job begins
	do   func(*transaction) error
	grew *bool      // whether do makes the HAT hold more
	err  error      // the result of do
	done chan error // receives one error
}

// A transaction is one transaction within a batch.
type transaction struct {
	*conn
	f       *file
	noted   ledger.Effect
	counted bool // file.pages includes what it adds
}

// Note: see ledger.Tx.
func (t *transaction) Note(e ledger.Effect) {
	t.noted |= e
	if e&ledger.Unending != 0 {
		t.f.hasUpkeep = true
	}
}

// Reserved: see ledger.Tx.
func (t *transaction) Reserved() bool { return t.f.reserve.givenUp() }

// Apart: see ledger.Tx.
func (t *transaction) Apart(ctx context.Context, do func() error, refused func(error) bool) (err, fatal error) {
	if _, err := t.Exec(ctx, "SAVEPOINT apart"); err != nil {
		return nil, err
	}
	if err = do(); err != nil {
		if !refused(err) {
			return nil, err
		}
		t.f.keeper.Undone(false)
		if _, err := t.Exec(ctx, "ROLLBACK TO apart"); err != nil {
			return nil, err
		}
	}
	_, fatal = t.Exec(ctx, "RELEASE apart")
	return err, fatal
}

// Write: see ledger.Rows. If nobody else is writing, the caller does it itself, which saves a handover to
// serve and back.
//
// On a full disk, a transaction that does not make the HAT hold more is tried once more with the reserve
// given up.
func (f *file) Write(ctx context.Context, op string, do func(ledger.Tx) error) error {
	if f.readOnly {
		return errReadOnly
	}
	grew := op == ledger.OpAppend
	err := f.writeOnce(ctx, op, &grew, do)
	if errors.Is(err, vault.ErrFull) && !grew && f.reserve.use() {
		err = f.writeOnce(ctx, op, &grew, do)
	}
	return err
}

func (f *file) writeOnce(ctx context.Context, op string, grew *bool, do func(ledger.Tx) error) error {
	j := job{op: op, grew: grew, ctx: ctx, do: func(t *transaction) error { return do(t) }, done: make(chan error, 1)}
	select {
	case f.writerLock <- struct{}{}:
		f.work(j)
	default:
		select {
		case f.jobs <- j:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.closed:
			return f.closedError()
		}
	}
	// The answer comes soon in any case. Leaving now would not tell whether the job was done.
	err := <-j.done
	var p *panicError
	if errors.As(err, &p) {
		panic(p.value)
	}
	return named(f.path, err)
}

// work does a batch that begins with the job, and answers all of it. The caller holds the writer lock; work
// releases it.
func (f *file) work(first job) (jobs []job) {
	defer func() { <-f.writerLock }()
	if !f.usable() {
		first.done <- f.closedError()
		return nil
	}
	w, err := f.conns.writer(context.Background())
	if err != nil {
		first.done <- fmt.Errorf("begin: %w", err)
		return nil
	}
	f.w = w
	had := f.hasUpkeep || f.logHolds
	err = errors.New("a panic between transactions")
	defer func() {
		f.keeper.Released()
		if err != nil {
			f.closeItself(err)
		} else {
			f.conns.put(w, false)
		}
		f.w = nil
		for _, j := range jobs {
			j.done <- cmp.Or(err, j.err)
		}
	}()
	jobs, err = f.batch(first)
	f.crowded = len(jobs) > 1
	if !had && (f.hasUpkeep || f.logHolds) {
		select {
		case f.look <- struct{}{}:
		default:
		}
	}
	return jobs
}

// serve writes jobs that came while somebody else was writing, and does the upkeep.
func (f *file) serve() {
	defer close(f.served)
	for {
		var (
			upkeep <-chan struct{}  // nil while there is none, so it is never chosen
			again  <-chan time.Time // the same, for emptying the log
		)
		f.writerLock <- struct{}{}
		if f.hasUpkeep {
			upkeep = always
		}
		if f.logHolds {
			again = time.After(emptyAgain)
		}
		<-f.writerLock
		select {
		case j := <-f.jobs:
			f.writerLock <- struct{}{}
			f.work(j)
		case <-upkeep:
			f.doUpkeep()
		case <-again:
			f.writerLock <- struct{}{}
			if w, err := f.conns.writer(context.Background()); err == nil && f.usable() {
				f.emptyLog(w)
				f.conns.put(w, false)
				f.hasUpkeep, f.upkeepWaits = f.hasUpkeep || f.upkeepWaits, false
			}
			<-f.writerLock
		case <-f.look:
		case <-f.closed:
			f.writerLock <- struct{}{} // it is never released
			return
		}
	}
}

// batch runs the job and all others that wait, in one commit, and returns them to be answered. Each after the
// first has a savepoint. If the first fails, nothing else has to be kept. Failed jobs are answered after the
// commit too, because the reason, such as a record that exists already, may be an earlier job of the batch.
// An error means that the state of the file is in doubt. Nobody may be answered, and try again, before the
// vault is closed.
func (f *file) batch(first job) (jobs []job, _ error) {
	ctx := context.Background() // see tx.ctx
	if _, err := f.w.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		// Nothing has begun, so nothing is in doubt: another program may have locked the file.
		first.err = fmt.Errorf("begin: %w", err)
		return []job{first}, nil
	}
	var (
		good   []string // names of the jobs that succeeded
		erased bool
	)
	for j, more := first, true; more; j, more = f.next(len(jobs)) {
		t := &transaction{conn: f.w, f: f, counted: j.op == ledger.OpAppend}
		if !t.counted {
			f.pages = unknownPages
		}
		var fatal error
		if len(jobs) == 0 {
			if j.err = t.do(j); j.err != nil {
				return []job{j}, f.undo(j.err)
			}
		} else {
			j.err, fatal = t.run(ctx, j)
		}
		jobs = append(jobs, j)
		if errors.Is(named(f.path, fatal), vault.ErrFull) {
			return f.noRoom(jobs, fatal)
		}
		if fatal != nil {
			return jobs, fatal
		}
		if j.err == nil {
			erased = erased || t.noted&ledger.Erasing != 0
			f.logHolds = f.logHolds || t.noted&ledger.Replacing != 0
			good = append(good, j.op)
		}
	}
	if err := f.keeper.Finish(ctx, &transaction{conn: f.w, f: f}); err != nil {
		return f.noRoom(jobs, fmt.Errorf("commit: %w", err))
	}
	// If we stop before this COMMIT is on disk, the batch is undone, and nobody was told otherwise.
	if err := f.atCommit(good, false); err != nil {
		return jobs, fmt.Errorf("commit: %w", err)
	}
	if _, err := f.w.Exec(ctx, "COMMIT"); err != nil {
		return f.noRoom(jobs, fmt.Errorf("commit: %w", err))
	}
	// If we stop here, the batch is stored but nobody was told. A caller who tries again finds it done: the
	// write is a duplicate, the lease has lapsed, the run is committed.
	f.keeper.Committed()
	if err := f.atCommit(good, true); err != nil {
		return jobs, fmt.Errorf("after commit: %w", err)
	}
	if erased {
		f.emptyLog(f.w)
		f.hasUpkeep = f.hasUpkeep || f.shrinks
	}
	return jobs, nil
}

// noRoom fails all jobs of a batch for which the disk had no room. SQLite has undone the transaction, or does
// so now. The frame that commits is written last, so nothing is in doubt. It returns any other error, after
// which the file is in doubt.
func (f *file) noRoom(jobs []job, err error) ([]job, error) {
	if !errors.Is(named(f.path, err), vault.ErrFull) {
		return jobs, err
	}
	_, _ = f.w.c.ExecContext(context.Background(), "ROLLBACK")
	f.keeper.Undone(true)
	for i := range jobs {
		jobs[i].err = err
	}
	return jobs, nil
}

// emptyLog removes erased and replaced data from the write-ahead log, where it would stay readable for a
// while. If a reader is in the way, nobody waits; serve tries again later.
func (f *file) emptyLog(w *conn) {
	ctx := context.Background()
	var busy, pages, moved int
	_, _ = w.c.ExecContext(ctx, "PRAGMA busy_timeout(0)")
	err := w.c.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	_, _ = w.c.ExecContext(ctx, "PRAGMA busy_timeout("+strconv.Itoa(busyTimeout)+")")
	f.logHolds = err != nil || busy != 0
}

// emptyAgain is how long emptyLog waits before it tries again.
const emptyAgain = time.Second

// next returns another job if one is waiting.
func (f *file) next(have int) (job, bool) {
	if have >= maxBatch {
		return job{}, false
	}
	// If several shared the last commit, their callers are about to send the next jobs. Yielding to them once
	// costs less than another commit.
	for yielded := !f.crowded; ; yielded = true {
		select {
		case j := <-f.jobs:
			return j, true
		default:
		}
		if yielded {
			return job{}, false
		}
		runtime.Gosched()
	}
}

// undo ends the transaction of a failed job. On a full disk SQLite has done so already. After any other error
// of the rollback the file is in doubt.
func (f *file) undo(reason error) error {
	f.keeper.Undone(true)
	if _, err := f.w.Exec(context.Background(), "ROLLBACK"); err != nil && !errors.Is(named(f.path, reason), vault.ErrFull) {
		return reason
	}
	return nil
}

// run does the job in a savepoint. fatal: it could not even be undone.
func (t *transaction) run(ctx context.Context, j job) (err, fatal error) {
	if _, err := t.Exec(ctx, "SAVEPOINT job"); err != nil {
		return nil, err
	}
	if err = t.do(j); err == nil {
		_, err = t.Exec(ctx, "RELEASE job")
		return nil, err
	}
	t.f.keeper.Undone(false)
	if _, undo := t.Exec(ctx, "ROLLBACK TO job"); undo != nil {
		return nil, err // the reason why there is no savepoint any more
	}
	_, fatal = t.Exec(ctx, "RELEASE job")
	return err, fatal
}

// do runs the job, unless its caller has gone. If it panics, the job is undone, and Write panics in the
// caller instead of the writer.
func (t *transaction) do(j job) (err error) {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{r}
		}
	}()
	err = j.do(t)
	*j.grew = t.noted&ledger.Growing != 0
	return err
}

type panicError struct{ value any }

func (*panicError) Error() string { return "panic in a transaction" }

// closeItself closes the vault after an error in doubt. The caller holds the writer lock. It closes the
// writer's connection first, which undoes the transaction, because others may open the file as soon as the
// vault counts as closed.
func (f *file) closeItself(err error) {
	if f.w != nil {
		_, _ = f.w.c.ExecContext(context.Background(), "ROLLBACK")
		f.conns.put(f.w, true)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause == nil {
		f.cause = err
		close(f.closed)
	}
}

// Usable: see ledger.Rows.
func (f *file) Usable() error {
	if f.usable() {
		return nil
	}
	return f.closedError()
}

func (f *file) closedError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause == nil || errors.Is(f.cause, vault.ErrClosed) {
		return vault.ErrClosed
	}
	return fmt.Errorf("%w after: %w", vault.ErrClosed, named(f.path, f.cause))
}
