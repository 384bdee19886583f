package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/vault"
)

const runColumns = `SELECT r.id, r.state, r.plan, g.body, r.ended, r.fault, r.stats, r.asked, r.read_ids, r.duplicates,
	(SELECT run FROM generations WHERE replaced = r.id ORDER BY run DESC LIMIT 1) FROM runs r JOIN grants g ON g.n = r.granted `

// Runs returns at most limit runs of one function (zero: of all) that are older than before (zero: all). A
// limit of 0 or less means 100.
func (v *Vault) Runs(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) (all []vault.Run, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 100
	}
	var (
		where []string
		args  []any
	)
	if !f.IsZero() {
		where, args = append(where, "r.function = ?"), append(args, f.String())
	}
	if !before.IsZero() {
		where, args = append(where, "r.id < ?"), append(args, before.Bytes())
	}
	query := runColumns + whereOf(where)
	err = v.rows.Read(ctx, func(conn Reader) error {
		all, err = runs(ctx, conn, query+" ORDER BY r.id DESC LIMIT ?", append(args, limit)...)
		return err
	})
	return all, err
}

// Run returns one run. Its log is left out for callers who may not see logs. vault.ErrNotFound,
// access.ErrDenied.
func (v *Vault) Run(ctx context.Context, c access.Caller, id hat.RunID) (r vault.Run, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return r, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		found, err := runs(ctx, conn, runColumns+"WHERE r.id = ?", id.Bytes())
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("run %s: %w", id, vault.ErrNotFound)
		}
		if err != nil {
			return err
		}
		r = found[0]
		if !c.May(access.SeeLogs()) {
			return nil
		}
		return conn.Get(ctx, "SELECT log FROM runs WHERE id = ?", []any{id.Bytes()}, &r.Log)
	})
	return r, err
}

func runs(ctx context.Context, c Reader, query string, args ...any) (all []vault.Run, err error) {
	err = c.Each(ctx, query, args, func(scan func(...any) error) error {
		r, err := scanRun(scan)
		all = append(all, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range all {
		err := c.Each(ctx, "SELECT record FROM outputs WHERE run = ? ORDER BY response, ordinal", []any{all[i].Plan.Run.Bytes()},
			func(scan func(...any) error) error {
				var b []byte
				if err := scan(&b); err != nil {
					return err
				}
				id, err := scanRecordID(b)
				all[i].Written = append(all[i].Written, id)
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func scanRun(scan func(...any) error) (r vault.Run, err error) {
	var (
		id, readIDs, by     []byte
		text, body, state   string
		ended               sql.NullInt64
		fault, stats, asked sql.NullString
	)
	if err := scan(&id, &state, &text, &body, &ended, &fault, &stats, &asked, &readIDs, &r.Duplicates, &by); err != nil {
		return r, err
	}
	run, err := runID(id)
	if err != nil {
		return r, err
	}
	g, err := decodeGrant(body)
	if err != nil {
		return r, err
	}
	if r.Plan, err = decodePlan(text, run, g); err != nil {
		return r, err
	}
	r.State, r.Ended = vault.RunState(state), fromMicros(ended)
	if r.Fault, err = parseFault(fault); err != nil {
		return r, err
	}
	if stats.Valid {
		var text statsText
		if err := json.Unmarshal([]byte(stats.String), &text); err != nil {
			return r, errDamagedRow
		}
		r.Stats, r.Kept, r.Superseded = text.Stats, text.Kept, text.Superseded
	}
	if asked.Valid {
		// It was a function's answer, so it is parsed as one.
		b, err := bundle.ParseFunctionBundle([]byte(asked.String))
		if err != nil {
			return r, errDamagedRow
		}
		r.Stats.Bundle = &b
	}
	copy(r.Stats.ReadIDs[:], readIDs)
	r.SupersededBy, err = maybeRun(by)
	return r, err
}

// Receipts calls f with the canonical texts of the entries after number after, oldest first, and the head of
// the whole chain, all as of one moment. receipt.Verify takes both. access.ErrDenied.
func (v *Vault) Receipts(ctx context.Context, c access.Caller, after int64, f func(texts iter.Seq2[[]byte, error], head receipt.Head) error) error {
	if err := c.Check(access.SeeRuns()); err != nil {
		return err
	}
	return v.rows.Read(ctx, func(conn Reader) error {
		head, err := headOf(ctx, conn)
		if err != nil {
			return err
		}
		return f(receiptTexts(ctx, conn, after), head)
	})
}

// Head returns the present head of the chain. Everything that the caller was told before is in it.
// access.ErrDenied.
func (v *Vault) Head(ctx context.Context, c access.Caller) (head receipt.Head, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return head, err
	}
	err = v.rows.ReadOne(ctx, func(conn Reader) error {
		head, err = headOf(ctx, conn)
		return err
	})
	return head, err
}

func headOf(ctx context.Context, r Reader) (head receipt.Head, err error) {
	var hash []byte
	err = r.Get(ctx, "SELECT receipts, head FROM hat", nil, &head.Number, &hash)
	copy(head.Hash[:], hash)
	return head, err
}

// inForce refuses a disclosure under terms of a data debit that were withdrawn or replaced since they were
// read.
func (t *tx) inForce(d vault.Disclosure) error {
	if d.Terms.IsZero() {
		return nil
	}
	document, err := oneDocument(t.ctx, t.Tx, vault.Debits, d.Debit)
	if err != nil {
		return err
	}
	now, err := debit.FromStore(document.Body)
	if err != nil {
		return err
	}
	if terms := now.Active(t.now); terms == nil || now.Terms(*terms).Digest != d.Terms {
		return fmt.Errorf("data debit %s: %w", d.Debit, vault.ErrStale)
	}
	return nil
}

// Disclose adds the receipt that the caller was shown the records. It is durable on return; send the records
// after that. vault.ErrStale if the terms of the data debit are not in force any more.
func (v *Vault) Disclose(ctx context.Context, c access.Caller, d vault.Disclosure) error {
	return v.writeAs(ctx, c, "disclose", nil, func(t *tx, c access.Caller) error {
		t.grows = traces
		if err := t.inForce(d); err != nil {
			return err
		}
		ch := change{places: slices.Clone(d.Endpoints)}
		return t.receipt(receipt.Fact{
			Kind: receipt.Disclosure, User: c.UserID(), Application: c.ApplicationID(), Debit: d.Debit,
			Read: receipt.RecordsOf(d.Records), Endpoints: ch.endpoints(),
		})
	})
}
