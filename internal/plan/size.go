package plan

import (
	"slices"

	"she/internal/hat"
)

// CodeRequestTooLarge is the code of the fault of a run whose request, of what it may not be split below, is larger than
// any request may be.
const CodeRequestTooLarge = "RequestEntityTooLarge"

// CodeTooMuchWork is the code of the fault of a run whose question costs more than any question may over what it reads.
const CodeTooMuchWork = "Bundle.TooMuchWork"

// answersTooLarge are the codes of faults that a smaller request may avoid, as the wall and package contract give them.
var answersTooLarge = []string{"Function.ResponseSizeTooLarge", "Answer.TooLarge", "Response.TooManyRecords"}

// Oversize says that the same ground can't ever be asked about: trying again by itself is of no use, nor is asking about
// it together with more.
func Oversize(f *hat.Fault) bool {
	return f != nil && f.Who == hat.Author && f.Code == CodeRequestTooLarge
}

// Foregone says that the same ground ends the same way at each attempt, because what was counted is neither time nor what
// the function answers but the ground itself: trying again by itself is of no use. What the function answers may be
// different the next time, a question or an answer of the wrong form too.
func Foregone(f *hat.Fault) bool {
	return Oversize(f) || f != nil && f.Who == hat.Author && f.Code == CodeTooMuchWork
}

// Halve says about how many records at most to ask an individual function next, after its answer to so many was too
// large: half of them, and so on down to one. ok is false if the fault is another or one record it was.
func Halve(g hat.Trigger, f *hat.Fault, records int) (most int, ok bool) {
	if g.Kind != hat.Individual || f == nil || !slices.Contains(answersTooLarge, f.Code) || records < 2 {
		return 0, false
	}
	return records / 2, true
}

// Together says whether a run over what is new covers, too, the ground parked right before it, with nothing done in
// between: some functions fail on little data and succeed on more. Whoever asks for a run gets both. By itself only every
// second attempt does, so that data that nothing can be made of holds up what came after it by one attempt at most.
// What is known to fail alone comes with nothing but a request. parked is why the ground is parked, failed how often what
// is new has failed.
func Together(parked *hat.Fault, asked bool, failed int) bool {
	if parked == nil || Oversize(parked) {
		return false
	}
	return asked || parked.Who == hat.Author && !Foregone(parked) && failed%2 == 1
}
