// Package feed turns results of functions into a feed for people: records of a few well-known endpoints
// become items with a date, a title and a text. Step 10 of the walk. It is pure: records in, items out.
//
// Results of functions are hostile. Every text of them goes into a field for plain text. There is no field
// for HTML, and none for an address to load something from.
package feed

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/hat"
)

// An Item is one entry of the feed, as clients read it.
type Item struct {
	Source  string   `json:"source"`
	Date    Date     `json:"date"`
	Types   []string `json:"types"`
	Title   Title    `json:"title"`
	Content Content  `json:"content"`
}

// Date is one moment in two forms.
type Date struct {
	ISO  string `json:"iso"`
	Unix int64  `json:"unix"` // seconds
}

// Title says what the item is. Action is what a client may offer.
type Title struct {
	Text     string `json:"text"`
	Subtitle string `json:"subtitle,omitempty"`
	Action   string `json:"action,omitempty"`
}

// Content is plain text. A summary also has it as groups of lines.
type Content struct {
	Text   string            `json:"text,omitempty"`
	Groups map[string][]Line `json:"nestedStructure,omitempty"`
}

// A Line is a label with a figure.
type Line struct {
	Content string `json:"content"`
	Badge   string `json:"badge,omitempty"`
}

// A Source is an endpoint whose records become items.
type Source struct {
	Name     string // as clients ask for it: /she/feed/<name>
	Endpoint hat.Endpoint
	item     func(content) (Item, bool)
}

// Sources are sorted by name.
var Sources = []Source{
	{"drops/sentiment-history", endpoint("drops/insights/sentiment-history"), chart("drops", "Sentiment History", "sentiment-history", "sentiment-history")},
	{"drops/twitter/word-cloud", endpoint("drops/insights/twitter/word-cloud"), chart("drops", "Twitter Word Cloud", "wordcloud", "twitter-word-cloud")},
	{"she/activity-records", endpoint("she/insights/activity-records"), activity},
	{"she/common-locations", endpoint("she/insights/common-locations"), chart("she", "Common Locations", "common-locations", "common-locations")},
	{"she/sentiments", endpoint("she/insights/emotions"), sentiment},
}

func endpoint(s string) hat.Endpoint {
	e, err := hat.ParseEndpoint(s)
	if err != nil {
		panic(err) // can't happen: the text is a constant of this file
	}
	return e
}

// Matching returns the sources whose name starts with the prefix.
func Matching(prefix string) (all []Source) {
	for _, s := range Sources {
		if strings.HasPrefix(s.Name, prefix) {
			all = append(all, s)
		}
	}
	return all
}

// maxItemText bounds the text of an item in bytes. For a chart that is a whole record.
const maxItemText = 256 << 10

// Item makes an item of a record's data. ok is false if the record does not have the source's form, has
// nothing to show, or lies outside [since, until].
func (s Source) Item(d hat.Data, since, until time.Time) (item Item, ok bool) {
	if d.Len() > maxItemText {
		return Item{}, false
	}
	dec := json.NewDecoder(bytes.NewReader(d.Bytes()))
	dec.UseNumber()
	var fields map[string]any
	if dec.Decode(&fields) != nil || fields == nil {
		return Item{}, false
	}
	c := content{fields: fields, text: d.JSON()}
	if c.at, ok = c.time("timestamp"); !ok {
		if c.at, ok = c.time("dateCreated"); !ok {
			return Item{}, false
		}
	}
	if c.at.Before(since) || c.at.After(until) {
		return Item{}, false
	}
	if item, ok = s.item(c); !ok {
		return Item{}, false
	}
	item.Date = Date{hat.FormatTime(c.at), c.at.Unix()}
	return item, true
}

// Sort sorts items, the newest first.
func Sort(items []Item) {
	slices.SortStableFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Date.Unix, a.Date.Unix), cmp.Compare(b.Date.ISO, a.Date.ISO))
	})
}

// content holds a record's data while it is read.
type content struct {
	fields map[string]any
	text   string
	at     time.Time
}

func (c content) string(name string) (string, bool) {
	s, ok := c.fields[name].(string)
	return s, ok
}

var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999", time.DateOnly}

// time reads ISO 8601, with a zone or in UTC, or a number since 1970: of seconds, or of milliseconds if it is
// too large for seconds in this century.
func (c content) time(name string) (time.Time, bool) {
	switch v := c.fields[name].(type) {
	case string:
		for _, layout := range layouts {
			if t, err := time.Parse(layout, v); err == nil {
				return t.UTC(), true
			}
		}
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		const lastSecond = 10_000_000_000 // in the year 2286
		switch {
		case err != nil || n < 0 || n > lastSecond*1000:
		case n > lastSecond:
			return time.UnixMilli(n).UTC(), true
		default:
			return time.Unix(n, 0).UTC(), true
		}
	}
	return time.Time{}, false
}

// A counter says how one figure of an activity record is shown.
type counter struct{ name, group, label string }

var counters = []counter{
	{"twitter/tweets", "twitter", "Tweets sent"},
	{"facebook/feed", "facebook", "Posts composed"},
	{"notables/feed", "notables", "Notes taken"},
	{"spotify/feed", "spotify", "Songs listened to"},
	{"instagram/feed", "instagram", "Photos uploaded"},
	{"calendar/google/events", "google", "Calendar events recorded"},
	{"monzo/transactions", "monzo", "Transactions performed"},
	{"fitbit/weight", "fitbit-weight", "Fitbit weight records"},
	{"fitbit/sleep", "fitbit-sleep", "Fitbit sleep records"},
	{"fitbit/activity", "fitbit-activity", "Fitbit activities logged"},
	{"uber/rides", "uber", "Trips taken"},
	{"she/insights/emotions", "sentiment", "Posts analysed for Sentiments"},
	{"she/insights/emotions/positive", "sentiment-positive", "Positive"},
	{"she/insights/emotions/negative", "sentiment-negative", "Negative"},
	{"she/insights/emotions/neutral", "sentiment-neutral", "Neutral"},
}

// activity makes an item that counts what happened in a time.
// {"timestamp","since","counters":{"twitter/tweets":3,…}}. It leaves out counters that are zero or unknown.
// If none is left, there is no item.
func activity(c content) (Item, bool) {
	figures, _ := c.fields["counters"].(map[string]any)
	groups := map[string][]Line{}
	var text []string
	for _, known := range counters {
		n, isNumber := figures[known.name].(json.Number)
		if !isNumber || n == "0" || len(n) > 20 {
			continue
		}
		groups[known.group] = append(groups[known.group], Line{known.label, n.String()})
		text = append(text, capitalised(known.group)+":\n  "+known.label+": "+n.String()+"\n")
	}
	if len(groups) == 0 {
		return Item{}, false
	}
	return Item{
		Source:  "she",
		Types:   []string{"insight", "activity"},
		Title:   Title{"Your recent activity summary", c.span(), "insight"},
		Content: Content{strings.Join(text, "\n"), groups},
	}, true
}

func capitalised(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// span describes the time of an activity record.
func (c content) span() string {
	const day = "2 January 2006"
	since, ok := c.time("since")
	if !ok {
		return "until " + c.at.Format(day)
	}
	return since.Format(day) + " – " + c.at.Format(day)
}

var postedOn = map[string]string{"twitter/tweets": "Twitter", "facebook/feed": "Facebook", "notables/feed": "Notables"}

// sentiment makes an item of the sentiment of one text. {"timestamp","sentiment","source","text"}.
func sentiment(c content) (Item, bool) {
	feeling, ok1 := c.string("sentiment")
	text, ok2 := c.string("text")
	source, ok3 := c.string("source")
	if !ok1 || !ok2 || !ok3 {
		return Item{}, false
	}
	if name, known := postedOn[source]; known {
		source = name
	}
	return Item{
		Source:  "she",
		Types:   []string{"insight", "sentiment", feeling, source},
		Title:   Title{feeling + " Message", "on " + source, "sentiment"},
		Content: Content{Text: text},
	}, true
}

// chart passes the whole record on as JSON text, for clients that can draw it, unless all its counts are
// zero.
func chart(source, title, kind, action string) func(content) (Item, bool) {
	return func(c content) (Item, bool) {
		summary, _ := c.fields["summary"].(map[string]any)
		n, isNumber := summary["totalCount"].(json.Number)
		if !isNumber || n == "0" || strings.HasPrefix(n.String(), "-") {
			return Item{}, false
		}
		return Item{
			Source: source, Types: []string{kind, action},
			Title: Title{Text: title, Action: action}, Content: Content{Text: c.text},
		}, true
	}
}
