package server

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEndWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var exits atomic.Int32
		exit := func() { exits.Add(1) }
		broken := errors.New("broken")
		if err := endWithin(time.Second, func() error { time.Sleep(900 * time.Millisecond); return broken }, exit); err != broken {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		if exits.Load() != 0 {
			t.Error("a stop in time ended in the middle")
		}
		began := time.Now()
		_ = endWithin(hardStop, func() error {
			for exits.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			return nil
		}, exit)
		if took := time.Since(began); exits.Load() != 1 || took > 10*time.Second {
			t.Errorf("%d exits after %v", exits.Load(), took)
		}
	})
}
