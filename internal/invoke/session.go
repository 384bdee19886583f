package invoke

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"she/internal/sandbox"
)

// together gives the Code whose instances answer first an event of one Code and then one of another, and false if that takes
// two: one is enough where nothing differs that an instance has before its event, but the handler and its name.
func together(first, then Code) (Code, bool) {
	same := first.Package != "" && first.Package == then.Package && first.Dir == then.Dir && first.Layers == then.Layers && first.LayersDir == then.LayersDir && first.Version == then.Version &&
		first.Runtime == then.Runtime && first.MemoryMB == then.MemoryMB && first.NoCopies == then.NoCopies &&
		first.Processes == then.Processes && first.Files == then.Files && first.TmpMB == then.TmpMB && maps.Equal(first.Env, then.Env) &&
		first.first == nil && then.first == nil
	if !same {
		return Code{}, false
	}
	then.first = &FirstEntry{Name: first.Name, Handler: first.Handler, Timeout: first.Timeout, WarmUp: first.WarmUp}
	return then, true
}

// heldFor is how long an instance waits for the other event of its run. It keeps a place from others meanwhile, which is
// dearer after some time than another instance.
const heldFor = time.Second

// A Session is an instance that has answered one event of a run and can take the run's other one. Between the two it has next
// to no processor time, and counts as busy.
type Session struct {
	v      *Invoker
	code   Code // of both entries
	start  Start
	warmed bool
	place  *spot
	late   *time.Timer
	closed func() bool // stops what ends it with the Invoker

	mu       sync.Mutex
	instance sandbox.Instance // nil once it was used or removed
}

func (v *Invoker) hold(r Request, a Answer, instance sandbox.Instance, place *spot) *Session {
	s := &Session{v: v, code: r.Code, start: a.Start, warmed: a.Warmed, place: place, instance: instance}
	v.removing.Add(1) // Close waits for it
	s.mu.Lock()       // until it is known how to stop both: one of them may end it at once
	defer s.mu.Unlock()
	s.late, s.closed = time.AfterFunc(heldFor, s.End), context.AfterFunc(v.closing, s.End)
	return s
}

// End removes the instance if it was not used. A nil Session has none.
func (s *Session) End() {
	if instance := s.take(); instance != nil {
		s.release(instance)
	}
}

// take gives the instance to the one that asks first.
func (s *Session) take() sandbox.Instance {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	instance := s.instance
	s.instance = nil
	return instance
}

func (s *Session) release(instance sandbox.Instance) {
	s.late.Stop()
	s.closed()
	s.v.remove(instance, s.place)
	s.v.removing.Done()
}

// invokeIn is invoke in the Session of r, or so that there is one.
func (v *Invoker) invokeIn(ctx context.Context, r Request) (Answer, error) {
	if r.Session != nil {
		r.Code = r.Session.code
		if instance := r.Session.take(); instance != nil {
			return r.Session.invoke(ctx, r, instance)
		}
		return v.invoke(ctx, r)
	}
	if r.Then == nil {
		return v.invoke(ctx, r)
	}
	both, ok := together(r.Code, *r.Then)
	if f := v.lookUp(r.Code.Runtime); !ok || f.err != nil || !f.runtime.Entries || r.Code.Timeout <= 0 || r.Code.Timeout > MaxTimeout {
		return v.invoke(ctx, r)
	}
	r.Code, r.first = both, true
	return v.invoke(ctx, r)
}

// invoke gives the second event to the instance, or to another one of the same Code if it broke before it had the event.
func (s *Session) invoke(ctx context.Context, r Request, instance sandbox.Instance) (a Answer, err error) {
	again := func() (Answer, error) {
		s.release(instance)
		return s.v.invoke(ctx, r)
	}
	if len(r.Event) > sandbox.MaxEvent {
		return again() // it says so
	}
	joined, leave, err := s.v.enter(ctx)
	if err == nil && joined.Err() != nil {
		leave()
		err = context.Cause(joined)
	}
	if err != nil {
		s.release(instance)
		return a, err
	}
	defer leave()
	a.Start, a.Warmed = s.start, s.warmed
	err = runOnce(joined, instance, r, &a)
	var failure *Failure
	if !errors.Is(err, sandbox.ErrUnused) && !(errors.As(err, &failure) && failure.Blame == Engine) {
		s.release(instance)
		return a, err
	}
	lost := a.Timing.Run
	if a, err = again(); a.Timing.Sandbox > 0 {
		a.Timing.Sandbox += lost
	}
	return a, err
}
