package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

var (
	monday = time.Date(2024, 3, 4, 0, 0, 0, 0, time.FixedZone("", 10*3600))
	flat   = [2]float64{-27.4679, 153.0493}
	office = [2]float64{-27.4686, 153.0298}
	beach  = [2]float64{-26.385, 153.087}
)

// point is a location record some metres off the given place.
func point(at time.Time, where [2]float64, r *rand.Rand) json.RawMessage {
	north, east := r.NormFloat64()*15, r.NormFloat64()*15
	return raw(object{
		"latitude":         where[0] + north/metresPerDegree,
		"longitude":        where[1] + east/metresPerDegree/math.Cos(where[0]*math.Pi/180),
		"accuracy":         20,
		"speed":            -1,
		"dateCreated":      at.Unix(),
		"dateCreatedLocal": at.Format(time.RFC3339),
	})
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// aWeek is five days of office and nights at the flat, a point every half an hour.
func aWeek(r *rand.Rand) []json.RawMessage {
	var points []json.RawMessage
	for day := range 5 {
		for half := range 48 {
			at := monday.AddDate(0, 0, day).Add(time.Duration(half) * 30 * time.Minute)
			where := flat
			if half >= 18 && half < 34 {
				where = office
			}
			points = append(points, point(at, where, r))
		}
	}
	return points
}

func TestAWeekHasHomeAndWork(t *testing.T) {
	r := study(aWeek(rand.New(rand.NewPCG(1, 1))))
	if len(r.Places) != 2 {
		t.Fatalf("%d places", len(r.Places))
	}
	home, work := r.Places[0], r.Places[1]
	for _, want := range []struct {
		place         place
		likely        string
		where         [2]float64
		visits        int
		hours, office float64
	}{
		{home, "home", flat, 6, 5*16 - 0.5, 0},
		{work, "work", office, 5, 5 * 8, 5 * 7.75}, // from 8:45 to 16:45, half-way between the points
	} {
		p := want.place
		off := haversine(p.Latitude, p.Longitude, want.where[0], want.where[1])
		if p.Likely != want.likely || off > 10 || p.Visits != want.visits ||
			math.Abs(p.Hours-want.hours) > 0.01 || math.Abs(p.OfficeHours-want.office) > 1.3 || p.Radius > 70 {
			t.Errorf("%s: %.0f m off, %+v", want.likely, off, p)
		}
	}
	if r.Summary.AtPlaces != 240 || r.Summary.Since != "2024-03-03T14:00:00.000Z" {
		t.Errorf("summary %+v", r.Summary)
	}
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	points := aWeek(rand.New(rand.NewPCG(2, 2)))
	want := study(points)
	rand.New(rand.NewPCG(3, 3)).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	if got := study(points); !reflect.DeepEqual(got, want) {
		t.Errorf("shuffled points gave another report")
	}
}

func TestTravelIsNoPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	points := aWeek(r)
	for i := range 60 { // a train that passes the beach, every fix in motion
		p := object{}
		if err := json.Unmarshal(point(monday.AddDate(0, 0, 6).Add(time.Duration(i)*time.Minute), beach, r), &p); err != nil {
			t.Fatal(err)
		}
		p["speed"] = 30
		points = append(points, raw(p))
	}
	for i := range 3 { // too few to be a place
		points = append(points, point(monday.AddDate(0, 0, 7).Add(time.Duration(i)*time.Hour), beach, r))
	}
	if got := study(points); len(got.Places) != 2 || got.Summary.Used != 303 {
		t.Errorf("%d places, summary %+v", len(got.Places), got.Summary)
	}
}

func TestOneOddDayIsNoHomeAndNoWork(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var points []json.RawMessage
	for i := range 12 {
		points = append(points, point(monday.Add(time.Duration(9*60+i*30)*time.Minute), beach, r))
	}
	got := study(points)
	if len(got.Places) != 1 || got.Places[0].Likely != "" || got.Places[0].Visits != 1 {
		t.Errorf("places %+v", got.Places)
	}
}

func TestSilenceIsNotCounted(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	var points []json.RawMessage
	for _, hour := range []int{0, 1, 2, 30, 31, 32} {
		points = append(points, point(monday.Add(time.Duration(hour)*time.Hour), flat, r))
	}
	p := study(points).Places[0]
	if p.Visits != 2 || math.Abs(p.Hours-4) > 0.01 {
		t.Errorf("%d visits, %v hours", p.Visits, p.Hours)
	}
}

func TestPlacesAtTheEdgesOfTheMap(t *testing.T) {
	for name, where := range map[string][2]float64{
		"date line": {-16.8, 180}, "north pole": {89.9999, 10}, "south pole": {-90, 0}, "Greenwich": {51.4779, 0}, "equator": {0, 32.5},
	} {
		r := rand.New(rand.NewPCG(7, 7))
		var points []json.RawMessage
		for i := range 40 {
			north, east := r.NormFloat64()*10, r.NormFloat64()*10
			latitude := math.Max(-90, math.Min(90, where[0]+north/metresPerDegree))
			longitude := where[1]
			if math.Abs(where[0]) < 89 {
				longitude = wrap(longitude + east/metresPerDegree/math.Cos(latitude*math.Pi/180))
			}
			points = append(points, raw(object{"latitude": latitude, "longitude": longitude, "dateCreated": monday.Unix() + int64(i*600)}))
		}
		got := study(points)
		if len(got.Places) != 1 || got.Places[0].Points != 40 {
			t.Errorf("%s: %d places", name, len(got.Places))
			continue
		}
		if off := haversine(got.Places[0].Latitude, got.Places[0].Longitude, where[0], where[1]); off > 20 {
			t.Errorf("%s: %.0f m off", name, off)
		}
	}
}

// The grid must not lose neighbours: clusters are the same as those found by comparing all with all.
func TestClustersAgreeWithTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for round := range 30 {
		base := r.Float64()*170 - 85
		var fixes []fix
		for range 150 {
			north, east := r.Float64()*1200, r.Float64()*1200
			fixes = append(fixes, fix{
				latitude:  base + north/metresPerDegree,
				longitude: wrap(179.995 + east/metresPerDegree/math.Cos(base*math.Pi/180)),
			})
		}
		got := cluster(fixes)
		// A spot that is in a crowd is in one cluster with all spots in its reach, as the definition says. Spots are
		// taken as cluster takes them: the first fix in each fine cell stands for all.
		first := map[cell]int{}
		weight := map[int]int{}
		for i, f := range fixes {
			c := grid{spotSide}.at(grid{spotSide}.row(f.latitude), f.longitude)
			if _, ok := first[c]; !ok {
				first[c] = i
			}
			weight[first[c]]++
			if got[i] != got[first[c]] {
				t.Fatalf("round %d: two fixes of one spot are apart", round)
			}
		}
		for i := range weight {
			crowd := 0
			for j := range weight {
				if haversine(fixes[i].latitude, fixes[i].longitude, fixes[j].latitude, fixes[j].longitude) <= reach {
					crowd += weight[j]
				}
			}
			inCrowd := crowd >= enough
			if inCrowd && got[i] == none {
				t.Fatalf("round %d: a crowd of %d fixes is no cluster", round, crowd)
			}
			besideCrowd := false
			for j := range weight {
				if haversine(fixes[i].latitude, fixes[i].longitude, fixes[j].latitude, fixes[j].longitude) > reach {
					continue
				}
				if inCrowd && got[j] == none {
					t.Fatalf("round %d: a neighbour of a crowd is left out", round)
				}
				if got[j] != none {
					besideCrowd = true
				}
			}
			if got[i] != none && !besideCrowd {
				t.Fatalf("round %d: a lone fix is in a cluster", round)
			}
		}
	}
}

func TestTimesAreReadInEveryFormThePlugsWrite(t *testing.T) {
	for _, c := range []struct {
		created, local any
		want           string // in local time
	}{
		{1709510400, nil, "2024-03-04T10:00:00+10:00"}, // from the longitude
		{1709510400000, nil, "2024-03-04T10:00:00+10:00"},
		{"1709510400", nil, "2024-03-04T10:00:00+10:00"},
		{1709510400.5, "2024-03-04T08:00:00+08:00", "2024-03-04T08:00:00+08:00"},
		{"2024-03-04T00:00:00.000Z", nil, "2024-03-04T10:00:00+10:00"},
		{nil, "2024-03-04T05:30:00+0530", "2024-03-04T05:30:00+05:30"},
	} {
		f, err := readFix(raw(object{"latitude": -27.4, "longitude": "153.0", "dateCreated": c.created, "dateCreatedLocal": c.local}))
		if err != nil {
			t.Errorf("%v, %v: %v", c.created, c.local, err)
		} else if got := f.at.Format(time.RFC3339); got != c.want {
			t.Errorf("%v, %v: %s, want %s", c.created, c.local, got, c.want)
		}
	}
}

func TestOddRecordsAreCountedAndFailNothing(t *testing.T) {
	good := object{"latitude": 1.5, "longitude": 2.5, "dateCreated": 1709510400}
	with := func(key string, value any) object {
		o := object{}
		for k, v := range good {
			o[k] = v
		}
		o[key] = value
		return o
	}
	var points []json.RawMessage
	odd := []any{
		nil, 5, "x", []any{}, object{}, with("latitude", nil), with("latitude", 91), with("longitude", -181),
		with("latitude", "north"), with("latitude", "NaN"), with("dateCreated", "soon"), with("dateCreated", nil),
		with("dateCreated", 1e30), with("dateCreated", -1e30), with("dateCreated", object{}), with("longitude", []any{1}),
		object{"latitude": 0, "longitude": 0, "dateCreated": 1709510400},
	}
	for _, o := range odd {
		points = append(points, raw(o))
	}
	points = append(points, nil, raw(with("accuracy", 1414)), raw(with("accuracy", -1)), raw(good))
	got := study(points).Summary
	if got.Unreadable != len(odd)+1 || got.Vague != 2 || got.Used != 1 || got.Points != len(points) {
		t.Errorf("summary %+v of %d points", got, len(points))
	}
}

// yearOfPoints are as many points as a request can hold, all at one place: comparing each with each takes minutes.
func yearOfPoints() (points []json.RawMessage) {
	r := rand.New(rand.NewPCG(9, 9))
	for i := range 60_000 {
		points = append(points, point(monday.Add(time.Duration(i)*9*time.Minute), flat, r))
	}
	return points
}

func TestAYearOfPoints(t *testing.T) {
	if got := study(yearOfPoints()); len(got.Places) != 1 {
		t.Errorf("%d places", len(got.Places))
	}
}

func BenchmarkAYearOfPoints(b *testing.B) {
	points := yearOfPoints()
	for b.Loop() {
		study(points)
	}
}

func TestHaversine(t *testing.T) {
	for _, c := range []struct{ a, b, c, d, want float64 }{
		{0, 0, 0, 90, math.Pi / 2 * earthRadius},
		{-90, 0, 90, 0, math.Pi * earthRadius},
		{51.5074, -0.1278, 48.8566, 2.3522, 343_556}, // London to Paris
		{10, 179.999, 10, -179.999, 219},
		{5, 5, 5, 5, 0},
	} {
		if got := haversine(c.a, c.b, c.c, c.d); math.Abs(got-c.want) > 1+c.want/1e5 {
			t.Errorf("%v: %.1f m", c, got)
		}
	}
}

func FuzzStudy(f *testing.F) {
	f.Add([]byte(`[{"latitude":-27.4,"longitude":153,"dateCreated":1709510400,"accuracy":5}]`))
	f.Add([]byte(`[{"latitude":"1e400","longitude":180,"dateCreated":"2024-03-04T00:00:00Z"},null,7]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var points []json.RawMessage
		if json.Unmarshal(text, &points) != nil {
			return
		}
		// Each point four times, so that places form.
		points = append(append(append(points[:len(points):len(points)], points...), points...), points...)
		r := study(points)
		if s := r.Summary; s.Used+s.Vague+s.Unreadable != s.Points || s.AtPlaces > s.Used {
			t.Errorf("the summary does not add up: %+v", s)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(fmt.Errorf("the report is no JSON: %w", err))
		}
	})
}
