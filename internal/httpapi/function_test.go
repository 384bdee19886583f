package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/invoke"
)

const functions = api + "/she/function"

// functionNamed is an installed manual function that reads rumpel/notes and writes at drops/insights/<id>. Its
// deployed names are <id>-configuration, <id>-bundle and <id>.
func functionNamed(id string) catalog.Function {
	m, fault := contract.ParseConfiguration([]byte(configurationOf(id, false)))
	if fault != nil {
		panic(fault)
	}
	f := notLoaded(id)
	f.Manifest = &m
	return f
}

// notLoaded is one whose configuration entry has not answered.
func notLoaded(id string) catalog.Function {
	entry := func(name string) catalog.Entry { return catalog.Entry{Name: name, Timeout: 60_000_000_000} }
	return catalog.Function{
		Registered: catalog.Registered{
			ID: must(hat.ParseFunctionID(id)), Version: must(hat.ParseVersion("1.0.0")),
			Output: must(hat.ParseEndpoint("drops/insights/" + id)),
		},
		Package:       catalog.Package{Digest: "sha256:" + id},
		Configuration: entry(id + "-configuration"), Bundle: entry(id + "-bundle"), Process: entry(id),
	}
}

func bundleOf(id string) string {
	return `{"name":"` + id + `","bundle":{"notes":{"endpoints":[{"endpoint":"rumpel/notes"}]}}}`
}

func configurationOf(id string, enabled bool) string {
	return fmt.Sprintf(`{"id":%q,"info":{"version":"1.0.0","versionReleaseDate":"2019-09-03T12:00:00.000Z","name":"N","headline":"H",
		"description":{"text":"T"},"termsUrl":"https://x.test","supportContact":"s","graphics":{"banner":{"normal":""},
		"logo":{"normal":""},"screenshots":[]}},"developer":{"id":"d","name":"D","url":"https://d.test"},
		"trigger":{"triggerType":"manual"},"dataBundle":%s,"status":{"available":true,"enabled":%t}}`, id, bundleOf(id), enabled)
}

// count answers every bundle question with bundleOf and counts the notes it is shown.
func count(_ context.Context, name string, event []byte) ([]byte, error) {
	if id, isBundle := strings.CutSuffix(name, "-bundle"); isBundle {
		return []byte(bundleOf(id)), nil
	}
	if id, isConfiguration := strings.CutSuffix(name, "-configuration"); isConfiguration {
		return []byte(configurationOf(id, true)), nil
	}
	var asked struct {
		Request struct {
			Data map[string][]json.RawMessage
		}
	}
	if err := json.Unmarshal(event, &asked); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `[{"namespace":"drops","endpoint":"insights/%s","data":[{"notes":%d}],"linkedRecords":[]}]`,
		name, len(asked.Request.Data["notes"])), nil
}

type wireStatus struct {
	Available, Enabled              bool
	LastExecution, ExecutionStarted *string
}

func (a answer) functionStatus() wireStatus {
	a.t.Helper()
	var f struct{ Status wireStatus }
	a.decode(&f)
	return f.Status
}

func TestScenario54NoSuchFunction(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	const none = `{"message":"Function Not Found","cause":"Function none not found"}`
	for _, path := range []string{"/none", "/none/enable", "/none/disable", "/none/trigger"} {
		w.get("bob", functions+path).want(404, none)
	}
	w.get("bob", functions+"/NO_id/trigger").want(404, `{"message":"Function Not Found","cause":"Function NO_id not found"}`)
}

func TestScenario55Switching(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	if s := w.get("bob", functions+"/counter").want(200).functionStatus(); !s.Available || s.Enabled {
		t.Errorf("at first: %+v", s)
	}
	a := w.get("bob", functions+"/counter/enable").want(200)
	if s := a.functionStatus(); !s.Enabled || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("enabled: %+v", s)
	}
	if s := w.get("bob", functions+"/counter").functionStatus(); !s.Enabled {
		t.Errorf("asked again: %+v", s)
	}
	// A function of one HAT is not one of another.
	if s := w.get("eve", functions+"/counter").functionStatus(); s.Enabled {
		t.Error("enabled at another HAT")
	}
	if s := w.get("bob", functions+"/counter/disable").want(200).functionStatus(); s.Enabled {
		t.Errorf("disabled: %+v", s)
	}
	// B-07: that its own configuration says enabled changes nothing, and switching off what was never on is no error.
	if s := w.get("eve", functions+"/counter/disable").want(200).functionStatus(); s.Enabled {
		t.Errorf("disabled, never enabled: %+v", s)
	}
}

// Defect B-58.
func TestScenario56NotEnabledNotAvailable(t *testing.T) {
	gone := functionNamed("gone")
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	w.get("bob", functions+"/counter/trigger").want(400,
		`{"message":"Function Not Enabled","cause":"Function counter not enabled for execution"}`)

	// Enabled once, no longer installed.
	v, release := w.open(w.bob)
	defer release()
	owner := access.User(w.users["bob"].ID, w.users["bob"].Roles, "")
	if _, err := v.Enable(t.Context(), owner, access.Grant{
		Function: gone.ID, Version: gone.Version, Digest: gone.Package.Digest, Bundle: gone.Manifest.Bundle,
		Output: gone.Output, Trigger: gone.Manifest.Trigger, Given: w.clock(),
	}); err != nil {
		t.Fatal(err)
	}
	const notAvailable = `{"message":"Function Not Available","cause":"Function gone not available for execution"}`
	w.get("bob", functions+"/gone/trigger").want(400, notAvailable)
	if s := w.get("bob", functions+"/gone").want(200).functionStatus(); s.Available || !s.Enabled {
		t.Errorf("saved only: %+v", s)
	}
	w.get("bob", functions+"/gone/enable").want(400, notAvailable)
	w.get("bob", functions+"/gone/disable").want(200)
	var list []struct{ ID string }
	w.get("bob", functions).want(200).decode(&list)
	if len(list) != 2 || list[0].ID != "counter" || list[1].ID != "gone" {
		t.Errorf("list %v", list)
	}
}

func TestScenario57And59Trigger(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	w.post("bob", notes, `[1,2,3]`).want(201)
	w.get("bob", functions+"/counter/enable").want(200)
	a := w.get("bob", functions+"/counter/trigger").want(200, `{"message":"Function Executed"}`).refreshed(true)
	if a.header.Get("Cache-Control") != "no-store" {
		t.Error("a run may be cached")
	}
	w.get("bob", api+"/data/drops/insights/counter").want(200).wantData(`{"notes":3}`)
	s := w.get("bob", functions+"/counter").functionStatus()
	if s.LastExecution == nil || s.ExecutionStarted != nil {
		t.Errorf("status %+v", s)
	}
	w.get("bob", functions+"/counter/trigger").want(200)
	// Scenario 81: all of it again.
	w.post("bob", notes, `4`).want(201)
	w.get("bob", functions+"/counter/trigger?useAll=true").want(200)
	w.get("bob", api+"/data/drops/insights/counter").wantData(`{"notes":3} {"notes":0} {"notes":4}`)
	w.get("bob", functions+"/counter/trigger?useAll=perhaps").want(400)
}

func TestScenario58FailedRun(t *testing.T) {
	var mu sync.Mutex
	reply, failure := "", error(nil)
	f := func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name != "counter" {
			return count(ctx, name, event)
		}
		mu.Lock()
		defer mu.Unlock()
		return []byte(reply), failure
	}
	w := newWorld(t, withFunctions(f, functionNamed("counter")))
	w.post("bob", notes, `"`+canary+`"`).want(201)
	w.get("bob", functions+"/counter/enable").want(200)
	const failed = `{"message":"Function Execution Failed","cause":"Function counter execution errored with bob.test:9000 function counter failed"}`
	for name, c := range map[string]struct {
		reply string
		err   error
	}{
		"throws":           {"", &invoke.Failure{Blame: invoke.Author, Code: "Function.Failed", Text: "it threw"}},
		"garbage":          {"{" + canary, nil},
		"empty":            {"", nil},
		"no linkedRecords": {`[{"namespace":"drops","endpoint":"insights/counter","data":["` + canary + `"]}]`, nil},
		"elsewhere":        {`[{"namespace":"drops","endpoint":"insights/other","data":["` + canary + `"],"linkedRecords":[]}]`, nil},
	} {
		mu.Lock()
		reply, failure = c.reply, c.err
		mu.Unlock()
		a := w.get("bob", functions+"/counter/trigger")
		if a.status != 500 || !sameJSON(a.body, failed) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		// The answer's body is the contract's; which run it was is beside it.
		link, described := strings.CutSuffix(a.header.Get("Link"), `>; rel="describedby"`)
		var run wireRun
		w.get("bob", strings.TrimPrefix(link, "<")).want(200).decode(&run)
		if newest := w.get("bob", own+"/runs?limit=1").want(200); !described || !strings.HasPrefix(link, "<"+own+"/runs/") ||
			run.Fault == nil || !strings.Contains(newest.body, run.ID) || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Link") {
			t.Errorf("%s: it links to %s, which is %+v", name, link, run)
		}
		if a := w.get("hpp", functions+"/counter/trigger").want(500, failed); a.header.Get("Link") != "" {
			t.Errorf("%s: a service is shown %s", name, a.header.Get("Link"))
		}
		if s := w.get("bob", functions+"/counter").functionStatus(); s.LastExecution != nil {
			t.Errorf("%s: last execution %s", name, *s.LastExecution)
		}
		w.get("bob", api+"/data/drops/insights/counter").want(200, `[]`)
	}
}

func TestScenario59Busy(t *testing.T) {
	started, goOn := make(chan struct{}), make(chan struct{})
	f := func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name == "counter" {
			started <- struct{}{}
			<-goOn
		}
		return count(ctx, name, event)
	}
	w := newWorld(t, withFunctions(f, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	first := make(chan answer, 1)
	go func() { first <- w.get("bob", functions+"/counter/trigger") }()
	<-started
	a := w.get("bob", functions+"/counter/trigger").want(500,
		`{"message":"Function Execution Failed","cause":"Function counter execution errored with bob.test:9000 function counter failed"}`)
	if a.header.Get("Retry-After") == "" {
		t.Error("busy without Retry-After")
	}
	if link := "<" + own + `/functions/counter/why>; rel="describedby"`; a.header.Get("Link") != link {
		t.Errorf("busy links to %s", a.header.Get("Link"))
	}
	if s := w.get("bob", functions+"/counter").functionStatus(); s.ExecutionStarted == nil {
		t.Errorf("running: %+v", s)
	}
	close(goOn)
	(<-first).want(200)
}

func TestScenario61WhoMayDoWhat(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter"), functionNamed("other")), withApplications(catalogue))
	w.get("bob", functions+"/counter/enable").want(200)
	w.get("bob", functions+"/other/enable").want(200)
	w.get("hpp", functions).want(200)
	w.get("hpp", functions+"/counter").want(200)
	w.get("hpp", functions+"/counter/enable").want(403, accessDenied)
	w.get("hpp", functions+"/counter/disable").want(403, accessDenied)
	w.get("hpp", functions+"/counter/trigger").want(200)
	app := w.appToken("counter-app")
	w.get(app, functions+"/counter/trigger").want(200)
	w.get(app, functions+"/other/trigger").want(403, accessDenied)
	w.get(app, functions).want(403, accessDenied)
	w.get(app, functions+"/none/trigger").want(403, accessDenied)
}

// Scenario 53, its half of the edge: a function that has not answered yet is no reason for an error.
func TestFunctionsThatAreNotLoaded(t *testing.T) {
	broken := func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if strings.HasSuffix(name, "-configuration") {
			return nil, &invoke.Failure{Blame: invoke.Author, Code: "Function.Failed", Text: "not today"}
		}
		return count(ctx, name, event)
	}
	w := newWorld(t, withFunctions(broken, functionNamed("counter"), notLoaded("late")))
	var list []struct{ ID string }
	w.get("bob", functions).want(200).decode(&list)
	if len(list) != 1 || list[0].ID != "counter" {
		t.Errorf("list %v", list)
	}
	w.get("bob", functions+"/late").want(404)
}

// The configuration that clients see is the author's, under this HAT's own status.
func TestConfigurationOnTheWire(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	want := strings.Replace(configurationOf("counter", false), "\n", "", -1)
	w.get("bob", functions+"/counter").want(200, want)
}

// wakes counts how often the engine is woken.
type wakes struct {
	*engine.Engine
	n atomic.Int64
}

func (w *wakes) Wake(id hat.ID) {
	w.n.Add(1)
	w.Engine.Wake(id)
}

// A write wakes the engine if a function may be due by it, and not where none is enabled: there it would look at the
// vault after each of a thousand writes in a second.
func TestAWriteWakesTheEngineForFunctions(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	counted := &wakes{Engine: w.engine}
	w.served.edge.Wake = counted.Wake
	n := 0
	woken := func(what string, want bool, call func() answer) {
		t.Helper()
		before := counted.n.Load()
		call()
		if got := counted.n.Load() > before; got != want {
			t.Errorf("%s: woken is %v", what, got)
		}
	}
	record := func() answer {
		n++
		return w.post("bob", api+"/data/rumpel/notes", fmt.Sprintf(`{"n":%d}`, n)).want(201)
	}
	list := func() answer {
		n++
		return w.post("bob", api+"/data/rumpel/notes", fmt.Sprintf(`[{"n":%d}]`, n)).want(201)
	}
	woken("no function, a record", false, record)
	woken("no function, an array", false, list)
	woken("a consent", true, func() answer { return w.get("bob", functions+"/counter/enable").want(200) })
	woken("a record for it", true, record)
	woken("an array for it", true, list)
	w.get("bob", functions+"/counter/disable").want(200)
	woken("it is disabled", false, record)
	woken("a consent again", true, func() answer { return w.get("bob", functions+"/counter/enable").want(200) })
	woken("a record for it again", true, record)
}
