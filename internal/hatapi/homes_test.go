package hatapi

import "testing"

// A token that acts for the Owner goes only to the application's own addresses, and not to others on the same
// host.
func TestHomesOfApplications(t *testing.T) {
	a := must(ParseApplications([]byte(`[{"id":"a","info":{"version":"1.0.0"},
		"kind":{"kind":"App","url":"https://shop.test/app/1","iosUrl":"https://apps.test/id1"},
		"setup":{"kind":"External","url":"https://shared.test/~us/start/","iosUrl":"usapp://login","androidUrl":"https://own.test:8443"}}]`)))[0]
	for address, want := range map[string]bool{
		"https://shared.test/~us/start":              true,
		"https://SHARED.test:443/~us/start/x?a=b#c":  true,
		"https://own.test:8443":                      true,
		"https://own.test:8443/anywhere/..here":      true,
		"usapp://login":                              true,
		"usapp://login/back":                         true,
		"https://shared.test/":                       false,
		"https://shared.test/~them":                  false,
		"https://shared.test/~us/starter":            false,
		"https://shared.test/~us/start/../../~them":  false,
		"https://shared.test/~us/start/%2e%2E/%2E./": false,
		"https://shared.test/~us/start/..%2f..":      false,
		`https://shared.test/~us/start/..\..\~them`:  false,
		"https://shared.test/~us/start%2fx":          false,
		"https://shared.test/~us/start/%5c..":        false,
		"http://shared.test/~us/start":               false,
		"https://shared.test:80/~us/start":           false,
		"https://shared.test@evil.test/~us/start":    false,
		"https://x@shared.test/~us/start":            false,
		"https://own.test":                           false,
		"https://own.test:8443.evil.test":            false,
		"https://shop.test/app/1":                    false,
		"https://apps.test/id1":                      false,
		"usapp://other":                              false,
		"shared.test/~us/start":                      false,
		"":                                           false,
	} {
		if got := a.at(address); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
