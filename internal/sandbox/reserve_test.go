package sandbox

import (
	"context"
	"errors"
	"testing"
)

// still is a mechanism whose instances wait in Run until they are told to end.
type still struct {
	Mechanism
	running, end chan struct{}
}

type stillInstance struct {
	Instance
	*still
}

func (s *still) Start(context.Context, Program) (Instance, Result, error) {
	return stillInstance{still: s}, Result{}, nil
}

func (s stillInstance) Run(context.Context, Call) (Result, error) {
	s.running <- struct{}{}
	<-s.end
	return Result{}, nil
}

func TestReserve(t *testing.T) {
	s := &still{running: make(chan struct{}), end: make(chan struct{})}
	m := WithReserve(s, t.TempDir(), 1000).(*reserved)
	free := int64(2000)
	m.disk.free = func(string) (int64, error) { return free, nil }
	p := Program{Limits: Limits{Tmp: 600}}
	var i [2]Instance
	for k := range i {
		var err error
		if i[k], _, err = m.Start(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		_, err := i[0].Run(t.Context(), Call{})
		done <- err
	}()
	<-s.running
	refused := func(err error, event bool) {
		t.Helper()
		var f *Failure
		if !errors.As(err, &f) || f.Blame != Operator || event != errors.Is(err, ErrUnused) {
			t.Errorf("with %d free: %v", free, err)
		}
	}
	// The one that runs may still write 600, so the second would reach into the reserve.
	_, err := i[1].Run(t.Context(), Call{})
	refused(err, true)
	_, _, err = m.Start(t.Context(), p)
	refused(err, false)
	s.end <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := i[1].Run(t.Context(), Call{})
		done <- err
	}()
	<-s.running
	s.end <- struct{}{}
	if err := <-done; err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
	free = 1500
	_, _, err = m.Start(t.Context(), p)
	refused(err, false)
}
