package access

import (
	"errors"
	"slices"
	"time"

	"she/internal/hat"
)

// Errors of a Caller whose rights have changed since the request came.
var (
	// ErrWithdrawn says that the token is no longer valid: its user is deleted or disabled, or has another
	// password.
	ErrWithdrawn = errors.New("the token was withdrawn")
	// ErrRevoked says that the caller has lost the permission that the request was admitted with.
	ErrRevoked = errors.New("the permission was revoked")
)

// A Credential is the content of a token whose signature and times are valid.
type Credential struct {
	User        hat.UserID
	Used        time.Time // when it was last used, to the second
	Scope       string    // of a user token
	Application string    // empty: a user token
	Granted     []Role    // what the catalogue grants the application; nothing if it is unknown
	Version     string    // of the application in the catalogue
}

// A Setup is what a HAT stores about an application.
type Setup struct {
	Enabled bool   `json:"enabled"`
	Version string `json:"version"` // the version that was set up
	// Roles are those in the terms that the owner agreed to; nil in older setups that did not store them.
	Roles []Role `json:"roles"`
	// Terms is the digest that the owner agreed to; zero in older setups.
	Terms hat.TermsDigest `json:"terms,omitzero"`
	// Homes are the addresses in the terms, to which tokens may go; nil in older setups.
	Homes []string `json:"homes"`
}

// Needs reports whether the owner has not yet agreed to the present terms. For older setups without terms it
// compares the version.
func (s Setup) Needs(terms hat.TermsDigest, version string) bool {
	if s.Terms.IsZero() {
		return s.Version != version
	}
	return s.Terms != terms
}

// granted returns the roles of the application. A setup without roles counts only for the version that was
// set up, because the owner has not read what another version asks for.
func (s Setup) granted(c Credential) []Role {
	if s.Roles == nil && s.Version != c.Version {
		return nil
	}
	return s.Agreed(c.Granted)
}

// Agreed returns the roles of the catalogue that the owner has agreed to. Roles that the catalogue adds later
// wait for the owner; roles that it drops are gone at once. For a setup without roles it returns all.
func (s Setup) Agreed(catalogue []Role) []Role {
	if s.Roles == nil {
		return catalogue
	}
	all := slices.ContainsFunc(s.Roles, func(r Role) bool { return r.Title == TitleOwner })
	return slices.DeleteFunc(slices.Clone(catalogue), func(r Role) bool {
		return !slices.Contains(s.Roles, r) && !(all && r.Title != TitleApplicationToken)
	})
}

// A Standing is what a HAT knows about a Credential at one moment.
type Standing struct {
	Known      bool // the user exists
	Enabled    bool
	TokensFrom time.Time // tokens last used before this are withdrawn; zero: none are
	Roles      []Role
	Setup      Setup // of the application; not enabled if it was disabled or never set up
}

// Rights is a number that changes with each change of users, of applications that are set up and of data
// debits. It is valid within one open vault only.
type Rights int64

// Recognise returns the Caller of a credential, or ErrWithdrawn. An application that is unknown, disabled or
// not set up becomes a caller without roles: it is refused everything, but not told to log in again.
func Recognise(c Credential, s Standing, at Rights) (Caller, error) {
	if !s.Known || !s.Enabled || !s.TokensFrom.IsZero() && c.Used.Unix() < s.TokensFrom.Unix() {
		return Caller{}, ErrWithdrawn
	}
	caller := User(c.User, s.Roles, c.Scope)
	if c.Application != "" {
		owner := User(c.User, s.Roles, "").IsOwner()
		caller = Application(c.Application, c.User, nil)
		if owner && s.Setup.Enabled {
			caller.roles = s.Setup.granted(c)
		}
	}
	caller.credential, caller.at = &c, at
	return caller, nil
}

// Credential returns the credential that the caller was recognised by; nil if it has no token: a Function, or
// the operator.
func (c Caller) Credential() *Credential { return c.credential }

// RecognisedAt is the state of rights when the caller was recognised.
func (c Caller) RecognisedAt() Rights { return c.at }

// LetIn returns the caller with the permission that its route asked for. Renew asks for it again.
func (c Caller) LetIn(p *Permission) Caller {
	c.route = p
	return c
}

// Renew returns the caller with its present rights. ErrWithdrawn, or ErrRevoked if the request would not be
// admitted any more.
func (c Caller) Renew(s Standing, at Rights) (Caller, error) {
	if c.credential == nil {
		return c, nil
	}
	fresh, err := Recognise(*c.credential, s, at)
	if err != nil {
		return Caller{}, err
	}
	if c.route != nil && !fresh.May(*c.route) {
		return Caller{}, ErrRevoked
	}
	return fresh.LetIn(c.route), nil
}

// During limits a Function's caller to one run: it reads nothing once the run has ended or the Function is
// disabled.
func (c Caller) During(run hat.RunID) Caller {
	c.run = run
	return c
}

// Run returns the run given to During; zero: none.
func (c Caller) Run() hat.RunID { return c.run }
