package sandbox

import (
	"encoding/json"
	"fmt"
	"syscall"
)

// Blame says who must act to mend a Failure.
type Blame string

const (
	Author   Blame = "author"   // crash, timeout, too much memory, too large, malformed
	Operator Blame = "operator" // a runtime is missing, a sandbox could not start
	Engine   Blame = "engine"   // our bug
)

// The codes of a Failure. Where Lambda has a name for it, it is Lambda's.
const (
	Unhandled            = "Unhandled" // the function raised an error of its own; its document is in the payload
	ExitError            = "Runtime.ExitError"
	OutOfMemory          = "Runtime.OutOfMemory"
	InvalidEntrypoint    = "Runtime.InvalidEntrypoint"
	ImportModuleError    = "Runtime.ImportModuleError"
	HandlerNotFound      = "Runtime.HandlerNotFound"
	UserCodeSyntaxError  = "Runtime.UserCodeSyntaxError"
	MalformedHandlerName = "Runtime.MalformedHandlerName"
	MarshalError         = "Runtime.MarshalError"
	UnmarshalError       = "Runtime.UnmarshalError"
	UnhandledRejection   = "Runtime.UnhandledPromiseRejection"
	InvalidRuntime       = "Runtime.InvalidRuntime"
	Timedout             = "Sandbox.Timedout"
	ResponseSizeTooLarge = "Function.ResponseSizeTooLarge"
	RequestTooLarge      = "RequestEntityTooLarge"
	StartFailed          = "Sandbox.StartFailed" // operator
	ProtocolError        = "Sandbox.ProtocolError"
	MachineOutOfMemory   = "Sandbox.MachineOutOfMemory" // operator
	Killed               = "Sandbox.Killed"             // operator
	InvalidPackage       = "Function.InvalidPackage"
)

// texts are our words for what a runtime may report about its function. A report that is not in here is Unhandled:
// the name itself comes from the function and could carry data.
var texts = map[string]string{
	Unhandled: "the function raised an error",
	ImportModuleError: "the function's module could not be loaded: its log says why; what Lambda's images hold beside the language " +
		"(boto3, the aws-sdk) is not here and must be in the package",
	HandlerNotFound:      "the function's module has no such handler",
	UserCodeSyntaxError:  "the function's code has a syntax error",
	MalformedHandlerName: "the handler is not written as this runtime wants it",
	MarshalError:         "the function's answer can't be written as JSON; its log says what of it",
	marshalNaN:           "the function's answer holds NaN or Infinity, which JSON has not; its log says where",
	UnmarshalError:       "the function can't read its event",
	UnhandledRejection:   "the function left a rejected promise unhandled",
	OutOfMemory:          "the function used more memory than it may",
	ExitError:            "the runtime ended without an answer",
	InvalidEntrypoint:    "the runtime's entry point can't be run: its format is unknown, or the interpreter or loader it names is not in the sandbox",
	ResponseSizeTooLarge: fmt.Sprintf("the answer is larger than %d bytes", MaxAnswer),
	Timedout:             "the function took longer than it may",
}

// marshalNaN is a MarshalError in the words of our bootstraps, for a number that JSON has not.
const marshalNaN = MarshalError + ".NaN"

// A Failure is why there is no answer. Text is in our words: a function's own message is Owner data and stays in the
// Result.
type Failure struct {
	Blame Blame
	Code  string
	Text  string
}

func (f *Failure) Error() string { return string(f.Blame) + ": " + f.Code + ": " + f.Text }

// Failed makes a Failure.
func Failed(blame Blame, code, format string, args ...any) *Failure {
	return &Failure{blame, code, fmt.Sprintf(format, args...)}
}

// Reported turns an error type that came from inside into a Failure of the author.
func Reported(errorType string) *Failure {
	text, ok := texts[errorType]
	if !ok {
		errorType, text = Unhandled, texts[Unhandled]
	}
	if errorType == marshalNaN {
		errorType = MarshalError
	}
	return &Failure{Author, errorType, text}
}

// Exited is the Failure of a runtime that ended by itself, or by a signal where that is not 0, in Lambda's words: tools of
// authors look for them.
func Exited(status, signal int) *Failure {
	switch {
	case signal > 0:
		return Failed(Author, ExitError, "Runtime exited with error: signal: %s", syscall.Signal(signal))
	case status == 0:
		return Failed(Author, ExitError, "Runtime exited without providing a reason")
	}
	return Failed(Author, ExitError, "Runtime exited with error: exit status %d", status)
}

// EndedForMemory is the Failure of an Instance that the kernel ended though it kept to its limit.
func EndedForMemory() *Failure {
	return Failed(Operator, MachineOutOfMemory, "the machine, or the service she runs as, was out of memory, and its kernel ended the sandbox; the function kept to its limit")
}

// EndedFromOutside is the Failure of an Instance that something else on the machine ended.
func EndedFromOutside() *Failure {
	return Failed(Operator, Killed, "the sandbox was killed from outside: by a person or a program of this machine, not by the function or by she")
}

// Document is the payload Lambda gives for a Failure that left none of its own.
func (f *Failure) Document(requestID string) []byte {
	b, err := json.Marshal(struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}{f.Code, "RequestId: " + requestID + " Error: " + f.Text})
	if err != nil {
		panic(err) // two strings
	}
	return b
}
