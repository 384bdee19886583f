package logins

import (
	"fmt"
	"testing"
	"time"

	"she/internal/vault"
)

func TestKnownAddressesAreBounded(t *testing.T) {
	now := morning
	digest := func(i int) []byte { return []byte(fmt.Sprint("network ", i)) }
	var k knownOrigins
	const more = 3
	for i := range maxKnownOrigins + more {
		k = k.with(digest(i), time.Time{}, now)
		now = now.Add(time.Hour)
	}
	if len(k.Origins) != maxKnownOrigins {
		t.Errorf("%d networks are known", len(k.Origins))
	}
	found := func(i int, from time.Time) bool { _, found := k.Find(digest(i), from, now); return found }
	if found(more-1, time.Time{}) || !found(more, time.Time{}) {
		t.Error("it isn't the one used longest ago that makes room")
	}
	k = k.with(digest(more), time.Time{}, now).with([]byte("new"), time.Time{}, now)
	if !found(more, time.Time{}) || found(more+1, time.Time{}) {
		t.Error("a network that is used again does not stay")
	}
	if found(more+2, now) || !found(more+2, now.Add(-maxKnownOrigins*time.Hour)) {
		t.Error("what is known does not end with the tokens")
	}
	if n := len(k.with([]byte("after"), now, now).Origins); n != 3 {
		t.Errorf("%d networks are kept of before the password, want what was used at this moment", n)
	}
	now = now.Add(knownFor)
	if found(more, time.Time{}) {
		t.Error("a network stays known for good")
	}
	if k := parseKnown(vault.Document{Body: []byte("?")}); len(k.Origins) != 0 {
		t.Errorf("%+v", k)
	}
}
