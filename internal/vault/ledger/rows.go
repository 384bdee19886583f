package ledger

import (
	"context"
	"errors"
)

// This is the seam between the logic of a vault and what stores it: rows of one HAT, and nothing of decisions. A
// statement is text in the dialect of SQLite, with its arguments; a store of another dialect derives its own from it.

// A Reader reads rows of one HAT as they were at one moment.
type Reader interface {
	// Get reads one row; sql.ErrNoRows if there is none. It is soon done, and asks ctx only before.
	Get(ctx context.Context, query string, args []any, into ...any) error
	// Each calls f for each row; f scans it, and may read rows itself meanwhile, by the same statement too. What f
	// answers ends it.
	Each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error
	// Size is how many bytes all rows take. Where that is less than enough it may be any bound below enough instead.
	Size(ctx context.Context, enough int64) (int64, error)
}

// A Writer writes rows too.
type Writer interface {
	Reader
	// Exec says how many rows it has changed. ErrTaken.
	Exec(ctx context.Context, query string, args ...any) (changed int64, err error)
}

// A Tx is one transaction. What it wrote counts only if the function it was given to answers no error.
type Tx interface {
	Writer
	// Apart has do work such that what it did can be undone alone: that happens if it answers an error that refused says
	// to be an answer. Any other error is fatal, for the whole transaction.
	Apart(ctx context.Context, do func() error, refused func(error) bool) (err, fatal error)
	// Note tells the store what it has to know of the transaction.
	Note(Effect)
	// Reserved says that what is left of the disk is for transactions that are not noted as Growing.
	Reserved() bool
}

// An Effect is what a store has to know of a transaction.
type Effect int

const (
	Growing   Effect = 1 << iota // the HAT holds more afterwards
	Replacing                    // something a person wrote is replaced: soon no trace of it may be left
	Erasing                      // something a person wrote is erased: when others hear of the transaction, no trace may be left
	Unending                     // there is work for Chore
)

// ErrTaken: there is another row with a value that only one may have.
var ErrTaken = errors.New("another row has that value, and only one may have it")

// OpAppend is the name of the transaction that stores records, by far the most frequent. Its rows come from its
// arguments alone.
const OpAppend = "append"

// Rows stores the rows of one HAT. One transaction at a time writes; those that wait at the same time may share a commit.
type Rows interface {
	// Read has f run on a snapshot, of which there is a bounded number. f must not call Read.
	Read(ctx context.Context, f func(Reader) error) error
	// ReadOne has f run one statement.
	ReadOne(ctx context.Context, f func(Reader) error) error
	// Write has f run in a transaction, and returns when it is durable. An error of f leaves nothing behind, and Undone is
	// called. Op names it, for tests. vault.ErrFull.
	Write(ctx context.Context, op string, f func(Tx) error) error
	// Usable answers vault.ErrClosed when the store is of no more use.
	Usable() error
}

// Keeper keeps what it has read of the rows, so that it must be told what became of transactions. The store calls it
// while it holds the turn to write.
type Keeper interface {
	// Finish writes what is to be written once for all transactions of a commit.
	Finish(ctx context.Context, tx Tx) error
	// Committed is called after the commit, before anybody hears of it.
	Committed()
	// Undone is called when a transaction has been undone; all: when all since the last commit have.
	Undone(all bool)
	// Released is called when the turn is given back.
	Released()
	// Chore does a piece of what is to be done between transactions, on about so many rows. more: there was something.
	Chore(tx Tx, rows int) (more bool, err error)
}
