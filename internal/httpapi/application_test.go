package httpapi

import (
	"testing"

	"she/internal/access"
)

// catalogue is that of the tests.
const catalogue = `[
 {"id":"rumpel-app","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"namespacewrite","detail":"rumpel"},{"role":"namespaceread","detail":"rumpel"}]}},
 {"id":"plug","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"namespacewrite","detail":"rumpel"}]}},
 {"id":"counter-app","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"applicationmanage","detail":"counter"}]}},
 {"id":"pds","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"owner"}]}}
]`

// An application sees what is its own to manage, in the list and alone; the Owner sees all.
func TestApplicationsSeeWhatIsTheirs(t *testing.T) {
	w := newWorld(t, withApplications(`[
		{"id":"a","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"applicationlist"},{"role":"applicationmanage","detail":"b"}]}},
		{"id":"b","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"applicationlist"}]}},
		{"id":"c","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"applicationstatusread"},{"role":"applicationmanage","detail":"b"}]}},
		{"id":"d","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"owner"}]}}]`))
	ids := func(who string) (found string) {
		t.Helper()
		var all []struct{ Application struct{ ID string } }
		w.get(who, api+"/applications").want(200).decode(&all)
		for _, one := range all {
			found += one.Application.ID
		}
		return found
	}
	tokens := map[string]string{}
	for _, id := range []string{"a", "b", "c", "d"} {
		tokens[id] = w.appToken(id)
	}
	w.addUser("lister", access.Role{Title: access.TitleListApps}, access.Role{Title: access.TitleAppStatusRead})
	for who, want := range map[string]string{"bob": "abcd", tokens["a"]: "b", tokens["b"]: "", tokens["d"]: "abcd"} {
		if got := ids(who); got != want {
			t.Errorf("listed %q, want %q", got, want)
		}
	}
	w.get(tokens["c"], api+"/applications").want(403, accessDenied)
	w.get("lister", api+"/applications").want(403, accessDenied)
	for _, c := range []struct {
		who, id string
		status  int
	}{
		{"bob", "b", 200}, {tokens["a"], "b", 200}, {tokens["c"], "b", 200}, {tokens["d"], "b", 200}, {tokens["b"], "b", 200},
		{tokens["a"], "c", 403}, {tokens["b"], "a", 403}, {tokens["c"], "a", 403}, {"lister", "a", 403}, {"hpp", "a", 403},
	} {
		w.get(c.who, api+"/applications/"+c.id).want(c.status)
	}
}

// A token that acts for the Owner goes to the application's own addresses, not to whoever shares a host with it.
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
