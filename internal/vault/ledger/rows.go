package ledger

import (
	"context"
	"errors"
)

// This is the seam between a vault's logic and its store: rows of one HAT, and no decisions. A statement is
// text in the dialect of SQLite, with arguments. A store with another dialect derives its own statements
// (package dialect).

// A Reader reads the rows of one HAT as of one moment.
type Reader interface {
	// Get reads one row; sql.ErrNoRows if there is none. It is quick and checks ctx only before it starts.
	Get(ctx context.Context, query string, args []any, into ...any) error
	// Each calls f for each row. f scans the row and may read other rows meanwhile, even with the same
	// statement. An error of f ends it.
	Each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error
	// Size returns how many bytes all rows take. If that is less than enough, it may return an upper bound
	// below enough instead.
	Size(ctx context.Context, enough int64) (int64, error)
}

// A Writer also writes rows.
type Writer interface {
	Reader
	// Exec returns how many rows it has changed. ErrTaken.
	Exec(ctx context.Context, query string, args ...any) (changed int64, err error)
}

// A Tx is one transaction. It is undone if its function returns an error.
type Tx interface {
	Writer
	// Apart runs do so that it can be undone by itself. It is undone if do returns an error for which refused
	// returns true. Any other error is fatal for the whole transaction.
	Apart(ctx context.Context, do func() error, refused func(error) bool) (err, fatal error)
	// Note tells the store an effect of the transaction.
	Note(Effect)
	// Reserved reports whether the rest of the disk is reserved for transactions that are not noted as
	// Growing.
	Reserved() bool
}

// An Effect is what a store must know about a transaction.
type Effect int

const (
	Growing   Effect = 1 << iota // the HAT holds more afterwards
	Replacing                    // a person's data is replaced; no trace of it may be left soon afterwards
	Erasing                      // a person's data is erased; no trace may be left when the callers are answered
	Unending                     // there is work for Upkeep
)

// ErrTaken says that another row has a value that must be unique.
var ErrTaken = errors.New("another row has the same unique value")

// OpAppend is the name of the transaction that stores records, by far the most frequent one. Its rows consist
// of its arguments only.
const OpAppend = "append"

// Rows stores the rows of one HAT. One transaction writes at a time; those that wait at the same time may
// share a commit.
type Rows interface {
	// Read runs f on a snapshot. Their number is bounded, so f must not call Read.
	Read(ctx context.Context, f func(Reader) error) error
	// ReadOne runs f, which reads with one statement.
	ReadOne(ctx context.Context, f func(Reader) error) error
	// Write runs f in a transaction and returns when it is durable. After an error of f nothing is stored,
	// and Undone is called. op names the transaction for tests. vault.ErrFull.
	Write(ctx context.Context, op string, f func(Tx) error) error
	// Usable returns vault.ErrClosed if the store can't be used any more.
	Usable() error
}

// Keeper caches what it has read of the rows, so it must be told the outcome of transactions. The store calls
// it while it holds the writer lock.
type Keeper interface {
	// Finish writes what all transactions of a commit write once.
	Finish(ctx context.Context, tx Tx) error
	// Committed is called after the commit, before its callers are answered.
	Committed()
	// Undone is called when a transaction was undone; all: all since the last commit were.
	Undone(all bool)
	// Released is called when the writer lock is released.
	Released()
	// Upkeep does a piece of background work between transactions, on about that many rows. more: there was
	// something to do.
	Upkeep(tx Tx, rows int) (more bool, err error)
}
