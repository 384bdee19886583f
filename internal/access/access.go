// Package access decides who may do what: pure functions of a Caller and a Permission. It reads nothing and stores
// nothing; the vault asks it before every step that touches Owner data.
package access

import (
	"errors"
	"slices"

	"she/internal/hat"
)

// ErrDenied says that the caller lacks the permission. It never says whether the thing exists.
var ErrDenied = errors.New("access denied")

// Titles of roles, as they stand in tokens and in the HAT API.
const (
	TitleOwner            = "owner"
	TitlePlatform         = "platform"
	TitleValidate         = "validate"
	TitleDataDebit        = "datadebit"
	TitleDataCredit       = "datacredit"
	TitleNamespaceWrite   = "namespacewrite"
	TitleNamespaceRead    = "namespaceread"
	TitleApplicationToken = "retrieveapplicationtoken"
	TitleManageApp        = "applicationmanage"
	TitleAppStatusRead    = "applicationstatusread"
	TitleListApps         = "applicationlist"
)

// A Role is a named right, some with a parameter: {"role":"namespacewrite","detail":"rumpel"}.
type Role struct {
	Title  string `json:"role"`
	Detail string `json:"detail,omitempty"`
}

// A Caller is whoever makes this request: a user with a token, an application acting for the Owner, or a Function.
// The zero Caller may nothing.
type Caller struct {
	kind  kind
	user  hat.UserID     // whom records are written as
	roles []Role         // of the user, or granted to the application
	app   string         // set for applications
	scope string         // accessScope of the token; empty: none
	grant Grant          // set for Functions
	reads []hat.Endpoint // set under a debit
	run   hat.RunID      // of a Function: it reads for as long as this run lasts; zero: not bound to one

	credential *Credential // what it was recognised by; nil: it has no token
	route      *Permission // with which the request was let in; nil: any token would do
	at         Rights      // under which it was recognised
}

type kind int

const (
	nobody kind = iota
	user
	application
	function
	debit
	operator
)

// User is a caller with a user token. scope is the token's accessScope, empty if it has none; the Owner's token for an
// unregistered service has "validate" and then carries no other right.
func User(id hat.UserID, roles []Role, scope string) Caller {
	return Caller{kind: user, user: id, roles: roles, scope: scope}
}

// Application is a caller with an application token: it acts as the Owner's user within the roles granted to it.
func Application(app string, owner hat.UserID, granted []Role) Caller {
	return Caller{kind: application, user: owner, app: app, roles: granted}
}

// AsFunction is the engine's caller: it reads what the grant names and writes at the grant's one endpoint, as the
// Owner's user.
func AsFunction(owner hat.UserID, g Grant) Caller {
	return Caller{kind: function, user: owner, grant: g}
}

// UnderDebit is whoever may use an accepted data debit: it reads the endpoints the Owner agreed to share, for as long
// as this one request takes, and does nothing else.
func UnderDebit(id hat.UserID, agreed []hat.Endpoint) Caller {
	return Caller{kind: debit, user: id, reads: agreed}
}

// Operator is who runs the machine, at its management socket: may see that things happened, never the data.
func Operator() Caller { return Caller{kind: operator} }

// UserID is whom records are written as.
func (c Caller) UserID() hat.UserID { return c.user }

// ApplicationID is empty unless the caller is an application.
func (c Caller) ApplicationID() string { return c.app }

// Function is zero unless the caller is a Function.
func (c Caller) Function() hat.FunctionID { return c.grant.Function }

// IsOwner says that every record of the HAT is the caller's own.
func (c Caller) IsOwner() bool {
	return (c.kind == user && c.scopeHolds() && c.has(TitleOwner)) || (c.kind == application && c.has(TitleOwner))
}

func (c Caller) has(title string) bool {
	return slices.ContainsFunc(c.roles, func(r Role) bool { return r.Title == title })
}

// scopeHolds: a user token's scope must name one of the user's roles. One the Owner made for an unregistered service
// proves who they are and nothing else, even if somebody gave them a role of that name; other users make none.
func (c Caller) scopeHolds() bool {
	return c.scope == "" || c.has(c.scope) && (c.scope != TitleValidate || !c.has(TitleOwner))
}
