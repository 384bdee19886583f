// Command she-wasm runs one event of a function compiled to WebAssembly behind walls of its own; she starts it. See
// package worker.
package main

import (
	"os"

	"she/internal/sandbox/wasm/worker"
)

func main() { os.Exit(worker.Main(os.Args[1:])) }
