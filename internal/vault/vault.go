// Package vault is one HAT's durable state: everything of one person that must commit together. Here are its words: what is
// stored, claimed, run and shown, and the errors that callers branch on. Package ledger keeps the promises, on rows of any
// store; folder sqlite is the store of one file for each HAT, and vaulttest holds ledger and store to what they say.
//
// One door: each method of a ledger.Vault that touches Owner data takes an access.Caller, asks package access, and writes the
// receipt entry in the same transaction. What a method reports as done is on disk when it returns.
//
// It does not talk HTTP, run functions, or decide when to: that is edge and its APIs, invoke and engine.
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

// Errors callers may branch on. Each may come wrapped with the HAT, endpoint, run or sequence it concerns, never
// with data.
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
	ErrMachine    = errors.New("the machine refuses what the vault needs: its disk, its file, a descriptor or memory")
	ErrDamaged    = errors.New("the vault's file is damaged")
	ErrNewer      = errors.New("the vault was written by a newer version")
	ErrClosed     = errors.New("the vault is closed")
)

// A User is somebody who can log in to a HAT: its Owner, a platform service, a legacy partner.
type User struct {
	ID           hat.UserID
	Username     string
	PasswordHash []byte // bcrypt; never leaves the server
	Roles        []access.Role
	Enabled      bool
	// TokensFrom refuses every token issued before: moved on by a password change.
	TokensFrom time.Time
}

// DeletedUser begins the name of a user who was deleted: records say who wrote them, so the row stays.
const DeletedUser = "deleted "

// EndpointsPage is how many endpoints are read at once.
const EndpointsPage = 64

// A Change is new data for an existing record. The endpoint, if given, must be the one it is stored at.
type Change struct {
	ID       hat.RecordID
	Endpoint hat.Endpoint
	Data     hat.Data
}

// FunctionState is what the vault knows of one function: the grant and what has happened since.
type FunctionState struct {
	Grant         access.Grant
	Enabled       bool
	Cursor        hat.Seq        // everything up to here is processed
	LastExecution time.Time      // when the last run that committed was claimed: it saw nothing later; zero: never
	Started       time.Time      // of the run in flight; zero: none
	Front         *backlog.Item  // what has come behind the cursor; nil: nothing
	Ranges        []backlog.Item // what waits before it, the oldest ground first
}

// Due is a function with something to do.
type Due struct {
	Function hat.FunctionID
	At       time.Time // may lie ahead
	Since    time.Time // when the oldest event that waits was committed; what is parked does not count
}

// A Claim asks for the right to run a function once.
type Claim struct {
	Function hat.FunctionID
	Run      hat.RunID
	Cause    plan.Cause
	Now      time.Time
	Expires  time.Time // of the lease
	UseAll   bool      // read from the beginning
	Quota    plan.Quota
	// By asks for it; the zero Caller: the engine itself. access.ErrDenied if they may not trigger the function by then.
	By access.Caller
}

// A QuotaError is a claim that comes too early: the function has had what it may have at this HAT in a day, or the HAT
// is full; its work waits as it did. Or it is a change that the HAT has no room for; nothing of it is stored.
type QuotaError struct {
	Fault *hat.Fault
	Until time.Time // when to look again; zero: no time alone ends it
}

func (e *QuotaError) Error() string { return e.Fault.Error() }
func (e *QuotaError) Unwrap() error { return e.Fault }

// Output is what a run leaves: the drafts of each Response, with the input records it says they belong to.
type Output struct {
	Responses []contract.Response
	Stats     Stats
	Log       []byte // what the function printed, capped
}

// Stats are the figures of a run.
type Stats struct {
	Timing    Timing         `json:"timing"`
	Start     string         `json:"start"`            // of the instance: cold, restored, warm
	Warmed    bool           `json:"warmed,omitempty"` // it, or what it is a copy of, had tried an event without data
	Read      int            `json:"read"`             // records shown, links included
	ReadIDs   [32]byte       `json:"-"`                // SHA-256 over their ids in order
	Hidden    int            `json:"hidden"`
	InBytes   int            `json:"inBytes"`
	OutBytes  int            `json:"outBytes"`
	MaxMemory int64          `json:"maxMemory"`
	Bundle    *bundle.Bundle `json:"bundle,omitempty"` // as the function asked this time
}

// Timing adds up to the run's total, but for what the engine itself needs in between.
type Timing struct {
	Queue   time.Duration `json:"queue"`   // due → claimed, and waiting for a sandbox
	Sandbox time.Duration `json:"sandbox"` // starting the sandboxes of both calls
	Bundle  time.Duration `json:"bundle"`  // the function's bundle entry
	Query   time.Duration `json:"query"`
	Process time.Duration `json:"process"`
	Save    time.Duration `json:"save"`
}

// Committed is what T3 did.
type Committed struct {
	Written    []hat.Record // new ones
	Kept       int          // drafts equal to what the run takes the place of: that stays, under its id
	Superseded int          // records whose place was taken
	// Duplicates are drafts that were dropped: fully equal to an earlier one of the answer or, unless the
	// grant keeps equal results, to another record at the endpoint.
	Duplicates int
}

// RunState is where a run is; docs/runs.md draws the edges.
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
	Written    []hat.RecordID // what it wrote, and what of the former output it kept
	Kept       int            // of these
	Superseded int            // records whose place its output took
	Duplicates int            // drafts that were dropped, see Committed
	// SupersededBy is the newest run that has covered the same ground once more; zero: none.
	SupersededBy hat.RunID
	Log          []byte // only from Run, not from Runs
}

// Superseded is a derived record whose place another run's output has taken.
type Superseded struct {
	hat.Record           // as it was; without its data for who may not read it
	Number     int64     // grows; for paging
	Digest     [32]byte  // SHA-256 of its data
	By         hat.RunID // the run whose output took its place
	At         time.Time
}

// A ReplayFilter says which runs of a function to replay; both may be set.
type ReplayFilter struct {
	Failed bool      // what failed and still waits
	Since  time.Time // runs that committed since; zero: none
}

// KeptResults is how many former results of a function whose output replaces are kept at an endpoint as superseded: those
// that its newest runs took the place of. Which records older ones were, and who took their place, is told by the runs and
// the receipts for ever; what was in them is gone. What a replay of a function whose output is added took the place of is
// kept until somebody erases it.
const KeptResults = 30

// MostReplays bounds how many runs that committed, or were named, are replayed at once.
const MostReplays = 1000

// A RunChange is a run at the number of its last change of state. Numbers grow from 1 and are never used again.
type RunChange struct {
	Number int64
	Run    Run
}

// CodeCancelled is the code of the fault of a run that somebody ended.
const CodeCancelled = "Run.Cancelled"

// A Disclosure is what was shown to somebody else than the Owner: ids, not content.
type Disclosure struct {
	Debit     string          // under which data debit; empty: none
	Terms     hat.TermsDigest // of the data debit: those the records were read under
	Records   []hat.RecordID
	Endpoints []hat.Endpoint
}
