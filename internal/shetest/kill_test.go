package shetest_test

import "testing"

// The process is killed at the three moments that the scenario names. After each restart the work has been
// done once, and nothing is left to do.
func TestScenario67KilledAtAnyMomentNothingIsLostOrRepeated(t *testing.T) {
	whole(t)
	w := newWorld(t, []function{individual("f67")}, "alice")
	w.start()
	p := w.owner("alice")
	p.enable("f67")
	var ids []string
	for _, killed := range []struct {
		when  string
		order string
		at    func()
	}{
		{"after the data is stored, before the run has read it", `{}`, func() {}},
		{"during the run", `{"seconds":2}`, func() { p.begun("f67") }},
		{"after the output is stored", `{"n":3}`, func() {
			p.saw("f67", "the output is stored", func(runs []run) bool { return written(runs) == len(ids) })
		}},
	} {
		ids = append(ids, p.post("f67/in", killed.order)...)
		killed.at()
		check(t, w.server.Kill())
		w.start()
		p = w.owner("alice")
		runs := p.saw("f67", "every record is derived", func(runs []run) bool { return written(runs) >= len(ids) })
		sameIDs(p, p.copied("f67"), ids)
		p.asked("f67")
		if r := p.why("f67"); r.Code != "waiting-for-data" {
			p.Errorf("killed %s: %+v", killed.when, r)
		}
		t.Logf("killed %s: %s", killed.when, saids(runs))
	}
}
