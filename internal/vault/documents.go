package vault

import (
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// A DocumentKind is a kind of documents with ids of its own. The bundle of a function is not a document: it
// is in the grant, where storing another bundle under its name changes nothing.
type DocumentKind string

const (
	Combinators DocumentKind = "combinator"
	Bundles     DocumentKind = "bundle"
	Debits      DocumentKind = "debit"       // they contain their bundles, so stored bundles don't change them
	Setups      DocumentKind = "application" // which applications the Owner has set up
	Logins      DocumentKind = "login"       // by user id: what is remembered of their logins
)

// Reading returns the permission to read a document of the kind. Whether the caller may see the records that
// a bundle or debit selects is checked when they are read.
func (k DocumentKind) Reading(id string) access.Permission {
	switch k {
	case Debits:
		return access.UseDebit(id)
	case Setups:
		return access.SeeApplication(id)
	case Logins:
		return access.RememberLogin(id)
	default:
		return access.ManageQueries()
	}
}

// Writing returns the permission to store one.
func (k DocumentKind) Writing(id string) access.Permission {
	switch k {
	case Debits:
		return access.ChangeDebit(id)
	case Setups:
		return access.ManageApplication(id)
	case Logins:
		return access.RememberLogin(id)
	default:
		return access.ManageQueries()
	}
}

// Listing returns the permission to list the kind. Documents that the caller may not read are left out.
func (k DocumentKind) Listing() access.Permission {
	switch k {
	case Debits:
		return access.DecideDebits()
	case Setups:
		return access.ListApplications()
	default:
		return access.ManageQueries()
	}
}

// A Document is a small named JSON text: a setting of the HAT, not data.
type Document struct {
	Kind    DocumentKind
	ID      string
	Body    []byte
	Number  int64     // in order of creation
	Created time.Time // when the first text was stored under this id
	Updated time.Time
}

// DebitUse is how much some data debits take.
type DebitUse struct {
	Debits int
	Bytes  int64 // of their stored texts, with all former terms
}

// An Edit is one transaction over documents and users.
type Edit interface {
	// Caller is the caller of the edit, with their present rights.
	Caller() access.Caller
	// Find returns ErrNotFound. It checks no permission: its result is for decisions, not for showing.
	Find(k DocumentKind, id string) (Document, error)
	// DebitUse returns how much the data debits of a partner take, and how much all take. It reads counters,
	// not the debits.
	DebitUse(partner string) (of, all DebitUse, err error)
	// DebitWith returns the data debit that has a bundle with that name, or "".
	DebitWith(bundle string) (id string, err error)
	// Put stores the text under the id. It replaces an earlier one.
	Put(k DocumentKind, id string, body []byte) error
	// CountUsers counts the users whose names don't begin with the prefix.
	CountUsers(except string) (int, error)
	// CreateUser: see Users.
	CreateUser(u User) error
	// ChangeUser stores what change makes of a user. ErrNotFound, ErrExists, or change's own error.
	ChangeUser(id hat.UserID, change func(*User) error) error
}
