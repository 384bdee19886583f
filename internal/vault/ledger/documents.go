package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"she/internal/access"
	"she/internal/debit"
	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/vault"
)

const documentColumns = "SELECT n, id, body, created, updated FROM documents WHERE kind = ? "

func documents(ctx context.Context, c Reader, k vault.DocumentKind, where string, args ...any) (all []vault.Document, err error) {
	err = c.Each(ctx, documentColumns+where, append([]any{string(k)}, args...), func(scan func(...any) error) error {
		d := vault.Document{Kind: k}
		var made, updated sql.NullInt64
		if err := scan(&d.Number, &d.ID, &d.Body, &made, &updated); err != nil {
			return err
		}
		d.Created, d.Updated = fromMicros(made), fromMicros(updated)
		all = append(all, d)
		return nil
	})
	return all, err
}

const newestFirst = "ORDER BY n DESC"

func oneDocument(ctx context.Context, c Reader, k vault.DocumentKind, id string) (vault.Document, error) {
	all, err := documents(ctx, c, k, "AND id = ?", id)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s %.80q: %w", k, id, vault.ErrNotFound)
	}
	if err != nil {
		return vault.Document{}, err
	}
	return all[0], nil
}

// Document returns one document. vault.ErrNotFound, access.ErrDenied.
func (v *Vault) Document(ctx context.Context, c access.Caller, k vault.DocumentKind, id string) (d vault.Document, err error) {
	if err := c.Check(k.Reading(id)); err != nil {
		return d, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		d, err = oneDocument(ctx, conn, k, id)
		return err
	})
	return d, err
}

// Documents returns the documents of a kind that the caller may read, the newest first.
func (v *Vault) Documents(ctx context.Context, c access.Caller, k vault.DocumentKind) (all []vault.Document, err error) {
	if err := c.Check(k.Listing()); err != nil {
		return nil, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		all, err = documents(ctx, conn, k, newestFirst)
		return err
	})
	return slices.DeleteFunc(all, func(d vault.Document) bool { return !c.May(k.Reading(d.ID)) }), err
}

// EachDocument calls f with the documents of a kind that the caller may read, the newest first. Only one is
// in memory at a time, and f may be slow: each is read in a snapshot of its own. Documents that are stored
// meanwhile may be included or not.
func (v *Vault) EachDocument(ctx context.Context, c access.Caller, k vault.DocumentKind, f func(vault.Document) error) error {
	if err := c.Check(k.Listing()); err != nil {
		return err
	}
	for below := int64(math.MaxInt64); ; {
		var next []vault.Document
		err := v.rows.Read(ctx, func(conn Reader) (err error) {
			next, err = documents(ctx, conn, k, "AND n < ? ORDER BY n DESC LIMIT 1", below)
			return err
		})
		if err != nil || len(next) == 0 {
			return err
		}
		if below = next[0].Number; !c.May(k.Reading(next[0].ID)) {
			continue
		}
		if err := f(next[0]); err != nil {
			return err
		}
	}
}

// EditDocuments runs edit in one transaction: everything that it put is durable on return or, after an error,
// nothing is. Other writers wait, so edit must be quick. The error is edit's own, access.ErrDenied or
// vault.ErrFull.
func (v *Vault) EditDocuments(ctx context.Context, c access.Caller, edit func(vault.Edit) error) error {
	return v.writeAs(ctx, c, "documents", nil, func(t *tx, c access.Caller) error { return edit(documentEdit{t, c}) })
}

type documentEdit struct {
	t *tx
	c access.Caller
}

func (e documentEdit) Caller() access.Caller { return e.c }

func (e documentEdit) Find(k vault.DocumentKind, id string) (vault.Document, error) {
	return oneDocument(e.t.ctx, e.t.Tx, k, id)
}

func (e documentEdit) DebitUse(partner string) (of, all vault.DebitUse, err error) {
	const use = "SELECT count(*), coalesce(sum(bytes), 0) FROM debits "
	if err = e.t.Get(e.t.ctx, use+"WHERE partner = ?", []any{partner}, &of.Debits, &of.Bytes); err == nil {
		err = e.t.Get(e.t.ctx, use, nil, &all.Debits, &all.Bytes)
	}
	return of, all, err
}

func (e documentEdit) DebitWith(bundle string) (id string, err error) {
	err = e.t.Get(e.t.ctx, "SELECT debit FROM debit_bundles WHERE name = ?", []any{bundle}, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// countDebit updates the tables that say how much a debit takes, so that nobody has to read the debits for
// that.
func (t *tx) countDebit(id string, body []byte) error {
	d, err := debit.FromStore(body)
	if err != nil {
		d = debit.Debit{} // without names; its bytes count all the same
	}
	if _, err := t.Exec(t.ctx, `INSERT INTO debits (id, partner, bytes) VALUES (?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET partner = excluded.partner, bytes = excluded.bytes`, id, d.Partner, len(body)); err != nil {
		return err
	}
	if _, err := t.Exec(t.ctx, "DELETE FROM debit_bundles WHERE debit = ?", id); err != nil {
		return err
	}
	for _, name := range d.BundleNames() {
		if _, err := t.Exec(t.ctx, "INSERT INTO debit_bundles (name, debit) VALUES (?, ?) ON CONFLICT DO NOTHING", name, id); err != nil {
			return err
		}
	}
	return nil
}

// decidedDebit writes the receipt of the Owner's decision on a data debit, if the change is a decision.
func (t *tx) decidedDebit(c access.Caller, id string, before, after []byte) error {
	is, err := debit.FromStore(after)
	if err != nil {
		return nil // a debit that can't be read shares nothing
	}
	was, err := debit.FromStore(before)
	if err != nil {
		was = debit.Debit{}
	}
	d := is.Decided(was)
	if d == nil {
		return nil
	}
	ch := change{places: d.Endpoints}
	return t.receipt(receipt.Fact{
		Kind: receipt.Grant, User: c.UserID(), Application: c.ApplicationID(), Debit: id, Outcome: d.Outcome,
		Terms: d.Terms, Endpoints: ch.endpoints(),
	})
}

func (e documentEdit) Put(k vault.DocumentKind, id string, body []byte) error {
	if err := e.c.Check(k.Writing(id)); err != nil {
		return err
	}
	var (
		had    int
		before []byte // of a debit
	)
	err := e.t.Get(e.t.ctx, "SELECT octet_length(body), CASE WHEN kind = ?1 THEN body END FROM documents WHERE kind = ?2 AND id = ?3",
		[]any{string(vault.Debits), string(k), id}, &had, &before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err != nil || len(body)-had > smallGrowth(k) {
		e.t.grows = fully
	}
	if k == vault.Setups || k == vault.Debits {
		e.t.changeRights()
	}
	now := e.t.now.UnixMicro()
	_, err = e.t.Exec(e.t.ctx, `INSERT INTO documents (kind, id, body, created, updated) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, updated = excluded.updated`,
		string(k), id, string(body), now, now)
	if err != nil {
		return err
	}
	if k == vault.Debits {
		if err := e.t.countDebit(id, body); err != nil {
			return err
		}
		if err := e.t.decidedDebit(e.c, id, before, body); err != nil {
			return err
		}
	}
	return e.t.declare(string(k), id, documentFields(k, body))
}

func (e documentEdit) CountUsers(except string) (n int, err error) {
	return countUsers(e.t.ctx, e.t.Tx, except)
}

func (e documentEdit) CreateUser(u vault.User) error {
	e.t.grows = fully
	e.t.changePeople()
	return insertUser(e.t.ctx, e.t.Tx, u)
}

func (e documentEdit) ChangeUser(id hat.UserID, change func(*vault.User) error) error {
	u, err := oneUser(e.t.ctx, e.t.Tx, "id = ?", id.Bytes())
	if err != nil {
		return err
	}
	if err := change(&u); err != nil {
		return err
	}
	if u.ID != id {
		return fmt.Errorf("user %s: a change can't give a user another id", id)
	}
	return e.t.updateUser(u)
}
