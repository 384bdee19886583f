package server

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/config"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/sqlite"
)

// The grant in force names a package, and so does the last run of waiting work. This holds even after the
// owner agrees to another package and after the function is disabled. It ends when the work is done.
func TestWhatNamesAPackage(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	n, err := openNode(data, config.Config{}, sqlite.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, n.close()) })
	domain, err := hat.ParseDomain("alice.test")
	must(t, err)
	h, err := n.hats.Create(t.Context(), domain)
	must(t, err)
	must(t, n.vaults.Create(t.Context(), h.ID, vault.User{ID: hat.NewUserID(), Username: "alice", Enabled: true, Roles: []access.Role{{Title: access.TitleOwner}}}))
	id := n.hats.List()[0].ID
	v, release, err := n.vaults.Open(t.Context(), id)
	must(t, err)
	defer release()
	user, err := v.Owner(t.Context())
	must(t, err)
	owner := access.User(user.ID, user.Roles, access.TitleOwner)
	f, err := hat.ParseFunctionID("f")
	must(t, err)
	version, err := hat.ParseVersion("1.0.0")
	must(t, err)
	output, err := hat.ParseEndpoint("she/out")
	must(t, err)
	in, err := hat.ParseEndpoint("a/x")
	must(t, err)
	asked, err := bundle.Parse([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/x"}]}}}`))
	must(t, err)
	one, err := hat.ParseData([]byte(`{"n":1}`))
	must(t, err)
	enable := func(digest string) {
		t.Helper()
		_, err := v.Enable(t.Context(), owner, access.Grant{
			Function: f, Version: version, Digest: digest, Bundle: asked, Output: output, Trigger: hat.Trigger{Kind: hat.Individual}, Given: time.Now(),
		})
		must(t, err)
	}
	claim := func(cause plan.Cause) plan.Plan {
		t.Helper()
		p, err := v.Claim(t.Context(), vault.Claim{
			Function: f, Run: hat.NewRunID(), Cause: cause, Now: time.Now(), Expires: time.Now().Add(time.Hour), By: owner,
		})
		must(t, err)
		return p
	}
	names := func(when string, want ...string) {
		t.Helper()
		all, err := n.granted(t.Context(), id)
		must(t, err)
		var got []string
		for _, g := range all {
			got = append(got, g.digest)
		}
		if slices.Sort(got); !slices.Equal(slices.Compact(got), want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	enable("sha256:old")
	_, err = v.Append(t.Context(), owner, []hat.Draft{{Endpoint: in, Data: one}}, false)
	must(t, err)
	must(t, v.Fail(t.Context(), claim(plan.ByRequest), vault.Output{}, hat.NewFault(hat.Author, plan.CodeTooMuchWork, "no"))) // parked
	names("granted", "sha256:old")
	enable("sha256:new")
	names("the former has work that waits", "sha256:new", "sha256:old")
	_, err = v.Disable(t.Context(), owner, f)
	must(t, err)
	names("switched off", "sha256:old")
	enable("sha256:new")
	_, err = v.Commit(t.Context(), claim(plan.ByData), vault.Output{})
	must(t, err)
	names("done", "sha256:new")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
