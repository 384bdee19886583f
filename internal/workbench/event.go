package workbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/sandbox"
)

// An Expectation is what an answer is checked against, besides the contract.
type Expectation struct {
	Output hat.Endpoint // the only endpoint it may write to; zero: any one endpoint
}

// Event sends one event to one entry and reports the result. Its error is a failure of the machine, or the
// error of ctx. Faults of the function are in the report.
func (b *Bench) Event(ctx context.Context, f catalog.Function, e Entry, event []byte, want Expectation) (Report, error) {
	r := newReport(f)
	entry, err := entryOf(f, e)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, entry.Timeout+requestSlack)
	defer cancel()
	answer, err := b.invoker.Invoke(ctx, request(f, entry, event))
	step, fault, err := b.stepOf(e, entry, len(event), answer, err)
	if err != nil {
		return r, err
	}
	r.Steps = append(r.Steps, step)
	if fault != nil {
		r.refuse(e, fault)
		return r, nil
	}
	r.check(e, answer.Payload, want, shownIn(event))
	return r, nil
}

// entryOf returns an entry of a function. The function may lack it.
func entryOf(f catalog.Function, e Entry) (entry catalog.Entry, err error) {
	switch e {
	case Configuration:
		entry = f.Configuration
	case Bundle:
		entry = f.Bundle
	case Process:
		entry = f.Process
	default:
		return entry, fmt.Errorf("entry %q: want process, bundle or configuration", e)
	}
	if entry.Name == "" {
		return entry, fmt.Errorf("the project has no %s entry: a function %s-%s", e, f.Process.Name, e)
	}
	return entry, nil
}

func request(f catalog.Function, e catalog.Entry, event []byte) invoke.Request {
	return invoke.Request{
		Code: invoke.Code{
			Name: e.Name, Version: version(f), Package: e.Package.Digest, Dir: e.Package.Dir,
			Layers: e.Layers.Digest, LayersDir: e.Layers.Dir,
			Runtime: e.Runtime, Handler: e.Handler, MemoryMB: e.Memory, Timeout: e.Timeout, Env: e.Env,
		},
		ID: hat.NewRunID().String(), Event: event,
	}
}

func version(f catalog.Function) string {
	if f.Version == (hat.Version{}) {
		return ""
	}
	return f.Version.String()
}

// stepOf reports an invocation and the fault it ended with. err is every error that is not a fault of an
// invocation.
func (b *Bench) stepOf(e Entry, entry catalog.Entry, event int, a invoke.Answer, failed error) (s Step, fault *hat.Fault, err error) {
	s = Step{
		Entry: e, Name: entry.Name, Handler: entry.Handler, Runtime: entry.Runtime, Event: event, Log: string(a.Log),
		Timing: Timing{Sandbox: inMS(a.Timing.Sandbox), Init: inMS(a.Timing.Init), Run: inMS(a.Timing.Run)},
	}
	s.Limits = limits(entry, s, a, b.unheld)
	var failure *invoke.Failure
	switch {
	case failed == nil && b.unheld && a.Usage.CPU > share(entry):
		fault = hat.NewFault(hat.Author, sandbox.Timedout, fmt.Sprintf(
			"it took %d ms of a processor; with %d MB it has a share on a server with which that takes longer than its %s",
			a.Usage.CPU.Milliseconds(), entry.Memory, entry.Timeout))
		s.Fault = &Fault{Who: string(fault.Who), Code: fault.Code, Text: fault.Text}
		return s, fault, nil
	case failed == nil && !contract.IsErrorMessage(a.Payload):
		if json.Valid(a.Payload) {
			s.Answer = a.Payload
		} else {
			s.Text = strings.ToValidUTF8(string(a.Payload), "\ufffd")
		}
		return s, nil, nil
	case failed == nil:
		fault = hat.NewFault(hat.Author, contract.CodeAnswerError, "the function answered with an error message")
	case errors.As(failed, &failure):
		who := hat.Engine
		switch failure.Blame {
		case invoke.Author:
			who = hat.Author
		case invoke.Operator:
			who = hat.Operator
		case invoke.Engine:
		}
		fault = hat.NewFault(who, failure.Code, failure.Text)
	default:
		return s, nil, failed
	}
	s.Fault = faultOf(fault, a.Payload, entry)
	return s, fault, nil
}

// check compares an answer with the contract of its entry.
func (r *Report) check(e Entry, answer []byte, want Expectation, shown func(hat.RecordID) bool) {
	switch e {
	case Configuration:
		_, faults := contract.CheckConfiguration(answer)
		r.refuse(e, faults...)
	case Bundle:
		_, faults := contract.CheckBundle(answer)
		r.refuse(e, faults...)
	case Process:
		output := want.Output
		if output.IsZero() {
			output = addressIn(answer)
		}
		responses, faults := contract.CheckResponses(answer, output, shown)
		for _, response := range responses {
			r.Verdict.Records += len(response.Drafts)
		}
		if r.refuse(e, faults...); len(faults) == 0 && !output.IsZero() {
			r.Verdict.Writes = output.String()
		}
	}
}

// addressIn returns the first endpoint that an answer names; zero if it names none.
func addressIn(answer []byte) hat.Endpoint {
	var all []struct{ Namespace, Endpoint string }
	if json.Unmarshal(answer, &all) != nil {
		return hat.Endpoint{}
	}
	for _, one := range all {
		path := strings.Join(strings.FieldsFunc(one.Namespace+"/"+one.Endpoint, func(r rune) bool { return r == '/' }), "/")
		if e, err := hat.ParseEndpoint(path); err == nil {
			return e
		}
	}
	return hat.Endpoint{}
}

// shownIn returns a function that reports whether the event shows a record.
func shownIn(event []byte) func(hat.RecordID) bool {
	type record struct {
		RecordID string
		Links    []struct{ RecordID string }
	}
	var e struct {
		Request struct{ Data map[string][]record }
	}
	shown := map[hat.RecordID]bool{}
	if json.Unmarshal(event, &e) == nil {
		add := func(text string) {
			if id, err := hat.ParseRecordID(text); err == nil {
				shown[id] = true
			}
		}
		for _, records := range e.Request.Data {
			for _, r := range records {
				add(r.RecordID)
				for _, link := range r.Links {
					add(link.RecordID)
				}
			}
		}
	}
	return func(id hat.RecordID) bool { return shown[id] }
}
