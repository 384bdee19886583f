package access

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

func TestStart(t *testing.T) {
	now := time.Date(2024, 8, 31, 12, 0, 0, 0, time.UTC)
	before := now.AddDate(-1, 0, 0)
	for _, c := range []struct {
		word, wire string
		since      time.Time
	}{
		{"new", `"new"`, now},
		{"everything", `"everything"`, time.Time{}},
		{"6 months", `{"months":6}`, now.AddDate(0, -6, 0)},
		{"1 month", `{"months":1}`, now.AddDate(0, -1, 0)},
	} {
		word, err := ParseStart(c.word)
		if err != nil || word.IsZero() || !word.Since(now, before).Equal(c.since) {
			t.Errorf("%s: %v, %v", c.word, word.Since(now, before), err)
		}
		var wire Start
		if err := json.Unmarshal([]byte(c.wire), &wire); err != nil || wire != word {
			t.Errorf("%s: %v, %v", c.wire, wire, err)
		}
	}
	if s := (Start{}); !s.IsZero() || !s.Since(now, before).Equal(before) {
		t.Error("nothing chosen changes something")
	}
	for _, wrong := range []string{"", "old", "0 months", "-1 months", "1201 months", "6 weeks", "6", "6 months ago", "6  months"} {
		if s, err := ParseStart(wrong); err == nil {
			t.Errorf("%q is %v", wrong, s)
		}
	}
	for _, wrong := range []string{`""`, `"6 months"`, `{}`, `{"months":0}`, `{"months":1.5}`, `{"months":1201}`, `{"months":1,"x":1}`, `{"Months":3}`, `[]`, `3`, `null`} {
		var s Start
		if err := json.Unmarshal([]byte(wrong), &s); err == nil && !s.IsZero() {
			t.Errorf("%s is %v", wrong, s)
		}
	}
}

func FuzzStart(f *testing.F) {
	for _, seed := range []string{`"new"`, `{"months":3}`, `null`, `{"months":1e400}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Start
		if json.Unmarshal(text, &s) == nil && s.kind == lastMonths && (s.months < 1 || s.months > maxMonths) {
			t.Errorf("%q is %d months", text, s.months)
		}
	})
}

func grantOf(t *testing.T, question string) Grant {
	t.Helper()
	b, err := bundle.Parse([]byte(`{"name":"b","bundle":` + question + `}`))
	if err != nil {
		t.Fatal(err)
	}
	version, err := hat.ParseVersion("1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	output, err := hat.ParseEndpoint("she/f")
	if err != nil {
		t.Fatal(err)
	}
	return Grant{Version: version, Digest: "sha256:1", Bundle: b, Output: output, Trigger: hat.Trigger{Kind: hat.Individual}}
}

func TestConsentTo(t *testing.T) {
	id, err := hat.ParseFunctionID("f")
	if err != nil {
		t.Fatal(err)
	}
	granted := grantOf(t, `{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name"}}]}}`)
	granted.Since, granted.Given = time.Unix(0, 0), time.Unix(1, 0)
	if c := ConsentTo(id, false, &granted, nil); !c.Needed || c.Asks == nil || c.Granted != nil || c.Difference != nil || c.Asks.Given != "" {
		t.Errorf("at first %+v", c)
	}
	if c := ConsentTo(id, true, nil, &granted); c.Needed || c.Asks != nil || c.Granted.Given == "" || c.Granted.Since != "1970-01-01T00:00:00.000Z" {
		t.Errorf("not loaded %+v", c)
	}
	if c := ConsentTo(id, true, &granted, &granted); c.Needed || c.Difference != nil {
		t.Errorf("the same %+v", c)
	}
	asked := grantOf(t, `{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name"}}]}}`)
	asked.Mode, asked.Equal, asked.InOrder, asked.Trigger = hat.ReplaceOutput, hat.KeepEqual, true, hat.Trigger{Kind: hat.Manual}
	c := ConsentTo(id, true, &asked, &granted)
	if c.Needed || c.Difference == nil || len(c.Difference.Added) != 4 || c.Asks.Since != c.Granted.Since {
		t.Errorf("otherwise, but not wider %+v", c)
	}
	asked = grantOf(t, `{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name","w":"where"}},{"endpoint":"b/y"}]}}`)
	c = ConsentTo(id, true, &asked, &granted)
	if !c.Needed || fmt.Sprint(c.Difference.NewEndpoints) != "[b/y]" || len(c.Difference.Added) != 2 || c.Difference.Added[0].Field != "where" {
		t.Errorf("wider %+v", c.Difference)
	}
	fields := make([]string, maxChanges+50)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":"f%d"`, i, i)
	}
	asked = grantOf(t, `{"p":{"endpoints":[{"endpoint":"a/x","mapping":{`+strings.Join(fields, ",")+`}}]}}`)
	c = ConsentTo(id, true, &asked, &granted)
	if added := c.Difference.Added; len(added) != maxChanges+1 || added[maxChanges].Text != "and 50 more" {
		t.Errorf("%d additions, the last is %+v", len(added), added[len(added)-1])
	}
	if text, err := json.Marshal(c); err != nil || !strings.Contains(string(text), `"removed":[{"endpoint":"a/x","field":"name"`) {
		t.Errorf("%.300s, %v", text, err)
	}
}

// A function that says nothing of equal results has the terms it had before there was a choice: what was
// agreed to stays agreed to. To keep them is other terms, shown in plain words, and no more to read.
func TestConsentSaysWhatBecomesOfEqualResults(t *testing.T) {
	id, err := hat.ParseFunctionID("f")
	if err != nil {
		t.Fatal(err)
	}
	drop := grantOf(t, `{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name"}}]}}`)
	const before = "sha256:b8a80c5235c1941cfe02f28d0f477d92ea3141527bfd261ef34dea52919eebab"
	if digest := TermsOf(drop).Digest.String(); digest != before {
		t.Errorf("the terms are %s", digest)
	}
	if text, err := json.Marshal(TermsOf(drop)); err != nil || strings.Contains(string(text), "equal") {
		t.Errorf("%s, %v", text, err)
	}
	keep := drop
	keep.Equal = hat.KeepEqual
	if text, err := json.Marshal(TermsOf(keep)); err != nil || !strings.Contains(string(text), `"output":"append","equal":"keep"`) {
		t.Errorf("%s, %v", text, err)
	}
	if TermsOf(keep).Digest == TermsOf(drop).Digest {
		t.Error("the terms are the same")
	}
	for _, c := range []struct {
		asked, granted Grant
		says           string
	}{
		{keep, drop, "it keeps a result of every run, even when it equals a former one"},
		{drop, keep, "a result that equals a former one is dropped"},
	} {
		d := ConsentTo(id, true, &c.asked, &c.granted)
		if d.Needed || d.Difference == nil || len(d.Difference.Added) != 1 || d.Difference.Added[0].Text != c.says {
			t.Errorf("want %q: %+v", c.says, d.Difference)
		}
	}
}

// Whoever reads terms reads who says to have made the function, what for, and its version; and what of it is new. It changes no
// digest: the manifest is in there already.
func TestTermsNameMakerPurposeAndVersion(t *testing.T) {
	g := grantOf(t, `{"p":{"endpoints":[{"endpoint":"a/x"}]}}`)
	manifest := func(maker, purpose, text string) []byte {
		return []byte(fmt.Sprintf(`{"info":{"name":"Busy","headline":%q,"description":{"text":%q}},"developer":{"id":"acme","name":%q,"url":"https://acme.test"}}`, purpose, text, maker))
	}
	g.Manifest = manifest("Acme", "finds busy hours", "long")
	terms := TermsOf(g)
	if terms.Name != "Busy" || terms.Maker.String() != "Acme, acme, https://acme.test" || terms.Purpose != "finds busy hours" || terms.Version != g.Version.String() {
		t.Errorf("%+v %v", terms, terms.Maker)
	}
	text, err := json.Marshal(terms)
	if err != nil || !strings.Contains(string(text), `"maker":{"id":"acme","name":"Acme","url":"https://acme.test"},"purpose":"finds busy hours"`) {
		t.Errorf("%s %v", text, err)
	}
	headless := g
	headless.Manifest = manifest("Acme", " ", "the whole text")
	if got := TermsOf(headless).Purpose; got != "the whole text" {
		t.Errorf("purpose %q", got)
	}
	for _, bad := range []string{"", "x", `{"info":7}`, `{}`} {
		other := g
		other.Manifest = []byte(bad)
		if terms := TermsOf(other); terms.Maker != nil || terms.Maker.String() != "" || terms.Purpose != "" || terms.Digest == TermsOf(g).Digest {
			t.Errorf("%q: %+v", bad, terms)
		}
	}
	other := g
	other.Manifest = manifest("Evil", "sells everything", "long")
	c := ConsentTo(g.Function, true, &other, &g)
	if c.Needed || c.Difference == nil || len(c.Difference.Added) != 2 ||
		c.Difference.Added[0].Text != `its maker is said to be "Evil, acme, https://acme.test", not "Acme, acme, https://acme.test"` ||
		!strings.HasPrefix(c.Difference.Added[1].Text, `its purpose is said to be "sells everything"`) {
		t.Errorf("%+v", c.Difference)
	}
	g.Manifest = nil // granted before texts were kept
	if c := ConsentTo(g.Function, true, &other, &g); c.Difference != nil {
		t.Errorf("%+v", c.Difference)
	}
}
