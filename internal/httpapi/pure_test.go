package httpapi

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/hat"
	"she/internal/vault"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Two keys serve all tests: making one takes longer than most tests do.
var (
	key      = must(rsa.GenerateKey(rand.Reader, 2048))
	otherKey = must(rsa.GenerateKey(rand.Reader, 2048))
	morning  = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
)

func bob() directory.HAT {
	return directory.HAT{ID: "bob-id", Domain: must(hat.ParseDomain("bob.test:9000")), Key: key}
}

func TestTokenIsCheckedAgainstKeyDomainAndClock(t *testing.T) {
	h := bob()
	u := vault.User{ID: hat.NewUserID(), Enabled: true, Roles: []access.Role{{Title: access.TitleOwner}}}
	good := userClaims(h, u, h.Domain.String(), "owner", morning)
	sign := func(k *rsa.PrivateKey, c claims) string {
		return must(newTokens().sign(directory.HAT{ID: h.ID, Key: k}, c))
	}
	change := func(f func(*claims)) claims { c := good; f(&c); return c }
	at := func(d time.Duration) time.Time { return morning.Add(d) }

	cases := []struct {
		name string
		text string
		at   time.Time
		ok   bool
	}{
		{"fresh", sign(key, good), morning, true},
		{"idle for almost three days", sign(key, good), at(tokenIdle), true},
		{"idle for three days and a second", sign(key, good), at(tokenIdle + time.Second), false},
		{"used daily, at its last second", sign(key, change(func(c *claims) { c.IssuedAt = at(29 * 24 * time.Hour).Unix() })), at(tokenLife - time.Second), true},
		{"used daily, over its end", sign(key, change(func(c *claims) { c.IssuedAt = at(29 * 24 * time.Hour).Unix() })), at(tokenLife), false},
		{"another HAT's key", sign(otherKey, good), morning, false},
		{"another domain", sign(key, change(func(c *claims) { c.Issuer = "eve.test:9000" })), morning, false},
		{"the domain without its port", sign(key, change(func(c *claims) { c.Issuer = "bob.test" })), morning, false},
		{"no issuer", sign(key, change(func(c *claims) { c.Issuer = "" })), morning, false},
		{"no end", sign(key, change(func(c *claims) { c.Expires = 0 })), morning, false},
		{"no last use", sign(key, change(func(c *claims) { c.IssuedAt = 0 })), morning, false},
		{"last used tomorrow", sign(key, change(func(c *claims) { c.IssuedAt = at(24 * time.Hour).Unix() })), morning, false},
		{"empty", "", morning, false},
		{"no token", "abc", morning, false},
		{"a dot at the end", sign(key, good) + ".", morning, false},
		{"padded", sign(key, good) + "=", morning, false},
		{"huge", strings.Repeat("a", maxToken+1), morning, false},
		{"alg none", must(jwt.NewWithClaims(jwt.SigningMethodNone, good).SignedString(jwt.UnsafeAllowNoneSignatureType)), morning, false},
		{"HMAC with the public key", must(jwt.NewWithClaims(jwt.SigningMethodHS256, good).SignedString(key.N.Bytes())), morning, false},
		{"RS512", must(jwt.NewWithClaims(jwt.SigningMethodRS512, good).SignedString(key)), morning, false},
	}
	for _, c := range cases {
		got, err := check(h, c.text, c.at)
		if (err == nil) != c.ok {
			t.Errorf("%s: err = %v, want ok = %v", c.name, err, c.ok)
		}
		if c.ok && got.Subject != good.Subject {
			t.Errorf("%s: subject = %q", c.name, got.Subject)
		}
		if err != nil && got != (claims{}) {
			t.Errorf("%s: claims of a refused token come back", c.name)
		}
	}
}

func TestEveryAlteredTokenIsRefused(t *testing.T) {
	h := bob()
	text := must(newTokens().sign(h, userClaims(h, vault.User{ID: hat.NewUserID()}, "bob.test:9000", "owner", morning)))
	for i := range text {
		for _, c := range []byte("A_.") {
			altered := text[:i] + string(c) + text[i+1:]
			if altered == text {
				continue
			}
			if _, err := check(h, altered, morning); err == nil {
				t.Fatalf("byte %d changed to %q: accepted", i, c)
			}
		}
	}
}

// What a signature costs must not depend on how often a client asks within a second.
func TestSigningIsDoneOncePerSecond(t *testing.T) {
	h, signer := bob(), newTokens()
	c := userClaims(h, vault.User{ID: hat.NewUserID()}, "x", "owner", morning)
	first := must(signer.sign(h, c))
	if again := must(signer.sign(h, c)); again != first {
		t.Error("equal claims got another signature")
	}
	later := c
	later.IssuedAt++
	if next := must(signer.sign(h, later)); next == first {
		t.Error("another second, the same token")
	}
	if len(signer.signed) != 1 {
		t.Errorf("%d signatures kept, want those of the current second only", len(signer.signed))
	}
	if old := must(signer.sign(h, c)); old != first || len(signer.signed) != 1 {
		t.Error("a late request of the last second must not empty the present one")
	}
	other := h
	other.ID, other.Key = "eve-id", otherKey
	if stolen := must(signer.sign(other, later)); stolen == must(signer.sign(h, later)) {
		t.Error("two HATs share a signature")
	}
}

func TestScopeIsTheFirstRoleInOrder(t *testing.T) {
	role := func(titles ...string) (rs []access.Role) {
		for _, title := range titles {
			rs = append(rs, access.Role{Title: title})
		}
		return rs
	}
	for want, roles := range map[string][]access.Role{
		"owner":      role("datadebit", "platform", "owner"),
		"platform":   role("datacredit", "platform"),
		"datacredit": role("namespacewrite", "datadebit", "datacredit"),
		"datadebit":  role("datadebit"),
		"validate":   role("namespaceread", "validate"),
		"":           role("namespaceread"), // scoped to nothing: the roles alone count
	} {
		if got := scopeOf(roles); got != want {
			t.Errorf("scope of %v = %s, want %s", roles, got, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	for _, c := range []struct {
		remote, forwarded string
		trust             bool
		network, site     string
	}{
		{"10.1.2.3:99", "", false, "10.1.2.3", "10.1.2.3"},
		{"10.1.2.3:99", "1.1.1.1", false, "10.1.2.3", "10.1.2.3"},
		{"10.1.2.3:99", "6.6.6.6, 1.1.1.1", true, "1.1.1.1", "1.1.1.1"},
		{"10.1.2.3:99", "6.6.6.6, 1.1.1.1:4711", true, "1.1.1.1", "1.1.1.1"},
		{"10.1.2.3:99", "6.6.6.6,[2001:db8:1:2:3::4]:4711", true, "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"10.1.2.3:99", "[2001:db8:1:2:3::4]", true, "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"10.1.2.3:99", "1.1.1.1, _hidden", true, "unknown", "unknown"},
		{"10.1.2.3:99", "1.1.1.1,", true, "unknown", "unknown"},
		{"[2001:db8:1:2:3::4]:99", "", false, "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"[::ffff:10.1.2.3]:99", "", false, "10.1.2.3", "10.1.2.3"},
		{"[fe80::1%eth0]:99", "", false, "fe80::/64", "fe80::/48"},
		{"@", "", false, "unknown", "unknown"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		s := &server{Options: Options{TrustProxy: c.trust}}
		if got := s.origin(r); got != (origin{c.network, c.site}) {
			t.Errorf("%s forwarded for %q, trust %v: %v, want %s, %s", c.remote, c.forwarded, c.trust, got, c.network, c.site)
		}
	}
	// Of several headers the last entry of the last counts, which the trusted proxy wrote.
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["X-Forwarded-For"] = []string{"1.1.1.1", "2.2.2.2, 3.3.3.3"}
	if got := (&server{Options: Options{TrustProxy: true}}).origin(r); got.network != "3.3.3.3" {
		t.Errorf("of two headers: %v", got)
	}
}

func TestRoutes(t *testing.T) {
	rs := (&server{}).table()
	for _, c := range []struct {
		method, path string
		pattern      string // "": no such route
		params       string
	}{
		{"GET", "/publickey", "/publickey", ""},
		{"POST", "/publickey", "", ""},
		{"GET", "/publickey/", "", ""},
		{"GET", "/api/v2.6/publickey", "", ""},
		{"GET", "/api/v2.6/data/rumpel/notes", "/data/{namespace}/{endpoint...}", "endpoint=notes namespace=rumpel"},
		{"GET", "/api/v2/data/rumpel/a/b", "/data/{namespace}/{endpoint...}", "endpoint=a/b namespace=rumpel"},
		{"POST", "/api/v2.0/data/rumpel/a/b", "/data/{namespace}/{endpoint...}", "endpoint=a/b namespace=rumpel"},
		{"GET", "/api/v2.7/data/rumpel/a", "", ""},
		{"GET", "/data/rumpel/a", "", ""},
		{"GET", "/api/v2.6/data/UPPER/x", "", ""},
		{"GET", "/api/v2.6/data/rumpel/X", "", ""},
		{"GET", "/api/v2.6/data/rumpel", "", ""},
		{"GET", "/api/v2.6/data/rumpel/", "", ""},
		{"GET", "/api/v2.6/data/rumpel/a_b", "", ""},
		{"GET", "/api/v2.6/data/rumpel/%2e%2e", "", ""},
		{"GET", "/api/v2.6/data/rumpel/a%2Fb", "", ""},
		// Slashes in the wrong place are the endpoint's problem, not the route's: it answers 400.
		{"GET", "/api/v2.6/data/rumpel//a", "/data/{namespace}/{endpoint...}", "endpoint=/a namespace=rumpel"},
		{"GET", "/api/v2.6/data/rumpel/a/", "/data/{namespace}/{endpoint...}", "endpoint=a/ namespace=rumpel"},
		{"GET", "/api/v2.6/she/function/f-1/enable", "/she/function/{function}/enable", "function=f-1"},
		{"GET", "/api/v2.6/she/function/f-1/enable/x", "", ""},
		{"GET", "", "", ""},
	} {
		r, params := rs.find(c.method, c.path)
		got := ""
		if r != nil {
			got = r.pattern
		}
		var said []string
		for _, name := range []string{"endpoint", "function", "namespace"} {
			if v, ok := params[name]; ok {
				said = append(said, name+"="+v)
			}
		}
		if got != c.pattern || strings.Join(said, " ") != c.params {
			t.Errorf("%s %s: %q %v, want %q %s", c.method, c.path, got, said, c.pattern, c.params)
		}
	}
}

func FuzzRoutes(f *testing.F) {
	f.Add("GET", "/api/v2.6/data/a/b/c")
	f.Add("POST", "/api/v2.6/she/function/../x")
	rs := (&server{}).table()
	f.Fuzz(func(t *testing.T, method, path string) {
		r, params := rs.find(method, path)
		if r == nil {
			return
		}
		// What was matched, put back into the pattern, is the path.
		back := r.pattern
		for name, value := range maps.All(params) {
			if value == "" {
				t.Fatalf("%q: empty %s", path, name)
			}
			back = strings.Replace(back, "{"+name+"}", value, 1)
			back = strings.Replace(back, "{"+name+"...}", value, 1)
		}
		if !strings.HasSuffix(path, back) {
			t.Fatalf("%q matched %q as %q", path, r.pattern, back)
		}
	})
}

func TestAttributes(t *testing.T) {
	data := must(hat.ParseData([]byte(`{"m":{"k":"v","n":7,"list":["a","b"],"mixed":["a",1]},"deep":[{"x":{"k2":"w"}}],"a.b":"dotted","null":null}`)))
	for query, want := range map[string]bool{
		"k=v":              true,
		"k=w":              false,
		"k=w&k=v":          true, // repeated: or
		"k=v&k2=w":         true, // several: and
		"k=v&k2=v":         false,
		"m.k=v":            true,
		"m.k=w":            false,
		"m.n=7":            false, // numbers are not matched, and are no error
		"n=7":              false,
		"list=a":           true,
		"m.list=a":         false, // the exact path must hold a string
		"m.list.0=a":       true,
		"m.list.9=a":       false,
		"m.list.-1=b":      false,
		"mixed=a":          true,
		"null=null":        false,
		"m=v":              false,
		"deep.0.x.k2=w":    true,
		"deep.x=w":         false,
		"x..=1":            false,
		"":                 true,
		"X-Auth-Token=abc": true, // never an attribute
		"x-auth-token=abc": true,
		"take=5&skip=1":    true,
	} {
		got := true
		for _, a := range must(attributes(must(url.ParseQuery(query)), "take", "skip")) {
			got = got && a.Match(data)
		}
		if got != want {
			t.Errorf("?%s: %v, want %v", query, got, want)
		}
	}
}

func TestQueryParameters(t *testing.T) {
	id1, id2 := hat.NewRecordID(), hat.NewRecordID()
	values := func(q string) url.Values { return must(url.ParseQuery(q)) }
	if n, err := intParam(values("take=7"), "take", 1000); n != 7 || err != nil {
		t.Errorf("take=7: %d, %v", n, err)
	}
	if n, err := intParam(values("take="), "take", 1000); n != 1000 || err != nil {
		t.Errorf("take=: %d, %v", n, err)
	}
	for _, bad := range []string{"take=-1", "take=x", "take=1.5", "take=99999999999", "take=+x", "take=0x10"} {
		if _, err := intParam(values(bad), "take", 1000); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	for text, want := range map[string]bool{"true": true, "1": true, "false": false, "0": false} {
		if got, found, err := boolParam(values("b="+text), "b"); got != want || !found || err != nil {
			t.Errorf("b=%s: %v, %v, %v", text, got, found, err)
		}
	}
	if _, _, err := boolParam(values("b=yes"), "b"); err == nil {
		t.Error("b=yes is accepted")
	}
	for _, q := range []string{
		"records=" + id1.String() + "&records=" + id2.String(),
		"records=" + id1.String() + "," + id2.String(),
		"records=" + id1.String() + "," + id2.String() + "&records=" + id1.String(),
		"records=," + id1.String() + ",," + id2.String() + ",",
	} {
		ids, err := recordsParam(values(q))
		if err != nil || len(ids) != 2 || ids[0] != id1 || ids[1] != id2 {
			t.Errorf("%s: %v, %v", q, ids, err)
		}
	}
	if _, err := recordsParam(values("records=abc")); err == nil {
		t.Error("records=abc is accepted")
	}
}

func FuzzQueryParameters(f *testing.F) {
	f.Add("take=1&skip=2&records=a,b&skipErrors=true")
	f.Fuzz(func(t *testing.T, raw string) {
		q := &request{Request: httptest.NewRequest("GET", "/", nil)}
		q.URL.RawQuery = raw
		values, err := q.query()
		if err != nil {
			return
		}
		if n, err := intParam(values, "take", 5); err == nil && n < 0 {
			t.Fatalf("take = %d", n)
		}
		if ids, err := recordsParam(values); err == nil {
			seen := map[hat.RecordID]bool{}
			for _, id := range ids {
				if seen[id] {
					t.Fatal("an id comes twice")
				}
				seen[id] = true
			}
		}
	})
}

// No text but one that was signed with the key is a token.
func FuzzToken(f *testing.F) {
	h := bob()
	valid := must(newTokens().sign(h, userClaims(h, vault.User{ID: hat.NewUserID()}, "bob.test:9000", "owner", morning)))
	f.Add(valid)
	f.Add(valid + "=")
	f.Add(strings.Replace(valid, ".", "..", 1))
	f.Add(must(newTokens().sign(directory.HAT{Key: otherKey}, userClaims(h, vault.User{}, "x", "owner", morning))))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := check(h, text, morning); err == nil && text != valid {
			t.Fatalf("accepted: %q", text)
		}
	})
}
