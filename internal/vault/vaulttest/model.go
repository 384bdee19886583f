package vaulttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A model is what the outputs of a function must be, worked out without positions, ranges or generations: the function
// writes one record for each it is shown, "<record>@<version>", so that each record of its input has one output at most,
// of the version that was the newest when it was last shown.
type model struct {
	of    map[string]string // input record → its output
	last  []string          // what the last run wrote that wrote anything: all there is, if output replaces
	shown map[string]int    // in runs that committed and were no replays
}

// testModel lets writes, claims, failures of every kind, splits, replays, skips, wider grants and restarts come in any
// order, and compares what is stored with the model: always, and complete at the end.
func testModel(t *testing.T, fresh func(testing.TB) Opener) {
	seeds := 20
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			modelRun(t, newPerson(t, fresh), rand.New(rand.NewPCG(7, seed)))
		})
	}
}

func modelRun(t *testing.T, p *person, r *rand.Rand) {
	// A record is its name and what the filter of a grant at a/x may ask for.
	text := func(name any) string { return fmt.Sprintf(`["%v","%s"]`, name, []string{"odd", "even"}[r.IntN(2)]) }
	name := func(text string) string { return strings.Split(text, `"`)[1] }
	for range 3 {
		p.write("a/x", text(fmt.Sprint("old ", r.Int())))
		p.write("b/x", text(fmt.Sprint("old ", r.Int())))
	}
	p.clock.move(time.Hour)
	strict, both := r.IntN(2) == 0, false
	grant := func() access.Grant {
		g := p.grant("f", individual, "she/f", "a/x")
		if both {
			g = p.grant("f", individual, "she/f", "a/x", "b/x")
		}
		if strict {
			g.Bundle.Properties["a/x"] = onlyOdd(p, "a/x")
		}
		return g
	}
	g := grant()
	g.InOrder, g.Since = r.IntN(4) == 0, p.clock.now()
	if r.IntN(3) == 0 {
		g.Mode = hat.ReplaceOutput
	}
	if r.IntN(2) == 0 {
		g.Equal = hat.KeepEqual
	}
	p.enable(g)
	m := model{of: map[string]string{}, shown: map[string]int{}}
	var (
		written   int
		version   int
		committed []plan.Plan
		failed    []plan.Plan
		faults    = []*hat.Fault{
			hat.NewFault(hat.Author, "Runtime.Exit", "x"), hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x"),
			hat.NewFault(hat.Operator, "X", "x"), hat.NewFault(hat.Owner, "X", "x"),
		}
	)
	write := func() {
		at := "a/x"
		if r.IntN(3) == 0 {
			at = "b/x"
		}
		for range 1 + r.IntN(3) {
			written++
			p.write(at, text(written))
		}
	}
	attempt := func(mayFail bool) error {
		cause := plan.ByData
		if r.IntN(8) == 0 {
			cause = plan.ByRequest
		}
		pl, err := p.tryClaim(g.Function, cause, false)
		if err != nil {
			return err
		}
		if n := int(pl.Upto - pl.After); n > 1 && r.IntN(3) == 0 {
			pl.Upto = pl.After + hat.Seq(1+r.IntN(n))
		}
		if mayFail && r.IntN(2) == 0 {
			switch r.IntN(6) {
			case 0:
				p.must(p.v.Abandon(p.ctx(), pl))
			case 1:
				p.restart()
			case 2:
				p.must(p.v.Cancel(p.ctx(), p.owner, pl.Run))
				failed = append(failed, pl)
			default:
				fault := faults[r.IntN(len(faults))]
				p.fail(pl, fault)
				failed = append(failed, pl)
			}
			return nil
		}
		_, texts := p.shown(pl)
		var out []string
		for _, text := range texts {
			if pl.Replaces.IsZero() {
				m.shown[text]++
			}
			made := fmt.Sprintf(`"%s@%d"`, name(text), version)
			m.of[text] = made
			out = append(out, made)
		}
		if p.commit(pl, out...); len(out) > 0 {
			m.last = out
		}
		committed = append(committed, pl)
		return nil
	}
	check := func() {
		t.Helper()
		var want []string
		for _, made := range m.of {
			want = append(want, made)
		}
		if g.Mode == hat.ReplaceOutput {
			want = slices.Clone(m.last)
		}
		got := p.texts("she/f")
		slices.Sort(want)
		slices.Sort(got)
		// A replay in parts leaves what the run wrote until the last part is there.
		for _, s := range p.state(g.Function).Ranges {
			if !s.Replaces.IsZero() && g.Mode != hat.ReplaceOutput {
				for _, made := range want {
					if !slices.Contains(got, made) {
						t.Fatalf("%s is missing", made)
					}
				}
				return
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("there are %v, want %v", got, want)
		}
	}
	for range 150 {
		switch r.IntN(10) {
		case 0, 1, 2:
			write()
		case 3:
			p.clock.move(time.Duration(r.IntN(200)) * time.Minute)
			if r.IntN(10) == 0 {
				p.clock.move(-day)
			}
			p.due() // as the engine asks
		case 4:
			version++
			if len(committed) > 0 {
				err := p.v.Replay(p.ctx(), p.owner, committed[r.IntN(len(committed))].Run)
				p.must(err)
			}
		case 5:
			if len(failed) > 0 {
				if err := p.v.Replay(p.ctx(), p.owner, failed[r.IntN(len(failed))].Run); !errors.Is(err, vault.ErrNothingDue) {
					p.must(err)
				}
			}
		case 6:
			wider := g
			switch r.IntN(20) {
			case 0, 1:
				both = true
			case 2:
				wider.Since = time.Time{}
			case 3: // at once
				both, strict, wider.Since = true, false, time.Time{}
			case 4, 5:
				strict = false
			case 6, 7:
				wider.Equal = hat.KeepEqual
			case 8, 9:
				wider.Equal = hat.DropEqual
			}
			wider.Bundle = grant().Bundle
			g = wider
			p.enable(g)
		default:
			if err := attempt(true); err != nil && !errors.Is(err, vault.ErrNothingDue) {
				p.must(err)
			}
			check()
		}
	}
	// At last everything works.
	for range 1000 {
		_, err := p.v.ReplayMany(p.ctx(), p.owner, g.Function, vault.ReplayFilter{Failed: true})
		p.must(err)
		p.clock.move(24 * time.Hour)
		err = attempt(false)
		if errors.Is(err, vault.ErrNothingDue) {
			break
		}
		p.must(err)
		check()
	}
	if s := p.state(g.Function); s.Front != nil || s.Ranges != nil {
		t.Fatalf("there is left %+v", s)
	}
	read := p.texts("a/x")
	if strict {
		read = slices.DeleteFunc(read, func(text string) bool { return strings.Contains(text, "even") })
	}
	if both {
		read = append(read, p.texts("b/x")...)
	}
	for _, text := range read {
		if strings.HasPrefix(name(text), "old") && !g.Since.IsZero() {
			continue
		}
		if m.shown[text] != 1 {
			t.Errorf("%s was shown %d times in runs that committed", text, m.shown[text])
		}
	}
	check()
	CheckHAT(t, p.v)
	p.restart()
	CheckHAT(t, p.v)
	t.Logf("%d records, %d runs committed, %d failed, in order %t, output %s, strict %t", written, len(committed), len(failed), g.InOrder, g.Mode, strict)
}
