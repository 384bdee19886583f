package wasm

// What the host and she-wasm (package worker) agree on, besides the channel of runtimeapi.

// What a she-wasm is started for.
const (
	Compile = "compile" // the module on descriptor 3 becomes an image on standard output
	Serve   = "serve"   // the image on descriptor 3 serves an event; the channel is standard input and output
	Prove   = "prove"   // what native code could try is tried; what came of it is on standard output, Attempts in JSON
)

// An Attempt is what native code in a worker could try, if a module broke out of the engine, and what came of it.
type Attempt struct {
	Name       string // stable
	Tries      string // for people
	Bare       Tried  // as a plain process of the machine: what does not succeed there proves nothing
	Walled     Tried  // where a module runs
	Unfiltered Tried  // behind the same walls, the filter of system calls left out; only if Others
	Others     bool   // more than the filter is in its way
	Passes     bool   // the filter lets it through, and something else is in its way
}

// Tried is how an attempt ended; in Detail is why.
type Tried struct {
	Outcome Outcome
	Detail  string `json:",omitempty"`
}

// An Outcome is how an attempt ended.
type Outcome string

const (
	Succeeded Outcome = "succeeded"
	Refused   Outcome = "refused" // the kernel gave an error
	Ended     Outcome = "ended"   // the kernel ended the process for the system call
	Untried   Outcome = "untried" // there were no walls, or something else ended it
)

// How one that compiles ends, if it made no image.
const (
	StatusInvalid = 3 // not a module the engine compiles, or no command: it has no function _start
	StatusForeign = 4 // it needs functions that are not WASI's
)

// Faults besides those of package sandbox.
const (
	FaultTrap  = "Trap"
	FaultImage = "Image" // the image can't be used: it has to be made again
)

// Bounds in bytes.
const (
	MaxModule = 64 << 20
	MaxImage  = 512 << 20
)
