package vaulttest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/trigger"
	"she/internal/vault"
)

func testChains(t *testing.T, fresh func(testing.TB) Opener) {
	// settle runs all due functions, each writing something new, until nothing is due. It returns how often
	// each ran.
	settle := func(t *testing.T, p *person) map[string]int {
		ran := map[string]int{}
		for n := 0; len(p.due()) > 0; n++ {
			if n > 1000 {
				t.Fatal("it never ends")
			}
			f := parsed(t, hat.ParseFunctionID, p.due()[0])
			ran[f.String()]++
			p.runOnce(f, fmt.Sprintf(`"%s %d"`, f, n))
			p.clock.move(time.Second)
		}
		return ran
	}
	refused := func(p *person, f hat.FunctionID) (codes []string) {
		runs, err := p.v.Runs(p.ctx(), p.owner, f, hat.RunID{}, 100)
		p.must(err)
		for _, r := range runs {
			if r.State == vault.RunRefused {
				codes = append(codes, r.Fault.Code)
			}
		}
		return codes
	}

	t.Run("lead from function to function", func(t *testing.T) {
		p := newPerson(t, fresh)
		p.enable(p.grant("mood", individual, "she/mood", "a/x"))
		history := p.grant("history", individual, "she/history", "she/mood")
		p.enable(history)
		p.write("a/x", `1`)
		if ran := settle(t, p); ran["mood"] != 1 || ran["history"] != 1 {
			t.Errorf("ran %v", ran)
		}
		records, err := p.scan(p.owner, "she/history", bundle.Want{})
		p.must(err)
		if len(records) != 1 || records[0].Depth != 2 || records[0].Chain[0].String() != "mood" {
			t.Errorf("got %+v", records)
		}
		CheckHAT(t, p.v)
	})

	t.Run("never feed a function its own output", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("mood", individual, "she/mood", "a/x", "she/mood")
		p.enable(g)
		p.write("a/x", `1`)
		if ran := settle(t, p); ran["mood"] != 1 {
			t.Errorf("ran %v", ran)
		}
		p.write("a/x", `2`)
		pl := p.claim(g.Function)
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
			t.Errorf("it is shown %v", texts)
		}
		p.commit(pl)
		if codes := refused(p, g.Function); codes != nil {
			t.Errorf("its own output is no chain: %v", codes)
		}
		CheckHAT(t, p.v)
	})

	t.Run("end where they would go in circles, visibly", func(t *testing.T) {
		p := newPerson(t, fresh)
		one, two := p.grant("one", individual, "she/one", "a/x", "she/two"), p.grant("two", individual, "she/two", "she/one")
		p.enable(one)
		p.enable(two)
		p.write("a/x", `1`)
		if ran := settle(t, p); ran["one"] != 1 || ran["two"] != 1 {
			t.Errorf("ran %v", ran)
		}
		if codes := refused(p, one.Function); !slices.Equal(codes, []string{"Chain.Visited"}) {
			t.Errorf("recorded %v", codes)
		}
		p.write("a/x", `2`)
		settle(t, p)
		CheckHAT(t, p.v)
	})

	t.Run("end after so many functions, visibly", func(t *testing.T) {
		p := newPerson(t, fresh)
		const more = trigger.MaxDepth + 2
		for i := range more {
			from := "a/x"
			if i > 0 {
				from = fmt.Sprintf("she/f%d", i-1)
			}
			p.enable(p.grant(fmt.Sprintf("f%d", i), individual, fmt.Sprintf("she/f%d", i), from))
		}
		p.write("a/x", `1`)
		if ran := settle(t, p); len(ran) != trigger.MaxDepth {
			t.Errorf("%d functions ran", len(ran))
		}
		if codes := refused(p, parsed(t, hat.ParseFunctionID, fmt.Sprintf("f%d", trigger.MaxDepth))); !slices.Equal(codes, []string{"Chain.TooLong"}) {
			t.Errorf("recorded %v", codes)
		}
		CheckHAT(t, p.v)
	})

	t.Run("begin anew where a person changed the record", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("mood", individual, "she/mood", "a/x", "she/mood")
		p.enable(g)
		p.write("a/x", `1`)
		written := p.runOnce(g.Function, `"good"`)
		got, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: written.Written[0].ID, Data: Data(t, `"bad"`)}})
		p.must(err)
		if got[0].Depth != 0 || !got[0].Function.IsZero() {
			t.Errorf("still says %+v", got[0].Provenance)
		}
		p.isDue("mood")
		CheckHAT(t, p.v)
	})
}

func testReceipts(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	g := p.grant("f", individual, "she/f", "a/x")
	p.enable(g)
	r := p.write("a/x", `"`+canary+`"`)
	p.runOnce(g.Function, `"`+canary+`"`)
	p.must(p.v.Disclose(p.ctx(), p.owner, vault.Disclosure{
		Debit:     "d1",
		Records:   []hat.RecordID{r[0].ID},
		Endpoints: []hat.Endpoint{Endpoint(t, "a/x")},
	}))
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{r[0].ID}))
	entries := p.receipts()
	var kinds []string
	for _, e := range entries {
		kinds = append(kinds, string(e.Kind))
	}
	if want := []string{"grant", "write", "run", "disclosure", "erase"}; !slices.Equal(kinds, want) {
		t.Errorf("receipts are %v, want %v", kinds, want)
	}
	if e := entries[2]; e.Function != g.Function || e.Package != g.Digest || e.Written.Count != 1 || e.First != 2 || e.Last != 2 {
		t.Errorf("the run's receipt is %+v", e)
	}
	if text := p.receiptTexts(); strings.Contains(text, canary) {
		t.Error("receipts hold data")
	}
	if err := p.v.Receipts(p.ctx(), app(p, reads("a")), 0, nil); !errors.Is(err, access.ErrDenied) {
		t.Errorf("an application reads receipts: %v", err)
	}
	testCheckpoints(t, p)
	CheckHAT(t, p.v)
}

// A signed head is kept, and the first one signed at a number stays.
func testCheckpoints(t *testing.T, p *person) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	p.must(err)
	first, err := vault.ExportReceipts(p.ctx(), p.v, p.owner, key, p.clock.now(), 0, io.Discard)
	p.must(err)
	p.clock.move(time.Hour)
	_, err = vault.ExportReceipts(p.ctx(), p.v, access.Operator(), key, p.clock.now(), 0, io.Discard)
	p.must(err)
	p.restart()
	kept, err := p.v.Checkpoints(p.ctx(), p.owner)
	if err != nil || len(kept) != 1 || kept[0].At != first.At || !kept[0].SignedBy(&key.PublicKey) {
		t.Errorf("kept %+v %v, want %+v alone", kept, err, first)
	}
	stranger := app(p, reads("a"))
	_, err = p.v.Checkpoints(p.ctx(), stranger)
	p.wants(err, access.ErrDenied)
	p.wants(p.v.KeepCheckpoint(p.ctx(), stranger, first), access.ErrDenied)
}

func (p *person) receipts() (entries []receipt.Entry) {
	p.Helper()
	p.must(p.v.Receipts(p.ctx(), p.owner, 0, func(texts iter.Seq2[[]byte, error], _ receipt.Head) error {
		for text, err := range texts {
			if err != nil {
				return err
			}
			e, err := receipt.Parse(text)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	}))
	return entries
}

func (p *person) receiptTexts() string {
	p.Helper()
	var all bytes.Buffer
	p.must(p.v.Receipts(p.ctx(), p.owner, 0, func(texts iter.Seq2[[]byte, error], _ receipt.Head) error {
		for text, err := range texts {
			if err != nil {
				return err
			}
			all.Write(text)
		}
		return nil
	}))
	return all.String()
}
