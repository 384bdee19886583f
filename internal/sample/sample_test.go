package sample

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

var until = time.Date(2024, 6, 14, 3, 30, 0, 0, time.UTC)

func TestEqualSeedsGiveEqualLives(t *testing.T) {
	a, b, other := Generate(7, until, 2), Generate(7, until, 2), Generate(8, until, 2)
	if dump(a) != dump(b) {
		t.Error("one seed gave two lives")
	}
	if dump(a) == dump(other) {
		t.Error("two seeds gave one life")
	}
	if dump(Generate(7, until.In(time.FixedZone("elsewhere", -7*3600)), 2)) != dump(a) {
		t.Error("the zone that until is written in changed the life")
	}
}

func dump(l Life) string {
	var b strings.Builder
	for _, day := range l.Days {
		for _, d := range day.Drafts {
			b.WriteString(d.Endpoint.String() + d.Data.JSON() + "\n")
		}
	}
	truth, err := json.Marshal(l.Truth)
	if err != nil {
		panic(err)
	}
	return b.String() + string(truth)
}

// record has the fields that the tests read of all four kinds.
type record struct {
	endpoint            hat.Endpoint
	ID                  json.RawMessage `json:"id"`
	Text                string          `json:"text"`
	Lang                string          `json:"lang"`
	Message             string          `json:"message"`
	LastUpdated         time.Time       `json:"lastUpdated"`
	CreatedTime         time.Time       `json:"created_time"`
	Latitude, Longitude float64
	Accuracy            float64
	DateCreated         int64
	Status              string
	Start, End          struct {
		DateTime time.Time
		Date     string
	}
}

func (r record) at(t *testing.T) time.Time {
	t.Helper()
	switch {
	case r.endpoint == Tweets:
		return r.LastUpdated
	case r.endpoint == Notes:
		return r.CreatedTime
	case r.endpoint == Locations:
		return time.Unix(r.DateCreated, 0)
	case r.Start.Date != "":
		at, err := time.ParseInLocation(time.DateOnly, r.Start.Date, Zone)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	return r.Start.DateTime
}

func records(t *testing.T, l Life) []record {
	t.Helper()
	var all []record
	for _, day := range l.Days {
		for _, d := range day.Drafts {
			r := record{endpoint: d.Endpoint}
			if err := json.Unmarshal(d.Data.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
	}
	return all
}

func TestALifeIsInOrderAndEndsInTime(t *testing.T) {
	for _, seed := range []uint64{0, 1, 42, math.MaxUint64} {
		l := Generate(seed, until, 4)
		last := l.Days[0].Date
		for _, r := range records(t, l) {
			at := r.at(t)
			if at.Before(last) {
				t.Fatalf("seed %d: a record of %s at %v follows one at %v", seed, r.endpoint, at, last)
			}
			last = at
		}
		if last.After(until) || until.Sub(last) > 24*time.Hour {
			t.Errorf("seed %d: the last record is at %v, until is %v", seed, last, until)
		}
		for _, day := range l.Days {
			if len(day.Drafts) > 100 {
				t.Errorf("%d records on %v", len(day.Drafts), day.Date)
			}
		}
	}
}

func TestSizesArePlausible(t *testing.T) {
	l := Generate(1, until, 4)
	total := 0
	for _, n := range l.Truth.Records {
		total += n
	}
	if got := len(records(t, l)); got != total {
		t.Errorf("%d records, the truth counts %d", got, total)
	}
	if total < 1500 || total > 3000 {
		t.Errorf("%d records in four months", total)
	}
	for endpoint, atLeast := range map[hat.Endpoint]int{Tweets: 200, Events: 250, Locations: 1000, Notes: 120} {
		if got := l.Truth.Records[endpoint]; got < atLeast {
			t.Errorf("%d records at %s, want %d or more", got, endpoint, atLeast)
		}
	}
	if days := len(Generate(1, until, 0).Days); days != 0 {
		t.Errorf("no months gave %d days", days)
	}
}

func TestNothingIsThereTwice(t *testing.T) {
	seen := map[string]bool{}
	texts := map[string]int{}
	for _, day := range Generate(3, until, 4).Days {
		for _, d := range day.Drafts {
			key := d.Endpoint.String() + d.Data.JSON()
			if seen[key] {
				t.Errorf("two equal records at %s", d.Endpoint)
			}
			seen[key] = true
		}
	}
	posts := 0
	for _, r := range records(t, Generate(3, until, 4)) {
		if text := r.Text + r.Message; text != "" {
			texts[text]++
			posts++
			if strings.ContainsAny(text, "{}") {
				t.Errorf("a slot was left open: %s", text)
			}
		}
	}
	if len(texts) < posts*9/10 {
		t.Errorf("%d texts in %d posts: it repeats itself", len(texts), posts)
	}
}

// Generate counts the Truth while it creates records. This test computes it again from the records alone.
func TestTheTruthIsInTheRecords(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 99} {
		l := Generate(seed, until, 4)
		truth := l.Truth
		all := records(t, l)

		balance := map[Mood]int{}
		for _, r := range all {
			if mood, ok := truth.Moods[r.Text+r.Message]; ok {
				balance[mood]++
				if r.endpoint == Tweets && (r.Lang != "en" || strings.HasPrefix(r.Text, "RT @")) {
					t.Errorf("a mood is known for a text that is not hers or not English")
				}
			} else if r.endpoint == Notes {
				t.Errorf("a note has no mood")
			}
		}
		for _, m := range []Mood{Good, Bad, Plain} {
			if balance[m] != truth.Balance[m] || balance[m] < 50 {
				t.Errorf("seed %d: %d posts are %s, the truth counts %d", seed, balance[m], m, truth.Balance[m])
			}
		}

		timed, allDay := 0, 0
		for _, r := range all {
			switch {
			case r.endpoint != Events:
			case r.Start.Date != "":
				allDay++
			default:
				timed++
				if d := r.End.DateTime.Sub(r.Start.DateTime); d <= 0 || d > 4*time.Hour {
					t.Errorf("an event of %v", d)
				}
			}
		}
		c := truth.Calendar
		if timed != c.Timed+c.Skipped || allDay != c.AllDay {
			t.Errorf("%d timed, %d all-day events; the truth is %+v", timed, allDay, c)
		}
		if c.BusiestHour != 10 || c.BusiestWeekday != time.Tuesday {
			t.Errorf("seed %d: busiest at %d o'clock, on %v", seed, c.BusiestHour, c.BusiestWeekday)
		}
		second := slices.Clone(c.MinutesByHour[:])
		slices.Sort(second)
		if second[23] < second[22]*5/4 {
			t.Errorf("seed %d: the busiest hour does not stand out: %v", seed, c.MinutesByHour)
		}
		if c.MeetingMinutes >= c.BusyMinutes || c.MeetingMinutes < c.BusyMinutes/2 {
			t.Errorf("seed %d: %d of %d busy minutes are meetings", seed, c.MeetingMinutes, c.BusyMinutes)
		}
	}
}

func TestPlacesAreWhereTheTruthSays(t *testing.T) {
	l := Generate(5, until, 4)
	var names []string
	for _, p := range l.Truth.Places {
		names = append(names, p.Name)
	}
	if len(names) != 8 || names[0] != "home" || names[1] != "work" {
		t.Fatalf("places are %v", names)
	}
	near := make([]int, len(names))
	good := 0
	for _, r := range records(t, l) {
		if r.endpoint != Locations || r.Accuracy > 100 {
			continue
		}
		good++
		for i, p := range l.Truth.Places {
			// At this scale the earth is flat; 0.887 is the cosine of the latitude.
			if math.Hypot(r.Latitude-p.Latitude, (r.Longitude-p.Longitude)*0.887)*111_195 < 100 {
				near[i]++
			}
		}
	}
	all := 0
	for i, p := range l.Truth.Places {
		if near[i] < p.Points*99/100 || near[i] > p.Points+5 {
			t.Errorf("%s: %d points within 100 m, the truth counts %d", p.Name, near[i], p.Points)
		}
		all += near[i]
	}
	if share := float64(all) / float64(good); share < 0.6 || share > 0.95 {
		t.Errorf("%.0f%% of the good fixes are at a place; the rest of the time she travels", share*100)
	}
}
