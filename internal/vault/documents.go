package vault

import (
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// A DocumentKind is a name space of documents. A function's bundle is none of them: it lives in its grant, where
// nobody can replace it by storing another bundle of the same name.
type DocumentKind string

const (
	Combinators DocumentKind = "combinator"
	Bundles     DocumentKind = "bundle"
	Debits      DocumentKind = "debit"       // with bundles of their own, which no stored bundle can change
	Setups      DocumentKind = "application" // which applications the Owner has set up
	Logins      DocumentKind = "login"       // by a user's id: what is remembered of their logins
)

// Reading is the permission to read a document of the kind. What a bundle or debit shares is another question: that
// is asked when records are read.
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

// Writing is the permission to store one.
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

// Listing is the permission to ask for all of the kind. Those that the caller may not read are left out.
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

// A Document is a small named JSON text that belongs to the HAT's settings rather than to its data.
type Document struct {
	Kind    DocumentKind
	ID      string
	Body    []byte
	Number  int64     // in order of creation
	Created time.Time // of the first text under this id
	Updated time.Time
}

// DebitUse is what some data debits take.
type DebitUse struct {
	Debits int
	Bytes  int64 // as they are stored, with all their terms
}

// An Edit is one transaction over documents and users.
type Edit interface {
	// Caller is whose edit it is, with the rights they have by now.
	Caller() access.Caller
	// Find answers ErrNotFound. What is found is for deciding, not for showing: it asks for no permission.
	Find(k DocumentKind, id string) (Document, error)
	// DebitUse is what data debits take: those of a partner, and all. It is counted, not read.
	DebitUse(partner string) (of, all DebitUse, err error)
	// DebitWith is the data debit with a bundle of that name; "" if none has one.
	DebitWith(bundle string) (id string, err error)
	// Put stores the text under the id, whether or not there is one.
	Put(k DocumentKind, id string, body []byte) error
	// CountUsers counts those whose names don't begin with the prefix.
	CountUsers(except string) (int, error)
	// CreateUser: see Users.
	CreateUser(u User) error
	// ChangeUser stores what change makes of a user. ErrNotFound, ErrExists, or change's own error.
	ChangeUser(id hat.UserID, change func(*User) error) error
}
