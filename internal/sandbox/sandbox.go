// Package sandbox says what a sealed place for one invocation is, without saying how it is built. A Mechanism makes
// an Instance: the author's program after its INIT, before any data. An Instance takes one event, gives one answer
// and is destroyed; where one run has two events for it, the second follows the first answer. It sees bytes; what they mean is known only outside the wall.
//
// What every mechanism guarantees, held by sandboxtest: no network; no file system but the package and the runtime,
// both read-only, and an empty /tmp of limited size; no memory, process, file or descriptor shared with another
// Instance or the host; the limits hold; after Close nothing of it is left, and after Sweep nothing of an earlier
// life of the server.
//
// Everything that comes out of an Instance is hostile: answers and logs are bounded byte strings, failures are one of
// a fixed set of codes, and no text of a function ever reaches a Failure.
package sandbox

import (
	"context"
	"errors"
	"time"
)

// Limits of one Instance. Zero is no valid limit; see Program.Check.
type Limits struct {
	Memory    int64         // bytes of memory for the program and everything it starts
	CPU       float64       // CPUs it may use while it has data; INIT is not throttled
	Tmp       int64         // bytes of /tmp
	Processes int           // processes and threads
	Files     int           // open descriptors of one process
	Init      time.Duration // how long INIT may take
}

// What an event, an answer and a log may measure at most, in bytes. They are Lambda's, and part of the contract with
// authors, so they are no configuration.
const (
	MaxEvent  = 6 << 20
	MaxAnswer = 6 << 20
	MaxLog    = 256 << 10
)

// A Bind shows a host file or directory inside, read-only.
type Bind struct{ Source, Target string }

// Layers is where a Bind shows what programs see as /opt: it is of a program's own, as all below /var.
const Layers = "/var/opt"

// A Program is what runs in an Instance: a runtime, and an author's package it loads.
type Program struct {
	Dir     string   // the unpacked package on the host, shown as /var/task; it must not be changed any more
	Binds   []Bind   // what the runtime needs besides
	Command []string // the runtime's bootstrap and its arguments, as seen inside
	Env     []string // NAME=value, complete: nothing of the host's environment is added
	Limits  Limits
}

// A Call is one event: the only one of an Instance, unless it is Again.
type Call struct {
	ID       string        // the Lambda request id, a UUID
	ARN      string        // the invoked function's name in Amazon's form; clients parse it
	Deadline time.Time     // when the Instance is killed with everything in it
	Limit    time.Duration // how long it had until then, for the text of the Failure
	Event    []byte
	First    bool // for the Program's first entry, of two
	Again    bool // once it has its answer another Call follows; until then the Instance is held back as before the first
}

// Timedout is the Failure of a Call that was not done by its Deadline, in Lambda's words.
func (c Call) Timedout() *Failure {
	return Failed(Author, Timedout, "Task timed out after %.2f seconds", c.Limit.Seconds())
}

// A Result is what came back. It is filled as far as it is known also when Run returns an error.
type Result struct {
	Payload []byte // the answer, or the function's own error document in Lambda's form. Owner data.
	Log     []byte // what the function printed, at most MaxLog and a line about what was dropped. Owner data.
	Usage   Usage
	Init    time.Duration // what INIT took; set by Start
}

// Usage is what an Instance cost, as far as the mechanism can tell without extra cost; zero where it can't.
type Usage struct {
	MaxMemory int64         // bytes at the highest point
	CPU       time.Duration // of the program and of the walls around it
}

// A Mechanism builds sandboxes. Its methods may be called concurrently.
type Mechanism interface {
	// Start runs INIT to the point where the runtime asks for its event. On error nothing is left; the Result then
	// carries the log and error document of a failed INIT. ErrUnused is wrapped beside the Failure where the sandbox broke
	// by itself before there was one to run the program in.
	Start(ctx context.Context, p Program) (Instance, Result, error)
	// Sweep removes whatever an earlier life of the server left: processes, mounts, cgroups, directories. It must
	// not run beside Start.
	Sweep(ctx context.Context) error
	// Close ends what the mechanism itself holds. All Instances must be closed before.
	Close() error
}

// A Copier is a Mechanism that can copy an Instance that has seen no data. The copies share nothing, but what was in
// memory is in all of them: a Program whose runtime does not reseed its random generators must not be copied.
type Copier interface {
	Mechanism
	// Checkpoint runs INIT, then the rehearsals, several times if they are short, and keeps what is in memory then as an
	// image in dir, which must not exist. A rehearsal runs the author's code on an event without data; that it fails does
	// no harm as long as the program lives.
	Checkpoint(ctx context.Context, p Program, rehearsals []Call, dir string) (Result, error)
	// Stamp changes whenever images made before can't be trusted any more, as with another version of the mechanism.
	Stamp() string
	// Restore makes an Instance from an image of the same Program. The image may be removed when it has returned. ErrStale
	// says that no Instance can be made from it any more, and that nothing but that is wrong.
	Restore(ctx context.Context, p Program, dir string) (Instance, error)
	// Forget removes what the mechanism keeps of a package's directory, which is about to be removed.
	Forget(dir string)
	// Files tells what the mechanism keeps of the directories programs see.
	Files() Files
}

// Files is what a mechanism keeps on disk of the directories programs see, so that no process has to open files for them.
type Files struct {
	Bytes   int64
	Problem string // why the last of it could not be made, for the operator; empty if it could
}

// A Rehearser is an Instance that can try an event without data before its own, so that what the event will need is in
// memory and mapped when it comes. The answer and what is printed are nobody's.
type Rehearser interface {
	Instance
	// Rehearse may be called before Run. That the program fails it does no harm as long as it lives; after an error the
	// Instance can only be closed.
	Rehearse(ctx context.Context, c Call) error
}

// ErrUnused says that an Instance failed before its program saw the event, so that another one may have it.
var ErrUnused = errors.New("the event was not handed out")

// ErrStale says that the files an image of memory was made on are not those of today, as after an upgrade of the machine.
var ErrStale = errors.New("the image was made on other files than there are now")

// An Instance is one sandbox after INIT. Until it is given its event it gets next to no CPU. Run may be called once.
type Instance interface {
	// Memory is what the Instance takes on the host now, in bytes.
	Memory() int64
	// Run gives the event and waits for the answer. The deadline and the end of ctx kill the Instance with
	// everything in it at once. Errors are *Failure, or ctx's; ErrUnused is wrapped beside the Failure where it is
	// certain that the program never saw the event.
	Run(ctx context.Context, c Call) (Result, error)
	// Close kills what still runs and removes every trace on the host. It needs no earlier Run. After an error it may be
	// called again and tries again; after success it does nothing.
	Close() error
}
