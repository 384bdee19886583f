package ledger

import (
	"context"
	"encoding/json"
	"errors"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// changeRights is called before a transaction changes who may do what. From here on, callers of jobs in the same batch
// are asked for again; those of later ones too, because the number is published only when the batch has ended.
func (t *tx) changeRights() { t.v.rights++ }

// Recognise makes the caller of a token, and tells whose it is. access.ErrWithdrawn.
func (v *Vault) Recognise(ctx context.Context, c access.Credential) (access.Caller, vault.User, error) {
	// Before anything is read: what changes meanwhile makes it another number.
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

// recognise is the caller as this transaction finds them. moved is false, and nothing is read, if no right has changed.
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

// writeAs is write for a caller: f is given who they are by then. allowed, which may be nil, is asked before anybody
// waits, and again in the transaction if rights have changed.
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

// holding is writeAs's allowed for one permission.
func holding(p access.Permission) func(access.Caller) error {
	return func(c access.Caller) error { return c.Check(p) }
}

// Renew is a caller as the HAT knows it now, for a request that lasts: each method that writes does the same in its own
// transaction. moved is false if no right has changed since. It may be called while a snapshot is being read, and costs
// nothing then. access.ErrWithdrawn, access.ErrRevoked.
//
// It needs no reader's connection: somebody who has one may ask.
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

// inRun says whether a run still has its lease: a function that was disabled has not.
func inRun(ctx context.Context, c Reader, run hat.RunID) (held bool, err error) {
	err = c.Get(ctx, "SELECT EXISTS (SELECT 1 FROM leases WHERE run = ?)", []any{run.Bytes()}, &held)
	return held, err
}
