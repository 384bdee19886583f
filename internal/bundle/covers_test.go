package bundle

import (
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

// A coverCase is a grant and what is asked, each as the query of an endpoint and the rest of the property.
type coverCase struct {
	name, grant, asked, beyond string // beyond: what is not covered; empty: all is
	grantRest, askedRest       string
}

var coveredWindow = hat.Window{
	From:  time.Date(2024, 1, 8, 10, 0, 0, 250_999_999, time.UTC),
	Until: time.Date(2024, 4, 8, 10, 0, 0, 250_999_999, time.UTC),
}

func allCovered(t *testing.T, cases []coverCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bundle := func(query, rest string) Bundle {
				b, err := ParseFunctionBundle([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b"` + query + `}]` + rest + `}}}`))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			grant, asked := bundle(c.grant, c.grantRest), bundle(c.asked, c.askedRest)
			if ok, _ := Covers(grant, grant, coveredWindow); !ok {
				t.Error("a bundle doesn't cover itself")
			}
			if ok, beyond := Covers(grant.Normalised(), grant, coveredWindow); !ok {
				t.Errorf("a bundle isn't covered by its normal form: %v", beyond)
			}
			ok, beyond := Covers(grant, asked, coveredWindow)
			var lines []string
			for _, d := range beyond {
				lines = append(lines, d.String())
			}
			if got := strings.Join(lines, "; "); got != c.beyond || ok != (c.beyond == "") {
				t.Errorf("got %q, want %q", got, c.beyond)
			}
		})
	}
}

func filterText(field, operator string) string {
	return `{"field":"` + field + `","operator":{"operator":` + operator + `}}`
}

func filtersText(all ...string) string { return `,"filters":[` + strings.Join(all, ",") + `]` }

func filtered(field, operator string) string { return filtersText(filterText(field, operator)) }

func markedText(field, bound string) string {
	return filtersText(`{"field":"` + field + `","window":true,"operator":{"operator":"between","lower":` + bound + `,"upper":` + bound + `}}`)
}

// betweenWindow is a between of the dates of coveredWindow, written whole, as days, months, seconds or milliseconds.
func betweenWindow(form string) string {
	return `"between",` + map[string]string{
		"T":  `"lower":"2024-01-08T10:00:00.250Z","upper":"2024-04-08T10:00:00.250Z"`,
		"D":  `"lower":"2024-01-08","upper":"2024-04-08"`,
		"M":  `"lower":"2024-01","upper":"2024-04"`,
		"s":  `"lower":1704708000,"upper":1712570400`,
		"ms": `"lower":1704708000250,"upper":1712570400250`,
	}[form]
}

func filteredByHour(operator string) string {
	return `,"filters":[{"field":"at","transformation":{"transformation":"datetimeExtract","part":"hour"},"operator":{"operator":` + operator + `}}]`
}

func mappedAs(m string) string { return `,"mapping":` + m }

func TestCoversFields(t *testing.T) {
	allCovered(t, []coverCase{
		{name: "the same", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"y":"a"}`)},
		{name: "a field of all", asked: mappedAs(`{"y":"a.b[0]"}`)},
		{name: "all of a field", grant: mappedAs(`{"x":"a"}`), beyond: "all fields of a/b"},
		{name: "another field", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":"b"}`), beyond: "the field b of a/b"},
		{name: "below a field", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":"a.b[2].c"}`)},
		{name: "above a field", grant: mappedAs(`{"x":"a.b"}`), asked: mappedAs(`{"x":"a"}`), beyond: "the field a of a/b"},
		{name: "one of a list", grant: mappedAs(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mappedAs(`{"x":"l[3].n"}`)},
		{name: "the list of one", grant: mappedAs(`{"x":"l[3].n"}`), asked: mappedAs(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), beyond: "how many l[] of a/b; the field l[].n of a/b"},
		{name: "more of each", grant: mappedAs(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mappedAs(`{"l[]":{"source":"l[]","mappings":{"n":"n","m":"m"}}}`), beyond: "the field l[].m of a/b"},
		{name: "whether it is there", grant: mappedAs(`{"x":"o.n"}`), asked: mappedAs(`{"x":{"source":"o","mappings":{"n":"n"}}}`), beyond: "whether there is o of a/b"},
		{name: "whether there is one more", grant: mappedAs(`{"x":"l[0]"}`), asked: mappedAs(`{"x":{"source":"l[1]","mappings":{}}}`), beyond: "whether there is l[1] of a/b"},
		{name: "how many of what is shown", grant: mappedAs(`{"x":"l"}`), asked: mappedAs(`{"l[]":{"source":"l[]","mappings":{}}}`)},
		{name: "whether one of those counted is there", grant: mappedAs(`{"l[]":{"source":"l[]","mappings":{}}}`), asked: mappedAs(`{"x":{"source":"l[1]","mappings":{}}}`)},
		{name: "malformed reads nothing", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":true}`)},
		{name: "malformed grants nothing", grant: mappedAs(`{"x":true}`), asked: mappedAs(`{"x":"a"}`), beyond: "the field a of a/b"},
	})
}

func TestCoversFiltersMoreOrLess(t *testing.T) {
	allCovered(t, []coverCase{
		{name: "a filter more", asked: filtered("a", `"contains","value":1`)},
		{name: "a filter more on a field that is shown", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":"a"}`) + filtered("a.b", `"contains","value":1`)},
		{name: "a filter less", grant: filtered("a", `"contains","value":1`), beyond: "records of a/b that the filter on a left out"},
		{name: "probing", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":"a"}`) + filtered("secret", `"contains","value":1`), beyond: "a choice by secret of a/b"},
		{name: "probing what is filtered by", grant: mappedAs(`{"x":"a"}`) + filtered("salary", `"between","lower":0,"upper":99999`), asked: mappedAs(`{"x":"a"}`) + filtered("salary", `"between","lower":100,"upper":199`), beyond: "a choice by salary of a/b; records of a/b that the filter on salary left out (granted: salary between 0 and 99999; asked: salary between 100 and 199)"},
		{name: "probing beside what is filtered by", grant: mappedAs(`{"x":"a"}`) + filtered("salary", `"between","lower":0,"upper":99999`), asked: mappedAs(`{"x":"a"}`) + filtersText(filterText("salary", `"between","lower":0,"upper":99999`), filterText("salary", `"in","value":5`)), beyond: "a choice by salary of a/b"},
		{name: "the filter as granted, twice", grant: mappedAs(`{"x":"a"}`) + filtered("salary", `"between","lower":0,"upper":1e5`), asked: mappedAs(`{"x":"a"}`) + filtersText(filterText("salary", `"between","lower":0.0,"upper":100000`), filterText("salary", `"between","lower":-0,"upper":10e4`))},
		{name: "probing what is sorted by", grant: mappedAs(`{"x":"a"}`), grantRest: `,"orderBy":"salary"`, asked: mappedAs(`{"x":"a"}`) + filtered("salary", `"contains","value":1`), beyond: "a choice by salary of a/b"},
		{name: "an index that may be a key", grant: mappedAs(`{"x":"l[0]"}`), asked: mappedAs(`{"x":"l[0]"}`) + filtered("l.0", `"contains","value":1`), beyond: "a choice by l.0 of a/b"},
		{name: "a key that may be an index", grant: mappedAs(`{"x":"l.0"}`), asked: mappedAs(`{"x":"l.0"}`) + filtered("l.0", `"contains","value":1`), beyond: "a choice by l.0 of a/b"},
		{name: "a key that looks like an index", grant: mappedAs(`{"x":"l[0]"}`), asked: mappedAs(`{"x":"l[0]"}`) + filtered("l.[0]", `"contains","value":1`), beyond: "a choice by l.[0] of a/b"},
		{name: "either, inside of what is shown", grant: mappedAs(`{"x":"l"}`), asked: mappedAs(`{"x":"l[0]"}`) + filtered("l.0", `"contains","value":1`)},
		{name: "from the end", grant: mappedAs(`{"l[]":{"source":"l[]","mappings":{"n":"n"}}}`), asked: mappedAs(`{"x":"l[0].n"}`) + filtered("l.-1.n", `"contains","value":1`), beyond: "a choice by l.-1.n of a/b"},
		{name: "the same key, escaped", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":"\u0061"}`) + filtered(`\u0061`, `"contains","value":1`)},
	})
}

func TestCoversSorting(t *testing.T) {
	allCovered(t, []coverCase{
		{name: "sorting", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"x":"a"}`), askedRest: `,"orderBy":"secret"`, beyond: "the order by secret of a/b"},
		{name: "sorting by a mapped name", grant: mappedAs(`{"x":"a"}`), asked: mappedAs(`{"z":"a"}`), askedRest: `,"orderBy":"z"`},
		{name: "sorting as granted", grant: mappedAs(`{"x":"a"}`), grantRest: `,"orderBy":"t"`, asked: mappedAs(`{"z":"a"}`), askedRest: `,"orderBy":"t"`},
		{name: "sorting the other way round", grant: mappedAs(`{"x":"a"}`), grantRest: `,"orderBy":"t"`, asked: mappedAs(`{"z":"a"}`), askedRest: `,"orderBy":"t","ordering":"descending"`, beyond: "the order by t of a/b"},
		{name: "sorting by what is filtered by", grant: mappedAs(`{"x":"a"}`) + filtered("t", `"in","value":[1,2]`), asked: mappedAs(`{"x":"a"}`) + filtered("t", `"in","value":[1,2]`), askedRest: `,"orderBy":"t"`, beyond: "the order by t of a/b"},
		{name: "not sorting any more", grant: mappedAs(`{"x":"a"}`), grantRest: `,"orderBy":"t"`, asked: mappedAs(`{"z":"a"}`)},
	})
}

func TestCoversNarrowerAndWiderFilters(t *testing.T) {
	find := func(words string) string {
		return `,"filters":[{"field":"t","transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"` + words + `"}}]`
	}
	allCovered(t, []coverCase{
		{name: "narrower in", grant: filtered("a", `"in","value":[1,2]`), asked: filtered("a", `"in","value":[2]`)},
		{name: "narrower in of what is not shown", grant: mappedAs(`{"x":"b"}`) + filtered("a", `"in","value":[1,2]`), asked: mappedAs(`{"x":"b"}`) + filtered("a", `"in","value":[2]`), beyond: "a choice by a of a/b; records of a/b that the filter on a left out (granted: a in [1,2]; asked: a in [2])"},
		{name: "wider in", grant: filtered("a", `"in","value":[1,2]`), asked: filtered("a", `"in","value":[2,3]`), beyond: "records of a/b that the filter on a left out (granted: a in [1,2]; asked: a in [2,3])"},
		{name: "narrower contains", grant: filtered("a", `"contains","value":{"x":1}`), asked: filtered("a", `"contains","value":{"x":1,"y":2}`)},
		{name: "wider contains", grant: filtered("a", `"contains","value":[1,2]`), asked: filtered("a", `"contains","value":[1]`), beyond: "records of a/b that the filter on a left out (granted: a contains [1,2]; asked: a contains [1])"},
		{name: "another operator", grant: filtered("a", `"contains","value":1`), asked: filtered("a", `"in","value":1`), beyond: "records of a/b that the filter on a left out (granted: a contains 1; asked: a in 1)"},
		{name: "wider numbers", grant: filtered("a", `"between","lower":1,"upper":5`), asked: filtered("a", `"between","lower":1,"upper":6`), beyond: "records of a/b that the filter on a left out (granted: a between 1 and 5; asked: a between 1 and 6)"},
		{name: "narrower numbers", grant: filtered("a", `"between","lower":1,"upper":5`), asked: filtered("a", `"between","lower":2,"upper":5`)},
		{name: "bounds of another type", grant: filtered("a", `"between","lower":null,"upper":5`), asked: filtered("a", `"between","lower":"","upper":5`), beyond: "records of a/b that the filter on a left out (granted: a between null and 5; asked: a between \"\" and 5)"},
		{name: "reversed", grant: filtered("a", `"between","lower":1,"upper":5`), asked: filtered("a", `"between","lower":5,"upper":1`)},
		{name: "an account for numbers that look like dates", grant: filtered("account", `"between","lower":100000000,"upper":100000099`), asked: filtered("account", `"between","lower":null,"upper":99999999999999`), beyond: "records of a/b that the filter on account left out (granted: account between 100000000 and 100000099; asked: account between null and 99999999999999)"},
		{name: "the next account", grant: filtered("account", `"between","lower":100000000,"upper":100000099`), asked: filtered("account", `"between","lower":100000100,"upper":100000199`), beyond: "records of a/b that the filter on account left out (granted: account between 100000000 and 100000099; asked: account between 100000100 and 100000199)"},
		{name: "from dates to everything", grant: filtered("a", `"between","lower":"2024-01-08","upper":"2024-02-08"`), asked: filtered("a", `"between","lower":null,"upper":{}`), beyond: "records of a/b that the filter on a left out (granted: a between \"2024-01-08\" and \"2024-02-08\", or since the last run; asked: a between null and {})"},
		{name: "other hours", grant: filteredByHour(`"between","lower":5,"upper":9`), asked: filteredByHour(`"between","lower":0,"upper":9`), beyond: "records of a/b that the filter on at left out (granted: datetimeExtract hour of at between 5 and 9; asked: datetimeExtract hour of at between 0 and 9)"},
		{name: "no dates", grant: filtered("a", `"between","lower":"2024-01-08","upper":"2024-02-08"`), beyond: "records of a/b that the filter on a left out"},
		{name: "more words", grant: find("run"), asked: find("runs fast")},
		{name: "fewer words", grant: find("run fast"), asked: find("run"), beyond: "records of a/b that the filter on t left out (granted: searchable of t find \"run fast\"; asked: searchable of t find \"run\")"},
	})
}

func TestCoversLimits(t *testing.T) {
	allCovered(t, []coverCase{
		{name: "a lower limit", grantRest: `,"limit":20`, askedRest: `,"limit":10`},
		{name: "a higher limit", grantRest: `,"limit":20`, askedRest: `,"limit":21`, beyond: "more than 20 records at a time of a/b"},
		{name: "no limit any more", grantRest: `,"limit":20`, beyond: "more than 20 records at a time of a/b"},
		{name: "a limit now", askedRest: `,"limit":10`},
		{name: "the limit's records by another order", grantRest: `,"limit":20,"orderBy":"t"`, askedRest: `,"limit":20`, beyond: "another order of a/b than that of the granted list"},
		{name: "the oldest, not the newest", grantRest: `,"limit":20,"ordering":"descending"`, askedRest: `,"limit":20`, beyond: "another order of a/b than that of the granted list"},
		{name: "others by a filter before the limit", grantRest: `,"limit":20`, asked: filtered("a", `"contains","value":1`), askedRest: `,"limit":20`, beyond: "a choice by a of a/b before the limit"},
		{name: "a window before the limit", grant: mappedAs(`{"x":"a"}`), grantRest: `,"limit":20,"orderBy":"t"`, asked: mappedAs(`{"x":"a"}`) + filtered("t", betweenWindow("T")), askedRest: `,"limit":20,"orderBy":"t"`},
	})
}

func TestCoversLinks(t *testing.T) {
	allCovered(t, []coverCase{
		{name: "a link", asked: `,"links":[{"endpoint":"c/d"}]`, beyond: "all fields of c/d"},
		{name: "a link less", grant: `,"links":[{"endpoint":"c/d"}]`},
		{name: "more of a link", grant: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}}]`, asked: `,"links":[{"endpoint":"c/d","mapping":{"x":"b"}}]`, beyond: "the field b of c/d"},
		{name: "probing a link", grant: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}}]`, asked: `,"links":[{"endpoint":"c/d","mapping":{"x":"a"}` + filtered("b", `"in","value":1`) + `}]`, beyond: "a choice by b of c/d"},
		{name: "links of links have no effect", asked: `,"links":[]`, grant: `,"links":[{"endpoint":"c/d"}]`},
	})
}

func TestCoversTheWindow(t *testing.T) {
	allCovered(t, []coverCase{
		{name: "the window where nothing is filtered", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", betweenWindow("T")), askedRest: `,"orderBy":"created_time"`},
		{name: "its days", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", betweenWindow("D")), askedRest: `,"orderBy":"created_time"`},
		{name: "its months", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", betweenWindow("M")), askedRest: `,"orderBy":"created_time"`},
		{name: "its seconds", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", betweenWindow("s")), askedRest: `,"orderBy":"created_time"`},
		{name: "its milliseconds", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", betweenWindow("ms")), askedRest: `,"orderBy":"created_time"`},
		{name: "the window by a field that is filtered by", grant: mappedAs(`{"id":"id"}`) + filtered("t", `"in","value":[1,2]`), asked: mappedAs(`{"id":"id"}`) + filtersText(filterText("t", `"in","value":[1,2]`), filterText("t", betweenWindow("T")))},
		{name: "the window by a foreign field", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("birthday", betweenWindow("T")), beyond: "a choice by birthday of a/b"},
		{name: "other dates by an order", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", `"between","lower":"2024-01-08","upper":"2024-03-08"`), beyond: "a choice by created_time of a/b"},
		{name: "the window without an end", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", `"between","lower":"2024-01-08T10:00:00.250Z","upper":null`), beyond: "a choice by created_time of a/b"},
		{name: "text to numbers", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", `"between","lower":"2024-01-08","upper":1712570400250`), beyond: "a choice by created_time of a/b"},
		{name: "seconds to milliseconds", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"created_time"`, asked: mappedAs(`{"id":"id"}`) + filtered("created_time", `"between","lower":1704708000,"upper":1712570400250`), beyond: "a choice by created_time of a/b"},
		{name: "the window of an hour of the day", grant: mappedAs(`{"id":"id"}`), grantRest: `,"orderBy":"at"`, asked: mappedAs(`{"id":"id"}`) + filteredByHour(betweenWindow("s")), beyond: "a choice by at of a/b"},
		{name: "the window for dates", grant: filtered("a", `"between","lower":"2020-01-08T10:00:00.000Z","upper":"2020-04-08T10:00:00.000Z"`), asked: filtered("a", betweenWindow("T"))},
		{name: "its days for dates", grant: mappedAs(`{"x":"b"}`) + filtered("a", `"between","lower":"2020-01-08","upper":"2020-04-08"`), asked: mappedAs(`{"x":"b"}`) + filtered("a", betweenWindow("D"))},
		{name: "other dates for dates", grant: filtered("a", `"between","lower":"2020-01-08","upper":"2020-04-08"`), asked: filtered("a", `"between","lower":"2019-01-08","upper":"2020-04-08"`), beyond: "records of a/b that the filter on a left out (granted: a between \"2020-01-08\" and \"2020-04-08\", or since the last run; asked: a between \"2019-01-08\" and \"2020-04-08\")"},
		{name: "seconds for dates", grant: filtered("a", `"between","lower":"2020-01-08","upper":"2020-04-08"`), asked: filtered("a", betweenWindow("s")), beyond: "records of a/b that the filter on a left out (granted: a between \"2020-01-08\" and \"2020-04-08\", or since the last run; asked: a between 1704708000 and 1712570400)"},
		{name: "the window for numbers", grant: filtered("a", `"between","lower":1700000000,"upper":1700000100`), asked: filtered("a", betweenWindow("s")), beyond: "records of a/b that the filter on a left out (granted: a between 1700000000 and 1700000100; asked: a between 1704708000 and 1712570400)"},
		{name: "the window for half a range of dates", grant: filtered("a", `"between","lower":"2020-01-08","upper":null`), asked: filtered("a", betweenWindow("D")), beyond: "records of a/b that the filter on a left out (granted: a between \"2020-01-08\" and null; asked: a between \"2024-01-08\" and \"2024-04-08\")"},
		{name: "the window for a marked one", grant: mappedAs(`{"x":"b"}`) + markedText("a", `null`), asked: mappedAs(`{"x":"b"}`) + filtered("a", betweenWindow("T"))},
		{name: "its days for a marked one", grant: mappedAs(`{"x":"b"}`) + markedText("a", `"2000-01-01T00:00:00.000Z"`), asked: mappedAs(`{"x":"b"}`) + filtered("a", betweenWindow("D"))},
		{name: "seconds for marked seconds", grant: mappedAs(`{"x":"b"}`) + markedText("a", `0`), asked: mappedAs(`{"x":"b"}`) + filtered("a", betweenWindow("s"))},
		{name: "milliseconds for marked seconds", grant: mappedAs(`{"x":"b"}`) + markedText("a", `0`), asked: mappedAs(`{"x":"b"}`) + filtered("a", betweenWindow("ms")), beyond: "records of a/b that the filter on a left out (granted: a since the last run; asked: a between 1704708000250 and 1712570400250)"},
		{name: "dates for a marked one", grant: markedText("a", `"2020-01-01"`), asked: filtered("a", `"between","lower":"2020-01-01","upper":"2020-01-01"`), beyond: "records of a/b that the filter on a left out (granted: a since the last run; asked: a between \"2020-01-01\" and \"2020-01-01\")"},
		{name: "nothing for a marked one", grant: markedText("a", `null`), beyond: "records of a/b that the filter on a left out"},
	})
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
