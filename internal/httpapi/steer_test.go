package httpapi

import (
	"context"
	"errors"
	"strings"
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
	do("bob", failed.ID, "replay").want(409, `{"type":"about:blank","title":"Nothing To Do","status":409,"detail":"nothing to do: what the run was to do has been done"}`)
	do("bob", failed.ID, "skip").want(409)
	first := newest("counter")
	do("bob", first.ID, "replay").want(202)
	s.until("counter committed")
	do("bob", failed.ID, "cancel").want(409)
	do("bob", "nonsense", "cancel").want(404)

	several := func(who, body string) answer { return w.call("POST", own+"/runs/replay", who, body) }
	several("bob", `{"runs":["`+first.ID+`","`+failed.ID+`","nonsense"]}`).want(200, `{"runs":[{"run":"`+first.ID+`","state":"due"},`+
		`{"run":"`+failed.ID+`","state":"refused","title":"Nothing To Do","detail":"nothing to do: what the run was to do has been done"},`+
		`{"run":"nonsense","state":"refused","title":"Run Not Found","detail":"there is no run of this id"}]}`)
	s.until("counter committed")
	for _, body := range []string{`{"runs":[]}`, `{}`, `{"runs":"x"}`, `{"runs":[1]}`, `{"run":[]}`, `{"runs":[` + strings.Repeat(`"x",`, 1000) + `"x"]}`} {
		several("bob", body).want(400)
	}
	several("hpp", `{"runs":["`+first.ID+`"]}`).want(403)

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

func TestWhatAReplayTookThePlaceOf(t *testing.T) {
	var says atomic.Value
	says.Store("first")
	w := newWorld(t, withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		switch {
		case name != "counter":
			return count(ctx, name, event)
		case says.Load() == "fails":
			return nil, errors.New("no")
		}
		return []byte(`[{"namespace":"drops","endpoint":"insights/counter","data":["` + says.Load().(string) + `"],"linkedRecords":[]}]`), nil
	}, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.post("bob", api+"/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	w.get("bob", functions+"/counter/trigger").want(200)
	var all []wireRun
	w.get("bob", own+"/runs").want(200).decode(&all)
	do := func(who, path, body string) answer { return w.call("POST", own+path, who, body) }

	says.Store("second")
	s := w.listen("")
	do("bob", "/functions/counter/replay", `{"since":"2000-01-01T00:00:00Z"}`).want(202, `{"due":1}`)
	s.until("counter committed")
	var runs []struct {
		ID, Replaces, SupersededBy string
		Superseded                 int
	}
	w.get("bob", own+"/runs").want(200).decode(&runs)
	if runs[0].Replaces != all[0].ID || runs[0].Superseded != 1 || runs[1].SupersededBy != runs[0].ID {
		t.Errorf("the runs are %+v", runs)
	}
	var former []struct {
		Run, By string
		Data    string
	}
	w.get("bob", own+"/runs/"+runs[0].ID+"/superseded?limit=2").want(200).decode(&former)
	if len(former) != 1 || former[0].Data != "first" || former[0].Run != all[0].ID || former[0].By != runs[0].ID {
		t.Errorf("superseded are %+v", former)
	}
	w.get("bob", own+"/runs/"+runs[0].ID+"/superseded?after=1").want(200, `[]`)
	w.get("bob", own+"/runs/"+runs[0].ID+"/superseded?after=-1").want(400)
	w.get("bob", own+"/runs/"+runs[0].ID+"/superseded?limit=0").want(400)
	w.get("bob", own+"/runs/nonsense/superseded").want(404)
	w.get("hpp", own+"/runs/"+runs[0].ID+"/superseded").want(403)

	says.Store("fails")
	w.get("bob", functions+"/counter/trigger").want(500)
	w.get("bob", own+"/runs").want(200).decode(&all)
	do("bob", "/functions/counter/replay", `{"failed":true}`).want(202)
	for body, status := range map[string]int{`{}`: 400, `{"failed":"yes"}`: 400, `{"all":true}`: 400, `[]`: 400, `{"failed":true} x`: 400, ``: 415} {
		do("bob", "/functions/counter/replay", body).want(status)
	}
	do("bob", "/functions/none/replay", `{"failed":true}`).want(404)
	do("bob", "/functions/NONE/replay", `{"failed":true}`).want(404)
	do("hpp", "/functions/counter/replay", `{"failed":true}`).want(403)
	w.get("bob", functions+"/counter/disable").want(200)
	do("bob", "/functions/counter/replay", `{"failed":true}`).want(409)
}
