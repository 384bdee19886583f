package wasm

// What the host and she-wasm (package worker) agree on, besides the channel of runtimeapi.

// What a she-wasm is started for.
const (
	Compile = "compile" // the module on descriptor 3 becomes an image on standard output
	Serve   = "serve"   // the image on descriptor 3 serves an event; the channel is standard input and output
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
