package bundle

import (
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func TestCovers(t *testing.T) {
	bundle := func(query, rest string) Bundle {
		b, err := ParseFunctionBundle([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b"` + query + `}]` + rest + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	filter := func(field, operator string) string {
		return `,"filters":[{"field":"` + field + `","operator":{"operator":` + operator + `}}]`
	}
	one := func(field, operator string) string {
		return `{"field":"` + field + `","operator":{"operator":` + operator + `}}`
	}
	filters := func(all ...string) string { return `,"filters":[` + strings.Join(all, ",") + `]` }
	marked := func(field, bound string) string {
		return filters(`{"field":"` + field + `","window":true,"operator":{"operator":"between","lower":` + bound + `,"upper":` + bound + `}}`)
	}
	// run is a between of the dates of the window, written whole, as days, months, seconds or milliseconds.
	window := hat.Window{
		From:  time.Date(2024, 1, 8, 10, 0, 0, 250_999_999, time.UTC),
		Until: time.Date(2024, 4, 8, 10, 0, 0, 250_999_999, time.UTC),
	}
	run := func(form string) string {
		return `"between",` + map[string]string{
			"T":  `"lower":"2024-01-08T10:00:00.250Z","upper":"2024-04-08T10:00:00.250Z"`,
			"D":  `"lower":"2024-01-08","upper":"2024-04-08"`,
			"M":  `"lower":"2024-01","upper":"2024-04"`,
			"s":  `"lower":1704708000,"upper":1712570400`,
			"ms": `"lower":1704708000250,"upper":1712570400250`,
		}[form]
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
		{name: "the list of one", grant: mapping(`{"x":"l[3].n"}`), asked: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), beyond: "how many l[] of a/b; the field l[].n of a/b"},
		{name: "more of each", grant: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n","m":"m"}}}`), beyond: "the field l[].m of a/b"},
		{name: "whether it is there", grant: mapping(`{"x":"o.n"}`), asked: mapping(`{"x":{"source":"o","mappings":{"n":"n"}}}`), beyond: "whether there is o of a/b"},
		{name: "whether there is one more", grant: mapping(`{"x":"l[0]"}`), asked: mapping(`{"x":{"source":"l[1]","mappings":{}}}`), beyond: "whether there is l[1] of a/b"},
		{name: "how many of what is shown", grant: mapping(`{"x":"l"}`), asked: mapping(`{"l[]":{"source":"l[]","mappings":{}}}`)},
		{name: "whether one of those counted is there", grant: mapping(`{"l[]":{"source":"l[]","mappings":{}}}`), asked: mapping(`{"x":{"source":"l[1]","mappings":{}}}`)},
		{name: "malformed reads nothing", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":true}`)},
		{name: "malformed grants nothing", grant: mapping(`{"x":true}`), asked: mapping(`{"x":"a"}`), beyond: "the field a of a/b"},

		{name: "a filter more", asked: filter("a", `"contains","value":1`)},
		{name: "a filter more on a field that is shown", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"a"}`) + filter("a.b", `"contains","value":1`)},
		{name: "a filter less", grant: filter("a", `"contains","value":1`), beyond: "records of a/b that the filter on a left out"},
		{name: "probing", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"a"}`) + filter("secret", `"contains","value":1`), beyond: "a choice by secret of a/b"},
		{name: "probing what is filtered by", grant: mapping(`{"x":"a"}`) + filter("salary", `"between","lower":0,"upper":99999`), asked: mapping(`{"x":"a"}`) + filter("salary", `"between","lower":100,"upper":199`), beyond: "a choice by salary of a/b; records of a/b that the filter on salary left out (granted: salary between 0 and 99999; asked: salary between 100 and 199)"},
		{name: "probing beside what is filtered by", grant: mapping(`{"x":"a"}`) + filter("salary", `"between","lower":0,"upper":99999`), asked: mapping(`{"x":"a"}`) + filters(one("salary", `"between","lower":0,"upper":99999`), one("salary", `"in","value":5`)), beyond: "a choice by salary of a/b"},
		{name: "the filter as granted, twice", grant: mapping(`{"x":"a"}`) + filter("salary", `"between","lower":0,"upper":1e5`), asked: mapping(`{"x":"a"}`) + filters(one("salary", `"between","lower":0.0,"upper":100000`), one("salary", `"between","lower":-0,"upper":10e4`))},
		{name: "probing what is sorted by", grant: mapping(`{"x":"a"}`), grantRest: `,"orderBy":"salary"`, asked: mapping(`{"x":"a"}`) + filter("salary", `"contains","value":1`), beyond: "a choice by salary of a/b"},
		{name: "an index that may be a key", grant: mapping(`{"x":"l[0]"}`), asked: mapping(`{"x":"l[0]"}`) + filter("l.0", `"contains","value":1`), beyond: "a choice by l.0 of a/b"},
		{name: "a key that may be an index", grant: mapping(`{"x":"l.0"}`), asked: mapping(`{"x":"l.0"}`) + filter("l.0", `"contains","value":1`), beyond: "a choice by l.0 of a/b"},
		{name: "a key that looks like an index", grant: mapping(`{"x":"l[0]"}`), asked: mapping(`{"x":"l[0]"}`) + filter("l.[0]", `"contains","value":1`), beyond: "a choice by l.[0] of a/b"},
		{name: "either, inside of what is shown", grant: mapping(`{"x":"l"}`), asked: mapping(`{"x":"l[0]"}`) + filter("l.0", `"contains","value":1`)},
		{name: "from the end", grant: mapping(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mapping(`{"x":"l[0].n"}`) + filter("l.-1.n", `"contains","value":1`), beyond: "a choice by l.-1.n of a/b"},
		{name: "the same key, escaped", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"\u0061"}`) + filter(`\u0061`, `"contains","value":1`)},

		{name: "sorting", grant: mapping(`{"x":"a"}`), asked: mapping(`{"x":"a"}`), askedRest: `,"orderBy":"secret"`, beyond: "the order by secret of a/b"},
		{name: "sorting by a mapped name", grant: mapping(`{"x":"a"}`), asked: mapping(`{"z":"a"}`), askedRest: `,"orderBy":"z"`},
		{name: "sorting as granted", grant: mapping(`{"x":"a"}`), grantRest: `,"orderBy":"t"`, asked: mapping(`{"z":"a"}`), askedRest: `,"orderBy":"t"`},
		{name: "sorting the other way round", grant: mapping(`{"x":"a"}`), grantRest: `,"orderBy":"t"`, asked: mapping(`{"z":"a"}`), askedRest: `,"orderBy":"t","ordering":"descending"`, beyond: "the order by t of a/b"},
		{name: "sorting by what is filtered by", grant: mapping(`{"x":"a"}`) + filter("t", `"in","value":[1,2]`), asked: mapping(`{"x":"a"}`) + filter("t", `"in","value":[1,2]`), askedRest: `,"orderBy":"t"`, beyond: "the order by t of a/b"},
		{name: "not sorting any more", grant: mapping(`{"x":"a"}`), grantRest: `,"orderBy":"t"`, asked: mapping(`{"z":"a"}`)},

		{name: "narrower in", grant: filter("a", `"in","value":[1,2]`), asked: filter("a", `"in","value":[2]`)},
		{name: "narrower in of what is not shown", grant: mapping(`{"x":"b"}`) + filter("a", `"in","value":[1,2]`), asked: mapping(`{"x":"b"}`) + filter("a", `"in","value":[2]`), beyond: "a choice by a of a/b; records of a/b that the filter on a left out (granted: a in [1,2]; asked: a in [2])"},
		{name: "wider in", grant: filter("a", `"in","value":[1,2]`), asked: filter("a", `"in","value":[2,3]`), beyond: "records of a/b that the filter on a left out (granted: a in [1,2]; asked: a in [2,3])"},
		{name: "narrower contains", grant: filter("a", `"contains","value":{"x":1}`), asked: filter("a", `"contains","value":{"x":1,"y":2}`)},
		{name: "wider contains", grant: filter("a", `"contains","value":[1,2]`), asked: filter("a", `"contains","value":[1]`), beyond: "records of a/b that the filter on a left out (granted: a contains [1,2]; asked: a contains [1])"},
		{name: "another operator", grant: filter("a", `"contains","value":1`), asked: filter("a", `"in","value":1`), beyond: "records of a/b that the filter on a left out (granted: a contains 1; asked: a in 1)"},
		{name: "wider numbers", grant: filter("a", `"between","lower":1,"upper":5`), asked: filter("a", `"between","lower":1,"upper":6`), beyond: "records of a/b that the filter on a left out (granted: a between 1 and 5; asked: a between 1 and 6)"},
		{name: "narrower numbers", grant: filter("a", `"between","lower":1,"upper":5`), asked: filter("a", `"between","lower":2,"upper":5`)},
		{name: "bounds of another type", grant: filter("a", `"between","lower":null,"upper":5`), asked: filter("a", `"between","lower":"","upper":5`), beyond: "records of a/b that the filter on a left out (granted: a between null and 5; asked: a between \"\" and 5)"},
		{name: "reversed", grant: filter("a", `"between","lower":1,"upper":5`), asked: filter("a", `"between","lower":5,"upper":1`)},
		{name: "an account for numbers that look like dates", grant: filter("account", `"between","lower":100000000,"upper":100000099`), asked: filter("account", `"between","lower":null,"upper":99999999999999`), beyond: "records of a/b that the filter on account left out (granted: account between 100000000 and 100000099; asked: account between null and 99999999999999)"},
		{name: "the next account", grant: filter("account", `"between","lower":100000000,"upper":100000099`), asked: filter("account", `"between","lower":100000100,"upper":100000199`), beyond: "records of a/b that the filter on account left out (granted: account between 100000000 and 100000099; asked: account between 100000100 and 100000199)"},
		{name: "from dates to everything", grant: filter("a", `"between","lower":"2024-01-08","upper":"2024-02-08"`), asked: filter("a", `"between","lower":null,"upper":{}`), beyond: "records of a/b that the filter on a left out (granted: a between \"2024-01-08\" and \"2024-02-08\", or since the last run; asked: a between null and {})"},
		{name: "other hours", grant: hour(`"between","lower":5,"upper":9`), asked: hour(`"between","lower":0,"upper":9`), beyond: "records of a/b that the filter on at left out (granted: datetimeExtract hour of at between 5 and 9; asked: datetimeExtract hour of at between 0 and 9)"},
		{name: "no dates", grant: filter("a", `"between","lower":"2024-01-08","upper":"2024-02-08"`), beyond: "records of a/b that the filter on a left out"},
		{name: "more words", grant: find("run"), asked: find("runs fast")},
		{name: "fewer words", grant: find("run fast"), asked: find("run"), beyond: "records of a/b that the filter on t left out (granted: searchable of t find \"run fast\"; asked: searchable of t find \"run\")"},

		{name: "a lower limit", grantRest: `,"limit":20`, askedRest: `,"limit":10`},
		{name: "a higher limit", grantRest: `,"limit":20`, askedRest: `,"limit":21`, beyond: "more than 20 records at a time of a/b"},
		{name: "no limit any more", grantRest: `,"limit":20`, beyond: "more than 20 records at a time of a/b"},
		{name: "a limit now", askedRest: `,"limit":10`},
		{name: "the limit's records by another order", grantRest: `,"limit":20,"orderBy":"t"`, askedRest: `,"limit":20`, beyond: "another order of a/b than that of the granted list"},
		{name: "the oldest, not the newest", grantRest: `,"limit":20,"ordering":"descending"`, askedRest: `,"limit":20`, beyond: "another order of a/b than that of the granted list"},
		{name: "others by a filter before the limit", grantRest: `,"limit":20`, asked: filter("a", `"contains","value":1`), askedRest: `,"limit":20`, beyond: "a choice by a of a/b before the limit"},
		{name: "a window before the limit", grant: mapping(`{"x":"a"}`), grantRest: `,"limit":20,"orderBy":"t"`, asked: mapping(`{"x":"a"}`) + filter("t", run("T")), askedRest: `,"limit":20,"orderBy":"t"`},

		{name: "a link", asked: `,"links":[{"endpoint":"c/d"}]`, beyond: "all fields of c/d"},
		{name: "a link less", grant: `,"links":[{"endpoint":"c/d"}]`},
		{name: "more of a link", grant: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}}]`, asked: `,"links":[{"endpoint":"c/d","mapping":{"x":"b"}}]`, beyond: "the field b of c/d"},
		{name: "probing a link", grant: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}}]`, asked: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}` + filter("b", `"in","value":1`) + `}]`, beyond: "a choice by b of c/d"},
		{name: "links of links have no effect", asked: `,"links":[]`, grant: `,"links":[{"endpoint":"c/d"}]`},

		{name: "the window where nothing is filtered", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", run("T")), askedRest: `,"orderBy":"created_time"`},
		{name: "its days", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", run("D")), askedRest: `,"orderBy":"created_time"`},
		{name: "its months", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", run("M")), askedRest: `,"orderBy":"created_time"`},
		{name: "its seconds", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", run("s")), askedRest: `,"orderBy":"created_time"`},
		{name: "its milliseconds", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", run("ms")), askedRest: `,"orderBy":"created_time"`},
		{name: "the window by a field that is filtered by", grant: mapping(`{"id":"id"}`) + filter("t", `"in","value":[1,2]`), asked: mapping(`{"id":"id"}`) + filters(one("t", `"in","value":[1,2]`), one("t", run("T")))},
		{name: "the window by a foreign field", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("birthday", run("T")), beyond: "a choice by birthday of a/b"},
		{name: "other dates by an order", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", `"between","lower":"2024-01-08","upper":"2024-03-08"`), beyond: "a choice by created_time of a/b"},
		{name: "the window without an end", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", `"between","lower":"2024-01-08T10:00:00.250Z","upper":null`), beyond: "a choice by created_time of a/b"},
		{name: "text to numbers", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", `"between","lower":"2024-01-08","upper":1712570400250`), beyond: "a choice by created_time of a/b"},
		{name: "seconds to milliseconds", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mapping(`{"id":"id"}`) + filter("created_time", `"between","lower":1704708000,"upper":1712570400250`), beyond: "a choice by created_time of a/b"},
		{name: "the window of an hour of the day", grant: mapping(`{"id":"id"}`), grantRest: `,"orderBy":"at"`, asked: mapping(`{"id":"id"}`) + hour(run("s")), beyond: "a choice by at of a/b"},
		{name: "the window for dates", grant: filter("a", `"between","lower":"2020-01-08T10:00:00.000Z","upper":"2020-04-08T10:00:00.000Z"`), asked: filter("a", run("T"))},
		{name: "its days for dates", grant: mapping(`{"x":"b"}`) + filter("a", `"between","lower":"2020-01-08","upper":"2020-04-08"`), asked: mapping(`{"x":"b"}`) + filter("a", run("D"))},
		{name: "other dates for dates", grant: filter("a", `"between","lower":"2020-01-08","upper":"2020-04-08"`), asked: filter("a", `"between","lower":"2019-01-08","upper":"2020-04-08"`), beyond: "records of a/b that the filter on a left out (granted: a between \"2020-01-08\" and \"2020-04-08\", or since the last run; asked: a between \"2019-01-08\" and \"2020-04-08\")"},
		{name: "seconds for dates", grant: filter("a", `"between","lower":"2020-01-08","upper":"2020-04-08"`), asked: filter("a", run("s")), beyond: "records of a/b that the filter on a left out (granted: a between \"2020-01-08\" and \"2020-04-08\", or since the last run; asked: a between 1704708000 and 1712570400)"},
		{name: "the window for numbers", grant: filter("a", `"between","lower":1700000000,"upper":1700000100`), asked: filter("a", run("s")), beyond: "records of a/b that the filter on a left out (granted: a between 1700000000 and 1700000100; asked: a between 1704708000 and 1712570400)"},
		{name: "the window for half a range of dates", grant: filter("a", `"between","lower":"2020-01-08","upper":null`), asked: filter("a", run("D")), beyond: "records of a/b that the filter on a left out (granted: a between \"2020-01-08\" and null; asked: a between \"2024-01-08\" and \"2024-04-08\")"},
		{name: "the window for a marked one", grant: mapping(`{"x":"b"}`) + marked("a", `null`), asked: mapping(`{"x":"b"}`) + filter("a", run("T"))},
		{name: "its days for a marked one", grant: mapping(`{"x":"b"}`) + marked("a", `"2000-01-01T00:00:00.000Z"`), asked: mapping(`{"x":"b"}`) + filter("a", run("D"))},
		{name: "seconds for marked seconds", grant: mapping(`{"x":"b"}`) + marked("a", `0`), asked: mapping(`{"x":"b"}`) + filter("a", run("s"))},
		{name: "milliseconds for marked seconds", grant: mapping(`{"x":"b"}`) + marked("a", `0`), asked: mapping(`{"x":"b"}`) + filter("a", run("ms")), beyond: "records of a/b that the filter on a left out (granted: a since the last run; asked: a between 1704708000250 and 1712570400250)"},
		{name: "dates for a marked one", grant: marked("a", `"2020-01-01"`), asked: filter("a", `"between","lower":"2020-01-01","upper":"2020-01-01"`), beyond: "records of a/b that the filter on a left out (granted: a since the last run; asked: a between \"2020-01-01\" and \"2020-01-01\")"},
		{name: "nothing for a marked one", grant: marked("a", `null`), beyond: "records of a/b that the filter on a left out"},
	} {
		grant, asked := bundle(c.grant, c.grantRest), bundle(c.asked, c.askedRest)
		if ok, _ := Covers(grant, grant, window); !ok {
			t.Errorf("%s: a bundle doesn't cover itself", c.name)
		}
		if ok, beyond := Covers(grant.Normalised(), grant, window); !ok {
			t.Errorf("%s: a bundle isn't covered by its normal form: %v", c.name, beyond)
		}
		ok, beyond := Covers(grant, asked, window)
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
	if ok, beyond := Covers(grant, asked, hat.Window{}); !ok {
		t.Errorf("not covered: %v", beyond)
	}
	other := parse(`{"name":"b","bundle":{"q":{"endpoints":[{"endpoint":"e/f","mapping":{"x":"y"}}]}}}`)
	if ok, beyond := Covers(grant, other, hat.Window{}); ok || len(beyond) != 1 || beyond[0].String() != "the field y of e/f" || beyond[0].Field != "y" {
		t.Errorf("got %v", beyond)
	}
}
