package plan

import (
	"slices"

	"she/internal/hat"
)

// CodeRequestTooLarge is the code of the fault of a run whose smallest possible request is larger than any
// request may be.
const CodeRequestTooLarge = "RequestEntityTooLarge"

// CodeTooMuchWork is the code of the fault of a run whose bundle costs more fuel than the data it reads
// allows.
const CodeTooMuchWork = "Bundle.TooMuchWork"

// answersTooLarge are the codes of faults that a smaller request may avoid. The sandbox and package contract
// give them.
var answersTooLarge = []string{"Function.ResponseSizeTooLarge", "Answer.TooLarge", "Response.TooManyRecords"}

// Oversize reports whether no request over these positions can ever succeed. It is pointless to try again,
// alone or together with more.
func Oversize(f *hat.Fault) bool {
	return f != nil && f.Who == hat.Author && f.Code == CodeRequestTooLarge
}

// Foregone reports whether every attempt over these positions ends the same way, because the result depends
// on the data alone. Faults of time, and of what the function answers, may be different at the next attempt.
func Foregone(f *hat.Fault) bool {
	return Oversize(f) || f != nil && f.Who == hat.Author && f.Code == CodeTooMuchWork
}

// Halve returns about how many records to take next after the response to so many was too large: half, down
// to one. ok is false for other faults, and if it was one record.
func Halve(g hat.Trigger, f *hat.Fault, records int) (most int, ok bool) {
	if g.Kind != hat.Individual || f == nil || !slices.Contains(answersTooLarge, f.Code) || records < 2 {
		return 0, false
	}
	return records / 2, true
}

// Together reports whether a run over the front also covers the range that is parked right before it: some
// functions fail on little data and succeed on more. A request always covers both. Otherwise only every
// second attempt does, so that data that always fails delays newer data by at most one attempt. Data that is
// known to fail alone is included only on request. parked is why the range was parked, failed how often the
// front has failed.
func Together(parked *hat.Fault, asked bool, failed int) bool {
	if parked == nil || Oversize(parked) {
		return false
	}
	return asked || parked.Who == hat.Author && !Foregone(parked) && failed%2 == 1
}
