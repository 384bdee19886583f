// Package access decides who may do what, with pure functions of a Caller and a Permission. It does no I/O.
// The vault asks it before every step that touches Owner data.
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

// A Caller is the maker of a request: a user with a token, an application acting for the Owner, or a
// Function. The zero Caller has no rights.
type Caller struct {
	kind  kind
	user  hat.UserID     // the author of the records it writes
	roles []Role         // of the user, or granted to the application
	app   string         // id of an application
	scope string         // accessScope of the token; empty: none
	grant Grant          // set for Functions
	reads []hat.Endpoint // endpoints that a data debit shares
	run   hat.RunID      // of a Function: it reads only while this run lasts; zero: no such limit

	credential *Credential // of the token; nil: it has none
	route      *Permission // the permission that the request was admitted with; nil: any token was enough
	at         Rights      // the state of rights under which it was recognised
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

// User returns a caller with a user token. scope is the token's accessScope, or "". The Owner's token for an
// unregistered service has the scope "validate" and carries no rights.
func User(id hat.UserID, roles []Role, scope string) Caller {
	return Caller{kind: user, user: id, roles: roles, scope: scope}
}

// Application is a caller with an application token: it acts as the Owner's user within the roles granted to it.
func Application(app string, owner hat.UserID, granted []Role) Caller {
	return Caller{kind: application, user: owner, app: app, roles: granted}
}

// AsFunction returns the engine's caller: it reads what the grant names and writes to the grant's endpoint,
// as the Owner's user.
func AsFunction(owner hat.UserID, g Grant) Caller {
	return Caller{kind: function, user: owner, grant: g}
}

// UnderDebit returns a caller who may use an accepted data debit: it reads the endpoints that the Owner
// agreed to share, during this one request, and nothing else.
func UnderDebit(id hat.UserID, agreed []hat.Endpoint) Caller {
	return Caller{kind: debit, user: id, reads: agreed}
}

// Operator returns the caller of the management socket: it may see that things happened, never the data.
func Operator() Caller { return Caller{kind: operator} }

// UserID is the author of the records that the caller writes.
func (c Caller) UserID() hat.UserID { return c.user }

// ApplicationID is empty unless the caller is an application.
func (c Caller) ApplicationID() string { return c.app }

// Function is zero unless the caller is a Function.
func (c Caller) Function() hat.FunctionID { return c.grant.Function }

// IsOwner reports whether the caller owns every record of the HAT.
func (c Caller) IsOwner() bool {
	return (c.kind == user && c.scopeHolds() && c.has(TitleOwner)) || (c.kind == application && c.has(TitleOwner))
}

func (c Caller) has(title string) bool {
	return slices.ContainsFunc(c.roles, func(r Role) bool { return r.Title == title })
}

// scopeHolds reports whether the token's scope names one of the user's roles. A token that the Owner made for
// an unregistered service only proves the Owner's identity, even if a user has a role of that name. Other
// users can't make such tokens.
func (c Caller) scopeHolds() bool {
	return c.scope == "" || c.has(c.scope) && (c.scope != TitleValidate || !c.has(TitleOwner))
}
