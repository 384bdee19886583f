package access

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// A Start is the Owner's choice from when on a Function is shown records: those created from now on, those of
// the last N calendar months, or everything. On the wire it is "new", {"months":N} or "everything"; on a
// command line "new", "N months" or "everything".
type Start struct {
	kind   startKind
	months int
}

type startKind int

const (
	unsaid startKind = iota
	fromNow
	lastMonths
	everything
)

// maxMonths bounds a Start. A hundred years are the same as everything.
const maxMonths = 1200

// IsZero reports whether nothing was chosen.
func (s Start) IsZero() bool { return s.kind == unsaid }

// Since returns the beginning of a grant that is given now, or otherwise if nothing was chosen. Zero:
// everything.
func (s Start) Since(now, otherwise time.Time) time.Time {
	switch s.kind {
	case fromNow:
		return now.UTC()
	case lastMonths:
		return now.AddDate(0, -s.months, 0).UTC()
	case everything:
		return time.Time{}
	case unsaid:
	}
	return otherwise
}

// ParseStart reads the form of the command line.
func ParseStart(s string) (Start, error) {
	switch s {
	case "new":
		return Start{kind: fromNow}, nil
	case "everything":
		return Start{kind: everything}, nil
	}
	count, word, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxMonths || word != "months" && word != "month" {
		return Start{}, fmt.Errorf("window %.40q: want new, everything, or a number of months such as \"6 months\"", s)
	}
	return Start{lastMonths, n}, nil
}

// UnmarshalJSON reads the wire form.
func (s *Start) UnmarshalJSON(text []byte) error {
	var word string
	if json.Unmarshal(text, &word) == nil {
		if word != "new" && word != "everything" {
			return fmt.Errorf("window: want new, everything, or months")
		}
		parsed, err := ParseStart(word)
		*s = parsed
		return err
	}
	var span map[string]int
	if err := json.Unmarshal(text, &span); err != nil || len(span) != 1 || span["months"] < 1 || span["months"] > maxMonths {
		return fmt.Errorf("window: want new, everything, or 1 to %d months", maxMonths)
	}
	*s = Start{lastMonths, span["months"]}
	return nil
}

// Terms are what a Function asks for, or was granted, as a person reads it.
type Terms struct {
	Version string           `json:"version"`
	Name    string           `json:"name,omitempty"` // the function's name, from its author
	Maker   *Maker           `json:"maker,omitempty"`
	Purpose string           `json:"purpose,omitempty"` // the function's purpose, in its author's words
	Package string           `json:"package"`
	Trigger hat.Trigger      `json:"trigger"`
	Reads   []bundle.Reading `json:"reads"`
	Since   string           `json:"since,omitempty"` // records created before are not shown; "": all are shown
	Writes  hat.Endpoint     `json:"writes"`
	Output  string           `json:"output"`            // append, or replace
	Equal   hat.EqualMode    `json:"equal,omitempty"`   // keep; "": a result that equals a former one is dropped
	InOrder bool             `json:"inOrder,omitempty"` // data that the function fails on delays newer data
	Given   string           `json:"given,omitempty"`   // when the Owner agreed
	// Digest identifies the terms: all of the above except since and given, the whole bundle, and what the
	// author says of the function. A call that agrees can name it.
	Digest hat.TermsDigest `json:"digest,omitzero"`
}

// A Maker is the author that a Function claims. Nobody has verified it.
type Maker struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
}

// String describes the maker for people; "" if the function names none.
func (m *Maker) String() string {
	if m == nil {
		return ""
	}
	all := slices.DeleteFunc([]string{m.Name, m.ID, m.URL}, func(s string) bool { return strings.TrimSpace(s) == "" })
	return strings.Join(slices.Compact(all), ", ")
}

// saidBy reads what a configuration says about its function, beside what it asks for:
//
//	{"info":{"name":…,"headline":…,"description":{"text":…}},"developer":{"id":…,"name":…,"url":…}}
func (t *Terms) saidBy(manifest []byte) {
	var said struct {
		Info struct {
			Name, Headline string
			Description    struct{ Text string }
		}
		Developer Maker
	}
	if json.Unmarshal(manifest, &said) != nil {
		return
	}
	t.Name, t.Purpose = said.Info.Name, said.Info.Headline
	if strings.TrimSpace(t.Purpose) == "" {
		t.Purpose = said.Info.Description.Text
	}
	if said.Developer != (Maker{}) {
		t.Maker = &said.Developer
	}
}

// TermsOf writes a grant out for a person to read. The digest is made here too, so that people agree to
// exactly what they read.
func TermsOf(g Grant) *Terms {
	t := &Terms{
		Version: g.Version.String(), Package: g.Digest, Trigger: g.Trigger, Reads: g.Bundle.Readings(),
		Writes: g.Output, Output: g.Mode.String(), Equal: g.Equal, InOrder: g.InOrder,
	}
	if words, err := json.Marshal(t); err == nil {
		exact := g.Bundle.Digest()
		t.Digest = hat.DigestTerms([]byte(g.Function.String()), words, exact[:], g.Manifest)
	}
	// The digest covers the whole manifest already.
	t.saidBy(g.Manifest)
	// These two are the Owner's own choice, so the digest leaves them out.
	t.Since, t.Given = wireTime(g.Since), wireTime(g.Given)
	return t
}

func wireTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return hat.FormatTime(t)
}

// A Change is one thing that a Function asks for beyond its Grant, or no longer asks for.
type Change struct {
	Endpoint hat.Endpoint `json:"endpoint,omitzero"` // zero: the change is not about reading
	Field    string       `json:"field,omitempty"`   // zero: the change is not about one field
	Text     string       `json:"text"`
}

// A Comparison says how what a Function asks for differs from what it was granted.
type Comparison struct {
	NewEndpoints     []hat.Endpoint `json:"newEndpoints"`
	DroppedEndpoints []hat.Endpoint `json:"droppedEndpoints"`
	Added            []Change       `json:"added"`
	Removed          []Change       `json:"removed"`
}

// A Consent is what the Owner reads before agreeing.
type Consent struct {
	Function hat.FunctionID `json:"function"`
	Enabled  bool           `json:"enabled"`
	Asks     *Terms         `json:"asks,omitempty"`    // nil: the function is not available
	Granted  *Terms         `json:"granted,omitempty"` // nil: it was never enabled
	// Needed is true if the function can't run as installed until the Owner agrees.
	Needed     bool        `json:"needed"`
	Difference *Comparison `json:"difference,omitempty"` // nil: nothing to compare, or both are the same
	// Receipts is the present head of the HAT's receipts. A reader who keeps it can check later that nothing
	// up to here was rewritten. Empty for callers who may not read receipts.
	Receipts string `json:"receipts,omitempty"`
}

// maxChanges bounds each list of a Comparison; a bundle can differ in thousands of places.
const maxChanges = 200

// ConsentTo compares what a Function asks for with what it was granted; either may be nil.
func ConsentTo(f hat.FunctionID, enabled bool, asked, granted *Grant) Consent {
	c := Consent{Function: f, Enabled: enabled}
	if asked != nil {
		c.Asks = TermsOf(*asked)
		c.Asks.Given = ""
		c.Needed = granted == nil
	}
	if granted != nil {
		c.Granted = TermsOf(*granted)
	}
	if asked == nil || granted == nil {
		return c
	}
	c.Asks.Since = c.Granted.Since // unchanged unless the Owner chooses otherwise
	d := bundle.Differs(granted.Bundle, asked.Bundle)
	cmp := Comparison{
		NewEndpoints: d.NewEndpoints, DroppedEndpoints: d.DroppedEndpoints, Added: changes(d.Added), Removed: changes(d.Removed),
	}
	if asked.Output != granted.Output {
		cmp.Added = append(cmp.Added, Change{Text: fmt.Sprintf("it writes to %s, not to %s", asked.Output, granted.Output)})
	}
	c.Needed = len(cmp.Added) > 0
	if asked.Mode != granted.Mode {
		what := "its results are added to the former ones"
		if asked.Mode == hat.ReplaceOutput {
			what = "its newest result takes the place of the former ones"
		}
		cmp.Added = append(cmp.Added, Change{Text: what})
	}
	if asked.Equal != granted.Equal {
		what := "a result that equals a former one is dropped"
		if asked.Equal == hat.KeepEqual {
			what = "it keeps a result of every run, even when it equals a former one"
		}
		cmp.Added = append(cmp.Added, Change{Text: what})
	}
	if asked.Trigger != granted.Trigger {
		cmp.Added = append(cmp.Added, Change{Text: fmt.Sprintf("it runs %s, not %s", when(asked.Trigger), when(granted.Trigger))})
	}
	if asked.InOrder != granted.InOrder {
		what := "newer data does not wait for what it fails on"
		if asked.InOrder {
			what = "newer data waits for what it fails on"
		}
		cmp.Added = append(cmp.Added, Change{Text: what})
	}
	if len(asked.Manifest) > 0 && len(granted.Manifest) > 0 {
		for _, what := range []struct{ name, now, before string }{
			{"maker", c.Asks.Maker.String(), c.Granted.Maker.String()}, {"purpose", c.Asks.Purpose, c.Granted.Purpose}, {"name", c.Asks.Name, c.Granted.Name},
		} {
			if what.now != what.before {
				cmp.Added = append(cmp.Added, Change{Text: fmt.Sprintf("its %s is said to be %s, not %s", what.name, hat.Foreign(what.now), hat.Foreign(what.before))})
			}
		}
	}
	if len(cmp.Added)+len(cmp.Removed) > 0 {
		c.Difference = &cmp
	}
	return c
}

func when(t hat.Trigger) string {
	switch t.Kind {
	case hat.Periodic:
		return "every " + t.Period.String()
	case hat.Manual:
		return "when somebody asks"
	case hat.Individual:
	}
	return "as soon as data arrives"
}

func changes(all []bundle.Difference) []Change {
	list := make([]Change, 0, min(len(all), maxChanges+1))
	for _, d := range all[:min(len(all), maxChanges)] {
		list = append(list, Change{d.Endpoint, d.Field, d.Text})
	}
	if more := len(all) - maxChanges; more > 0 {
		list = append(list, Change{Text: fmt.Sprintf("and %d more", more)})
	}
	return slices.Clip(list)
}
