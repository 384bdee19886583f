package feed

import (
	"encoding/json"
	"slices"
	"strings"

	"she/internal/hat"
)

// A Profile is what a service's newest records say about a person: /she/static/<service>.
type Profile struct {
	service string
	Parts   []Part
}

// A Part is one endpoint of a Profile. Its newest record is the one with the greatest value of the first of
// these fields that occurs there. That need not be the one that arrived last.
type Part struct {
	Endpoint hat.Endpoint
	Dated    []string
	values   func(fields) (fields, bool)
}

type fields map[string]json.RawMessage

var profiles = []Profile{
	{"facebook", []Part{
		{endpoint("facebook/profile"), []string{"hat_updated_time"}, facebookProfile},
		{endpoint("facebook/likes/pages"), []string{"created_time", "hat_updated_time"}, pagesLiked},
	}},
	{"twitter", []Part{{endpoint("twitter/tweets"), []string{"id", "lastUpdated"}, authorOfTweet}}},
	{"spotify", []Part{{endpoint("spotify/profile"), []string{"dateCreated", "hat_updated_time"}, spotifyProfile}}},
	{"fitbit", []Part{{endpoint("fitbit/profile"), []string{"dateCreated", "hat_updated_time"}, without("features", "topBadges")}}},
	{"instagram", []Part{{endpoint("instagram/profile"), []string{"hat_updated_time", "ds_created_time", "created_time"}, instagramProfile}}},
	{"uber", []Part{{endpoint("uber/profile"), []string{"hat_updated_time", "dateCreated", "start_time"}, without()}}},
}

// ProfileMatching returns the profile of the service; the path may go on after its name.
func ProfileMatching(prefix string) (Profile, bool) {
	service, rest, _ := strings.Cut(prefix, "/")
	for _, p := range profiles {
		of := func(part Part) bool { return part.Endpoint.Path() == rest }
		if p.service == service && (rest == "" || rest == "profile" || slices.ContainsFunc(p.Parts, of)) {
			return p, true
		}
	}
	return Profile{}, false
}

// Name is the last part of the endpoint.
func (p Part) Name() string {
	path := p.Endpoint.Path()
	return path[strings.LastIndexByte(path, '/')+1:]
}

// Has reports whether a record has the field.
func (p Part) Has(d hat.Data, field string) bool {
	f, ok := fieldsOf(d)
	return ok && f[field] != nil
}

// Values returns the record's fields, changed where the service's own client leaves some out or shows them in
// another way. ok is false if none is left.
func (p Part) Values(d hat.Data) (values map[string]json.RawMessage, ok bool) {
	f, ok := fieldsOf(d)
	if !ok {
		return nil, false
	}
	return p.values(f)
}

func fieldsOf(d hat.Data) (f fields, ok bool) {
	if d.Len() > maxItemText || json.Unmarshal(d.Bytes(), &f) != nil {
		return nil, false
	}
	return f, f != nil
}

// within returns the fields of a member that is an object, or nil.
func (f fields) within(name string) (inner fields) {
	if json.Unmarshal(f[name], &inner) != nil {
		return nil
	}
	return inner
}

func without(names ...string) func(fields) (fields, bool) {
	return func(f fields) (fields, bool) {
		for _, name := range names {
			delete(f, name)
		}
		return f, true
	}
}

func facebookProfile(f fields) (fields, bool) {
	if name := f.within("location")["name"]; len(name) > 0 && name[0] == '"' {
		f["location"] = name
	}
	return without("friends", "languages")(f)
}

func pagesLiked(f fields) (fields, bool) {
	const liked = "number_of_pages_liked"
	return fields{liked: f[liked]}, f[liked] != nil
}

// Every tweet contains the profile of its author.
func authorOfTweet(f fields) (fields, bool) {
	author := f.within("user")
	delete(author, "entities")
	return author, author != nil
}

var zero = json.RawMessage("0")

// number returns a field that is a number, or 0.
func (f fields) number(name string) json.RawMessage {
	if v := f[name]; len(v) > 0 && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') {
		return v
	}
	return zero
}

func spotifyProfile(f fields) (fields, bool) {
	if followers := f.within("followers"); followers != nil {
		f["followers"] = followers.number("total")
	}
	return without("images", "external_urls")(f)
}

// instagramProfile shows the counts of the first version of Instagram's API as three numbers.
func instagramProfile(f fields) (fields, bool) {
	if counts := f.within("counts"); counts != nil {
		f["media"], f["follows"], f["followers"] = counts.number("media"), counts.number("follows"), counts.number("followed_by")
		delete(f, "counts")
	}
	return f, true
}
