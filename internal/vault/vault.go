// Package vault is one HAT's durable state: everything of one person that must commit together. It states the
// promises; folder sqlite keeps them in one file for each HAT, and vaulttest holds every store to them.
//
// One door: each method that touches Owner data takes an access.Caller, asks package access, and writes the receipt
// entry in the same transaction. What a method reports as done is on disk when it returns.
//
// It does not talk HTTP, run functions, or decide when to: that is httpapi, invoke and engine.
package vault

import (
	"context"
	"errors"
	"iter"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/bundle"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
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

// A Vault is one HAT's durable state. All methods may be called concurrently. After an error that leaves a commit
// in doubt the vault closes itself and the next Open reads what is true.
//
// A caller with a token is asked for once more inside each transaction that writes, if rights have changed since it was
// recognised: what was revoked writes nothing, however long ago the request began. Any of these methods may answer
// access.ErrWithdrawn or access.ErrRevoked then.
type Vault interface {
	Users
	Records
	Functions
	Work
	Runs
	Receipts
	Documents
}

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

// Users who can log in.
type Users interface {
	// Recognise makes the caller of a token, and tells whose it is. access.ErrWithdrawn.
	Recognise(ctx context.Context, c access.Credential) (access.Caller, User, error)
	// Renew is a caller as the HAT knows it now, for a request that lasts: each method that writes does the same in its own
	// transaction. moved is false if no right has changed since. It may be called while a snapshot is being read, and costs
	// nothing then. access.ErrWithdrawn, access.ErrRevoked.
	Renew(ctx context.Context, c access.Caller) (fresh access.Caller, moved bool, err error)
	// CreateUser answers ErrExists if the name or the id is taken.
	CreateUser(ctx context.Context, u User) error
	// UpdateUser replaces the user of that id, or answers ErrNotFound.
	UpdateUser(ctx context.Context, u User) error
	// PutUser stores what change makes of the user of that name, or of a new one with nothing but the name, in one
	// transaction; other writers wait for change. The error is change's own, ErrExists, or a *QuotaError if a new user is
	// one too many.
	PutUser(ctx context.Context, username string, change func(u *User, found bool) error) (User, error)
	UserByName(ctx context.Context, username string) (User, error)
	UserByID(ctx context.Context, id hat.UserID) (User, error)
	// EachUser calls f with all users, by name, one at a time: there is never more than one in memory, and f may take its
	// time. room is asked before one is read, with the bytes of its name and roles as they are stored; its error ends it
	// all. Who is made or renamed meanwhile may be among them or not.
	EachUser(ctx context.Context, room func(bytes int) error, f func(User) error) error
	// PasswordCost is the highest bcrypt cost among the hashes of the users' passwords; 0 if there is none.
	PasswordCost(ctx context.Context) (int, error)
	// Owner is the one user with role owner.
	Owner(ctx context.Context) (User, error)
}

// EndpointsPage is how many endpoints are read at once.
const EndpointsPage = 64

// A Change is new data for an existing record. The endpoint, if given, must be the one it is stored at.
type Change struct {
	ID       hat.RecordID
	Endpoint hat.Endpoint
	Data     hat.Data
}

// Records is the log and what it says now.
//
// What makes a HAT hold more than it may is refused with a *QuotaError, whoever asks: records, documents, users, consents
// and what functions derive. Over the limit all of this goes on: erasing, disabling, the ends of runs, and changes that
// take no room, with the receipts of them. So do, as far as plan.Storage.Beyond, receipts of what was shown.
type Records interface {
	// Append is T1: it stores the drafts and their links in order, or none of them, raises the pending work of
	// every enabled function that reads one of the endpoints, and returns the records with their links. With
	// skipDuplicates, drafts equal to what is stored are left out instead of failing the rest.
	// ErrDuplicate, access.ErrDenied, ErrFull.
	Append(ctx context.Context, c access.Caller, drafts []hat.Draft, skipDuplicates bool) ([]hat.Record, error)
	// Update replaces the data of all the records, or of none. ErrNotFound, ErrDuplicate, access.ErrDenied.
	Update(ctx context.Context, c access.Caller, changes []Change) ([]hat.Record, error)
	// Erase removes the records, superseded ones too, all or none. ErrNotFound if one is missing or another user's.
	Erase(ctx context.Context, c access.Caller, ids []hat.RecordID) error
	// EraseEndpoint removes what the caller may remove at exactly this endpoint, superseded records included.
	EraseEndpoint(ctx context.Context, c access.Caller, e hat.Endpoint) error
	// Link makes one group of the records. ErrNotFound, access.ErrDenied.
	Link(ctx context.Context, c access.Caller, ids []hat.RecordID) error
	// Record is one record without its links.
	Record(ctx context.Context, c access.Caller, id hat.RecordID) (hat.Record, error)
	// EachEndpoint calls f with those that hold a record, sorted, so that those of a namespace follow each other. There are
	// never more than EndpointsPage in memory, and f may take its time. What is stored meanwhile may be among them or not.
	EachEndpoint(ctx context.Context, c access.Caller, f func(hat.Endpoint) error) error
	// Storage is what the HAT holds, and what it may hold. access.ErrDenied.
	Storage(ctx context.Context, c access.Caller) (plan.Held, plan.Storage, error)
	// Read calls f with one consistent snapshot of the records, which is gone when f returns. Scanning an endpoint
	// the caller may not read yields access.ErrDenied. upto is the newest position in the snapshot. f must not call the
	// vault: it holds one of a bounded number of snapshots. A Function whose run has ended reads nothing: ErrStale.
	Read(ctx context.Context, c access.Caller, f func(src bundle.Source, upto hat.Seq) error) error
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

// Functions the Owner has switched on, or once had.
type Functions interface {
	// Enable stores the grant and makes what is already there pending, as the grant's window and trigger say. Of a function
	// that has run, what is stored at endpoints that were not granted before, or from before the former window, becomes a
	// range. Failures of before count no more.
	Enable(ctx context.Context, c access.Caller, g access.Grant) (FunctionState, error)
	// Agree is Enable for what decide makes of the state, in one transaction with it; nil: it was never enabled. decide must be quick.
	// The error may be decide's own.
	Agree(ctx context.Context, c access.Caller, f hat.FunctionID, decide func(*FunctionState) (access.Grant, error)) (FunctionState, error)
	// Disable keeps the state; a run in flight is not saved. ErrNotFound if it was never enabled.
	Disable(ctx context.Context, c access.Caller, f hat.FunctionID) (FunctionState, error)
	Function(ctx context.Context, c access.Caller, f hat.FunctionID) (FunctionState, error)
	FunctionStates(ctx context.Context, c access.Caller) ([]FunctionState, error)
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

// Work is the engine's side: T2 and T3. The engine has no back door: Commit writes as the function, under its grant.
type Work interface {
	// Idle says, after a write, that it made nothing due: no function is enabled. false: it may have.
	Idle() bool
	// Due lists functions that are enabled, not leased, and have work that is not parked, soonest first. Times that lie
	// further ahead than they can, because the clock was set back, are mended first, and stored (plan.Latest).
	Due(ctx context.Context) ([]Due, error)
	// Claim is T2: lease and Plan are stored together. The plan covers one item of what waits: of what is due, the item
	// that is due longest; on request the front, and what is parked right before it. ErrNotEnabled, ErrBusy, ErrNothingDue
	// (ByData only), access.ErrDenied, *QuotaError: what runs of today have taken is counted in the same transaction, and so
	// is what the HAT holds.
	Claim(ctx context.Context, c Claim) (plan.Plan, error)
	// Commit is T3: derived records, groups, pending work of their readers, cursor or range, run and receipt land together
	// or not at all; what the result takes the place of is superseded in the same commit. A plan whose Upto is lower than it
	// was claimed leaves the rest. ErrStale: nothing was written and nothing must be; a second Commit of a run is ErrStale
	// too.
	Commit(ctx context.Context, p plan.Plan, out Output) (Committed, error)
	// Fail ends the attempt: the work stays until retry, or is parked, and the run is kept with its fault. A fault of the
	// operator's never parks, and does not count among the attempts that park for another. What is parked
	// makes way for what is newer unless the grant says InOrder: it becomes a range, as far as it has failed from its first
	// attempt on, and the cursor moves behind it. A plan with a smaller Most than it was claimed with is tried again at
	// once, so many records at a time; that attempt does not count. ErrStale as above.
	Fail(ctx context.Context, p plan.Plan, out Output, f *hat.Fault) error
	// Abandon gives a claim back untouched, for a clean stop.
	Abandon(ctx context.Context, p plan.Plan) error
	// EndPauses makes due now what waits to be tried again after failures of other code than would run now, and says whether
	// anything did. would is the version and the package that would run under a grant; not ok: none can be told. What is
	// parked stays parked.
	EndPauses(ctx context.Context, would func(access.Grant) (version hat.Version, digest string, ok bool)) (some bool, err error)
	// Parked counts pieces of work of enabled functions that wait for a person; stalled are those whose last attempt failed
	// for a reason of the operator's, and that are tried again.
	Parked(ctx context.Context) (parked, stalled int, err error)
	// Used is what runs of the function that were claimed from then to the end of the day have taken. access.ErrDenied.
	Used(ctx context.Context, c access.Caller, f hat.FunctionID, from time.Time) (plan.Used, error)
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

// Runs that were, newest first.
type Runs interface {
	// Runs lists at most limit runs of one function (or all, if zero) that are older than before (or all, if zero).
	Runs(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) ([]Run, error)
	// RunsPage says which runs such a list has, of at least 1, and how many there are in all. access.ErrDenied.
	RunsPage(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) (Page[hat.RunID], error)
	Run(ctx context.Context, c access.Caller, id hat.RunID) (Run, error)
	// Replay makes the work of a run due now; failures of before count no more. The run that does it has the cause
	// plan.ByReplay. If the run committed, its ground is covered once more under the grant of today, and what comes out takes
	// the place of what it wrote: equal records stay, the others are superseded when the replay commits, and not before. Of
	// a run that was repeated already it is the newest generation; of a function whose output replaces, its newest run.
	// ErrNotFound, ErrNotEnabled, ErrBusy, ErrNothingDue (it did not commit, and another has done the work),
	// access.ErrDenied.
	Replay(ctx context.Context, c access.Caller, id hat.RunID) error
	// ReplayEach is Replay of each run by itself, at most MostReplays of them: what became of each, in their order, or an
	// error and none was replayed. ErrTooMany, access.ErrDenied.
	ReplayEach(ctx context.Context, c access.Caller, ids []hat.RunID) (outcomes []error, err error)
	// ReplayMany is Replay of many runs of a function, all or none, and says how many runs will come of it at least.
	// ErrNotFound, ErrNotEnabled, ErrTooMany, access.ErrDenied.
	ReplayMany(ctx context.Context, c access.Caller, f hat.FunctionID, w ReplayFilter) (due int, err error)
	// Skip gives up the work of a run that did not commit: what it covered and nobody has done since is not given to the
	// function any more. ErrNotFound, ErrBusy, ErrNothingDue, access.ErrDenied.
	Skip(ctx context.Context, c access.Caller, id hat.RunID) error
	// Superseded are at most limit records whose place the output of a run has taken, behind the number after, as far as they
	// are kept: see KeptResults.
	// access.ErrDenied.
	Superseded(ctx context.Context, c access.Caller, by hat.RunID, after int64, limit int) ([]Superseded, error)
	// SupersededPage says which numbers such a list has, of at least 1, and how many there are in all. access.ErrDenied.
	SupersededPage(ctx context.Context, c access.Caller, by hat.RunID, after int64, limit int) (Page[int64], error)
	// Cancel ends a run in flight as refused: a Commit of it is ErrStale from now on. Its work is kept, parked.
	// ErrNotFound, ErrEnded, access.ErrDenied.
	Cancel(ctx context.Context, c access.Caller, id hat.RunID) error
	// RunChanges are at most limit runs whose state changed behind the number after, in the order of their last change,
	// without logs; and the number of the newest change of all. A run that changed twice comes once, as it is now.
	// access.ErrDenied.
	RunChanges(ctx context.Context, c access.Caller, after int64, limit int) (changes []RunChange, last int64, err error)
}

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

// Receipts say what was done, see package receipt.
type Receipts interface {
	// Receipts calls f with the canonical texts of the entries behind number after, oldest first, and the head of the
	// whole chain, all of one moment. receipt.Verify takes both. access.ErrDenied.
	Receipts(ctx context.Context, c access.Caller, after int64, f func(texts iter.Seq2[[]byte, error], head receipt.Head) error) error
	// Head is that of the chain at this moment: all that the caller was told before lies in it. access.ErrDenied.
	Head(ctx context.Context, c access.Caller) (receipt.Head, error)
	// Checkpoints are the heads that were signed and kept, oldest first. access.ErrDenied.
	Checkpoints(ctx context.Context, c access.Caller) ([]receipt.Checkpoint, error)
	// KeepCheckpoint stores one; of one number the first stays. access.ErrDenied, ErrFull.
	KeepCheckpoint(ctx context.Context, c access.Caller, p receipt.Checkpoint) error
	// Compare compares all records that are stored, superseded ones included, with what the chain commits to at the same
	// moment; it takes the chain as proved. It reads all data. room is asked for the memory it takes, see
	// receipt.CompareContents. access.ErrDenied.
	Compare(ctx context.Context, c access.Caller, room func(bytes int64) error) (receipt.Comparison, error)
	// Disclose appends an entry: the caller was shown the records. It is durable before anything should be sent. ErrStale if the
	// terms of the data debit are not in force any more.
	Disclose(ctx context.Context, c access.Caller, d Disclosure) error
}
