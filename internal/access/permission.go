package access

import (
	"slices"
	"strings"

	"she/internal/hat"
)

// A Permission is one thing somebody may want to do. Who may is fixed where it is made, below: a user needs one of
// the roles in users, an application one of those in apps, and the Owner, or an application the Owner trusts like
// themselves, needs none. A Function has no roles; it may read and write exactly what its Grant names.
type Permission struct {
	users []Role
	apps  []Role
	read  hat.Endpoint // what a Function may do, if the permission is of that kind
	write hat.Endpoint
	// explicit: being the Owner's trusted application is not enough, the role must have been granted by name.
	explicit bool
	// noApps: not even one with role owner; the page is for people.
	noApps bool
	// self: the application of this id may, whatever it was granted.
	self string
	// ownUser: the user of this id may, whatever their roles and scope.
	ownUser string
	// operator: the Operator may, too. Nothing that shows data has it.
	operator bool
}

// anyDetail in a required role is met by a role of that title whatever its detail.
const anyDetail = "*"

// ReadRecords at an endpoint. It is the right to all records there, whoever wrote them.
func ReadRecords(e hat.Endpoint) Permission {
	ns := Role{TitleNamespaceRead, e.Namespace().String()}
	return Permission{users: []Role{ns}, apps: []Role{ns}, read: e}
}

// WriteRecords at an endpoint: add, change, erase all of it.
func WriteRecords(e hat.Endpoint) Permission {
	ns := Role{TitleNamespaceWrite, e.Namespace().String()}
	return Permission{users: []Role{ns}, apps: []Role{ns}, write: e}
}

// HandleOwn erases or links records of the caller's own, by id. A partner that brings data in may, wherever they are;
// others only where they may write.
func HandleOwn(e hat.Endpoint) Permission {
	ns := Role{TitleNamespaceWrite, e.Namespace().String()}
	return Permission{users: []Role{{TitleDataCredit, ""}, ns}, apps: []Role{ns}}
}

// UseBatches is asked besides WriteRecords or HandleOwn by the calls that touch several endpoints at once: batch, change, erase
// and link by id.
func UseBatches() Permission {
	return Permission{users: []Role{{TitleDataCredit, ""}}, apps: []Role{{TitleNamespaceWrite, anyDetail}}}
}

// ListEndpoints of the whole HAT.
func ListEndpoints() Permission {
	return Permission{
		users: []Role{{TitlePlatform, ""}, {TitleDataCredit, ""}},
		apps:  []Role{{TitlePlatform, ""}, {TitleNamespaceWrite, anyDetail}},
	}
}

// ManageQueries is for stored combinators and bundles: they read across namespaces.
func ManageQueries() Permission { return Permission{} }

// ProposeDebit creates a data debit.
func ProposeDebit() Permission {
	partners := []Role{{TitleDataDebit, ""}, {TitlePlatform, ""}}
	return Permission{users: partners, apps: partners}
}

// UseDebit reads one data debit, its values, or proposes other terms for it.
func UseDebit(id string) Permission {
	holder := []Role{{TitleDataDebit, id}}
	return Permission{users: holder, apps: holder}
}

// ChangeDebit writes one: a proposal, other terms, or the Owner's decision. Which of them, the route says.
func ChangeDebit(id string) Permission {
	p := Permission{users: slices.Concat(ProposeDebit().users, UseDebit(id).users)}
	p.apps = p.users
	if app, isOfApp := strings.CutPrefix(id, DebitOfApplication("")); isOfApp {
		// Who disables an application ends what is shared with it.
		p.apps = append(slices.Clone(p.apps), Role{TitleManageApp, app})
	}
	return p
}

// DebitOfApplication is the data debit under which an application is shared data with; setting it up accepts it.
func DebitOfApplication(id string) string { return "app-" + id }

// DecideDebits lists, accepts and cancels data debits.
func DecideDebits() Permission { return Permission{} }

// SeeFunctions lists functions and their state.
func SeeFunctions() Permission {
	return Permission{users: []Role{{TitlePlatform, ""}}, operator: true}
}

// SeeFunction reads the state of one: whoever may list all, or may trigger it.
func SeeFunction(f hat.FunctionID) Permission {
	p := TriggerFunction(f)
	p.operator = true
	return p
}

// SeeConsent reads what a function asks for and was granted: no data, but what the Owner agreed to.
func SeeConsent() Permission { return Permission{operator: true} }

// SwitchFunctions on and off: consent, so the Owner's alone.
func SwitchFunctions() Permission { return Permission{} }

// TriggerFunction runs one now.
func TriggerFunction(f hat.FunctionID) Permission {
	return Permission{
		users: []Role{{TitlePlatform, ""}},
		apps:  []Role{{TitleManageApp, f.String()}},
	}
}

// SeeStorage reads how much a HAT holds and may hold.
func SeeStorage() Permission {
	platform := []Role{{TitlePlatform, ""}}
	return Permission{users: platform, apps: platform, operator: true}
}

// SeeRuns reads what functions did: ids, counts, times, faults.
func SeeRuns() Permission { return Permission{noApps: true, operator: true} }

// SeeLogs reads what functions printed, which is often all they were given: the Owner's own.
func SeeLogs() Permission { return Permission{noApps: true} }

// SteerRuns does again what a failed run was to do, and ends a run in flight: nothing that the grant does not allow.
func SteerRuns() Permission { return Permission{noApps: true, operator: true} }

// ReadFeed reads the data feed.
func ReadFeed() Permission { return Permission{} }

// ManageUsers lists, creates, changes and disables users.
func ManageUsers() Permission {
	return Permission{users: []Role{{TitlePlatform, ""}}, noApps: true}
}

// RememberLogin reads and writes what is remembered of a user's logins: the user's own.
func RememberLogin(userID string) Permission { return Permission{noApps: true, ownUser: userID} }

// ManageAccount changes the password and issues tokens in the Owner's name.
func ManageAccount() Permission { return Permission{noApps: true} }

// ListApplications asks for the list of applications. Which of them are in it is asked for each: ManageApplication.
func ListApplications() Permission {
	return Permission{apps: []Role{{TitleListApps, ""}}}
}

// SeeApplication shows one application and whether it is set up: to who manages it, and to the application itself.
func SeeApplication(id string) Permission {
	return Permission{apps: []Role{{TitleManageApp, id}}, self: id}
}

// ManageApplication sets one up or disables it.
func ManageApplication(id string) Permission {
	return Permission{apps: []Role{{TitleManageApp, id}}}
}

// IssueApplicationToken lets an application log another one in. That it was granted role owner is not enough.
func IssueApplicationToken(id string) Permission {
	return Permission{apps: []Role{{TitleApplicationToken, id}}, explicit: true}
}

// May says whether the caller holds the permission.
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

// Check is May as an error: nil or ErrDenied.
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
