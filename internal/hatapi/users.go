package hatapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// grantable are the roles that this API can give to a user. The roles owner and platform are fixed with the
// HAT.
var grantable = []string{
	access.TitleValidate, access.TitleDataDebit, access.TitleDataCredit, access.TitleNamespaceWrite, access.TitleNamespaceRead,
	access.TitleAppStatusRead, access.TitleListApps,
}

// ofPartners are the roles that callers other than the Owner may give. None of them shows a record or takes
// part in another user's data debit.
var ofPartners = []access.Role{{Title: access.TitleValidate}, {Title: access.TitleDataCredit}, {Title: access.TitleDataDebit}}

// mayManage refuses to give roles that the caller may not give, and to change a user who has such roles.
// Otherwise a caller who may create users could obtain every right.
func mayManage(c access.Caller, roles []access.Role) error {
	more := func(r access.Role) bool { return !slices.Contains(ofPartners, r) }
	if !c.IsOwner() && slices.ContainsFunc(roles, more) {
		return controller(http.StatusForbidden, "Forbidden", "Only the owner manages users with such roles")
	}
	return nil
}

// privileged reports whether u is the Owner or a platform. This API neither creates nor changes such users.
func privileged(u vault.User) bool {
	return slices.ContainsFunc(u.Roles, func(r access.Role) bool {
		return r.Title == access.TitleOwner || r.Title == access.TitlePlatform
	})
}

// deletedName returns the name of a deleted user. The row stays, because records name their writer.
func deletedName(id hat.UserID) string { return deletedPrefix + id.String() }

const deletedPrefix = vault.DeletedUser

// isDeleted reports whether u was deleted. Nobody else can have such a name, and nobody can log in without a
// password.
func isDeleted(u vault.User) bool {
	return u.Username == deletedName(u.ID) && len(u.PasswordHash) == 0 && !u.Enabled
}

func noSuchUser(id string) *edge.Error {
	return controller(http.StatusNotFound, "No such User", fmt.Sprintf("User %s does not exist", edge.Clip(id)))
}

func invalidUser(cause string) *edge.Error {
	return controller(http.StatusBadRequest, "Invalid User", cause)
}

// Values of existing in userBody.
const (
	ofNew      = false
	ofExisting = true
)

// userBody reads the body of create and update: {userId,email,pass,name,role|roles}. It does not keep name: a
// user is known by the username, which the original calls email.
func (s *API) userBody(w *edge.Recorder, q *edge.Request, existing bool) (u vault.User, err error) {
	text, err := q.JSON(w)
	if err != nil {
		return u, err
	}
	o, err := document(text)
	if err != nil {
		return u, err
	}
	id, err := o.optionalText("userId")
	if err != nil {
		return u, err
	}
	if id != "" {
		if u.ID, err = hat.ParseUserID(id); err != nil {
			return u, o.wrongAt("userId", "error.expected.uuid")
		}
	}
	if u.Username, err = o.text("email"); err != nil {
		return u, err
	}
	if u.Username == "" || len(u.Username) > 256 || strings.HasPrefix(u.Username, deletedPrefix) {
		return u, o.wrongAt("email", "error.invalid")
	}
	if u.Roles, err = rolesOf(o); err != nil {
		return u, err
	}
	if err := mayManage(q.Caller, u.Roles); err != nil {
		return u, err
	}
	pass, err := o.optionalText("pass")
	if err != nil || pass == "" {
		return u, err
	}
	if existing && !q.Caller.IsOwner() {
		return u, controller(http.StatusForbidden, "Forbidden", "Only the owner sets the password of another user")
	}
	u.PasswordHash, err = s.passwordHash(q, o, pass)
	return u, err
}

// passwordHash keeps a bcrypt hash unchanged, because existing clients send one, and hashes a password.
func (s *API) passwordHash(q *edge.Request, o object, pass string) ([]byte, error) {
	if bcryptHash.MatchString(pass) {
		if cost, err := bcrypt.Cost([]byte(pass)); err != nil || cost > s.Logins.HighestCost() {
			return nil, o.wrongAt("pass", "error.invalid")
		}
		return []byte(pass), nil
	}
	if err := checkPassword(o, "pass", pass, q.HAT.Domain.String()); err != nil {
		return nil, err
	}
	hash, err := s.Logins.Hash(q.Context(), q.HAT.ID, pass)
	if err != nil {
		return nil, err
	}
	return hash, nil
}

// bcryptHash matches what bcrypt can compare with. A comparison with a malformed hash would fail immediately,
// which would reveal that the user exists. A hash with a higher cost than the server's would make each login
// at the HAT cost as much.
var bcryptHash = regexp.MustCompile(`^\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// MaxRoles bounds the roles of one user, because every login and every list reads them.
const MaxRoles = 64

func rolesOf(o object) ([]access.Role, error) {
	roles := []access.Role{}
	if raw, found := o.optional("roles"); found {
		if json.Unmarshal([]byte(raw), &roles) != nil {
			return nil, o.wrongAt("roles", "error.expected.jsarray")
		}
	}
	role, err := o.optionalText("role")
	if err != nil {
		return nil, err
	}
	if role != "" {
		roles = append(roles, access.Role{Title: role})
	}
	different := roles[:0]
	for _, r := range roles {
		if !slices.Contains(different, r) {
			different = append(different, r)
		}
		if len(different) > MaxRoles {
			return nil, invalidUser(fmt.Sprintf("A user has at most %d roles", MaxRoles))
		}
	}
	roles = different
	for _, r := range roles {
		if !slices.Contains(grantable, r.Title) || len(r.Detail) > 256 {
			return nil, invalidUser("Users with such a role can not be created")
		}
	}
	return roles, nil
}

// Parsed names and roles of a user take userFactor times their stored size.
const userFactor = 8

// listUsers: GET /users/user. It encodes one user after the other: beside the output buffer, only one user is
// in memory.
func (s *API) listUsers(w *edge.Recorder, q *edge.Request) error {
	size, held := 0, int64(0)
	room := func(stored int) error {
		size = stored
		more := userFactor*int64(stored) - held
		if more <= 0 {
			return nil
		}
		held += more
		return q.Grow(more)
	}
	out := q.Spool(w)
	out.Begin()
	err := usersOf(q).EachUser(q.Context(), room, func(u vault.User) error {
		if isDeleted(u) {
			return nil
		}
		return out.Element(userOnWire(u), 512+2*size)
	})
	if err != nil {
		return err
	}
	return out.Finish()
}

// createUser: POST /users/user. The user gets only the roles in the body.
func (s *API) createUser(w *edge.Recorder, q *edge.Request) error {
	u, err := s.userBody(w, q, ofNew)
	if err != nil {
		return err
	}
	if u.ID.IsZero() {
		u.ID = hat.NewUserID()
	}
	u.Enabled = true
	err = documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		if err := mayManage(e.Caller(), u.Roles); err != nil {
			return err
		}
		if n, err := e.CountUsers(deletedPrefix); err != nil {
			return err
		} else if fault := plan.OverUsers(n + 1); fault != nil {
			return &vault.QuotaError{Fault: fault}
		}
		return e.CreateUser(u)
	})
	if errors.Is(err, vault.ErrExists) {
		return controller(http.StatusBadRequest, "Error creating user", "User with such an id or email exists already")
	} else if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusCreated, userOnWire(u))
	return nil
}

// changeUser changes the user in the path. It refuses the Owner, platform users, and users with roles that
// the caller may not give. It treats a deleted user as not found.
func (s *API) changeUser(q *edge.Request, change func(*vault.User)) (changed vault.User, err error) {
	id, err := hat.ParseUserID(q.Params["user"])
	if err != nil {
		return changed, noSuchUser(q.Params["user"])
	}
	err = documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		return e.ChangeUser(id, func(u *vault.User) error {
			if isDeleted(*u) {
				return vault.ErrNotFound
			}
			if privileged(*u) {
				return controller(http.StatusForbidden, "Forbidden", "Owner and platform users can not be changed")
			}
			if err := mayManage(e.Caller(), u.Roles); err != nil {
				return err
			}
			change(u)
			if err := mayManage(e.Caller(), u.Roles); err != nil {
				return err
			}
			changed = *u
			return nil
		})
	})
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return changed, noSuchUser(q.Params["user"])
	case errors.Is(err, vault.ErrExists):
		return changed, invalidUser("User with such an email exists already")
	}
	return changed, err
}

// answerChange calls changeUser and answers with a message.
func (s *API) answerChange(w *edge.Recorder, q *edge.Request, said string, change func(*vault.User)) error {
	if _, err := s.changeUser(q, change); err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, edge.Message(said))
	return nil
}

// enableUser: PUT /users/user/{user}/enable.
func (s *API) enableUser(w *edge.Recorder, q *edge.Request) error {
	return s.answerChange(w, q, "Enabled", func(u *vault.User) { u.Enabled = true })
}

// disableUser: PUT /users/user/{user}/disable. The original answers "Enabled" for both calls, and so does
// this one. From the next request on, the user's tokens are refused.
func (s *API) disableUser(w *edge.Recorder, q *edge.Request) error {
	return s.answerChange(w, q, "Enabled", func(u *vault.User) { u.Enabled = false })
}

// deleteUser: PUT /users/user/{user}/delete. The row stays, because records name their writer. It loses its
// password and roles and gets a reserved name, so that the old name is free again.
func (s *API) deleteUser(w *edge.Recorder, q *edge.Request) error {
	return s.answerChange(w, q, "Account deleted", func(u *vault.User) {
		u.Username, u.PasswordHash, u.Roles, u.Enabled = deletedName(u.ID), nil, nil, false
		u.TokensFrom = nextSecond(s.Now())
	})
}

// updateUser: PUT /users/user/{user}/update. Without pass, the password stays. Only the Owner may send pass,
// because whoever sets a partner's password can log in as the partner. A userId in the body must be the id in
// the path.
func (s *API) updateUser(w *edge.Recorder, q *edge.Request) error {
	wanted, err := s.userBody(w, q, ofExisting)
	if err != nil {
		return err
	}
	if !wanted.ID.IsZero() && !strings.EqualFold(wanted.ID.String(), q.Params["user"]) {
		return noSuchUser(q.Params["user"])
	}
	changed, err := s.changeUser(q, func(u *vault.User) {
		u.Username, u.Roles = wanted.Username, wanted.Roles
		if wanted.PasswordHash != nil {
			u.PasswordHash, u.TokensFrom = wanted.PasswordHash, nextSecond(s.Now())
		}
	})
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusCreated, userOnWire(changed))
	return nil
}
