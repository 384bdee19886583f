package httpapi

import (
	"strings"
	"testing"
	"time"

	"she/internal/access"
)

func TestConsentOverHTTP(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter"), notLoaded("later")))
	read := func(f string) (c access.Consent) {
		t.Helper()
		w.get("bob", own+"/functions/"+f+"/consent").want(200).decode(&c)
		return c
	}
	agree := func(who, f, body string) answer { return w.call("POST", own+"/functions/"+f+"/enable", who, body) }

	c := read("counter")
	if c.Enabled || !c.Needed || c.Granted != nil || c.Asks == nil || c.Asks.Output != "append" ||
		c.Asks.Writes.String() != "drops/insights/counter" || len(c.Asks.Reads) != 1 || !c.Asks.Reads[0].All {
		t.Fatalf("before %+v", c)
	}
	for who, status := range map[string]int{"": 401, "hpp": 403} {
		w.get(who, own+"/functions/counter/consent").want(status)
		agree(who, "counter", `{}`).want(status)
	}
	for body, status := range map[string]int{`{"window":"old"}`: 400, `{"window":{"months":0}}`: 400, `{"since":"x"}`: 400, `[]`: 400, ``: 415,
		`{"package":"sha256:other"}`: 409} {
		agree("bob", "counter", body).want(status)
	}
	if read("counter").Enabled {
		t.Fatal("it is on")
	}
	agree("bob", "none", `{}`).want(404)
	agree("bob", "NONE", `{}`).want(404)
	w.get("bob", own+"/functions/none/consent").want(404)

	since := func() string {
		t.Helper()
		c := read("counter")
		if !c.Enabled || c.Needed || c.Granted == nil || c.Difference != nil {
			t.Errorf("afterwards %+v", c)
		}
		return c.Granted.Since
	}
	agree("bob", "counter", `{}`).want(200)
	if got := since(); got != "" {
		t.Errorf("nothing chosen, and it is since %s", got)
	}
	agree("bob", "counter", `{"window":{"months":3}}`).want(200)
	three := since()
	// Neither the calls of the original nor an agreement without a choice widen what was chosen.
	w.get("bob", functions+"/counter/disable").want(200)
	if read("counter").Enabled {
		t.Error("it is on")
	}
	w.get("bob", functions+"/counter/enable").want(200)
	if got := since(); got != three {
		t.Errorf("enabled as ever, it is since %s", got)
	}
	agree("bob", "counter", `{}`).want(200)
	if got := since(); got != three {
		t.Errorf("agreed without a choice, it is since %s", got)
	}
	agree("bob", "counter", `{"window":"new"}`).want(200)
	at, err := time.Parse(time.RFC3339, since())
	if want, wrong := time.Parse(time.RFC3339, three); err != nil || wrong != nil || at.AddDate(0, -3, 0).Sub(want).Abs() > time.Hour {
		t.Errorf("new data only is since %v, three months %s, %v", at, three, err)
	}
	w.post("bob", api+"/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	agree("bob", "counter", `{"window":"everything"}`).want(200)
	if got := since(); got != "" {
		t.Errorf("everything is since %s", got)
	}
}

func TestConsentToWhatIsNotThere(t *testing.T) {
	w := newWorld(t, withFunctions(nil, notLoaded("later")))
	var c access.Consent
	w.get("bob", own+"/functions/later/consent").want(200).decode(&c)
	if c.Asks != nil || c.Needed {
		t.Errorf("%+v", c)
	}
	w.call("POST", own+"/functions/later/enable", "bob", `{}`).want(409)
}

// Every form of consent names who says to have made the function, what for, and its version.
func TestConsentNamesMakerPurposeAndVersion(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	const said = `"version":"1.0.0","name":"N","maker":{"id":"d","name":"D","url":"https://d.test"},"purpose":"H"`
	hasAll := func(where, body string, want int, words ...string) {
		t.Helper()
		for _, word := range words {
			if strings.Count(body, word) != want {
				t.Errorf("%s: %s is not there %d times: %s", where, word, want, body)
			}
		}
	}
	theirs := []string{`"developer":{"id":"d","url":"https://d.test","name":"D"}`, `"headline":"H"`, `"version":"1.0.0"`}
	hasAll("read before", w.get("bob", own+"/functions/counter/consent").want(200).body, 1, said)
	hasAll("the HAT API", w.get("bob", functions+"/counter").want(200).body, 1, theirs...)
	hasAll("the HAT API's list", w.get("bob", functions).want(200).body, 1, theirs...)
	hasAll("agreed", w.call("POST", own+"/functions/counter/enable", "bob", `{}`).want(200).body, 2, said)
	hasAll("read afterwards", w.get("bob", own+"/functions/counter/consent").want(200).body, 2, said)
	hasAll("agreed by the HAT API", w.get("bob", functions+"/counter/enable").want(200).body, 1, theirs...)
	hasAll("switched off", w.get("bob", functions+"/counter/disable").want(200).body, 1, theirs...)
}
