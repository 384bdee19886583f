package httpapi

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"she/internal/catalog"
	"she/internal/edge"
)

// nextOf is the path of the next page that an answer names, "" if it names none.
func nextOf(t *testing.T, a answer) string {
	t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	path, isNext := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !isNext {
		t.Fatalf("Link: %s", link)
	}
	if exposed := a.header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "Link") || !strings.Contains(exposed, edge.TotalHeader) {
		t.Errorf("a browser sees %s", exposed)
	}
	return path
}

// A list that was cut says how many there are in all, and where it goes on; whoever follows has each once.
func TestACutListSaysSo(t *testing.T) {
	const own = "/api/she/v1"
	w := newWorld(t, withFunctions(count, functionNamed("counter"), functionNamed("other")))
	if a := w.get("bob", own+"/runs").want(200, "[]"); a.header.Get(edge.TotalHeader) != "0" || nextOf(t, a) != "" {
		t.Errorf("of nothing: %v", a.header)
	}
	for _, f := range []string{"counter", "other"} {
		w.get("bob", functions+"/"+f+"/enable").want(200)
		for range 20 {
			w.get("bob", functions+"/"+f+"/trigger").want(200)
		}
	}
	for _, c := range []struct {
		query string
		total int
		pages int
	}{
		{"?limit=1000", 40, 1}, {"?limit=40", 40, 1}, {"?limit=39", 40, 2}, {"?limit=17", 40, 3}, {"?limit=1", 40, 40},
		{"?limit=7&function=counter", 20, 3}, {"?function=counter", 20, 1}, {"?function=none", 0, 1},
	} {
		seen := map[string]bool{}
		pages := 0
		for path := own + "/runs" + c.query; path != ""; pages++ {
			a := w.get("bob", path).want(200)
			var all []wireRun
			a.decode(&all)
			for _, r := range all {
				if seen[r.ID] {
					t.Errorf("%s: %s comes again", c.query, r.ID)
				}
				seen[r.ID] = true
			}
			if got := a.header.Get(edge.TotalHeader); got != strconv.Itoa(c.total) {
				t.Errorf("%s: %s in all, want %d", path, got, c.total)
			}
			path = nextOf(t, a)
		}
		if len(seen) != c.total || pages != c.pages {
			t.Errorf("%s: %d runs on %d pages, want %d on %d", c.query, len(seen), pages, c.total, c.pages)
		}
	}
	// An error names no page.
	if a := w.get("bob", own+"/runs?limit=0").want(400); a.header.Get("Link") != "" || a.header.Get(edge.TotalHeader) != "" {
		t.Errorf("%v", a.header)
	}
}

// What was superseded is listed in pages too.
func TestACutListOfSupersededRecordsSaysSo(t *testing.T) {
	const own = "/api/she/v1"
	first := true
	w := newWorld(t, withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name != "counter" {
			return count(ctx, name, event)
		}
		word := "b"
		if first {
			word = "a"
		}
		var data []string
		for i := range 5 {
			data = append(data, strconv.Quote(word+strconv.Itoa(i)))
		}
		return []byte(`[{"namespace":"drops","endpoint":"insights/counter","data":[` + strings.Join(data, ",") + `],"linkedRecords":[]}]`), nil
	}, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.post("bob", api+"/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	w.get("bob", functions+"/counter/trigger").want(200)
	first = false
	s := w.listen("")
	w.call("POST", own+"/functions/counter/replay", "bob", `{"since":"2000-01-01T00:00:00Z"}`).want(202)
	s.until("counter committed")
	var runs []wireRun
	w.get("bob", own+"/runs").want(200).decode(&runs)
	seen, pages := 0, 0
	for path := own + "/runs/" + runs[0].ID + "/superseded?limit=2"; path != ""; pages++ {
		a := w.get("bob", path).want(200)
		var all []struct{ Number int64 }
		a.decode(&all)
		seen += len(all)
		if got := a.header.Get(edge.TotalHeader); got != "5" {
			t.Errorf("%s in all", got)
		}
		path = nextOf(t, a)
	}
	if seen != 5 || pages != 3 {
		t.Errorf("%d records on %d pages", seen, pages)
	}
}

// The owner's list of functions: what is known of each, and what it did here. A function that has not answered since the
// start is shown as it was last known, and can be agreed to.
func TestTheListOfFunctions(t *testing.T) {
	asked := make(chan struct{})
	loaded := functionNamed("counter")
	waits := functionNamed("other")
	waits.Last = &catalog.Known{At: morning, Manifest: waits.Manifest}
	waits.Manifest = nil
	w := newWorld(t, withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if strings.HasSuffix(name, "-configuration") {
			<-asked
		}
		return count(ctx, name, event)
	}, loaded, waits))
	defer close(asked)
	w.get("bob", functions+"/counter/enable").want(200)
	w.get("bob", functions+"/counter/trigger").want(200)
	var all []struct {
		ID, Version, AsOf, Trigger    string
		Installed, Available, Enabled bool
		Reads                         []string
		Runs                          int
		LastRun                       *struct{ State string }
	}
	a := w.get("bob", "/api/she/v1/functions").want(200)
	a.decode(&all)
	if len(all) != 2 || a.header.Get(edge.TotalHeader) != "2" {
		t.Fatalf("%s", a.body)
	}
	if f := all[0]; f.ID != "counter" || !f.Available || !f.Enabled || f.AsOf != "" || f.Runs != 1 || f.LastRun == nil || f.LastRun.State != "committed" {
		t.Errorf("counter: %+v", f)
	}
	if f := all[1]; f.ID != "other" || !f.Available || f.Enabled || f.AsOf == "" || f.Trigger == "" || len(f.Reads) == 0 || f.Runs != 0 {
		t.Errorf("other: %+v", f)
	}
	if got := w.get("bob", functions).want(200).body; !strings.Contains(got, `"id":"other"`) || strings.Contains(got, `"available":false`) {
		t.Errorf("the HAT API: %s", got)
	}
	w.get("bob", functions+"/other/enable").want(200)
	w.get("hpp", "/api/she/v1/functions").want(403)
	w.get("", "/api/she/v1/functions").want(401)
}
