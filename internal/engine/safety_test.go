package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// Defect B-01.
func Test68OutputElsewhereIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", func(string, []byte) ([]byte, error) {
			return []byte("[" + respond("she/out", []string{"1"}) + "," + respond("she/other", []string{"2"}) + "]"), nil
		})
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		var failed *FailedError
		if err := w.trigger("alice", "f", false); !errors.As(err, &failed) || failed.Fault.Code != "Response.WrongAddress" {
			t.Error(err)
		}
		expect(t, w.at("alice", "she/out"), "")
		expect(t, w.at("alice", "she/other"), "")
	})
}

// Defect B-05.
func Test69AllDistinctElementsAreStoredInOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", func(string, []byte) ([]byte, error) {
			return []byte("[" + respond("she/out", []string{"z", "1"}) + "," + respond("she/out", []string{"z", "2"}) + "]"), nil
		})
		w.startFor("alice", "f")
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "z,1,2")
	})
}

// Defect B-04.
func Test70LinkedRecords(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foreign := ""
		w.install("f", manual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.install("thief", manual, []string{"a/x"}, "she/out2", func(string, []byte) ([]byte, error) {
			return []byte("[" + respond("she/out2", []string{"1"}, foreign) + "]"), nil
		})
		w.startFor("alice", "f", "thief")
		input := w.write("alice", "a/x", "1")[0]
		foreign = w.write("alice", "a/y", "2")[0].ID.String()
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		question, err := bundle.Parse([]byte(`{"name":"q","bundle":{"p":{"endpoints":[{"endpoint":"she/out","links":[{"endpoint":"a/x"}]}]}}}`))
		if err != nil {
			t.Fatal(err)
		}
		var linked []hat.RecordID
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			return v.Read(t.Context(), owner, func(src bundle.Source, _ hat.Seq) error {
				_, err := bundle.EvaluateBundle(t.Context(), question, src, bundle.Within{}, func(_ string, r bundle.Row) error {
					for _, l := range r.Links {
						linked = append(linked, l.ID)
					}
					return nil
				})
				return err
			})
		})
		if len(linked) != 1 || linked[0] != input.ID {
			t.Errorf("linked to %v, want %s", linked, input.ID)
		}
		var failed *FailedError
		if err := w.trigger("alice", "thief", false); !errors.As(err, &failed) || failed.Fault.Code != "Response.ForeignLink" {
			t.Error(err)
		}
	})
}

// Defect B-12.
func Test71ChainsRunWithoutOtherData(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("emotions", individual, []string{"a/notes"}, "she/emotions", writing("she/emotions", "e"))
		w.install("history", individual, []string{"she/emotions"}, "drops/history", writing("drops/history", "h"))
		w.startFor("alice", "emotions", "history")
		w.post("alice", "a/notes", "1")
		expect(t, w.at("alice", "drops/history"), "he1")
	})
}

func Test72OwnOutput(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x", "she/out"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.forget()
		w.post("alice", "a/x", "1")
		w.post("alice", "a/x", "2")
		w.pass(time.Hour)
		expect(t, w.called(), "f:1 f:2")
	})
}

func Test72TwoThatReadEachOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x", "she/g"}, "she/f", writing("she/f", "f"))
		w.install("g", individual, []string{"she/f"}, "she/g", writing("she/g", "g"))
		w.startFor("alice", "f", "g")
		w.forget()
		w.post("alice", "a/x", "1")
		w.pass(24 * time.Hour)
		expect(t, w.at("alice", "she/g"), "gf1")
		if n := len(w.calls); n > 2 {
			t.Errorf("%d runs: %s", n, w.called())
		}
	})
}

// Defect B-09.
func Test73RetriesWithGrowingPauses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries []time.Time
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			if tries = append(tries, time.Now()); len(tries) < 4 {
				return failing(entry, event)
			}
			return writing("she/out", "f")(entry, event)
		})
		w.startFor("alice", "f")
		w.pass(time.Minute)
		tries = nil
		w.post("alice", "a/x", "1")
		w.pass(24 * time.Hour)
		expect(t, w.at("alice", "she/out"), "f1")
		if len(tries) != 4 {
			t.Fatalf("%d tries", len(tries))
		}
		for i := 2; i < len(tries); i++ {
			if before, after := tries[i-1].Sub(tries[i-2]), tries[i].Sub(tries[i-1]); after < before*2 {
				t.Errorf("pauses %s and %s", before, after)
			}
		}
		if s := w.state("alice", "f"); s.Front != nil {
			t.Errorf("still pending: %+v", s.Front)
		}
	})
}

func Test73ParkedWorkIsWokenByRequest(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var well atomic.Bool
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			if !well.Load() {
				return failing(entry, event)
			}
			return writing("she/out", "f")(entry, event)
		})
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		w.pass(30 * 24 * time.Hour)
		if s := w.state("alice", "f"); s.Front != nil || len(s.Ranges) != 1 || !s.Ranges[0].Parked || s.Ranges[0].Fault == nil {
			t.Fatalf("%+v", s)
		}
		if n := len(w.calls); n > 20 {
			t.Errorf("%d tries", n)
		}
		well.Store(true)
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "f1")
	})
}

func Test74TenThousandEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		seen := 0
		w.install("f", individual, []string{"a/x"}, "she/out", func(_ string, event []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return []byte(`[]`), nil
		})
		w.options.Parallel = 2
		w.start()
		w.addHAT("alice")
		w.addHAT("bob")
		w.enable("alice", "f")
		w.enable("bob", "f")
		w.pass(time.Minute)
		w.forget()
		for n := range 100 {
			values := make([]string, 100)
			for i := range values {
				values[i] = fmt.Sprint(100*n + i)
			}
			w.write("alice", "a/x", values...)
			w.engine.Wake("alice")
		}
		began := time.Now()
		w.post("bob", "a/x", "bob")
		if !strings.Contains(w.called(), "f:bob") {
			t.Errorf("after %s bob still waits", time.Since(began))
		}
		w.pass(time.Hour)
		for _, c := range w.calls {
			seen += len(c.event.values())
		}
		if seen != 10_001 {
			t.Errorf("%d records were shown", seen)
		}
	})
}

// Defect B-15.
func Test75OneThatHangsDelaysNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("slow", individual, []string{"a/x"}, "she/slow", func(string, []byte) ([]byte, error) {
			time.Sleep(300 * time.Second) // the sandbox would end it by then
			return nil, &invoke.Failure{Blame: invoke.Author, Code: "Sandbox.Timedout", Text: "the function took longer than it may"}
		})
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "slow", "f")
		w.post("alice", "a/x", "1")
		expect(t, w.at("alice", "she/out"), "f1")
		w.pass(301 * time.Second)
		s := w.state("alice", "slow")
		if !s.Started.IsZero() || s.Front == nil || s.Front.Fault.Code != "Sandbox.Timedout" {
			t.Errorf("%+v", s)
		}
		w.disable("alice", "slow")
		w.pass(400 * time.Second) // the attempt that was in progress
	})
}

// Defect B-24.
func Test76TooLargeIsSplitForIndividual(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", func(_ string, event []byte) ([]byte, error) {
			if len(event) > 6<<20 {
				t.Errorf("an event of %d bytes", len(event))
			}
			return []byte(`[]`), nil
		})
		w.startFor("alice", "f")
		w.forget()
		for n := range 8 {
			w.write("alice", "a/x", fmt.Sprintf("%02d", n)+strings.Repeat("x", 1<<20))
		}
		w.engine.Wake("alice")
		w.settle()
		var seen []string
		for _, c := range w.calls {
			var part []string
			for _, v := range c.event.values() {
				part = append(part, v[:2])
			}
			seen = append(seen, strings.Join(part, ","))
		}
		expect(t, strings.Join(seen, " "), "00,01,02,03,04 05,06,07")
		if s := w.state("alice", "f"); s.Front != nil || s.Cursor == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Defect B-24.
func Test76TooLargeOtherwiseIsAClearFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", silent)
		w.install("one", individual, []string{"a/y"}, "she/one", silent)
		w.startFor("alice", "f", "one")
		w.forget()
		for n := range 7 {
			w.write("alice", "a/x", fmt.Sprint(n)+strings.Repeat("x", 1<<20))
		}
		var failed *FailedError
		err := w.trigger("alice", "f", false)
		if !errors.As(err, &failed) || failed.Fault.Code != CodeTooLarge || !strings.Contains(failed.Fault.Text, fmt.Sprint(contractMax)) {
			t.Error(err)
		}
		w.post("alice", "a/y", strings.Repeat("x", 7<<20)) // a single record that is too large
		w.pass(30 * 24 * time.Hour)
		if s := w.state("alice", "one"); len(s.Ranges) != 1 || !s.Ranges[0].Parked || s.Ranges[0].Fault.Code != CodeTooLarge {
			t.Errorf("%+v", s)
		}
		expect(t, w.runs("alice", "one"), "failed:"+CodeTooLarge) // not tried again
		expect(t, w.called(), "")
	})
}

const contractMax = 6 << 20

func Test78HATsAreApart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.start()
		for _, id := range []string{"alice", "bob"} {
			w.addHAT(hat.ID(id))
			w.enable(id, "f")
		}
		w.forget()
		w.write("alice", "a/x", "alice")
		w.write("bob", "a/x", "bob")
		w.engine.Wake("alice")
		w.engine.Wake("bob")
		w.settle()
		expect(t, w.at("alice", "she/out"), "falice")
		expect(t, w.at("bob", "she/out"), "fbob")
		tenants := map[string]bool{}
		for _, c := range w.calls {
			tenants[c.hat] = true
			if len(c.event.values()) != 1 || c.hat == "alice" || c.hat == "bob" {
				t.Errorf("tenant %q was shown %v", c.hat, c.event.values())
			}
		}
		if len(tenants) != 2 {
			t.Errorf("tenants %v", tenants)
		}
	})
}

// Defect B-19.
func Test79BundlesOfOneName(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/f", silent)
		w.install("g", manual, []string{"a/y"}, "she/g", silent)
		w.startFor("alice", "f", "g")
		for function, e := range map[string]string{"f": "a/x", "g": "a/y"} {
			reads := w.state("alice", function).Grant.Bundle.Endpoints()
			if len(reads) != 1 || reads[0] != endpoint(e) {
				t.Errorf("%s reads %v", function, reads)
			}
		}
	})
}

func Test80DisabledDuringARun(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.install("f", manual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			<-hold
			return writing("she/out", "f")(entry, event)
		})
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		outcome := make(chan error, 1)
		go func() { outcome <- w.trigger("alice", "f", false) }()
		w.settle()
		w.disable("alice", "f")
		close(hold)
		var failed *FailedError
		if err := <-outcome; !errors.As(err, &failed) || failed.Fault.Who != hat.Owner {
			t.Error(err)
		}
		if s := w.state("alice", "f"); s.Enabled || !s.Started.IsZero() {
			t.Errorf("%+v", s)
		}
		expect(t, w.at("alice", "she/out"), "")
	})
}

// A function that is switched off while it is asked for its bundle is shown nothing, because the records
// are read after its answer.
func TestDisabledBeforeItIsShownData(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		answers := w.funcs["f"]
		w.funcs["f"] = func(entry string, event []byte) ([]byte, error) {
			if entry == "bundle" {
				w.disable("alice", "f")
			}
			return answers(entry, event)
		}
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		var failed *FailedError
		if err := w.trigger("alice", "f", false); !errors.As(err, &failed) || failed.Fault.Code != CodeRevoked {
			t.Error(err)
		}
		if n := len(w.calls); n != 0 {
			t.Errorf("it was shown data %d times", n)
		}
	})
}

func Test81UseAll(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", silent)
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		w.post("alice", "a/x", "2")
		w.forget()
		if err := w.trigger("alice", "f", true); err != nil {
			t.Fatal(err)
		}
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		expect(t, w.called(), "f:1,2 f:")
	})
}

// Defect B-13.
func Test82AChangedRecordIsNew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", silent)
		w.startFor("alice", "f")
		r := w.post("alice", "a/x", "1")[0]
		w.forget()
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			_, err := v.Update(t.Context(), owner, []vault.Change{{ID: r.ID, Endpoint: r.Endpoint, Data: value2data("changed")}})
			return err
		})
		w.engine.Wake("alice")
		w.settle()
		expect(t, w.called(), "f:changed")
	})
}

func Test87ThinDataIsSeenAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			if strings.Count(string(event), `"v"`) < 3 {
				return failing(entry, event)
			}
			return writing("she/out", "f")(entry, event)
		})
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		w.post("alice", "a/x", "2")
		if s := w.state("alice", "f"); !s.LastExecution.IsZero() {
			t.Errorf("%+v", s)
		}
		w.post("alice", "a/x", "3")
		w.pass(24 * time.Hour)
		expect(t, w.at("alice", "she/out"), "f1,f2,f3")
	})
}

func TestWiderThanGrantedIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", silent)
		ask := w.funcs["f"]
		w.startFor("alice", "f")
		w.write("alice", "a/private", "1")
		w.funcs["f"] = func(entry string, event []byte) ([]byte, error) {
			if entry == "bundle" {
				return []byte(reading("a/x", "a/private")), nil
			}
			return ask(entry, event)
		}
		var failed *FailedError
		if err := w.trigger("alice", "f", false); !errors.As(err, &failed) || failed.Fault.Code != CodeWider || failed.Fault.Who != hat.Author {
			t.Error(err)
		}
		expect(t, w.called(), "")
	})
}

// A grant may begin at a time. Nothing older is shown, not even as a link.
func TestGrantSince(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		question := `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/x","links":[{"endpoint":"a/y"}]}]}}}`
		w.installBundle("f", manual, question, "she/out", silent)
		w.start()
		w.addHAT("alice")
		old := w.write("alice", "a/x", "old")
		linked := w.write("alice", "a/y", "old link")
		w.pass(time.Hour)
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			g, err := w.engine.GrantFor(functionID("f"))
			if err != nil {
				return err
			}
			g.Since = time.Now().UTC()
			if _, err = v.Enable(t.Context(), owner, g); err != nil {
				return err
			}
			fresh, newer := w.write("alice", "a/x", "new"), w.write("alice", "a/y", "new link")
			for _, r := range []hat.Record{old[0], linked[0], newer[0]} {
				if err := v.Link(t.Context(), owner, []hat.RecordID{fresh[0].ID, r.ID}); err != nil {
					return err
				}
			}
			return nil
		})
		if err := w.trigger("alice", "f", true); err != nil {
			t.Fatal(err)
		}
		rows := w.calls[0].event.Request.Data["p"]
		if len(rows) != 1 || w.called() != "f:new" || len(rows[0].Links) != 1 {
			t.Errorf("shown: %+v", rows)
		}
	})
}

// A run that is claimed over an empty HAT covers nothing, even if the first record arrives while it begins.
func TestARunOverNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", silent)
		ask := w.funcs["f"]
		w.funcs["f"] = func(entry string, event []byte) ([]byte, error) {
			if entry == "bundle" && len(w.calls) == 0 {
				w.write("alice", "a/x", "1")
			}
			return ask(entry, event)
		}
		w.startFor("alice", "f")
		if w.called() == "" {
			if err := w.trigger("alice", "f", false); err != nil {
				t.Fatal(err)
			}
		}
		w.engine.Wake("alice")
		w.settle()
		expect(t, w.called(), "f: f:1")
	})
}
