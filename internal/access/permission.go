package access

import (
	"slices"
	"strings"

	"she/internal/hat"
)

// A Permission is one kind of action. The functions below define who holds it: a user needs one of the roles
// in users, an application one of those in apps. The Owner, and an application with role owner, need none. A
// Function has no roles; it may read and write exactly what its Grant names.
type Permission struct {
	users []Role
	apps  []Role
	read  hat.Endpoint // the endpoint that a Function's grant must name
	write hat.Endpoint
	// explicit: an application with role owner needs the role by name too.
	explicit bool
	// noApps: no application may, not even one with role owner.
	noApps bool
	// self: the application with this id may, whatever its roles.
	self string
	// ownUser: the user with this id may, whatever their roles and scope.
	ownUser string
	// operator: the Operator may too. No permission that shows data has it.
	operator bool
}

// anyDetail in a required role accepts a role of that title with any detail.
const anyDetail = "*"

// ReadRecords allows reading all records at an endpoint, whoever wrote them.
func ReadRecords(e hat.Endpoint) Permission {
	ns := Role{TitleNamespaceRead, e.Namespace().String()}
	return Permission{users: []Role{ns}, apps: []Role{ns}, read: e}
}

// WriteRecords allows adding, changing and erasing all records at an endpoint.
func WriteRecords(e hat.Endpoint) Permission {
	ns := Role{TitleNamespaceWrite, e.Namespace().String()}
	return Permission{users: []Role{ns}, apps: []Role{ns}, write: e}
}

// HandleOwn allows erasing and linking the caller's own records by id. A partner that brings data in may do
// so at every endpoint, others only where they may write.
func HandleOwn(e hat.Endpoint) Permission {
	ns := Role{TitleNamespaceWrite, e.Namespace().String()}
	return Permission{users: []Role{{TitleDataCredit, ""}, ns}, apps: []Role{ns}}
}

// UseBatches is needed besides WriteRecords or HandleOwn for calls that touch several endpoints at once:
// batches, and changing, erasing and linking by id.
func UseBatches() Permission {
	return Permission{users: []Role{{TitleDataCredit, ""}}, apps: []Role{{TitleNamespaceWrite, anyDetail}}}
}

// ListEndpoints allows listing the endpoints of the whole HAT.
func ListEndpoints() Permission {
	return Permission{
		users: []Role{{TitlePlatform, ""}, {TitleDataCredit, ""}},
		apps:  []Role{{TitlePlatform, ""}, {TitleNamespaceWrite, anyDetail}},
	}
}

// ManageQueries is for stored combinators and bundles, which read across namespaces.
func ManageQueries() Permission { return Permission{} }

// ProposeDebit allows creating a data debit.
func ProposeDebit() Permission {
	partners := []Role{{TitleDataDebit, ""}, {TitlePlatform, ""}}
	return Permission{users: partners, apps: partners}
}

// UseDebit allows reading one data debit and its values, and proposing other terms for it.
func UseDebit(id string) Permission {
	holder := []Role{{TitleDataDebit, id}}
	return Permission{users: holder, apps: holder}
}

// ChangeDebit allows writing to a data debit: a proposal, other terms, or the Owner's decision. The route
// says which.
func ChangeDebit(id string) Permission {
	p := Permission{users: slices.Concat(ProposeDebit().users, UseDebit(id).users)}
	p.apps = p.users
	if app, isOfApp := strings.CutPrefix(id, DebitOfApplication("")); isOfApp {
		// Whoever may disable the application may end what is shared with it.
		p.apps = append(slices.Clone(p.apps), Role{TitleManageApp, app})
	}
	return p
}

// DebitOfApplication is the id of the data debit that shares data with an application. Setting the
// application up accepts it.
func DebitOfApplication(id string) string { return "app-" + id }

// DecideDebits allows listing, accepting and cancelling data debits.
func DecideDebits() Permission { return Permission{} }

// SeeFunctions allows listing functions and their state.
func SeeFunctions() Permission {
	return Permission{users: []Role{{TitlePlatform, ""}}, operator: true}
}

// SeeFunction allows reading the state of one function, for callers who may list all or may trigger it.
func SeeFunction(f hat.FunctionID) Permission {
	p := TriggerFunction(f)
	p.operator = true
	return p
}

// SeeConsent allows reading what a function asks for and was granted. That is no data.
func SeeConsent() Permission { return Permission{operator: true} }

// SwitchFunctions allows enabling and disabling functions. That is consent, so only the Owner may.
func SwitchFunctions() Permission { return Permission{} }

// TriggerFunction allows running a function now.
func TriggerFunction(f hat.FunctionID) Permission {
	return Permission{
		users: []Role{{TitlePlatform, ""}},
		apps:  []Role{{TitleManageApp, f.String()}},
	}
}

// SeeStorage allows reading how much a HAT holds and may hold.
func SeeStorage() Permission {
	platform := []Role{{TitlePlatform, ""}}
	return Permission{users: platform, apps: platform, operator: true}
}

// SeeRuns allows reading what functions did: ids, counts, times, faults.
func SeeRuns() Permission { return Permission{noApps: true, operator: true} }

// SeeLogs allows reading what functions printed. Functions often print their data, so only the Owner may.
func SeeLogs() Permission { return Permission{noApps: true} }

// SteerRuns allows replaying, skipping and cancelling runs, which does nothing beyond the grant.
func SteerRuns() Permission { return Permission{noApps: true, operator: true} }

// ReadFeed allows reading the data feed.
func ReadFeed() Permission { return Permission{} }

// ManageUsers allows listing, creating, changing and disabling users.
func ManageUsers() Permission {
	return Permission{users: []Role{{TitlePlatform, ""}}, noApps: true}
}

// RememberLogin allows a user to read and write what is remembered of their own logins.
func RememberLogin(userID string) Permission { return Permission{noApps: true, ownUser: userID} }

// ManageAccount allows changing the password and issuing tokens in the Owner's name.
func ManageAccount() Permission { return Permission{noApps: true} }

// ListApplications allows asking for the list of applications. ManageApplication is checked for each one in
// it.
func ListApplications() Permission {
	return Permission{apps: []Role{{TitleListApps, ""}}}
}

// SeeApplication allows reading one application and whether it is set up, to its manager and to the
// application itself.
func SeeApplication(id string) Permission {
	return Permission{apps: []Role{{TitleManageApp, id}}, self: id}
}

// ManageApplication allows setting an application up and disabling it.
func ManageApplication(id string) Permission {
	return Permission{apps: []Role{{TitleManageApp, id}}}
}

// IssueApplicationToken allows an application to log another one in. Role owner is not enough.
func IssueApplicationToken(id string) Permission {
	return Permission{apps: []Role{{TitleApplicationToken, id}}, explicit: true}
}

// May reports whether the caller holds the permission.
func (c Caller) May(p Permission) bool {
	switch c.kind {
	case user:
		return c.scopeHolds() && (c.has(TitleOwner) || c.hasOneOf(p.users)) || p.ownUser != "" && p.ownUser == c.user.String()
	case application:
		return !p.noApps && (c.has(TitleOwner) && !p.explicit || c.hasOneOf(p.apps)) || p.self != "" && p.self == c.app
	case function:
		return !p.write.IsZero() && p.write == c.grant.Output ||
			!p.read.IsZero() && slices.Contains(c.grant.Bundle.Endpoints(), p.read)
	case debit:
		return !p.read.IsZero() && slices.Contains(c.reads, p.read)
	case operator:
		return p.operator
	case nobody:
	}
	return false
}

// Check returns nil if the caller holds the permission, else ErrDenied.
func (c Caller) Check(p Permission) error {
	if !c.May(p) {
		return ErrDenied
	}
	return nil
}

func (c Caller) hasOneOf(required []Role) bool {
	return slices.ContainsFunc(required, func(r Role) bool {
		return slices.ContainsFunc(c.roles, func(have Role) bool {
			return have.Title == r.Title && (have.Detail == r.Detail || r.Detail == anyDetail)
		})
	})
}
