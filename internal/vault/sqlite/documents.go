package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

const documentColumns = "SELECT id, body, created, updated FROM documents WHERE kind = ? "

func documents(ctx context.Context, c *conn, k vault.DocumentKind, where string, args ...any) (all []vault.Document, err error) {
	err = c.each(ctx, documentColumns+where, append([]any{string(k)}, args...), func(scan func(...any) error) error {
		d := vault.Document{Kind: k}
		var made, updated sql.NullInt64
		if err := scan(&d.ID, &d.Body, &made, &updated); err != nil {
			return err
		}
		d.Created, d.Updated = fromMicros(made), fromMicros(updated)
		all = append(all, d)
		return nil
	})
	return all, err
}

const newestFirst = "ORDER BY n DESC"

func oneDocument(ctx context.Context, c *conn, k vault.DocumentKind, id string) (vault.Document, error) {
	all, err := documents(ctx, c, k, "AND id = ?", id)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s %.80q: %w", k, id, vault.ErrNotFound)
	}
	if err != nil {
		return vault.Document{}, err
	}
	return all[0], nil
}

// Document: see vault.Documents.
func (v *Vault) Document(ctx context.Context, c access.Caller, k vault.DocumentKind, id string) (d vault.Document, err error) {
	if err := c.Check(k.Reading(id)); err != nil {
		return d, err
	}
	err = v.read(ctx, func(conn *conn) error {
		d, err = oneDocument(ctx, conn, k, id)
		return err
	})
	return d, err
}

// Documents: see vault.Documents.
func (v *Vault) Documents(ctx context.Context, c access.Caller, k vault.DocumentKind) (all []vault.Document, err error) {
	if err := c.Check(k.Listing()); err != nil {
		return nil, err
	}
	err = v.read(ctx, func(conn *conn) error {
		all, err = documents(ctx, conn, k, newestFirst)
		return err
	})
	return slices.DeleteFunc(all, func(d vault.Document) bool { return !c.May(k.Reading(d.ID)) }), err
}

// EditDocuments: see vault.Documents.
func (v *Vault) EditDocuments(ctx context.Context, c access.Caller, edit func(vault.Edit) error) error {
	return v.write(ctx, "documents", func(t *tx) error { return edit(documentEdit{t, c}) })
}

type documentEdit struct {
	t *tx
	c access.Caller
}

func (e documentEdit) Find(k vault.DocumentKind, id string) (vault.Document, error) {
	return oneDocument(e.t.ctx, e.t.conn, k, id)
}

func (e documentEdit) All(k vault.DocumentKind) ([]vault.Document, error) {
	return documents(e.t.ctx, e.t.conn, k, newestFirst)
}

func (e documentEdit) Put(k vault.DocumentKind, id string, body []byte) error {
	if err := e.c.Check(k.Writing(id)); err != nil {
		return err
	}
	now := e.t.now.UnixMicro()
	_, err := e.t.exec(e.t.ctx, `INSERT INTO documents (kind, id, body, created, updated) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, updated = excluded.updated`,
		string(k), id, string(body), now, now)
	if err != nil {
		return err
	}
	return e.t.declare(string(k), id, documentFields(k, body))
}

func (e documentEdit) ChangeUser(id hat.UserID, change func(*vault.User) error) error {
	u, err := oneUser(e.t.ctx, e.t.conn, "id = ?", id.Bytes())
	if err != nil {
		return err
	}
	if err := change(&u); err != nil {
		return err
	}
	if u.ID != id {
		return fmt.Errorf("user %s: a change may not give another id", id)
	}
	return e.t.updateUser(u)
}
