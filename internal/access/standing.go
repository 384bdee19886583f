package access

import (
	"errors"
	"slices"
	"time"

	"she/internal/hat"
)

// Errors of a Caller whose rights are not what they were when the request came.
var (
	// ErrWithdrawn says that the token is worth nothing any more: its user is gone or disabled, or has another password.
	ErrWithdrawn = errors.New("the token was withdrawn")
	// ErrRevoked says that the caller has lost the permission the request was let in with.
	ErrRevoked = errors.New("the permission was revoked")
)

// A Credential is what a token says, once its signature and its times were found right.
type Credential struct {
	User        hat.UserID
	Used        time.Time // its last use, to the second
	Scope       string    // of a user token
	Application string    // empty: a user token
	Granted     []Role    // what the catalogue grants the application; of an unknown one nothing
	Version     string    // of the application in the catalogue
}

// A Setup is what a HAT keeps of an application.
type Setup struct {
	Enabled bool   `json:"enabled"`
	Version string `json:"version"` // that was set up
	// Roles are those that stood in the terms the owner agreed to; nil in setups of before they were kept.
	Roles []Role `json:"roles"`
	// Terms are those the owner agreed to; zero in setups of before they were kept.
	Terms hat.TermsDigest `json:"terms,omitzero"`
	// Homes are the addresses that stood in them, where tokens may go; nil in setups of before they were kept.
	Homes []string `json:"homes"`
}

// Needs says whether the owner has something to agree to that they have not: other terms, or, where nobody kept which terms
// they were, another version.
func (s Setup) Needs(terms hat.TermsDigest, version string) bool {
	if s.Terms.IsZero() {
		return s.Version != version
	}
	return s.Terms != terms
}

// granted are the roles an application has. A setup that names none was agreed to with those of its version: what another
// version asks for is not known to be what the owner read.
func (s Setup) granted(c Credential) []Role {
	if s.Roles == nil && s.Version != c.Version {
		return nil
	}
	return s.Agreed(c.Granted)
}

// Agreed are the roles of the catalogue that the owner has agreed to: what it grants beyond waits for the owner, and what it
// grants no more is gone at once. Of a setup that names no roles, all are.
func (s Setup) Agreed(catalogue []Role) []Role {
	if s.Roles == nil {
		return catalogue
	}
	all := slices.ContainsFunc(s.Roles, func(r Role) bool { return r.Title == TitleOwner })
	return slices.DeleteFunc(slices.Clone(catalogue), func(r Role) bool {
		return !slices.Contains(s.Roles, r) && !(all && r.Title != TitleApplicationToken)
	})
}

// A Standing is what a HAT says of a Credential at one moment.
type Standing struct {
	Known      bool // there is such a user
	Enabled    bool
	TokensFrom time.Time // tokens used last before this are withdrawn; zero: none are
	Roles      []Role
	Setup      Setup // of the application: not enabled if it was not set up, or was disabled
}

// Rights numbers the states of who may do what at a HAT: it is another number after each change of users, of
// applications that are set up and of data debits. Numbers of one open vault mean nothing to another.
type Rights int64

// Recognise makes the Caller of a credential, or ErrWithdrawn. An application that is unknown, not set up or disabled is
// a caller without any role: it is refused everything, not told to log in again.
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

// Credential is what the caller was recognised by; nil if it has no token: a Function, an operator.
func (c Caller) Credential() *Credential { return c.credential }

// RecognisedAt is the state of rights the caller was made under.
func (c Caller) RecognisedAt() Rights { return c.at }

// LetIn is the caller after the route's own permission was asked: Renew asks for it again.
func (c Caller) LetIn(p *Permission) Caller {
	c.route = p
	return c
}

// Renew is the caller as the HAT knows it under other rights. ErrWithdrawn; ErrRevoked if the request that brought it
// would not be let in any more.
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

// During is a Function's caller for one run: it reads nothing once the run has ended, as it does when the Function is
// disabled.
func (c Caller) During(run hat.RunID) Caller {
	c.run = run
	return c
}

// Run is what During was told; zero: nothing.
func (c Caller) Run() hat.RunID { return c.run }
