package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
)

// canary is in data that errors must not show.
const canary = "canary-7f1d"

func app(p *person, roles ...access.Role) access.Caller {
	return access.Application("app", p.user.ID, roles)
}

func writes(namespace string) access.Role {
	return access.Role{Title: access.TitleNamespaceWrite, Detail: namespace}
}

func reads(namespace string) access.Role {
	return access.Role{Title: access.TitleNamespaceRead, Detail: namespace}
}

func testRecords(t *testing.T, fresh func(testing.TB) Opener) {
	run := stories(t, fresh)
	run("are stored in order with what is known of them", testRecordsAreStoredInOrderWithWhatIsKnownOfThem)
	run("are once at an endpoint", testRecordsAreOnceAtAnEndpoint)
	run("come with their links", testRecordsComeWithTheirLinks)
	run("are written where the caller may", testRecordsAreWrittenWhereTheCallerMay)
	run("change, all or none", testRecordsChangeAllOrNone)
	run("are changed by those they belong to", testRecordsAreChangedByThoseTheyBelongTo)
	run("are erased, all or none, with what groups them", testRecordsAreErasedAllOrNoneWithWhatGroupsThem)
	run("are linked by those who may", testRecordsAreLinkedByThoseWhoMay)
}

func testRecordsAreStoredInOrderWithWhatIsKnownOfThem(t *testing.T, p *person) {
	got := p.write("rumpel/notes", `{"b":1,"a":[1.50]}`, `null`, `"text"`)
	if len(got) != 3 {
		t.Fatalf("got %d records", len(got))
	}
	first := got[0]
	if first.Seq != 1 || first.Born != 1 || got[2].Seq != 3 || !first.Created.Equal(p.clock.now()) ||
		!first.Updated.Equal(first.Created) || first.User != p.user.ID || first.Depth != 0 || !first.Function.IsZero() {
		t.Errorf("got %+v", first)
	}
	p.has("rumpel/notes", `{"a":[1.5],"b":1}`, `null`, `"text"`)
	again, err := p.v.Record(p.ctx(), p.owner, first.ID)
	p.must(err)
	if again.ID != first.ID || again.Data != first.Data || again.Seq != 1 || !again.Created.Equal(first.Created) {
		t.Errorf("read back %+v", again)
	}
	if none, err := p.v.Append(p.ctx(), p.owner, nil, false); err != nil || len(none) != 0 {
		t.Errorf("of nothing: got %v, %v", none, err)
	}
}

func testRecordsAreOnceAtAnEndpoint(t *testing.T, p *person) {
	p.write("rumpel/notes", `{"x":"`+canary+`","a":1}`)
	_, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{
		draft(t, "rumpel/notes", `9`), draft(t, "rumpel/notes", `{"a":1.0,"x":"`+canary+`"}`)}, false)
	p.wants(err, vault.ErrDuplicate)
	if strings.Contains(fmt.Sprint(err), canary) {
		t.Error("the error shows the data")
	}
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "rumpel/notes", `8`), draft(t, "rumpel/notes", `8`)}, false)
	p.wants(err, vault.ErrDuplicate)
	p.has("rumpel/notes", `{"a":1,"x":"`+canary+`"}`)
	p.write("rumpel/other", `{"x":"`+canary+`","a":1}`)

	got, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{
		draft(t, "rumpel/other", `{"x":"`+canary+`","a":1}`), draft(t, "rumpel/other", `7`)}, true)
	p.must(err)
	if len(got) != 1 || got[0].Data.JSON() != `7` {
		t.Errorf("skipping duplicates stored %d records", len(got))
	}
	got, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "rumpel/other", `7`)}, true)
	if err != nil || len(got) != 0 {
		t.Errorf("nothing but duplicates: got %d records, %v", len(got), err)
	}
}

func testRecordsComeWithTheirLinks(t *testing.T, p *person) {
	d := draft(t, "rumpel/notes", `"parent"`)
	d.Links = []hat.Draft{draft(t, "rumpel/tags", `"one"`), draft(t, "other/tags", `"two"`)}
	got, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{d}, false)
	p.must(err)
	if len(got) != 1 || len(got[0].Links) != 2 || got[0].Links[1].Endpoint != Endpoint(t, "other/tags") {
		t.Fatalf("got %+v", got)
	}
	p.linked(got[0].ID, "rumpel/tags", `"one"`)
	p.linked(got[0].Links[0].ID, "rumpel/notes", `"parent"`)
	p.linked(got[0].Links[0].ID, "other/tags", `"two"`)
	p.linked(got[0].ID, "rumpel/notes")
	d = draft(t, "rumpel/notes", `"another"`)
	d.Links = []hat.Draft{draft(t, "rumpel/tags", `"one"`)}
	_, err = p.v.Append(p.ctx(), p.owner, []hat.Draft{d}, false)
	p.wants(err, vault.ErrDuplicate)
	p.has("rumpel/notes", `"parent"`)
}

func testRecordsAreWrittenWhereTheCallerMay(t *testing.T, p *person) {
	c := app(p, writes("a"))
	_, err := p.v.Append(p.ctx(), c, []hat.Draft{draft(t, "a/x", `1`)}, false)
	p.must(err)
	_, err = p.v.Append(p.ctx(), c, []hat.Draft{draft(t, "a/x", `2`), draft(t, "b/x", `2`)}, false)
	p.wants(err, access.ErrDenied)
	hidden := draft(t, "a/x", `3`)
	hidden.Links = []hat.Draft{draft(t, "b/x", `3`)}
	_, err = p.v.Append(p.ctx(), c, []hat.Draft{hidden}, true)
	p.wants(err, access.ErrDenied)
	stranger := access.User(hat.NewUserID(), []access.Role{writes("a")}, "")
	_, err = p.v.Append(p.ctx(), stranger, []hat.Draft{draft(t, "a/x", `4`)}, false)
	p.wants(err, access.ErrDenied)
	_, err = p.v.Append(p.ctx(), access.AsFunction(p.user.ID, p.grant("f", individual, "a/x", "b/x")), []hat.Draft{draft(t, "a/x", `5`)}, false)
	p.wants(err, access.ErrDenied)
	_, err = p.v.Append(p.ctx(), access.Caller{}, []hat.Draft{draft(t, "a/x", `6`)}, false)
	p.wants(err, access.ErrDenied)
	p.has("a/x", `1`)
	p.has("b/x")
}

func testRecordsChangeAllOrNone(t *testing.T, p *person) {
	r := p.write("rumpel/notes", `1`, `2`, `3`)
	p.clock.move(time.Hour)
	change := func(i int, text string) vault.Change { return vault.Change{ID: r[i].ID, Data: Data(t, text)} }
	got, err := p.v.Update(p.ctx(), p.owner, []vault.Change{change(0, `10`), change(2, `3`)})
	p.must(err)
	if len(got) != 2 || got[0].Seq != 4 || got[0].Born != 1 || got[1].Seq != 5 || !got[0].Created.Equal(r[0].Created) ||
		!got[0].Updated.Equal(p.clock.now()) {
		t.Errorf("got %+v", got)
	}
	p.has("rumpel/notes", `10`, `2`, `3`)
	for says, c := range map[string]struct {
		change vault.Change
		want   error
	}{
		"unknown":            {vault.Change{ID: hat.NewRecordID(), Data: Data(t, `1`)}, vault.ErrNotFound},
		"duplicate":          {change(1, `3`), vault.ErrDuplicate},
		"claimed to be away": {vault.Change{ID: r[1].ID, Endpoint: Endpoint(t, "a/x"), Data: Data(t, `1`)}, vault.ErrNotFound},
	} {
		_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{change(0, `11`), c.change})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", says, err)
		}
	}
	p.has("rumpel/notes", `10`, `2`, `3`)
}

func testRecordsAreChangedByThoseTheyBelongTo(t *testing.T, p *person) {
	bob := vault.User{ID: hat.NewUserID(), Username: "bob", Roles: []access.Role{writes("b"), reads("b")}, Enabled: true}
	p.must(p.v.CreateUser(p.ctx(), bob))
	asBob := access.User(bob.ID, bob.Roles, "")
	theirs, err := p.v.Append(p.ctx(), asBob, []hat.Draft{draft(t, "b/x", `1`)}, false)
	p.must(err)
	mine := p.write("b/x", `2`)
	other := p.write("a/x", `2`)
	_, err = p.v.Update(p.ctx(), asBob, []vault.Change{{ID: mine[0].ID, Data: Data(t, `3`)}})
	p.wants(err, vault.ErrNotFound)
	p.wants(p.v.Erase(p.ctx(), asBob, []hat.RecordID{theirs[0].ID, mine[0].ID}), vault.ErrNotFound)
	_, err = p.v.Update(p.ctx(), app(p, writes("b")), []vault.Change{{ID: other[0].ID, Endpoint: Endpoint(t, "b/x"), Data: Data(t, `3`)}})
	p.wants(err, access.ErrDenied)
	p.must(p.v.EraseEndpoint(p.ctx(), asBob, Endpoint(t, "b/x")))
	p.has("b/x", `2`)
	// A partner that lost its namespace can still erase its own records.
	theirs, err = p.v.Append(p.ctx(), asBob, []hat.Draft{draft(t, "b/x", `5`)}, false)
	p.must(err)
	p.wants(p.v.Erase(p.ctx(), access.User(bob.ID, nil, ""), []hat.RecordID{theirs[0].ID}), access.ErrDenied)
	p.must(p.v.Erase(p.ctx(), access.User(bob.ID, []access.Role{{Title: access.TitleDataCredit}}, ""), []hat.RecordID{theirs[0].ID}))
	_, err = p.v.Append(p.ctx(), asBob, []hat.Draft{draft(t, "b/x", `1`)}, false)
	p.must(err)
	p.must(p.v.EraseEndpoint(p.ctx(), p.owner, Endpoint(t, "b/x")))
	p.has("b/x")
	p.has("a/x", `2`)
}

func testRecordsAreErasedAllOrNoneWithWhatGroupsThem(t *testing.T, p *person) {
	r := p.write("a/x", `1`, `2`, `3`, `4`)
	p.must(p.v.Link(p.ctx(), p.owner, []hat.RecordID{r[0].ID, r[1].ID}))
	p.must(p.v.Link(p.ctx(), p.owner, []hat.RecordID{r[1].ID, r[2].ID, r[3].ID}))
	p.wants(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{r[0].ID, hat.NewRecordID()}), vault.ErrNotFound)
	p.has("a/x", `1`, `2`, `3`, `4`)
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{r[1].ID, r[1].ID}))
	p.has("a/x", `1`, `3`, `4`)
	p.linked(r[0].ID, "a/x")
	p.linked(r[2].ID, "a/x", `4`)
	_, err := p.v.Record(p.ctx(), p.owner, r[1].ID)
	p.wants(err, vault.ErrNotFound)
	next := p.write("a/x", `2`)
	if next[0].Seq != 6 {
		t.Errorf("after four records and an erasure comes %d, want 6", next[0].Seq)
	}
	p.must(p.v.EraseEndpoint(p.ctx(), p.owner, Endpoint(t, "none/here")))
	p.must(p.v.Erase(p.ctx(), p.owner, nil))
}

func testRecordsAreLinkedByThoseWhoMay(t *testing.T, p *person) {
	a, b := p.write("a/x", `1`), p.write("b/x", `1`)
	ids := []hat.RecordID{a[0].ID, b[0].ID}
	p.wants(p.v.Link(p.ctx(), app(p, writes("a")), ids), access.ErrDenied)
	p.wants(p.v.Link(p.ctx(), p.owner, []hat.RecordID{a[0].ID, hat.NewRecordID()}), vault.ErrNotFound)
	if p.v.Link(p.ctx(), p.owner, []hat.RecordID{a[0].ID, a[0].ID}) == nil {
		t.Error("one record made a group")
	}
	p.linked(a[0].ID, "b/x")
	p.must(p.v.Link(p.ctx(), p.owner, ids))
	p.must(p.v.Link(p.ctx(), p.owner, ids))
	p.linked(a[0].ID, "b/x", `1`)
}

// linked checks with which records at an endpoint a record shares groups.
func (p *person) linked(id hat.RecordID, e string, want ...string) {
	p.Helper()
	var got []string
	p.must(p.v.Read(p.ctx(), p.owner, func(src bundle.Source, _ hat.Seq) error {
		for r, err := range src.Linked(p.ctx(), id, Endpoint(p, e)) {
			if err != nil {
				return err
			}
			got = append(got, r.Data.JSON())
		}
		return nil
	}))
	if !slices.Equal(got, want) {
		p.Errorf("linked with %s at %s: got %v, want %v", id, e, got, want)
	}
}

func testReading(t *testing.T, fresh func(testing.TB) Opener) {
	for _, story := range []struct {
		name string
		do   func(*testing.T, func(testing.TB) Opener)
	}{
		{"sees one moment", testReadingSeesOneMoment},
		{"gives back f's error as it is", testReadingGivesBackFsErrorAsItIs},
		{"scans may be nested and left early", testReadingScansMayBeNestedAndLeftEarly},
		{"hints leave nothing out and keep the order", testReadingHintsLeaveNothingOutAndKeepTheOrder},
		{"shows what the caller may see", testReadingShowsWhatTheCallerMaySee},
		{"keeps every digit", testReadingKeepsEveryDigit},
	} {
		t.Run(story.name, func(t *testing.T) { story.do(t, fresh) })
	}
}

func testReadingSeesOneMoment(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.write("a/x", `1`)
	p.must(p.v.Read(p.ctx(), p.owner, func(src bundle.Source, upto hat.Seq) error {
		p.write("a/x", `2`)
		n := 0
		for _, err := range src.Scan(p.ctx(), Endpoint(t, "a/x"), bundle.Want{}).Records {
			p.must(err)
			n++
		}
		if n != 1 || upto != 1 {
			t.Errorf("saw %d records up to %d", n, upto)
		}
		return nil
	}))
	p.has("a/x", `1`, `2`)
}

func testReadingGivesBackFsErrorAsItIs(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	mine := errors.New("mine")
	if err := p.v.Read(p.ctx(), p.owner, func(bundle.Source, hat.Seq) error { return mine }); err != mine {
		t.Errorf("got %v", err)
	}
}

func testReadingScansMayBeNestedAndLeftEarly(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.write("a/x", `1`, `2`, `3`)
	n := 0
	p.must(p.v.Read(p.ctx(), p.owner, func(src bundle.Source, _ hat.Seq) error {
		for range src.Scan(p.ctx(), Endpoint(t, "a/x"), bundle.Want{}).Records {
			for range src.Scan(p.ctx(), Endpoint(t, "a/x"), bundle.Want{}).Records {
				if n++; n%3 == 2 {
					break
				}
			}
		}
		return nil
	}))
	if n < 6 {
		t.Errorf("looked at %d records", n)
	}
	p.write("a/x", `4`)
}

func testReadingHintsLeaveNothingOutAndKeepTheOrder(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	r := p.write("a/x", `1`, `2`, `3`, `4`)
	_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: r[0].ID, Data: Data(t, `10`)}}) // its position is now 5
	p.must(err)
	for _, c := range []struct {
		says string
		want bundle.Want
		all  []string // in order, without those that may be missing
	}{
		{"no hint", bundle.Want{}, []string{`10`, `2`, `3`, `4`}},
		{"after 2", bundle.Want{After: 2}, []string{`10`, `3`, `4`}},
		{"up to 4", bundle.Want{Upto: 4}, []string{`2`, `3`, `4`}},
		{"after 2 up to 3", bundle.Want{After: 2, Upto: 3}, []string{`3`}},
		{"after everything", bundle.Want{After: 5}, nil},
	} {
		records, err := p.scan(p.owner, "a/x", c.want)
		p.must(err)
		var got []string
		for i, r := range records {
			if i > 0 && records[i-1].Born >= r.Born {
				t.Errorf("%s: not in order of creation", c.says)
			}
			if r.Seq > c.want.After && (c.want.Upto == 0 || r.Seq <= c.want.Upto) {
				got = append(got, r.Data.JSON())
			}
		}
		if !slices.Equal(got, c.all) {
			t.Errorf("%s: got %v, want %v", c.says, got, c.all)
		}
	}
	p.must(p.v.Read(p.ctx(), p.owner, func(src bundle.Source, _ hat.Seq) error {
		s := src.Scan(p.ctx(), Endpoint(t, "a/x"), bundle.Want{Order: &bundle.Order{Descending: true}})
		last := hat.Seq(1 << 60)
		for r, err := range s.Records {
			p.must(err)
			if s.InOrder && r.Born > last {
				t.Error("promised newest first and broke it")
			}
			last = r.Born
		}
		return nil
	}))
}

func testReadingShowsWhatTheCallerMaySee(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	old := p.write("a/x", `"old"`)
	p.clock.move(time.Hour)
	since := p.clock.now()
	p.write("a/x", `"new"`)
	secret := p.write("b/x", `"secret"`)
	p.must(p.v.Link(p.ctx(), p.owner, []hat.RecordID{old[0].ID, secret[0].ID}))

	_, err := p.scan(app(p, reads("a")), "b/x", bundle.Want{})
	p.wants(err, access.ErrDenied)
	_, err = p.v.Record(p.ctx(), app(p, reads("a")), secret[0].ID)
	p.wants(err, access.ErrDenied)
	_, err = endpointsOf(p.ctx(), p.v, access.Caller{})
	p.wants(err, access.ErrDenied)
	p.wants(p.v.Read(p.ctx(), app(p, reads("a")), func(src bundle.Source, _ hat.Seq) error {
		for _, err := range src.Linked(p.ctx(), old[0].ID, Endpoint(t, "b/x")) {
			return err
		}
		return nil
	}), access.ErrDenied)

	g := p.grant("f", individual, "c/x", "a/x")
	g.Since = since
	f := access.AsFunction(p.user.ID, g)
	got, err := p.scan(f, "a/x", bundle.Want{})
	p.must(err)
	if len(got) != 1 || got[0].Data.JSON() != `"new"` {
		t.Errorf("a function granted from now on is shown %d records", len(got))
	}
	_, err = p.v.Record(p.ctx(), f, old[0].ID)
	p.wants(err, vault.ErrNotFound)

	all, err := endpointsOf(p.ctx(), p.v, p.owner)
	p.must(err)
	if want := []hat.Endpoint{Endpoint(t, "a/x"), Endpoint(t, "b/x")}; !slices.Equal(all, want) {
		t.Errorf("endpoints are %v", all)
	}

	// More than a page of endpoints, across namespaces of which one is a prefix of another.
	var want []string
	for i := range 2*vault.EndpointsPage + 1 {
		for _, ns := range []string{"m", "m-n"} {
			want = append(want, fmt.Sprintf("%s/x%d", ns, i))
			p.write(want[len(want)-1], `1`)
		}
	}
	want = append(want, "a/x", "b/x")
	slices.Sort(want)
	all, err = endpointsOf(p.ctx(), p.v, p.owner)
	p.must(err)
	if got := strings.Fields(strings.Trim(fmt.Sprint(all), "[]")); !slices.Equal(got, want) {
		t.Errorf("endpoints are %v", got)
	}
}

func testReadingKeepsEveryDigit(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.write("a/x", `[12345678901234567890,0.1,1e400]`, `{"é":"\u0001 \ud83d\ude00"}`)
	p.restart()
	p.has("a/x", `[12345678901234567890,0.1,1e400]`, `{"é":"\u0001 😀"}`)
}
