package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/vault"
)

// maxBatch bounds how many transactions share one COMMIT, so that the first of a flood is not kept waiting.
const maxBatch = 64

// appending is the name of T1, by far the most frequent transaction.
const appending = "append"

// A job is one transaction somebody waits for.
type job struct {
	op   string
	ctx  context.Context // only asked whether anybody still waits, before the job begins
	do   func(*tx) error
	grew *bool      // do was to make the HAT hold more
	err  error      // what do answered
	done chan error // takes one answer
}

// A tx is one transaction within a batch. What it changes of the state below counts only if it succeeds.
type tx struct {
	*conn
	ctx context.Context // without an end: a commit that has begun is finished
	v   *Vault
	now time.Time
	state
	erased, replaced bool // something a person wrote
	raised           bool // there are functions whose pending work may have changed
	peopled          bool // users have changed
	grows            growth
	counted          bool // Vault.pages counts what it adds
	opened           bool // an endpoint that held no record has one
}

// state is what the row of table hat says.
type state struct {
	seq     hat.Seq
	head    receipt.Head
	records int64 // that there are now
}

// write has f run in a transaction of its own and returns when it is durable. An error of f leaves nothing behind. Where
// nobody else is writing the caller does it itself, and saves the way to serve and back.
//
// On a full disk, what makes the HAT hold no more is tried once more with the reserve given up.
func (v *Vault) write(ctx context.Context, op string, f func(*tx) error) error {
	grew := op == appending
	err := v.writeOnce(ctx, op, &grew, f)
	if errors.Is(err, vault.ErrFull) && !grew && v.reserve.use() {
		err = v.writeOnce(ctx, op, &grew, f)
	}
	return err
}

func (v *Vault) writeOnce(ctx context.Context, op string, grew *bool, f func(*tx) error) error {
	j := job{op: op, grew: grew, ctx: ctx, do: f, done: make(chan error, 1)}
	select {
	case v.turn <- struct{}{}:
		v.work(j)
	default:
		select {
		case v.jobs <- j:
		case <-ctx.Done():
			return ctx.Err()
		case <-v.closed:
			return v.closedError()
		}
	}
	// The answer is certain to come, and soon: to walk away would leave it open what happened.
	err := <-j.done
	var p *panicError
	if errors.As(err, &p) {
		panic(p.value)
	}
	return named(v.path, err)
}

// work does a batch, beginning with the job, and answers all that are in it. The caller has the turn, and has given it
// back afterwards.
func (v *Vault) work(first job) (jobs []job) {
	defer func() { <-v.turn }()
	if !v.usable() {
		first.done <- v.closedError()
		return nil
	}
	w, err := v.conns.writer(context.Background())
	if err != nil {
		first.done <- fmt.Errorf("begin: %w", err)
		return nil
	}
	v.w = w
	had := v.chores || v.logHolds
	err = errors.New("a panic between transactions")
	defer func() {
		// Whoever is recognised from here on reads what the batch has done.
		v.published.Store(v.rights)
		v.idle.Store(v.alone)
		if err != nil {
			v.closeItself(err)
		} else {
			v.conns.put(w, false)
		}
		v.w = nil
		for _, j := range jobs {
			j.done <- cmp.Or(err, j.err)
		}
	}()
	jobs, err = v.batch(first)
	v.crowded = len(jobs) > 1
	if !had && (v.chores || v.logHolds) {
		select {
		case v.look <- struct{}{}:
		default:
		}
	}
	return jobs
}

// serve writes for those who came while somebody else was writing, and does the chores.
func (v *Vault) serve() {
	defer close(v.served)
	for {
		var (
			chores <-chan struct{}  // nil, and never chosen, while there are none
			again  <-chan time.Time // the same, for emptying the log
		)
		v.turn <- struct{}{}
		if v.chores {
			chores = always
		}
		if v.logHolds {
			again = time.After(emptyAgain)
		}
		<-v.turn
		select {
		case j := <-v.jobs:
			v.turn <- struct{}{}
			v.work(j)
		case <-chores:
			v.doChore()
		case <-again:
			v.turn <- struct{}{}
			if w, err := v.conns.writer(context.Background()); err == nil && v.usable() {
				v.emptyLog(w)
				v.conns.put(w, false)
				v.chores, v.choresWait = v.chores || v.choresWait, false
			}
			<-v.turn
		case <-v.look:
		case <-v.closed:
			v.turn <- struct{}{} // for ever
			return
		}
	}
}

// batch runs the job, and what else is waiting, all in one commit, and gives them back to be answered. Those after the
// first have a savepoint each; if the first fails, there is nothing else to keep. Jobs that failed wait for the commit
// too: what they failed on, such as a record that is there already, may be an earlier job's. An error means that the
// file's state is in doubt; nobody may hear of it, and try again, before the vault is closed.
func (v *Vault) batch(first job) (jobs []job, _ error) {
	ctx := context.Background() // see tx.ctx
	if _, err := v.w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		// Nothing began, so nothing is in doubt: another program may hold the file for a moment.
		first.err = fmt.Errorf("begin: %w", err)
		return []job{first}, nil
	}
	var (
		began   = v.state
		good    []string // names of those that did not fail
		raised  bool     // that nothing is pending may not hold any more
		peopled bool     // nor who the users are
		erased  bool
	)
	for j, more := first, true; more; j, more = v.next(len(jobs)) {
		t := &tx{conn: v.w, ctx: ctx, v: v, now: v.now(), state: v.state, counted: j.op == appending}
		if j.op != appending {
			v.alone, v.pages = false, unknownPages
		}
		var fatal error
		if len(jobs) == 0 {
			if j.err = t.do(j); j.err != nil {
				return []job{j}, v.undo(j.err)
			}
		} else {
			j.err, fatal = t.run(j)
		}
		jobs = append(jobs, j)
		if errors.Is(named(v.path, fatal), vault.ErrFull) {
			return v.noRoom(jobs, began, fatal)
		}
		if fatal != nil {
			return jobs, fatal
		}
		if j.err == nil {
			// Of all transactions only this one is known to leave pending work mostly alone.
			raised = raised || j.op != appending || t.raised
			peopled = peopled || t.peopled
			v.state = t.state
			erased = erased || t.erased
			v.logHolds = v.logHolds || t.replaced
			good = append(good, j.op)
		}
	}
	if v.state != began {
		v.grew(1, nil)
		if _, err := v.w.exec(ctx, "UPDATE hat SET seq = ?, receipts = ?, records = ?, head = ?",
			v.state.seq, v.state.head.Number, v.state.records, v.state.head.Hash[:]); err != nil {
			return v.noRoom(jobs, began, fmt.Errorf("commit: %w", err))
		}
	}
	// If we stop before the COMMIT below is on disk, none of the batch ever was, and nobody was told it had been.
	if err := v.atCommit(good, false); err != nil {
		return jobs, fmt.Errorf("commit: %w", err)
	}
	if _, err := v.w.exec(ctx, "COMMIT"); err != nil {
		return v.noRoom(jobs, began, fmt.Errorf("commit: %w", err))
	}
	// If we stop here, all of the batch is there and nobody was told: who asks again finds it done. A write is then a
	// duplicate, a claim's lease is of a former life, a run is committed already.
	if raised || peopled {
		v.kept.forget(peopled)
	}
	if err := v.atCommit(good, true); err != nil {
		return jobs, fmt.Errorf("after commit: %w", err)
	}
	if erased {
		v.emptyLog(v.w)
		v.chores = v.chores || v.shrinks
	}
	return jobs, nil
}

// noRoom fails all jobs of a batch for which there was no room on the disk: SQLite has undone the whole transaction, or
// does so now. The last thing written would have been the frame that commits, so nothing is in doubt. Any other error is
// given back as one that leaves the file in doubt.
func (v *Vault) noRoom(jobs []job, began state, err error) ([]job, error) {
	if !errors.Is(named(v.path, err), vault.ErrFull) {
		return jobs, err
	}
	_, _ = v.w.c.ExecContext(context.Background(), "ROLLBACK")
	v.state = began
	v.forget()
	for i := range jobs {
		jobs[i].err = err
	}
	return jobs, nil
}

// emptyLog takes what was erased or replaced out of the write-ahead log, where it would stay readable for a while. A
// reader may be in the way: nobody waits for it, serve tries again a little later.
func (v *Vault) emptyLog(w *conn) {
	ctx := context.Background()
	var busy, pages, moved int
	_, _ = w.c.ExecContext(ctx, "PRAGMA busy_timeout(0)")
	err := w.c.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	_, _ = w.c.ExecContext(ctx, "PRAGMA busy_timeout("+strconv.Itoa(busyTimeout)+")")
	v.logHolds = err != nil || busy != 0
}

// emptyAgain is how long emptyLog waits before it tries again.
const emptyAgain = time.Second

// next is another job if one is waiting already.
func (v *Vault) next(have int) (job, bool) {
	if have >= maxBatch {
		return job{}, false
	}
	// Where several shared the last commit, they are on their way with the next job; to let them run first costs less
	// than a commit.
	for yielded := !v.crowded; ; yielded = true {
		select {
		case j := <-v.jobs:
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
func (v *Vault) undo(reason error) error {
	v.forget()
	if _, err := v.w.exec(context.Background(), "ROLLBACK"); err != nil && !errors.Is(named(v.path, reason), vault.ErrFull) {
		return reason
	}
	return nil
}

// run does the job in a savepoint. fatal means that not even undoing it worked.
func (t *tx) run(j job) (err, fatal error) {
	if _, err := t.exec(t.ctx, "SAVEPOINT job"); err != nil {
		return nil, err
	}
	if err = t.do(j); err == nil {
		_, err = t.exec(t.ctx, "RELEASE job")
		return nil, err
	}
	t.v.forget()
	if _, undo := t.exec(t.ctx, "ROLLBACK TO job"); undo != nil {
		return nil, err // the reason that there is no savepoint any more
	}
	_, fatal = t.exec(t.ctx, "RELEASE job")
	return err, fatal
}

// forget drops what was read from tables in a transaction that has been undone.
func (v *Vault) forget() {
	clear(v.grants)
	clear(v.people)
	clear(v.places)
	clear(v.filled)
	clear(v.chains)
	v.person.n = 0
	v.fields, v.alone = nil, false
}

// do runs the job, unless nobody waits for it any more. It keeps a caller's panic from taking the writer down with it:
// the job is undone, and write panics in its stead.
func (t *tx) do(j job) (err error) {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{r}
		}
	}()
	err = j.do(t)
	*j.grew = t.grows != notAtAll
	if err != nil {
		return err
	}
	return t.fits()
}

type panicError struct{ value any }

func (*panicError) Error() string { return "panic in a transaction" }

// closeItself is called by who has the turn, after an error in doubt. The writer's connection goes first, and with it the
// transaction: somebody may open the file again as soon as the vault counts as closed.
func (v *Vault) closeItself(err error) {
	if v.w != nil {
		_, _ = v.w.c.ExecContext(context.Background(), "ROLLBACK")
		v.conns.put(v.w, true)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause == nil {
		v.cause = err
		close(v.closed)
	}
}

func (v *Vault) closedError() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause == nil || errors.Is(v.cause, vault.ErrClosed) {
		return vault.ErrClosed
	}
	return fmt.Errorf("%w after: %w", vault.ErrClosed, named(v.path, v.cause))
}

// receipt appends an entry to the chain.
func (t *tx) receipt(f receipt.Fact) error {
	text, head, err := receipt.Append(t.head, t.now, f)
	if err != nil {
		return err
	}
	if _, err := t.exec(t.ctx, "INSERT INTO receipts (number, body) VALUES (?, ?)", head.Number, string(text)); err != nil {
		return fmt.Errorf("receipt %d: %w", head.Number, err)
	}
	t.head = head
	return nil
}

func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}
