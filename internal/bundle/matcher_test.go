package bundle

import (
	"strings"
	"testing"

	"she/internal/hat"
)

// A record that a looser bundle shows and the stricter one did not is at an endpoint that Loosened names; one that both
// show, Matcher tells for the stricter one already.
func TestLoosenedAndSight(t *testing.T) {
	parse := func(queries string) Bundle {
		b, err := Parse([]byte(`{"name":"b","bundle":{` + queries + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p := func(more string) string {
		return `"p":{"endpoints":[{"endpoint":"a/x"` + more + `}]}`
	}
	only := func(value string) string {
		return `,"filters":[{"field":"k","operator":{"operator":"in","value":` + value + `}}]`
	}
	dates := func(year string) string {
		return `,"filters":[{"field":"at","operator":{"operator":"between","lower":"` + year + `-01-01","upper":"` + year + `-12-31"}}]`
	}
	const link = `,"links":[{"endpoint":"a/y"}]`
	record := `{"k":2,"at":"2020-06-01"}`
	for _, c := range []struct {
		says, former, now, loosened string
		saw                         bool // the former one showed the record at a/x
	}{
		{"the same", p(only(`[1,2]`)), p(only(`[2,1]`)), "", true},
		{"stricter", p(only(`[1,2]`)), p(only(`[1]`)), "", true},
		{"looser", p(only(`[1]`)), p(only(`[1,2]`)), "a/x", false},
		{"without a filter", p(only(`[1]`)), p(""), "a/x", false},
		{"without one that let it through", p(only(`[2]`)), p(""), "a/x", true},
		{"a filter that was not there", p(""), p(only(`[1]`)), "", true},
		{"other fields", p(`,"mapping":{"k":"k"}`), p(""), "", true},
		{"other dates: windows move", p(dates("2024")), p(dates("2020")), "", true},
		{"no dates any more", p(dates("2024")), p(""), "", true},
		{"another endpoint is no matter of filters", p(""), p("") + `,"q":{"endpoints":[{"endpoint":"b/z"}]}`, "", true},
		{"by itself, and not as a link alone", `"p":{"endpoints":[{"endpoint":"c/z","links":[{"endpoint":"a/x"}]}]}`, p(""), "a/x", false},
		{"its links", p(""), p(link), "", true},
		{"one query of two lets it through", p("") + `,"q":{"endpoints":[{"endpoint":"a/x"` + only(`[1]`) + `}]}`, p(only(`[2]`)), "", true},
		{"a limit is no filter", p("")[:len(p(""))-1] + `,"limit":1}`, p(""), "", true},
	} {
		former, now := parse(c.former), parse(c.now)
		var names []string
		for _, e := range Loosened(former, now) {
			names = append(names, e.String())
		}
		if got := strings.Join(names, " "); got != c.loosened {
			t.Errorf("%s: looser at %q, want %q", c.says, got, c.loosened)
		}
		shows, err := former.Matcher()
		if err != nil {
			t.Fatal(err)
		}
		at, _ := hat.ParseEndpoint("a/x")
		d, err := hat.ParseData([]byte(record))
		if err != nil {
			t.Fatal(err)
		}
		if got := shows(hat.Record{Endpoint: at, Data: d}); got != c.saw {
			t.Errorf("%s: the former one showed it: %t", c.says, got)
		}
		if other, _ := hat.ParseEndpoint("a/other"); shows(hat.Record{Endpoint: other, Data: d}) {
			t.Errorf("%s: the former one shows another endpoint", c.says)
		}
	}
}
