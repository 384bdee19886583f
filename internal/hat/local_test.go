package hat

import "testing"

func TestLoopback(t *testing.T) {
	for address, want := range map[string]string{
		"bob.localhost:7777": "127.0.0.1:7777", "a.b.localhost:80": "127.0.0.1:80", "BOB.LocalHost:1": "127.0.0.1:1", "bob.localhost.:1": "127.0.0.1:1",
		"localhost:1": "localhost:1", "bob.localhost.test:1": "bob.localhost.test:1", "boblocalhost:1": "boblocalhost:1", "[::1]:1": "[::1]:1", "10.0.0.1:1": "10.0.0.1:1",
		"bob.localhost": "bob.localhost", "": "",
	} {
		if got := Loopback(address); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}
