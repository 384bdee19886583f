package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

func isOwner(u vault.User) bool {
	return slices.ContainsFunc(u.Roles, func(r access.Role) bool { return r.Title == access.TitleOwner })
}

func userValues(u vault.User) ([]any, error) {
	roles, err := json.Marshal(u.Roles)
	if err != nil {
		return nil, err
	}
	return []any{u.Username, u.PasswordHash, string(roles), isOwner(u), u.Enabled, micros(u.TokensFrom), u.ID.Bytes()}, nil
}

func insertUser(ctx context.Context, w Writer, u vault.User) error {
	values, err := userValues(u)
	if err != nil {
		return err
	}
	_, err = w.Exec(ctx, `INSERT INTO users (username, password, roles, owner, enabled, tokens_from, id)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, values...)
	if errors.Is(err, ErrTaken) {
		return fmt.Errorf("user %s: %w", u.ID, vault.ErrExists)
	}
	return err
}

// CreateUser adds a user. vault.ErrExists if the name or the id is taken, or for a second Owner.
func (v *Vault) CreateUser(ctx context.Context, u vault.User) error {
	return v.write(ctx, "user", func(t *tx) error {
		t.changePeople()
		t.grows = fully
		return insertUser(t.ctx, t.Tx, u)
	})
}

// UpdateUser replaces the user with that id. vault.ErrNotFound.
func (v *Vault) UpdateUser(ctx context.Context, u vault.User) error {
	return v.write(ctx, "user", func(t *tx) error { return t.updateUser(u) })
}

// PutUser stores the result of change for the user with that name, or for a new user with only a name, in one
// transaction. Other writers wait for change. The error is change's own, vault.ErrExists, or a
// *vault.QuotaError if there would be too many users.
func (v *Vault) PutUser(ctx context.Context, username string, change func(*vault.User, bool) error) (u vault.User, err error) {
	err = v.write(ctx, "user", func(t *tx) error {
		u, err = oneUser(t.ctx, t.Tx, "username = ?", username)
		found := err == nil
		if err != nil && !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		if !found {
			u = vault.User{ID: hat.NewUserID(), Username: username}
		}
		id := u.ID
		if err := change(&u, found); err != nil {
			return err
		}
		if u.ID != id {
			return fmt.Errorf("user %s: a change can't give a user another id", id)
		}
		if found {
			return t.updateUser(u)
		}
		if n, err := countUsers(t.ctx, t.Tx, vault.DeletedUser); err != nil {
			return err
		} else if fault := plan.OverUsers(n + 1); fault != nil {
			return &vault.QuotaError{Fault: fault}
		}
		t.changePeople()
		t.grows = fully
		return insertUser(t.ctx, t.Tx, u)
	})
	return u, err
}

// countUsers counts the users whose names do not begin with except.
func countUsers(ctx context.Context, r Reader, except string) (n int, err error) {
	err = r.Get(ctx, "SELECT count(*) FROM users WHERE substr(username, 1, length(?1)) <> ?1", []any{except}, &n)
	return n, err
}

// changePeople is called before a user is changed, to invalidate the cache.
func (t *tx) changePeople() {
	t.peopled = true
	t.v.person.n = 0
	t.changeRights()
}

func (t *tx) updateUser(u vault.User) error {
	t.changePeople()
	values, err := userValues(u)
	if err != nil {
		return err
	}
	had := 0
	err = t.Get(t.ctx, "SELECT octet_length(username) + octet_length(roles) FROM users WHERE id = ?", []any{u.ID.Bytes()}, &had)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if len(u.Username)+len(values[2].(string))-had > smallChange {
		t.grows = fully
	}
	changed, err := t.Exec(t.ctx, `UPDATE users SET username = ?, password = ?, roles = ?, owner = ?, enabled = ?,
		tokens_from = ? WHERE id = ?`, values...)
	switch {
	case errors.Is(err, ErrTaken):
		return fmt.Errorf("user %s: %w", u.ID, vault.ErrExists)
	case err == nil && changed == 0:
		return fmt.Errorf("user %s: %w", u.ID, vault.ErrNotFound)
	}
	return err
}

// UserByName returns vault.ErrNotFound if there is none.
func (v *Vault) UserByName(ctx context.Context, username string) (vault.User, error) {
	return v.user(ctx, "username = ?", username)
}

// UserByID returns vault.ErrNotFound if there is none.
func (v *Vault) UserByID(ctx context.Context, id hat.UserID) (vault.User, error) {
	if err := v.rows.Usable(); err != nil {
		return vault.User{}, err
	}
	u, found, age := v.kept.user(id)
	if found {
		return u, nil
	}
	u, err := v.user(ctx, "id = ?", id.Bytes())
	if err == nil {
		v.kept.keepUser(u, age)
	}
	return u, err
}

// Owner returns the one user with role owner.
func (v *Vault) Owner(ctx context.Context) (vault.User, error) {
	if err := v.rows.Usable(); err != nil {
		return vault.User{}, err
	}
	u, found, age := v.kept.owner()
	if found {
		return u, nil
	}
	u, err := v.user(ctx, "owner")
	if err == nil {
		v.kept.keepOwner(u, age)
	}
	return u, err
}

// EachUser calls f with all users, by name. Only one is in memory at a time, and f may be slow: each is read
// in a snapshot of its own. Before a user is read, room is asked for the bytes of its name and roles; its
// error ends the loop. Users who are added or renamed meanwhile may be included or not.
func (v *Vault) EachUser(ctx context.Context, room func(bytes int) error, f func(vault.User) error) error {
	next := "SELECT username, octet_length(username) + octet_length(roles) FROM users WHERE username >= ? ORDER BY username LIMIT 1"
	for name := ""; ; next = strings.Replace(next, ">=", ">", 1) {
		size := 0
		err := v.rows.Read(ctx, func(c Reader) error { return c.Get(ctx, next, []any{name}, &name, &size) })
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		if err := room(size); err != nil {
			return err
		}
		u, err := v.user(ctx, "username = ? AND octet_length(username) + octet_length(roles) <= CAST(? AS INTEGER)", name, size)
		if errors.Is(err, vault.ErrNotFound) {
			continue // it was renamed or grew meanwhile, and room was not asked for that
		} else if err != nil {
			return err
		}
		if err := f(u); err != nil {
			return err
		}
	}
}

// PasswordCost returns the highest bcrypt cost among the users' passwords; 0 if there is none. A hash is
// "$2a$12$" and more, 60 bytes in all.
func (v *Vault) PasswordCost(ctx context.Context) (cost int, err error) {
	const highest = `SELECT substr(password, 5, 2) AS cost FROM users WHERE length(password) = 60 AND substr(password, 1, 2) = ?
		AND substr(password, 5, 1) BETWEEN ?2 AND ?3 AND substr(password, 6, 1) BETWEEN ?2 AND ?3 ORDER BY cost DESC LIMIT 1`
	var digits []byte
	err = v.rows.Read(ctx, func(c Reader) error {
		return c.Get(ctx, highest, []any{[]byte("$2"), []byte("0"), []byte("9")}, &digits)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(digits))
}

const userColumns = "SELECT id, username, password, roles, enabled, tokens_from FROM users "

func (v *Vault) user(ctx context.Context, where string, args ...any) (u vault.User, err error) {
	err = v.rows.ReadOne(ctx, func(c Reader) error {
		u, err = oneUser(context.WithoutCancel(ctx), c, where, args...)
		return err
	})
	return u, err
}

func oneUser(ctx context.Context, c Reader, where string, args ...any) (u vault.User, err error) {
	u, err = scanUser(func(into ...any) error { return c.Get(ctx, userColumns+"WHERE "+where, args, into...) })
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("user: %w", vault.ErrNotFound)
	}
	return u, err
}

func scanUser(scan func(...any) error) (u vault.User, err error) {
	var (
		id    []byte
		roles string
		from  sql.NullInt64
	)
	if err := scan(&id, &u.Username, &u.PasswordHash, &roles, &u.Enabled, &from); err != nil {
		return u, err
	}
	if u.ID, err = userID(id); err != nil {
		return u, err
	}
	if err := json.Unmarshal([]byte(roles), &u.Roles); err != nil {
		return u, errDamagedRow
	}
	u.TokensFrom = fromMicros(from)
	return u, nil
}

func fromMicros(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}
