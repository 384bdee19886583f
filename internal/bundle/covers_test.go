package bundle

import (
	"strings"
	"testing"
)

func TestCovers(t *testing.T) {
	bundle := func(query, rest string) Bundle {
		b, err := Parse([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b"` + query + `}]` + rest + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	filter := func(field, operator string) string {
		return `,"filters":[{"field":"` + field + `","operator":{"operator":` + operator + `}}]`
	}
	hour := func(operator string) string {
		return `,"filters":[{"field":"at","transformation":{"transformation":"datetimeExtract","part":"hour"},"operator":{"operator":` + operator + `}}]`
	}
	find := func(words string) string {
		return `,"filters":[{"field":"t","transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"` + words + `"}}]`
	}
	mapping := func(m string) string { return `,"mapping":` + m }
	const covered = ""
	for _, c := range []struct {
		name, grant, asked, beyond string
		grantRest, askedRest       string
	}{
		{name: "the same", grant: mapping(`{"x":"a"}`), asked: mapping(`{"y":"a"}`)},
		{name: "a field of all", asked: mapping(`{"y":"a.b[0]"}`)},
		{name: "all of a field", grant: mapping(`{"x":"a"}`), beyond: "all fields of a/b"},
		{name: "another field", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"b"}`), beyond: "the field b of a/b"},
		{name: "below a field", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"a.b[2].c"}`)},
		{name: "above a field", grant: mapping(`{"x":"a.b"}`), asked: mapping(`{"x":"a"}`), beyond: "the field a of a/b"},
		{name: "one of a list", grant: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mapping(`{"x":"l[3].n"}`)},
		{name: "the list of one", grant: mapping(`{"x":"l[3].n"}`), asked: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), beyond: "the field l[].n of a/b"},
		{name: "more of each", grant: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n","m":"m"}}}`), beyond: "the field l[].m of a/b"},
		{name: "malformed reads nothing", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":true}`)},
		{name: "malformed grants nothing", grant: mapping(`{"x":true}`), asked: mapping(`{"x":"a"}`), beyond: "the field a of a/b"},
		{name: "a filter more", asked: filter("a", `"contains","value":1`)},
		{name: "a filter less", grant: filter("a", `"contains","value":1`), beyond: "records of a/b that the filter on a left out"},
		{name: "probing", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"a"}`) + filter("secret", `"contains","value":1`), beyond: "a choice by secret of a/b"},
		{name: "sorting", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"a"}`), askedRest: `,"orderBy":"secret"`, beyond: "the order by secret of a/b"},
		{name: "sorting by a mapped name", grant: mapping(`{"x":"a"}`), asked: mapping(`{"z":"a"}`), askedRest: `,"orderBy":"z"`},
		{name: "narrower in", grant: filter("a", `"in","value":[1,2]`), asked: filter("a", `"in","value":[2]`)},
		{name: "wider in", grant: filter("a", `"in","value":[1,2]`), asked: filter("a", `"in","value":[2,3]`), beyond: "records of a/b that the filter on a left out"},
		{name: "narrower contains", grant: filter("a", `"contains","value":{"x":1}`), asked: filter("a", `"contains","value":{"x":1,"y":2}`)},
		{name: "wider contains", grant: filter("a", `"contains","value":[1,2]`), asked: filter("a", `"contains","value":[1]`), beyond: "records of a/b that the filter on a left out"},
		{name: "another operator", grant: filter("a", `"contains","value":1`), asked: filter("a", `"in","value":1`), beyond: "records of a/b that the filter on a left out"},
		{name: "moving dates", grant: filter("a", `"between","lower":"2024-01-08T10:00:00.000Z","upper":"2024-04-08T10:00:00.000Z"`), asked: filter("a", `"between","lower":"2025-01-08T10:00:00.000Z","upper":"2025-04-08T10:00:00.000Z"`)},
		{name: "dates without end", grant: filter("a", `"between","lower":"2024-01-08","upper":null`), asked: filter("a", `"between","lower":"2020-01-08","upper":null`)},
		{name: "moving seconds", grant: filter("a", `"between","lower":1709284500,"upper":1709294500`), asked: filter("a", `"between","lower":1719284500,"upper":1719294500`)},
		{name: "wider numbers", grant: filter("a", `"between","lower":1,"upper":5`), asked: filter("a", `"between","lower":1,"upper":6`), beyond: "records of a/b that the filter on a left out"},
		{name: "narrower numbers", grant: filter("a", `"between","lower":1,"upper":5`), asked: filter("a", `"between","lower":2,"upper":5`)},
		{name: "from dates to everything", grant: filter("a", `"between","lower":"2024-01-08","upper":"2024-02-08"`), asked: filter("a", `"between","lower":null,"upper":{}`), beyond: "records of a/b that the filter on a left out"},
		{name: "other hours", grant: hour(`"between","lower":5,"upper":9`), asked: hour(`"between","lower":0,"upper":9`), beyond: "records of a/b that the filter on at left out"},
		{name: "no dates", grant: filter("a", `"between","lower":"2024-01-08","upper":"2024-02-08"`), beyond: "records of a/b that the filter on a left out"},
		{name: "more words", grant: find("run"), asked: find("runs fast")},
		{name: "fewer words", grant: find("run fast"), asked: find("run"), beyond: "records of a/b that the filter on t left out"},
		{name: "a lower limit", grantRest: `,"limit":20`, askedRest: `,"limit":10`},
		{name: "a higher limit", grantRest: `,"limit":20`, askedRest: `,"limit":21`, beyond: "more than 20 records at a time of a/b"},
		{name: "no limit any more", grantRest: `,"limit":20`, beyond: "more than 20 records at a time of a/b"},
		{name: "a limit now", askedRest: `,"limit":10`},
		{name: "a link", asked: `,"links":[{"endpoint":"c/d"}]`, beyond: "all fields of c/d"},
		{name: "a link less", grant: `,"links":[{"endpoint":"c/d"}]`},
		{name: "more of a link", grant: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}}]`, asked: `,"links":[{"endpoint":"c/d","mapping":{"x":"b"}}]`, beyond: "the field b of c/d"},
	} {
		grant, asked := bundle(c.grant, c.grantRest), bundle(c.asked, c.askedRest)
		if ok, _ := Covers(grant, grant); !ok {
			t.Errorf("%s: a bundle doesn't cover itself", c.name)
		}
		if ok, beyond := Covers(grant.Normalised(), grant); !ok {
			t.Errorf("%s: a bundle isn't covered by its normal form: %v", c.name, beyond)
		}
		ok, beyond := Covers(grant, asked)
		var lines []string
		for _, d := range beyond {
			lines = append(lines, d.String())
		}
		if got := strings.Join(lines, "; "); got != c.beyond || ok != (c.beyond == covered) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.beyond)
		}
	}
}

func TestCoversNamesDoNotMatter(t *testing.T) {
	parse := func(text string) Bundle {
		b, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	grant := parse(`{"name":"a","bundle":{"p":{"endpoints":[{"endpoint":"a/b"},{"endpoint":"c/d"}]}}}`)
	asked := parse(`{"name":"b","bundle":{"q":{"endpoints":[{"endpoint":"c/d"}]},"r":{"endpoints":[{"endpoint":"a/b"}]}}}`)
	if ok, beyond := Covers(grant, asked); !ok {
		t.Errorf("not covered: %v", beyond)
	}
	other := parse(`{"name":"b","bundle":{"q":{"endpoints":[{"endpoint":"e/f","mapping":{"x":"y"}}]}}}`)
	if ok, beyond := Covers(grant, other); ok || len(beyond) != 1 || beyond[0].String() != "the field y of e/f" || beyond[0].Field != "y" {
		t.Errorf("got %v", beyond)
	}
}
