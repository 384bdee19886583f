package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

// asking returns a function that answers the bundle question with ask's result for its dates, and writes
// how many records it was shown.
func asking(ask func(from, until time.Time) string) Func {
	return func(entry string, event []byte) ([]byte, error) {
		if entry == "bundle" {
			var told struct{ FromDate, UntilDate time.Time }
			if err := json.Unmarshal(event, &told); err != nil {
				return nil, err
			}
			return []byte(ask(told.FromDate, told.UntilDate)), nil
		}
		var e processEvent
		if err := json.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		return []byte("[" + respond("she/out", []string{fmt.Sprint(len(e.values()))}) + "]"), nil
	}
}

// counter returns the bundle of the original's weekly counter. It maps the id, sorts by a time, and filters
// only when it is given dates. Records of these tests have the time at v.
func counter(filter string) string {
	return `{"name":"data-feed-counter","bundle":{"feed":{"endpoints":[{"endpoint":"a/x","mapping":{"id":"id"}` + filter + `}],"orderBy":"v","ordering":"descending"}}}`
}

func between(field, lower, upper string) string {
	return fmt.Sprintf(`,"filters":[{"field":%q,"operator":{"operator":"between","lower":%s,"upper":%s}}]`, field, lower, upper)
}

func TestWindowsOfTheRun(t *testing.T) {
	iso := func(t time.Time) string { return `"` + hat.FormatTime(t) + `"` }
	day := func(t time.Time) string { return t.Format(`"2006-01-02"`) }
	for _, c := range []struct {
		name string
		ask  func(from, until time.Time) string
		want string // how many of the four records are shown, or the beginning of the refusal
	}{
		{"as ISO text", func(from, until time.Time) string { return counter(between("v", iso(from), iso(until))) }, "2"},
		{"as days", func(from, until time.Time) string { return counter(between("v", day(from), day(until))) }, "2"},
		{"as months", func(from, until time.Time) string {
			return counter(between("v", from.Format(`"2006-01"`), until.Format(`"2006-01"`)))
		}, "2"},
		{"as seconds", func(from, until time.Time) string {
			return counter(between("v", fmt.Sprint(from.Unix()), fmt.Sprint(until.Unix())))
		}, "0"},
		{"without a zone, as Python has it", func(from, until time.Time) string {
			return counter(between("v", from.Format(`"2006-01-02T15:04:05"`), until.Format(`"2006-01-02T15:04:05"`)))
		}, "2"},
		{"not at all", func(_, _ time.Time) string { return counter("") }, "4"},
		{"marked", func(_, _ time.Time) string {
			return counter(`,"filters":[{"field":"v","operator":{"operator":"between"},"window":true}]`)
		}, "2"},
		{"a day off", func(from, until time.Time) string {
			return counter(between("v", day(from.AddDate(0, 0, -1)), day(until)))
		}, "a choice by v"},
		{"half of it", func(from, until time.Time) string {
			return counter(between("v", iso(from), iso(from.Add(until.Sub(from)/2))))
		}, "a choice by v"},
		{"without an end", func(from, _ time.Time) string { return counter(between("v", iso(from), "null")) }, "a choice by v"},
		{"text to numbers", func(from, until time.Time) string { return counter(between("v", iso(from), fmt.Sprint(until.Unix()))) }, "a choice by v"},
		{"by another field", func(from, until time.Time) string { return counter(between("secret", iso(from), iso(until))) }, "a choice by secret"},
		{"in another zone", func(from, until time.Time) string {
			east := time.FixedZone("", 2*3600)
			return counter(between("v", from.In(east).Format(`"2006-01-02T15:04:05.000-07:00"`), until.In(east).Format(`"2006-01-02T15:04:05.000-07:00"`)))
		}, "a choice by v"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.installBundle("f", manual, counter(""), "she/out", silent)
				w.funcs["f"] = asking(c.ask)
				w.startFor("alice", "f")
				w.pass(1500 * time.Millisecond)
				w.write("alice", "a/x", "1998-01-01T00:00:00.000Z", "1999-12-31T00:00:00.000Z", "2000-02-01", "2031-01-01")
				err := w.trigger("alice", "f", false)
				var failed *FailedError
				switch {
				case err == nil:
					expect(t, w.at("alice", "she/out"), c.want)
				case !errors.As(err, &failed) || failed.Fault.Code != CodeWider || !strings.Contains(failed.Fault.Text, c.want):
					t.Errorf("%v, want %s", err, c.want)
				}
			})
		})
	}
}

// A granted filter binds, whatever its bounds. A filter on a field that is not shown binds too: otherwise a
// bundle with many properties, each with a range of values, would reveal the field.
func TestGrantedFiltersBind(t *testing.T) {
	account := func(lower, upper string) string {
		return `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/x"` + between("v", lower, upper) + `}]}}}`
	}
	salaries := func(ranges ...string) string {
		var all []string
		for i, r := range ranges {
			lower, upper, _ := strings.Cut(r, " ")
			all = append(all, fmt.Sprintf(`"p%d":{"endpoints":[{"endpoint":"a/x","mapping":{"id":"id"}%s}]}`, i, between("v", lower, upper)))
		}
		return `{"name":"b","bundle":{` + strings.Join(all, ",") + `}}`
	}
	for _, c := range []struct{ name, granted, asked, want string }{
		{"an account", account(`100000000`, `100000099`), account(`null`, `99999999999999`), "left out"},
		{"the same account", account(`100000000`, `100000099`), account(`1e8`, `100000099.0`), ""},
		{"a part of it", account(`100000000`, `100000099`), account(`100000010`, `100000011`), ""},
		{"other dates", account(`"1998-01-01"`, `"1998-12-31"`), account(`"1997-01-01"`, `"1999-12-31"`), "left out"},
		{"the same dates", account(`"1998-01-01"`, `"1998-12-31"`), account(`"1998-01-01"`, `"1998-12-31"`), ""},
		{"ranges of what is not shown", salaries(`0 1000000`), salaries(`0 100`, `101 200`, `201 300`), "left out"},
		{"the granted range, often", salaries(`0 1000000`), salaries(`0 1000000`, `0 1000000`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.installBundle("f", manual, c.granted, "she/out", silent)
				w.funcs["f"] = asking(func(_, _ time.Time) string { return c.asked })
				w.startFor("alice", "f")
				w.write("alice", "a/x", "text")
				err := w.trigger("alice", "f", false)
				var failed *FailedError
				if errors.As(err, &failed) && failed.Fault.Code == CodeWider && c.want != "" && strings.Contains(failed.Fault.Text, c.want) {
					return
				}
				if err != nil || c.want != "" {
					t.Errorf("%v, want %q", err, c.want)
				}
			})
		})
	}
}

// A function with a constant bundle marks its window. The grant keeps the mark, so the window binds at
// every run.
func TestAMarkedWindowIsGrantedAsSuch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		marked := counter(`,"filters":[{"field":"v","operator":{"operator":"between","lower":"2000-01-01","upper":"2000-01-01"},"window":true}]`)
		w.installBundle("f", manual, marked, "she/out", silent)
		answer := marked
		w.funcs["f"] = asking(func(_, _ time.Time) string { return answer })
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1998-01-01", "1999-12-31", "2000-03-31T10:00:00Z", "2000-04-01", "2000-04-02")
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "3") // the window, in whole days, is from 1999-07-01 to 2000-04-01
		grant := w.state("alice", "f").Grant
		if text, _ := grant.Bundle.MarshalJSON(); !strings.Contains(string(text), `"window":true`) {
			t.Errorf("granted %s", text)
		}
		if r := grant.Bundle.Readings()[0]; len(r.Filters) != 1 || r.Filters[0] != "v since the last run" {
			t.Errorf("shown as %+v", r)
		}
		w.pass(24 * time.Hour)
		answer = counter("")
		var failed *FailedError
		if err := w.trigger("alice", "f", false); !errors.As(err, &failed) || failed.Fault.Code != CodeWider {
			t.Errorf("without its window: %v", err)
		}
	})
}
