package feed

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

var (
	since = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	until = time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC)
)

func item(t *testing.T, source, text string) (string, bool) {
	t.Helper()
	d, err := hat.ParseData([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	all := Matching(source)
	if len(all) != 1 {
		t.Fatalf("%d sources match %s", len(all), source)
	}
	i, ok := all[0].Item(d, since, until)
	if !ok {
		return "", false
	}
	b, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

func TestItems(t *testing.T) {
	for _, c := range []struct{ name, source, record, want string }{
		{
			"activity", "she/activity-records",
			`{"timestamp":"2024-03-08T10:00:00.000Z","since":"2024-03-01T10:00:00.000Z","counters":{"twitter/tweets":3,"facebook/feed":0,"unknown":7,"she/insights/emotions/positive":2}}`,
			`{"source":"she","date":{"iso":"2024-03-08T10:00:00.000Z","unix":1709892000},"types":["insight","activity"],` +
				`"title":{"text":"Your recent activity summary","subtitle":"1 March 2024 – 8 March 2024","action":"insight"},` +
				`"content":{"text":"Twitter:\n  Tweets sent: 3\n\nSentiment-positive:\n  Positive: 2\n",` +
				`"nestedStructure":{"sentiment-positive":[{"content":"Positive","badge":"2"}],"twitter":[{"content":"Tweets sent","badge":"3"}]}}}`,
		},
		{
			"sentiment", "she/sentiments",
			`{"timestamp":"2024-03-08T12:00:00+02:00","sentiment":"Positive","source":"twitter/tweets","text":"<b>fine</b>"}`,
			`{"source":"she","date":{"iso":"2024-03-08T10:00:00.000Z","unix":1709892000},"types":["insight","sentiment","Positive","Twitter"],` +
				`"title":{"text":"Positive Message","subtitle":"on Twitter","action":"sentiment"},"content":{"text":"\u003cb\u003efine\u003c/b\u003e"}}`,
		},
		{
			"sentiment of somewhere else", "she/sentiments",
			`{"timestamp":1709892000,"sentiment":"Neutral","source":"diary","text":""}`,
			`{"source":"she","date":{"iso":"2024-03-08T10:00:00.000Z","unix":1709892000},"types":["insight","sentiment","Neutral","diary"],` +
				`"title":{"text":"Neutral Message","subtitle":"on diary","action":"sentiment"},"content":{}}`,
		},
		{
			"word cloud", "drops/twitter/word-cloud",
			`{"timestamp":1709892000000,"summary":{"totalCount":4}}`,
			`{"source":"drops","date":{"iso":"2024-03-08T10:00:00.000Z","unix":1709892000},"types":["wordcloud","twitter-word-cloud"],` +
				`"title":{"text":"Twitter Word Cloud","action":"twitter-word-cloud"},"content":{"text":"{\"summary\":{\"totalCount\":4},\"timestamp\":1709892000000}"}}`,
		},
		{
			"common locations", "she/common-locations",
			`{"dateCreated":"2024-03-08T10:00:00.000Z","summary":{"totalCount":1}}`,
			`{"source":"she","date":{"iso":"2024-03-08T10:00:00.000Z","unix":1709892000},"types":["common-locations","common-locations"],` +
				`"title":{"text":"Common Locations","action":"common-locations"},"content":{"text":"{\"summary\":{\"totalCount\":1},\"dateCreated\":\"2024-03-08T10:00:00.000Z\"}"}}`,
		},
	} {
		if got, ok := item(t, c.source, c.record); !ok || got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestNoItem(t *testing.T) {
	const at = `"timestamp":"2024-03-08T10:00:00.000Z"`
	for name, c := range map[string][2]string{
		"all counters zero":     {"she/activity-records", `{` + at + `,"counters":{"twitter/tweets":0}}`},
		"only unknown counters": {"she/activity-records", `{` + at + `,"counters":{"x":1}}`},
		"counters of no use":    {"she/activity-records", `{` + at + `,"counters":{"twitter/tweets":"3"}}`},
		"no counters":           {"she/activity-records", `{` + at + `}`},
		"no date":               {"she/activity-records", `{"counters":{"twitter/tweets":1}}`},
		"a date nobody reads":   {"she/activity-records", `{"timestamp":"yesterday","counters":{"twitter/tweets":1}}`},
		"too early":             {"she/activity-records", `{"timestamp":"2023-12-31T23:59:59Z","counters":{"twitter/tweets":1}}`},
		"too late":              {"she/activity-records", `{"timestamp":"2025-01-01T00:00:00Z","counters":{"twitter/tweets":1}}`},
		"sentiment without":     {"she/sentiments", `{` + at + `,"source":"x","text":"y"}`},
		"nothing counted":       {"drops/sentiment-history", `{` + at + `,"summary":{"totalCount":0}}`},
		"less than nothing":     {"drops/sentiment-history", `{` + at + `,"summary":{"totalCount":-1}}`},
		"no object":             {"drops/sentiment-history", `[1]`},
		"null":                  {"drops/sentiment-history", `null`},
		"huge":                  {"drops/sentiment-history", `{` + at + `,"summary":{"totalCount":1},"x":"` + strings.Repeat("x", maxItemText) + `"}`},
	} {
		if got, ok := item(t, c[0], c[1]); ok {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestMatching(t *testing.T) {
	for prefix, want := range map[string]int{"": 5, "she": 3, "she/": 3, "drops": 2, "she/activity-records": 1, "monzo": 0, "she/activity-records/x": 0} {
		if got := len(Matching(prefix)); got != want {
			t.Errorf("%q: %d sources, want %d", prefix, got, want)
		}
	}
}

func TestSort(t *testing.T) {
	items := []Item{{Date: Date{Unix: 1}}, {Date: Date{Unix: 3}}, {Date: Date{Unix: 2, ISO: "b"}}, {Date: Date{Unix: 2, ISO: "c"}}}
	Sort(items)
	if items[0].Date.Unix != 3 || items[1].Date.ISO != "c" || items[3].Date.Unix != 1 {
		t.Errorf("%+v", items)
	}
}

// Whatever a function wrote, an item is plain text in known fields, dated within what was asked for.
func FuzzItem(f *testing.F) {
	f.Add(`{"timestamp":"2024-03-08T10:00:00.000Z","since":0,"counters":{"twitter/tweets":3}}`)
	f.Add(`{"timestamp":1e9,"sentiment":"","source":"","text":"","summary":{"totalCount":1e5}}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := hat.ParseData([]byte(text))
		if err != nil {
			t.Skip()
		}
		for _, s := range Sources {
			i, ok := s.Item(d, since, until)
			if !ok {
				continue
			}
			if i.Date.Unix < since.Unix() || i.Date.Unix > until.Unix() || len(i.Types) == 0 {
				t.Fatalf("%+v", i)
			}
			if _, err := json.Marshal(i); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What each service's record shows, by endpoint.
func TestProfiles(t *testing.T) {
	for _, c := range []struct{ service, name, text, want string }{
		{
			"facebook", "profile",
			`{"name":"A","location":{"id":"5","name":"Ely"},"friends":{"data":[1]},"languages":[{"a":1}],"home":{"city":"B","at":{"x":1.50}},"none":null}`,
			`{"home":{"at":{"x":1.5},"city":"B"},"location":"Ely","name":"A","none":null}`,
		},
		{"facebook", "profile", `{"location":"Ely"}`, `{"location":"Ely"}`},
		{"facebook", "profile", `{"location":{"id":"5"}}`, `{"location":{"id":"5"}}`},
		{"facebook", "pages", `{"number_of_pages_liked":7,"name":"P"}`, `{"number_of_pages_liked":7}`},
		{"facebook", "pages", `{"name":"P"}`, ""},
		{"twitter", "tweets", `{"id":1,"text":"hi","user":{"name":"A","entities":{"url":1},"followers_count":3}}`, `{"followers_count":3,"name":"A"}`},
		{"twitter", "tweets", `{"text":"hi"}`, ""},
		{"twitter", "tweets", `{"user":"A"}`, ""},
		{"twitter", "tweets", `{"user":null}`, ""},
		{"spotify", "profile", `{"id":"a","followers":{"href":null,"total":12},"images":[1],"external_urls":{"x":1}}`, `{"followers":12,"id":"a"}`},
		{"spotify", "profile", `{"followers":{"total":"many"}}`, `{"followers":0}`},
		{"spotify", "profile", `{"id":"a"}`, `{"id":"a"}`},
		{"fitbit", "profile", `{"features":{"a":1},"topBadges":[1],"age":9007199254740993}`, `{"age":9007199254740993}`},
		{"instagram", "profile", `{"counts":{"media":1,"follows":2,"followed_by":3},"username":"a"}`, `{"followers":3,"follows":2,"media":1,"username":"a"}`},
		{"instagram", "profile", `{"counts":{},"username":"a"}`, `{"followers":0,"follows":0,"media":0,"username":"a"}`},
		{"instagram", "profile", `{"media_count":5}`, `{"media_count":5}`},
		{"uber", "profile", `{"features":1,"nested":{"a":{"b":[1]}}}`, `{"features":1,"nested":{"a":{"b":[1]}}}`},
		{"uber", "profile", `{}`, `{}`},
		{"uber", "profile", `[]`, ""},
		{"uber", "profile", `null`, ""},
		{"uber", "profile", `{"x":"` + strings.Repeat("x", maxItemText) + `"}`, ""},
	} {
		profile, found := ProfileMatching(c.service)
		d, err := hat.ParseData([]byte(c.text))
		if !found || err != nil {
			t.Fatal(found, err)
		}
		got := "no such part"
		for _, part := range profile.Parts {
			if part.Name() != c.name {
				continue
			}
			got = ""
			if values, ok := part.Values(d); ok {
				text, err := json.Marshal(values)
				if err != nil {
					t.Fatal(err)
				}
				got = string(text)
			}
		}
		if got != c.want {
			t.Errorf("%s %.80s: %s, want %s", c.service, c.text, got, c.want)
		}
	}
	for prefix, want := range map[string]bool{"facebook/profile": true, "facebook/likes/pages": true, "twitter/tweets": true, "face": false, "facebook/x": false, "monzo": false, "": false} {
		if _, found := ProfileMatching(prefix); found != want {
			t.Errorf("%s: found %v", prefix, found)
		}
	}
}
