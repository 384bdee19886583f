package edge

import (
	"net/http/httptest"
	"testing"
)

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
		s := &Server{Options: Options{TrustProxy: c.trust}}
		if got := s.Origin(r); got.Network != c.network || got.Site != c.site {
			t.Errorf("%s forwarded for %q, trust %v: %v, want %s, %s", c.remote, c.forwarded, c.trust, got, c.network, c.site)
		}
	}
	// Of several headers, the last entry of the last header counts: the trusted proxy wrote it.
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["X-Forwarded-For"] = []string{"1.1.1.1", "2.2.2.2, 3.3.3.3"}
	if got := (&Server{Options: Options{TrustProxy: true}}).Origin(r); got.Network != "3.3.3.3" {
		t.Errorf("of two headers: %v", got)
	}
}
