package sample

import (
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A writer makes texts from the templates of words.go and rarely repeats one.
type writer struct {
	r    *rand.Rand
	said map[string]bool
}

func newWriter(r *rand.Rand) *writer { return &writer{r, map[string]bool{}} }

var slot = regexp.MustCompile(`\{([a-z ]+)\}`)

// write fills one template of the kind. If the text was written before, it tries again a few times.
func (w *writer) write(kind string) string {
	var text string
	for range 20 {
		if text = sentences(w.fill(kind, map[string]bool{})); !w.said[text] {
			break
		}
	}
	w.said[text] = true
	return text
}

// fill fills one template. used holds the words already in the text, so that a shopping list names nothing
// twice.
func (w *writer) fill(kind string, used map[string]bool) string {
	choices, ok := words[kind]
	if !ok {
		panic("sample: no words of kind " + kind)
	}
	choice := pick(w.r, choices)
	for range 5 {
		if !used[choice] {
			break
		}
		choice = pick(w.r, choices)
	}
	used[choice] = true
	return slot.ReplaceAllStringFunc(choice, func(s string) string { return w.fill(s[1:len(s)-1], used) })
}

var beginning = regexp.MustCompile(`(^|[.!?] )\p{Ll}`)

// sentences begins each sentence with a capital letter: a slot at its beginning may hold "the budget
// paper".
func sentences(text string) string { return beginning.ReplaceAllStringFunc(text, strings.ToUpper) }

// feels draws a mood. Some weeks are better than others, weekends are better, and Mondays are worse.
func (w *writer) feels(p plan) Mood {
	good := 0.45 + 0.12*math.Sin(float64(p.date.YearDay())/9)
	switch p.date.Weekday() {
	case time.Saturday, time.Sunday:
		good += 0.15
	case time.Monday:
		good -= 0.15
	}
	switch x := w.r.Float64(); {
	case x < good:
		return Good
	case x < good+(1-good)*0.5:
		return Bad
	}
	return Plain
}

func (g *generator) tweets(p plan) []moment {
	w, r := g.tweeting, g.tweeting.r
	var found []moment
	for range r.IntN(6) {
		at := p.at(between(r, wakes, sleeps))
		mood := w.feels(p)
		switch x := r.Float64(); {
		case x < 0.06:
			found = append(found, g.tweet(at, "en", "RT @"+w.fill("account", map[string]bool{})+": "+w.write("headline"), true, ""))
		case x < 0.10:
			found = append(found, g.tweet(at, "de", w.write("german"), false, ""))
		default:
			found = append(found, g.tweet(at, "en", w.write(string(mood)+" tweet"), false, mood))
		}
	}
	return found
}

// tweet returns a tweet in the shape of Twitter's API, with lastUpdated as the plug adds it.
func (g *generator) tweet(at time.Time, lang, text string, retweet bool, mood Mood) moment {
	r := g.tweeting.r
	tags := []any{}
	for word := range strings.FieldsSeq(text) {
		if tag, ok := strings.CutPrefix(word, "#"); ok {
			tags = append(tags, fields{"text": strings.TrimRight(tag, ".,!?")})
		}
	}
	id := tweetID(r, at)
	f := fields{
		"id":             id,
		"id_str":         strconv.FormatInt(id, 10),
		"text":           text,
		"created_at":     at.UTC().Format("Mon Jan 02 15:04:05 -0700 2006"),
		"lastUpdated":    at.UTC().Format("2006-01-02T15:04:05.000Z"),
		"lang":           lang,
		"truncated":      false,
		"favorite_count": int(r.ExpFloat64() * 4),
		"retweet_count":  int(r.ExpFloat64() * 0.7),
		"favorited":      false,
		"retweeted":      retweet,
		"entities":       fields{"hashtags": tags},
		"user": fields{
			"id": 4094720531, "id_str": "4094720531", "name": "Mina Tallowfield", "screen_name": "minatallowfield",
			"location": "Brisbane", "lang": "en", "followers_count": 240 + r.IntN(40), "friends_count": 310,
		},
	}
	if retweet {
		original := tweetID(r, at.Add(-time.Hour))
		f["retweeted_status"] = fields{"id": original, "id_str": strconv.FormatInt(original, 10)}
	}
	return moment{at, Tweets, f, func(c *truthCount) {
		if mood != "" {
			c.mood(text, mood)
		}
	}}
}

// tweetID returns an id as large as real ones, which a float64 can't hold exactly: milliseconds since
// Twitter's epoch, above 22 random bits.
func tweetID(r *rand.Rand, at time.Time) int64 {
	const epoch = 1288834974657
	return (at.UnixMilli()-epoch)<<22 | r.Int64N(1<<22)
}

func (g *generator) notes(p plan) []moment {
	w, r := g.noting, g.noting.r
	var found []moment
	for range 1 + r.IntN(2) {
		at := p.at(between(r, 18*60, sleeps))
		if chance(r, 0.3) {
			at = p.at(between(r, wakes, 18*60))
		}
		mood := w.feels(p)
		text := w.write(string(mood) + " note")
		kind, public := "note", any("")
		if mood == Plain && chance(r, 0.3) {
			kind = "list"
		}
		if chance(r, 0.05) {
			public = at.AddDate(0, 0, 7).Format(time.RFC3339)
		}
		found = append(found, moment{at, Notes, fields{
			"kind":         kind,
			"message":      text,
			"author":       fields{"phata": "mina.example.org", "photo_url": ""},
			"created_time": at.Format(time.RFC3339),
			"updated_time": at.Format(time.RFC3339),
			"public_until": public,
			"shared":       public != "",
			"shared_on":    []any{},
		}, func(c *truthCount) { c.mood(text, mood) }})
	}
	return found
}
