// Package vault is one HAT's durable state: everything of one person that must commit together. It has the
// types for what is stored, claimed, run and shown, and the errors that callers branch on. Package ledger
// keeps the promises, on rows of any store. Package sqlite is the store with one file for each HAT. Package
// vaulttest tests both.
//
// One door: each method of a ledger.Vault that touches Owner data takes an access.Caller, asks package
// access, and writes the receipt in the same transaction. What a method reports as done is on disk when it
// returns.
//
// It does not speak HTTP, run functions, or decide when to run them: that is for edge and its APIs, invoke
// and engine.
package vault

import (
	"errors"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/bundle"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
)

// HAT names the HAT that a vault belongs to: all that a store knows of it.
type HAT = hat.ID

// Errors that callers may branch on. They may be wrapped with the HAT, endpoint, run or position, never with
// data.
var (
	ErrDuplicate  = errors.New("equal data is already stored at the endpoint")
	ErrNotFound   = errors.New("not found")
	ErrExists     = errors.New("exists already")
	ErrNotEnabled = errors.New("function is not enabled")
	ErrBusy       = backlog.ErrBusy
	ErrNothingDue = backlog.ErrNothingDue
	ErrTooMany    = errors.New("more than can be done at once")
	ErrEnded      = errors.New("the run has ended")
	ErrStale      = backlog.ErrStale
	ErrFull       = errors.New("no room left on the disk")
	ErrMachine    = errors.New("the machine could not do what the vault needs: disk, file, descriptor or memory")
	ErrDamaged    = errors.New("the vault's file is damaged")
	ErrNewer      = errors.New("the vault was written by a newer version")
	ErrClosed     = errors.New("the vault is closed")
)

// A User can log in to a HAT: its Owner, a platform service, a partner.
type User struct {
	ID           hat.UserID
	Username     string
	PasswordHash []byte // bcrypt; never leaves the server
	Roles        []access.Role
	Enabled      bool
	// TokensFrom: tokens that were issued earlier are refused. A change of the password moves it.
	TokensFrom time.Time
}

// DeletedUser is the prefix of the name of a deleted user. The row stays because records name their author.
const DeletedUser = "deleted "

// EndpointsPage is how many endpoints are read at once.
const EndpointsPage = 64

// A Change is new data for a stored record. Endpoint, if given, must be the record's.
type Change struct {
	ID       hat.RecordID
	Endpoint hat.Endpoint
	Data     hat.Data
}

// FunctionState is what the vault knows about one function: its grant and what has happened since.
// It repeats the fields of backlog.Backlog that readers may see. The lease and its epoch are left out: outside a transaction they are
// old, and nobody may act on them.
type FunctionState struct {
	Grant         access.Grant
	Enabled       bool
	Cursor        hat.Seq        // positions up to here are done, or in Ranges
	LastExecution time.Time      // when the last committed run was claimed; zero: never
	Started       time.Time      // of the run in flight; zero: none
	Front         *backlog.Item  // data since the cursor; nil: none
	Ranges        []backlog.Item // other pending work, the oldest positions first
}

// Due is a function with pending work.
type Due struct {
	Function hat.FunctionID
	At       time.Time // may lie ahead of now
	Since    time.Time // when the oldest pending event was committed, parked work excepted
}

// A Claim asks for the right to run a function once.
type Claim struct {
	Function hat.FunctionID
	Run      hat.RunID
	Cause    plan.Cause
	Now      time.Time
	Expires  time.Time // of the lease
	UseAll   bool      // run over all records from the beginning
	Quota    plan.Quota
	// By is who requests the run; zero: the engine itself. access.ErrDenied if they may no longer trigger the
	// function.
	By access.Caller
}

// A QuotaError refuses a claim because the function has used up its quota of today, or because the HAT is
// full; the work waits unchanged. Or it refuses a change for which the HAT has no room; nothing of it is
// stored.
type QuotaError struct {
	Fault *hat.Fault
	Until time.Time // when to try again; zero: time alone does not end it
}

func (e *QuotaError) Error() string { return e.Fault.Error() }
func (e *QuotaError) Unwrap() error { return e.Fault }

// Output is the result of a run: the drafts of each Response, with the input records that it links.
type Output struct {
	Responses []contract.Response
	Stats     Stats
	Log       []byte // what the function printed, capped
}

// Stats are the figures of a run.
type Stats struct {
	Timing    Timing         `json:"timing"`
	Start     string         `json:"start"`            // how the instance was made: cold, restored, warm
	Warmed    bool           `json:"warmed,omitempty"` // a warm-up was done in the instance, or before its snapshot
	Read      int            `json:"read"`             // records shown, links included
	ReadIDs   [32]byte       `json:"-"`                // SHA-256 over their ids in order
	Hidden    int            `json:"hidden"`
	InBytes   int            `json:"inBytes"`
	OutBytes  int            `json:"outBytes"`
	MaxMemory int64          `json:"maxMemory"`
	Bundle    *bundle.Bundle `json:"bundle,omitempty"` // as the function asked this time
}

// The parts of Timing add up to the run's total, apart from the engine's own time.
type Timing struct {
	Queue   time.Duration `json:"queue"`   // from due to claimed, and waiting for a slot
	Sandbox time.Duration `json:"sandbox"` // starting the sandboxes of both calls
	Bundle  time.Duration `json:"bundle"`  // the function's bundle entry
	Query   time.Duration `json:"query"`
	Process time.Duration `json:"process"`
	Save    time.Duration `json:"save"`
}

// Committed is the result of T3.
type Committed struct {
	Written    []hat.Record // new records
	Kept       int          // drafts that equal a record of the replaced output, which stays under its id
	Superseded int          // records that were superseded
	// Duplicates counts drafts that were dropped: equal to an earlier one of the answer or, unless the grant
	// keeps equal results, to another record at the endpoint.
	Duplicates int
}

// RunState is the state of a run; docs/runs.md draws the edges.
type RunState = backlog.State

const (
	RunPlanned   = backlog.Planned
	RunCommitted = backlog.Committed
	RunRefused   = backlog.Refused
	RunFailed    = backlog.Failed
	RunAbandoned = backlog.Abandoned
)

// A Run is one attempt at a Plan.
type Run struct {
	Plan       plan.Plan
	State      RunState
	Ended      time.Time
	Fault      *hat.Fault
	Stats      Stats
	Written    []hat.RecordID // what it wrote, and what it kept of the former output
	Kept       int            // how many of Written it kept
	Superseded int            // how many records its output superseded
	Duplicates int            // drafts that were dropped, see Committed
	// SupersededBy is the newest run over the same positions, a replay; zero: none.
	SupersededBy hat.RunID
	Log          []byte // only from Run, not from Runs
}

// Superseded is a derived record that another run's output has replaced.
type Superseded struct {
	hat.Record           // without its data for callers who may not read it
	Number     int64     // ascending, for paging
	Digest     [32]byte  // SHA-256 of its data
	By         hat.RunID // the run whose output replaced it
	At         time.Time
}

// A ReplayFilter says which runs of a function to replay; both may be set.
type ReplayFilter struct {
	Failed bool      // failed work that is still pending
	Since  time.Time // runs that committed since; zero: none
}

// KeptResults is how many former results of a function whose output replaces are kept as superseded at an
// endpoint: the newest ones. Of older results the runs and receipts still name the records, but their content
// is gone. Output that a replay of any other function superseded is kept until it is erased.
const KeptResults = 30

// MostReplays bounds how many runs are replayed at once, named or committed.
const MostReplays = 1000

// A RunChange is a run with the number of its last change of state. Numbers grow from 1 and are never reused.
type RunChange struct {
	Number int64
	Run    Run
}

// CodeCancelled is the code of the fault of a cancelled run.
const CodeCancelled = "Run.Cancelled"

// A Disclosure is what was shown to somebody other than the Owner: ids, not content.
type Disclosure struct {
	Debit     string          // the data debit that allowed it; empty: none
	Terms     hat.TermsDigest // the terms of the data debit under which the records were read
	Records   []hat.RecordID
	Endpoints []hat.Endpoint
}
