package access

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var used = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRecogniseUsers(t *testing.T) {
	for _, c := range []struct {
		says string
		is   Standing
		want error
	}{
		{"enabled", Standing{Known: true, Enabled: true}, nil},
		{"unknown", Standing{}, ErrWithdrawn},
		{"disabled", Standing{Known: true}, ErrWithdrawn},
		{"used before the password change", Standing{Known: true, Enabled: true, TokensFrom: used.Add(time.Second)}, ErrWithdrawn},
		{"used since", Standing{Known: true, Enabled: true, TokensFrom: used}, nil},
	} {
		if _, err := Recognise(Credential{User: someone, Used: used}, c.is, 1); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.says, err, c.want)
		}
	}
}

func TestRecogniseApplications(t *testing.T) {
	granted := []Role{{TitleNamespaceWrite, "rumpel"}}
	is := Standing{Known: true, Enabled: true, Roles: []Role{{TitleOwner, ""}}, Setup: Setup{Enabled: true}}
	for _, c := range []struct {
		says string
		is   func(*Standing)
		may  bool
	}{
		{"set up", func(*Standing) {}, true},
		{"disabled or never set up", func(s *Standing) { s.Setup.Enabled = false }, false},
		{"its user is not the owner", func(s *Standing) { s.Roles = granted }, false},
	} {
		now := is
		c.is(&now)
		caller, err := Recognise(Credential{User: someone, Used: used, Application: "app", Granted: granted}, now, 1)
		if err != nil || caller.ApplicationID() != "app" || caller.May(WriteRecords(notes)) != c.may {
			t.Errorf("%s: %+v %v", c.says, caller, err)
		}
	}
}

func TestRenew(t *testing.T) {
	is := Standing{Known: true, Enabled: true, Roles: []Role{{TitleDataCredit, ""}, {TitleNamespaceWrite, "rumpel"}}}
	batch := UseBatches()
	caller := must(Recognise(Credential{User: someone, Used: used}, is, 1)).LetIn(&batch)
	for _, c := range []struct {
		says string
		is   Standing
		want error
		may  bool
	}{
		{"as before", is, nil, true},
		{"disabled", Standing{Known: true, Roles: is.Roles}, ErrWithdrawn, false},
		{"the route is closed to it", Standing{Known: true, Enabled: true, Roles: is.Roles[1:]}, ErrRevoked, false},
		{"it has one right less", Standing{Known: true, Enabled: true, Roles: is.Roles[:1]}, nil, false},
	} {
		fresh, err := caller.Renew(c.is, 2)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || fresh.May(WriteRecords(notes)) != c.may {
			t.Errorf("%s: %v, writes: %v", c.says, err, fresh.May(WriteRecords(notes)))
		}
		if err == nil && fresh.RecognisedAt() != 2 {
			t.Errorf("%s: as of %d", c.says, fresh.RecognisedAt())
		}
	}
	// Who has no token is what it was made.
	if fresh, err := Operator().Renew(Standing{}, 2); err != nil || !fresh.May(SeeRuns()) {
		t.Error(err)
	}
	if !slices.Equal(caller.roles, is.Roles) {
		t.Error("the caller itself was changed")
	}
}

func TestAgreedRoles(t *testing.T) {
	read := func(n string) Role { return Role{TitleNamespaceRead, n} }
	for _, c := range []struct {
		says                    string
		agreed, catalogue, want []Role
	}{
		{"of before roles were kept", nil, []Role{read("a")}, []Role{read("a")}},
		{"none were agreed to", []Role{}, []Role{read("a")}, nil},
		{"the same", []Role{read("a")}, []Role{read("a")}, []Role{read("a")}},
		{"wider", []Role{read("a")}, []Role{read("b"), read("a")}, []Role{read("a")}},
		{"everything", []Role{read("a")}, []Role{{TitleOwner, ""}}, nil},
		{"narrower", []Role{read("a"), read("b")}, []Role{read("b")}, []Role{read("b")}},
		{"another title", []Role{{TitleNamespaceRead, "a"}}, []Role{{TitleNamespaceWrite, "a"}}, nil},
		{"less than everything", []Role{{TitleOwner, ""}}, []Role{read("b")}, []Role{read("b")}},
		{"tokens are not part of everything", []Role{{TitleOwner, ""}}, []Role{{TitleApplicationToken, "x"}}, nil},
	} {
		if got := (Setup{Roles: c.agreed}).Agreed(c.catalogue); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.says, got, c.want)
		}
	}
}
