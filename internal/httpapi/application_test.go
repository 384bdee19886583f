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
