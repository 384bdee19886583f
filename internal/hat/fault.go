package hat

import "errors"

// Who says who must act on a Fault.
type Who string

const (
	Owner    Who = "owner"    // revoked, disabled, over quota
	Author   Who = "author"   // bad bundle, crash, timeout, too large, wrong address
	Operator Who = "operator" // a sandbox could not start, the disk or the machine's memory is full
	Engine   Who = "engine"   // our bug
)

// A Fault says why a Run did not commit: who must act, a stable code for machines ("Runtime.OutOfMemory"),
// and a line for people. The line never contains Owner data: a function's own message goes to the run's log
// in the vault.
type Fault struct {
	Who  Who    `json:"who"`
	Code string `json:"code"`
	Text string `json:"text"`
}

func (f *Fault) Error() string { return string(f.Who) + ": " + f.Code + ": " + f.Text }

// NewFault makes a Fault as an error. Code and text may quote an author; characters that control a terminal
// are removed.
func NewFault(who Who, code, text string) *Fault {
	return &Fault{Who: who, Code: Line(code), Text: Line(text)}
}

// FaultOf returns the Fault in err. Any other error becomes the engine's own fault.
func FaultOf(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return NewFault(Engine, "Engine.Unexpected", "unexpected error; see the server's log")
}

// A FieldError says which part of a JSON document does not fit and why. Path starts at the root in the form
// that clients of the HAT API know, "obj[0].endpoint". Message is a short text or a key such as
// "error.path.missing". Both quote nothing of the document.
type FieldError struct{ Path, Message string }

func (e *FieldError) Error() string { return e.Path + ": " + e.Message }
