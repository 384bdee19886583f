package ledger

import (
	"context"
	"encoding/json"
	"errors"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// changeRights is called before a transaction changes who may do what. Callers of later jobs in the same
// batch are recognised again, and so are those of later batches, because the new number is published only at
// the end of the batch.
func (t *tx) changeRights() { t.v.rights++ }

// Recognise returns the caller of a token, and its user. access.ErrWithdrawn.
func (v *Vault) Recognise(ctx context.Context, c access.Credential) (access.Caller, vault.User, error) {
	// Read this first: a change during the reads below then leads to another number.
	at := access.Rights(v.published.Load())
	u, err := v.UserByID(ctx, c.User)
	if err != nil && !errors.Is(err, vault.ErrNotFound) {
		return access.Caller{}, u, err
	}
	standing := standingOf(u, err == nil)
	if c.Application != "" && err == nil {
		err = v.rows.ReadOne(ctx, func(conn Reader) (err error) {
			standing.Setup, err = setupOf(context.WithoutCancel(ctx), conn, c.Application)
			return err
		})
		if err != nil {
			return access.Caller{}, u, err
		}
	}
	caller, err := access.Recognise(c, standing, at)
	return caller, u, err
}

func standingOf(u vault.User, found bool) access.Standing {
	return access.Standing{Known: found, Enabled: u.Enabled, TokensFrom: u.TokensFrom, Roles: u.Roles}
}

var errSetup = errors.New("the stored setup of an application can't be read")

func setupOf(ctx context.Context, c Reader, application string) (s access.Setup, err error) {
	d, err := oneDocument(ctx, c, vault.Setups, application)
	if errors.Is(err, vault.ErrNotFound) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	if json.Unmarshal(d.Body, &s) != nil {
		return access.Setup{}, errSetup
	}
	return s, nil
}

// recognise returns the caller with the rights in this transaction. moved is false, and nothing is read, if
// no right has changed.
func (t *tx) recognise(c access.Caller) (fresh access.Caller, moved bool, err error) {
	credential := c.Credential()
	if credential == nil || int64(c.RecognisedAt()) == t.v.rights {
		return c, false, nil
	}
	u, err := oneUser(t.ctx, t.Tx, "id = ?", credential.User.Bytes())
	if err != nil && !errors.Is(err, vault.ErrNotFound) {
		return c, true, err
	}
	standing := standingOf(u, err == nil)
	if credential.Application != "" {
		if standing.Setup, err = setupOf(t.ctx, t.Tx, credential.Application); err != nil {
			return c, true, err
		}
	}
	fresh, err = c.Renew(standing, access.Rights(t.v.rights))
	return fresh, true, err
}

// writeAs is write for a caller; f gets the caller with their present rights. allowed, which may be nil, is
// checked before waiting, and again in the transaction if rights have changed.
func (v *Vault) writeAs(ctx context.Context, c access.Caller, op string, allowed func(access.Caller) error, f func(*tx, access.Caller) error) error {
	if allowed != nil {
		if err := allowed(c); err != nil {
			return err
		}
	}
	return v.write(ctx, op, func(t *tx) error {
		c, moved, err := t.recognise(c)
		if err != nil {
			return err
		}
		if moved && allowed != nil {
			if err := allowed(c); err != nil {
				return err
			}
		}
		return f(t, c)
	})
}

// holding returns the check of one permission for writeAs.
func holding(p access.Permission) func(access.Caller) error {
	return func(c access.Caller) error { return c.Check(p) }
}

// Renew returns a caller with their present rights, for a request that lasts; methods that write do this
// themselves. moved is false if no right has changed. It may be called while a snapshot is being read, and
// needs no connection then. access.ErrWithdrawn, access.ErrRevoked.
func (v *Vault) Renew(ctx context.Context, c access.Caller) (fresh access.Caller, moved bool, err error) {
	if c.Credential() == nil || int64(c.RecognisedAt()) == v.published.Load() {
		if err := v.rows.Usable(); err != nil {
			return c, false, err
		}
		return c, false, nil
	}
	err = v.write(ctx, "renew", func(t *tx) error {
		fresh, moved, err = t.recognise(c)
		return err
	})
	return fresh, moved, err
}

// inRun reports whether a run still has its lease. It loses it when the function is disabled.
func inRun(ctx context.Context, c Reader, run hat.RunID) (held bool, err error) {
	err = c.Get(ctx, "SELECT EXISTS (SELECT 1 FROM leases WHERE run = ?)", []any{run.Bytes()}, &held)
	return held, err
}
