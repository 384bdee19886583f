package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/vault"
)

// maxBatch bounds how many transactions share one COMMIT, so that the first of a flood is not kept waiting.
const maxBatch = 64

// A job is one transaction somebody waits for.
type job struct {
	op   string
	ctx  context.Context // only asked whether anybody still waits, before the job begins
	do   func(*tx) error
	done chan error
}

// A tx is one transaction within a batch. What it changes of the state below counts only if it succeeds.
type tx struct {
	*conn
	ctx context.Context // without an end: a commit that has begun is finished
	v   *Vault
	now time.Time
	state
	erased bool
}

// state is what the row of table hat says.
type state struct {
	seq  hat.Seq
	head receipt.Head
}

// write has f run in a transaction of its own and returns when it is durable. An error of f leaves nothing behind.
func (v *Vault) write(ctx context.Context, op string, f func(*tx) error) error {
	j := job{op: op, ctx: ctx, do: f, done: make(chan error, 1)}
	select {
	case v.jobs <- j:
		// From here the answer is certain to come, and soon: to walk away would leave it open what happened.
		return named(v.path, <-j.done)
	case <-ctx.Done():
		return ctx.Err()
	case <-v.closed:
		return v.closedError()
	}
}

// serve is the only goroutine that writes to the file.
func (v *Vault) serve() {
	defer close(v.served)
	for {
		select {
		case j := <-v.jobs:
			if err := v.batch(j); err != nil {
				v.closeItself(err)
				return
			}
		case <-v.quit:
			return
		}
	}
}

// batch runs the job, and what else is waiting, each in a savepoint, all in one commit; then it answers them. An
// error means that the file's state is in doubt: nobody was told of success, and the vault must be opened anew.
func (v *Vault) batch(first job) error {
	ctx := context.Background() // see tx.ctx
	if _, err := v.w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		// Nothing began, so nothing is in doubt: another program may hold the file for a moment.
		first.done <- fmt.Errorf("begin: %w", err)
		return nil
	}
	var (
		began  = v.state
		good   []job
		ops    []string
		erased bool
	)
	fail := func(err error) error {
		_, _ = v.w.c.ExecContext(ctx, "ROLLBACK")
		for _, j := range good {
			j.done <- err
		}
		return err
	}
	for j, more := first, true; more; j, more = v.next(len(good)) {
		t := &tx{conn: v.w, ctx: ctx, v: v, now: v.now(), state: v.state}
		err, fatal := t.run(j)
		switch {
		case fatal != nil:
			j.done <- fatal
			return fail(fatal)
		case err != nil:
			j.done <- err
		default:
			v.state = t.state
			erased = erased || t.erased
			good, ops = append(good, j), append(ops, j.op)
		}
	}
	if v.state != began {
		if _, err := v.w.exec(ctx, "UPDATE hat SET seq = ?, receipts = ?, head = ?",
			v.state.seq, v.state.head.Number, v.state.head.Hash[:]); err != nil {
			return fail(fmt.Errorf("commit: %w", err))
		}
	}
	if len(good) == 0 {
		_, err := v.w.exec(ctx, "ROLLBACK")
		return err
	}
	// If we stop before the COMMIT below is on disk, none of the batch ever was, and nobody was told it had been.
	if err := v.atCommit(ops, false); err != nil {
		return fail(fmt.Errorf("commit: %w", err))
	}
	if _, err := v.w.exec(ctx, "COMMIT"); err != nil {
		return fail(fmt.Errorf("commit: %w", err))
	}
	// If we stop here, all of the batch is there and nobody was told: who asks again finds it done. A write is then a
	// duplicate, a claim's lease is of a former life, a run is committed already.
	if err := v.atCommit(ops, true); err != nil {
		return fail(fmt.Errorf("after commit: %w", err))
	}
	if erased {
		// Else what was erased stays readable in the write-ahead log for a while. A reader may be in the way; the
		// next checkpoint does it then.
		_, _ = v.w.c.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	for _, j := range good {
		j.done <- nil
	}
	return nil
}

// next is another job if one is waiting already.
func (v *Vault) next(have int) (job, bool) {
	if have >= maxBatch {
		return job{}, false
	}
	select {
	case j := <-v.jobs:
		return j, true
	default:
		return job{}, false
	}
}

// run does the job in a savepoint. fatal means that not even undoing it worked.
func (t *tx) run(j job) (err, fatal error) {
	if err := j.ctx.Err(); err != nil {
		return err, nil
	}
	if _, err := t.exec(t.ctx, "SAVEPOINT job"); err != nil {
		return nil, err
	}
	if err = j.do(t); err == nil {
		_, err = t.exec(t.ctx, "RELEASE job")
		return nil, err
	}
	// Grants that were cached may be those of this job.
	clear(t.v.grants)
	if _, undo := t.exec(t.ctx, "ROLLBACK TO job"); undo != nil {
		// SQLite gave up the whole transaction, as it does when the disk is full.
		return nil, err
	}
	_, fatal = t.exec(t.ctx, "RELEASE job")
	return err, fatal
}

// closeItself is called by serve after an error in doubt.
func (v *Vault) closeItself(err error) {
	v.mu.Lock()
	if v.cause == nil {
		v.cause = err
		close(v.closed)
	}
	v.mu.Unlock()
	// The connection goes first: it may still hold the write lock.
	_ = v.w.close()
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
