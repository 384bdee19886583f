package shetest_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Scenarios 54 to 62: which functions there are, and what a client may do with them.
var registryScenarios = []scenario{
	{name: "Scenario54 a function that is not there is not found by any route",
		do: func(p, _ *person) {
			for _, path := range []string{"", "/enable", "/disable", "/trigger"} {
				p.get(functionPath("none")+path).want(http.StatusNotFound, `{"message":"Function Not Found","cause":"Function none not found"}`)
			}
		}},

	{name: "Scenario55 the owner alone switches on and off, whatever the function says of itself",
		functions: []function{{id: "f55", also: map[string]any{"status": map[string]any{"available": true, "enabled": true}}}},
		do: func(p, _ *person) {
			p.available("f55")
			if p.status("f55").Enabled {
				p.Error("it switched itself on")
			}
			for _, path := range []string{"/enable", "/disable"} {
				var c struct{ Status status }
				p.get(functionPath("f55") + path).want(http.StatusOK).into(&c)
				if on := path == "/enable"; c.Status.Enabled != on || p.status("f55").Enabled != on {
					p.Errorf("after %s: %+v", path, c.Status)
				}
			}
		}},

	{name: "Scenario56 a function that is switched off is not triggered",
		functions: []function{manual("f56")},
		do: func(p, _ *person) {
			p.available("f56")
			const notEnabled = `{"message":"Function Not Enabled","cause":"Function f56 not enabled for execution"}`
			p.trigger("f56").want(http.StatusBadRequest, notEnabled)
			p.enable("f56")
			p.disable("f56")
			p.trigger("f56").want(http.StatusBadRequest, notEnabled)
		}},

	{name: "Scenario57 trigger answers when the output can be read",
		functions: []function{manual("f57")},
		do: func(p, _ *person) {
			p.enable("f57")
			ids := p.post("f57/in", `{"n":1}`, `{"n":2}`)
			p.trigger("f57").want(http.StatusOK, executed)
			sameIDs(p, p.copied("f57"), ids)
			if s := p.status("f57"); s.LastExecution == nil || s.ExecutionStarted != nil {
				p.Errorf("%+v", s)
			}
		}},

	{name: "Scenario58 a run that fails says so, stores nothing and keeps its place",
		functions: []function{manual("throws58"), manual("garbage58"), manual("empty58"), manual("links58")},
		do: func(p, _ *person) {
			for _, c := range []struct{ f, order, said string }{
				{"throws58", `{"fails":"not today"}`, "failed:Unhandled"},
				{"garbage58", `{"answer":"<html>"}`, "refused:Answer.NotJSON"},
				{"empty58", `{"answer":""}`, "refused:Answer.Empty"},
				{"links58", `{"answer":"[{\"namespace\":\"links58\",\"endpoint\":\"out\",\"data\":[1]}]"}`, "refused:Response.Invalid"},
			} {
				p.enable(c.f)
				p.post(c.f+"/in", c.order)
				p.trigger(c.f).want(http.StatusInternalServerError, p.failed(c.f))
				if s := p.status(c.f); s.LastExecution != nil || s.ExecutionStarted != nil {
					p.Errorf("%s: %+v", c.f, s)
				}
				p.get(api+"/data/"+c.f+"/out").want(http.StatusOK, "[]")
				if r := p.ended(c.f, 1)[0]; r.said() != c.said || r.Fault.Who != "author" || len(r.Written) != 0 {
					p.Errorf("%s: %s %+v, want %s", c.f, r.said(), r.Fault, c.said)
				}
			}
		}},

	{name: "Scenario59 a function can be triggered again at once after it has ended",
		functions: []function{manual("f59")},
		do: func(p, _ *person) {
			p.enable("f59")
			for _, order := range []string{`{"n":1}`, `{"n":2}`} {
				p.post("f59/in", order)
				p.trigger("f59").want(http.StatusOK, executed)
			}
			if n := len(p.copied("f59")); n != 2 {
				p.Errorf("%d records", n)
			}
		}},

	{name: "Scenario59 of two triggers at the same time one runs and the other hears that it is busy",
		functions: []function{manual("busy59")},
		do: func(p, _ *person) {
			p.enable("busy59")
			p.post("busy59/in", `{"seconds":3}`)
			first := make(chan answer, 1)
			other := p.in(p.T)
			go func() { first <- other.tryTrigger("busy59") }()
			p.begun("busy59")
			p.trigger("busy59").want(http.StatusInternalServerError, p.failed("busy59"))
			(<-first).want(http.StatusOK, executed)
			if runs := p.ended("busy59", 1); len(runs) != 1 {
				p.Errorf("%d runs", len(runs))
			}
		}},

	{name: "Scenario60 the entries are given what the contract says",
		functions: []function{{id: "f60", trigger: `{"triggerType":"manual"}`, reads: []string{"f60/in", "f60/empty"}}},
		do: func(p, _ *person) {
			p.enable("f60")
			p.post("f60/in", `{"tell":true}`)
			p.trigger("f60").want(http.StatusOK, executed)
			p.post("f60/in", `{"tell":true,"n":2}`)
			p.trigger("f60").want(http.StatusOK, executed)
			runs := p.runs("f60")
			last := runs[0].Claimed
			for i, want := range []struct{ from, until time.Time }{
				{last.AddDate(0, -6, 0), last.AddDate(0, 3, 0)},
				{last, runs[1].Claimed.AddDate(0, 3, 0)},
			} {
				w := dates.FindStringSubmatch(p.run(runs[i].ID).Log)
				if w == nil {
					p.Fatalf("the bundle entry was given %q", p.run(runs[i].ID).Log)
				}
				about(p, w[1], want.from)
				about(p, w[2], want.until)
			}
			for i, r := range p.records("f60/out") {
				var e struct {
					FunctionConfiguration map[string]json.RawMessage
					Request               map[string]json.RawMessage
				}
				check(p.T, json.Unmarshal(r.Data, &e))
				var s status
				check(p.T, json.Unmarshal(e.FunctionConfiguration["status"], &s))
				// Before the first run there is no last execution; before the second, it is the time of the
				// first.
				if i == 0 && s.LastExecution != nil || i == 1 && (s.LastExecution == nil || s.LastExecution.Sub(last).Abs() > time.Millisecond) || s.ExecutionStarted != nil {
					p.Errorf("run %d was given the status %s", i, e.FunctionConfiguration["status"])
				}
				var given map[string][]record
				check(p.T, json.Unmarshal(e.Request["data"], &given))
				in, empty := given["f60/in"], given["f60/empty"]
				if len(given) != 2 || len(in) != 1 || in[0].Endpoint != "f60/in" || empty == nil || len(empty) != 0 ||
					string(e.Request["linkRecords"]) != "true" || len(e.Request) != 2 {
					p.Errorf("run %d was given %s", i, r.Data)
				}
			}
		}},

	{name: "Scenario61 a platform service lists and triggers, and does not switch on",
		functions: []function{manual("f61")},
		do: func(p, _ *person) {
			p.enable("f61")
			service := p.platform()
			service.get(api + "/she/function").want(http.StatusOK)
			service.trigger("f61").want(http.StatusOK, executed)
			for _, path := range []string{"/enable", "/disable"} {
				service.get(functionPath("f61") + path).want(http.StatusForbidden)
			}
		}},

	{name: "Scenario62 a period is text or milliseconds, and comes back as text",
		functions: []function{
			{id: "text62", trigger: `{"triggerType":"periodic","period":"P1D"}`},
			{id: "number62", trigger: `{"triggerType":"periodic","period":86400000}`},
		},
		do: func(p, _ *person) {
			for f, want := range map[string]string{"text62": "P1D", "number62": "PT24H"} {
				p.available(f)
				var c struct {
					Trigger struct{ TriggerType, Period string }
				}
				p.get(functionPath(f)).want(http.StatusOK).into(&c)
				if c.Trigger.TriggerType != "periodic" || c.Trigger.Period != want {
					p.Errorf("%s: %+v", f, c.Trigger)
				}
			}
		}},
}

func TestScenario53FunctionsAppearWhenTheyAnswer(t *testing.T) {
	whole(t)
	always := []function{individual("f53"), {id: "init-fails", project: "python"}}
	// On a busy machine the server may be up only after late53 answers. Then nothing was tested, and it
	// tries again.
	for after := 8 * time.Second; ; after += 8 * time.Second {
		w := newWorld(t, always, "alice")
		answers := time.Now().Add(after)
		w.configure(append(always, function{id: "late53", answersFrom: answers}))
		w.start()
		p := w.owner("alice")
		p.available("f53")
		listed, enabled := p.get(api+"/she/function"), p.get(functionPath("late53")+"/enable")
		if time.Now().After(answers) {
			check(t, w.server.Stop())
			continue
		}
		var list []struct{ ID string }
		listed.want(http.StatusOK).into(&list)
		if len(list) != 1 || list[0].ID != "f53" {
			p.Errorf("listed: %+v", list)
		}
		enabled.want(http.StatusNotFound)
		p.enable("late53")
		p.post("late53/in", `{}`)
		p.ended("late53", 1)
		p.get(functionPath("init-fails")).want(http.StatusNotFound)
		return
	}
}

// The function is saved and switched on but no longer registered: it is listed, and can't run.
func TestScenario56FunctionsThatAreNotLoadedAreNotAvailable(t *testing.T) {
	whole(t)
	w := newWorld(t, []function{manual("f56"), manual("other56")}, "alice")
	w.start()
	w.owner("alice").enable("f56")
	check(t, w.server.Stop())
	w.configure(w.functions[1:])
	w.start()
	p := w.owner("alice")
	if s := p.status("f56"); !s.Enabled || s.Available {
		p.Errorf("%+v", s)
	}
	p.trigger("f56").want(http.StatusBadRequest, `{"message":"Function Not Available","cause":"Function f56 not available for execution"}`)
	if r := p.why("f56"); r.Code != "not-installed" {
		p.Errorf("%+v", r)
	}
}

var dates = regexp.MustCompile(`bundle entry: \{"fromDate":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)","untilDate":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"\}`)

func about(p *person, text string, want time.Time) {
	p.Helper()
	at, err := time.Parse(time.RFC3339, text)
	check(p.T, err)
	if at.Sub(want).Abs() > time.Millisecond {
		p.Errorf("%s, want %s", text, want)
	}
}

func sameIDs(p *person, got, want []string) {
	p.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		p.Errorf("records %v, want %v", got, want)
	}
}

// tryTrigger is trigger for another goroutine than the test's own.
func (p *person) tryTrigger(f string) answer {
	client := p.client
	status, body, err := client.Do("GET", functionPath(f)+"/trigger", nil)
	if err != nil {
		body = []byte(err.Error())
	}
	return answer{p, "trigger " + f, status, string(body)}
}
