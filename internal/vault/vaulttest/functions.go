package vaulttest

import (
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

func testFunctions(t *testing.T, fresh func(testing.TB) Opener) {
	run := stories(t, fresh)
	run("are switched on and off by the Owner alone", testFunctionsAreSwitchedOnAndOffByTheOwnerAlone)
	run("with an unusable grant are not switched on", testFunctionsWithAnUnusableGrantAreNotSwitchedOn)
	run("find what is there already, within their grant", testFunctionsFindWhatIsThereAlreadyWithinTheirGrant)
	run("keep their place while they are off", testFunctionsKeepTheirPlaceWhileTheyAreOff)
	run("that are switched on twice go on running", testFunctionsThatAreSwitchedOnTwiceGoOnRunning)
	run("switched off or granted otherwise during a run save nothing", testFunctionsSwitchedOffOrGrantedOtherwiseDuringARunSaveNothing)
}

func testFunctionsAreSwitchedOnAndOffByTheOwnerAlone(t *testing.T, p *person) {
	g := p.grant("mood", individual, "she/mood", "a/x")
	for _, c := range []access.Caller{{}, access.Operator(), app(p, writes("a")),
		access.User(hat.NewUserID(), []access.Role{{Title: access.TitlePlatform}}, "")} {
		_, err := p.v.Enable(p.ctx(), c, g)
		p.wants(err, access.ErrDenied)
		_, err = p.v.Disable(p.ctx(), c, g.Function)
		p.wants(err, access.ErrDenied)
	}
	_, err := p.v.Function(p.ctx(), p.owner, g.Function)
	p.wants(err, vault.ErrNotFound)
	_, err = p.v.Disable(p.ctx(), p.owner, g.Function)
	p.wants(err, vault.ErrNotFound)

	if s := p.enable(g); !s.Enabled || s.Grant.Output != g.Output || s.Front != nil {
		t.Errorf("got %+v", s)
	}
	s := p.state(g.Function)
	if !s.Enabled || s.Grant.Bundle.Digest() != g.Bundle.Digest() || s.Grant.Trigger != g.Trigger || s.Grant.Digest != g.Digest ||
		!s.Grant.Given.Equal(p.clock.now()) {
		t.Errorf("read back %+v", s)
	}
	s, err = p.v.Disable(p.ctx(), p.owner, g.Function)
	if err != nil || s.Enabled {
		t.Errorf("got %+v, %v", s, err)
	}
	p.write("a/x", `1`)
	p.isDue()
	all, err := p.v.FunctionStates(p.ctx(), access.Operator())
	if err != nil || len(all) != 1 || all[0].Enabled {
		t.Errorf("the operator sees %d functions, %v", len(all), err)
	}
}

func testFunctionsWithAnUnusableGrantAreNotSwitchedOn(t *testing.T, p *person) {
	good := p.grant("f", individual, "she/f", "a/x")
	for says, spoil := range map[string]func(*access.Grant){
		"no function": func(g *access.Grant) { g.Function = hat.FunctionID{} },
		"no output":   func(g *access.Grant) { g.Output = hat.Endpoint{} },
		"no version":  func(g *access.Grant) { g.Version = hat.Version{} },
		"no trigger":  func(g *access.Grant) { g.Trigger = hat.Trigger{} },
		"no period":   func(g *access.Grant) { g.Trigger = hat.Trigger{Kind: hat.Periodic} },
	} {
		g := good
		spoil(&g)
		if _, err := p.v.Enable(p.ctx(), p.owner, g); err == nil {
			t.Errorf("%s: enabled", says)
		}
	}
}

func testFunctionsFindWhatIsThereAlreadyWithinTheirGrant(t *testing.T, p *person) {
	p.write("a/x", `1`)
	p.clock.move(time.Hour)
	late := p.grant("late", individual, "she/late", "a/x")
	late.Since = p.clock.now()
	p.enable(late)
	p.enable(p.grant("elsewhere", individual, "she/elsewhere", "b/x"))
	p.enable(p.grant("asked", manual, "she/asked", "a/x"))
	p.enable(p.grant("daily", daily(t), "she/daily", "a/x"))
	s := p.enable(p.grant("all", individual, "she/all", "a/x"))
	p.isDue("all", "daily")
	if s.Front == nil || s.Front.Upto != 1 || !s.Front.Oldest.Equal(p.clock.now().Add(-time.Hour)) {
		t.Errorf("pending is %+v", s.Front)
	}
	if s := p.state(parsed(t, hat.ParseFunctionID, "asked")); s.Front == nil || !s.Front.NotBefore.IsZero() {
		t.Errorf("of a manual function pending is %+v", s.Front)
	}
}

func testFunctionsKeepTheirPlaceWhileTheyAreOff(t *testing.T, p *person) {
	g := p.grant("f", individual, "she/f", "a/x")
	p.enable(g)
	p.write("a/x", `1`)
	p.runOnce(g.Function)
	_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	p.write("a/x", `2`)
	p.isDue()
	if s := p.enable(g); s.Cursor != 1 || s.Front == nil {
		t.Errorf("got %+v", s)
	}
	pl := p.claim(g.Function)
	if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
		t.Errorf("it is shown %v", texts)
	}
	p.must(p.v.Abandon(p.ctx(), pl))
}

// Defect B-20: switching a function on changes nothing else.
func testFunctionsThatAreSwitchedOnTwiceGoOnRunning(t *testing.T, p *person) {
	g := p.grant("f", individual, "she/f", "a/x")
	p.write("a/x", `1`)
	p.enable(g)
	pl := p.claim(g.Function)
	p.enable(g)
	p.commit(pl, `"done"`)
}

func testFunctionsSwitchedOffOrGrantedOtherwiseDuringARunSaveNothing(t *testing.T, p *person) {
	g := p.grant("f", individual, "she/f", "a/x")
	wider := p.grant("f", individual, "she/f", "a/x", "b/x")
	p.write("a/x", `1`)
	for says, act := range map[string]func(){
		"off": func() {
			_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
			p.must(err)
		},
		"off and on": func() {
			_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
			p.must(err)
			p.enable(g)
		},
		"granted otherwise": func() { p.enable(wider) },
	} {
		p.enable(g)
		pl := p.claim(g.Function)
		if s := p.state(g.Function); !s.Started.Equal(pl.Claimed) {
			t.Errorf("%s: started at %v", says, s.Started)
		}
		act()
		_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"`+says+`"`))
		p.wants(err, vault.ErrStale)
		p.wants(p.v.Fail(p.ctx(), pl, vault.Output{}, hat.NewFault(hat.Engine, "X", "x")), vault.ErrStale)
		r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
		p.must(err)
		if r.State != vault.RunRefused || r.Fault == nil || r.Fault.Who != hat.Owner {
			t.Errorf("%s: the run is %s, %v", says, r.State, r.Fault)
		}
		if s := p.state(g.Function); !s.Started.IsZero() || s.Cursor != 0 {
			t.Errorf("%s: got %+v", says, s)
		}
	}
	p.has("she/f")
}
