package httpapi

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"she/internal/access"
	"she/internal/engine"
)

func TestReplayAndCancelOverHTTP(t *testing.T) {
	var broken atomic.Bool
	begun, held := make(chan struct{}, 8), make(chan struct{})
	defer close(held)
	w := newWorld(t, withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		switch {
		case name == "counter" && broken.Load():
			return nil, errors.New("no")
		case name == "slow":
			begun <- struct{}{}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-held:
			}
		}
		return count(ctx, name, event)
	}, functionNamed("counter"), functionNamed("slow")))
	for _, f := range []string{"counter", "slow"} {
		w.get("bob", functions+"/"+f+"/enable").want(200)
	}
	w.post("bob", api+"/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	newest := func(f string) (r wireRun) {
		var all []wireRun
		w.get("bob", own+"/runs?limit=1&function="+f).want(200).decode(&all)
		return all[0]
	}
	do := func(who, id, verb string) answer { return w.call("POST", own+"/runs/"+id+"/"+verb, who, "") }

	broken.Store(true)
	w.get("bob", functions+"/counter/trigger").want(500)
	failed := newest("counter")
	broken.Store(false)
	for who, status := range map[string]int{"": 401, "hpp": 403, "eve": 404} {
		do(who, failed.ID, "replay").want(status)
		do(who, failed.ID, "cancel").want(status)
	}
	s := w.listen("")
	do("bob", failed.ID, "replay").want(202, `{"message":"Due"}`)
	s.until("counter committed")
	if r := newest("counter"); r.Cause != "replay" || len(r.Written) != 1 {
		t.Errorf("the replay is %+v", r)
	}
	do("bob", failed.ID, "replay").want(409, `{"type":"about:blank","title":"Nothing To Do","status":409,"detail":"what the run was to do has been done"}`)
	do("bob", failed.ID, "cancel").want(409)
	do("bob", "nonsense", "cancel").want(404)

	bob := access.User(w.users["bob"].ID, w.users["bob"].Roles, access.TitleOwner)
	ended := make(chan error, 1)
	go func() {
		ended <- w.engine.Trigger(context.Background(), w.bob.ID, bob, functionNamed("slow").ID, false)
	}()
	<-begun
	flying := newest("slow")
	do("bob", flying.ID, "replay").want(409)
	do("bob", flying.ID, "cancel").want(200, `{"message":"Cancelled"}`)
	var cancelled *engine.FailedError
	if err := <-ended; !errors.As(err, &cancelled) {
		t.Errorf("whoever asked hears %v", err)
	}
	if r := newest("slow"); r.State != "refused" || r.Fault == nil || r.Fault.Code != "Run.Cancelled" {
		t.Errorf("it ended as %+v", r)
	}
	w.get("bob", functions+"/counter/disable").want(200)
	do("bob", failed.ID, "replay").want(409)
}
