// A WASI command: the event on standard input, the answer on standard output.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	event, err := io.ReadAll(os.Stdin)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "counted by", os.Getenv("_HANDLER"), "of", os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
	fmt.Print(len(event))
}
