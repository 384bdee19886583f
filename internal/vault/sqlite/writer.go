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

// maxBatch bounds how many transactions share one COMMIT, so that the first of a flood is not kept waiting.
const maxBatch = 64

// A job is one transaction somebody waits for.
type job struct {
	op   string
	ctx  context.Context // only asked whether anybody still waits, before the job begins
	do   func(*transaction) error
	grew *bool      // do was to make the HAT hold more
	err  error      // what do answered
	done chan error // takes one answer
}

// A transaction is one transaction within a batch.
type transaction struct {
	*conn
	f       *file
	noted   ledger.Effect
	counted bool // file.pages counts what it adds
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

// Write: see ledger.Rows. Where nobody else is writing the caller does it itself, and saves the way to serve and back.
//
// On a full disk, what makes the HAT hold no more is tried once more with the reserve given up.
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
	case f.turn <- struct{}{}:
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
	// The answer is certain to come, and soon: to walk away would leave it open what happened.
	err := <-j.done
	var p *panicError
	if errors.As(err, &p) {
		panic(p.value)
	}
	return named(f.path, err)
}

// work does a batch, beginning with the job, and answers all that are in it. The caller has the turn, and has given it
// back afterwards.
func (f *file) work(first job) (jobs []job) {
	defer func() { <-f.turn }()
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

// serve writes for those who came while somebody else was writing, and does the upkeep.
func (f *file) serve() {
	defer close(f.served)
	for {
		var (
			upkeep <-chan struct{}  // nil, and never chosen, while there are none
			again  <-chan time.Time // the same, for emptying the log
		)
		f.turn <- struct{}{}
		if f.hasUpkeep {
			upkeep = always
		}
		if f.logHolds {
			again = time.After(emptyAgain)
		}
		<-f.turn
		select {
		case j := <-f.jobs:
			f.turn <- struct{}{}
			f.work(j)
		case <-upkeep:
			f.doUpkeep()
		case <-again:
			f.turn <- struct{}{}
			if w, err := f.conns.writer(context.Background()); err == nil && f.usable() {
				f.emptyLog(w)
				f.conns.put(w, false)
				f.hasUpkeep, f.upkeepWaits = f.hasUpkeep || f.upkeepWaits, false
			}
			<-f.turn
		case <-f.look:
		case <-f.closed:
			f.turn <- struct{}{} // for ever
			return
		}
	}
}

// batch runs the job, and what else is waiting, all in one commit, and gives them back to be answered. Those after the
// first have a savepoint each; if the first fails, there is nothing else to keep. Jobs that failed wait for the commit
// too: what they failed on, such as a record that is there already, may be an earlier job's. An error means that the
// file's state is in doubt; nobody may hear of it, and try again, before the vault is closed.
func (f *file) batch(first job) (jobs []job, _ error) {
	ctx := context.Background() // see tx.ctx
	if _, err := f.w.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		// Nothing began, so nothing is in doubt: another program may hold the file for a moment.
		first.err = fmt.Errorf("begin: %w", err)
		return []job{first}, nil
	}
	var (
		good   []string // names of those that did not fail
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
	// If we stop before the COMMIT below is on disk, none of the batch ever was, and nobody was told it had been.
	if err := f.atCommit(good, false); err != nil {
		return jobs, fmt.Errorf("commit: %w", err)
	}
	if _, err := f.w.Exec(ctx, "COMMIT"); err != nil {
		return f.noRoom(jobs, fmt.Errorf("commit: %w", err))
	}
	// If we stop here, all of the batch is there and nobody was told: who asks again finds it done. A write is then a
	// duplicate, a claim's lease is of a former life, a run is committed already.
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

// noRoom fails all jobs of a batch for which there was no room on the disk: SQLite has undone the whole transaction, or
// does so now. The last thing written would have been the frame that commits, so nothing is in doubt. Any other error is
// given back as one that leaves the file in doubt.
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

// emptyLog takes what was erased or replaced out of the write-ahead log, where it would stay readable for a while. A
// reader may be in the way: nobody waits for it, serve tries again a little later.
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

// next is another job if one is waiting already.
func (f *file) next(have int) (job, bool) {
	if have >= maxBatch {
		return job{}, false
	}
	// Where several shared the last commit, they are on their way with the next job; to let them run first costs less
	// than a commit.
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

// undo ends the transaction of a job that failed for that reason, and of no other. Where there was no room SQLite has
// done so itself; after any other error that it can't be done the file's state is in doubt.
func (f *file) undo(reason error) error {
	f.keeper.Undone(true)
	if _, err := f.w.Exec(context.Background(), "ROLLBACK"); err != nil && !errors.Is(named(f.path, reason), vault.ErrFull) {
		return reason
	}
	return nil
}

// run does the job in a savepoint. fatal means that not even undoing it worked.
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
		return nil, err // the reason that there is no savepoint any more
	}
	_, fatal = t.Exec(ctx, "RELEASE job")
	return err, fatal
}

// do runs the job, unless nobody waits for it any more. It keeps a caller's panic from taking the writer down with it:
// the job is undone, and write panics in its stead.
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

// closeItself is called by who has the turn, after an error in doubt. The writer's connection goes first, and with it the
// transaction: somebody may open the file again as soon as the vault counts as closed.
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
