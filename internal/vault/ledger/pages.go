package ledger

import (
	"context"
	"strings"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// RunsPage returns which runs the page of a list has, with a limit of at least 1, and how many runs there are
// in all. It reads indexes only. access.ErrDenied.
func (v *Vault) RunsPage(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) (p vault.Page[hat.RunID], err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return p, err
	}
	var (
		of, where  []string
		all, older []any
	)
	if !f.IsZero() {
		of, all = append(of, "function = ?"), append(all, f.String())
	}
	where, older = append(where, of...), append(older, all...)
	if !before.IsZero() {
		where, older = append(where, "id < ?"), append(older, before.Bytes())
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		if err := conn.Get(ctx, "SELECT count(*) FROM runs"+whereOf(of), all, &p.Total); err != nil {
			return err
		}
		query := "SELECT id FROM runs" + whereOf(where) + " ORDER BY id DESC LIMIT ?"
		return conn.Each(ctx, query, append(older, limit+1), func(scan func(...any) error) error {
			var b []byte
			if err := scan(&b); err != nil {
				return err
			}
			id, err := runID(b)
			addToPage(&p, id, limit)
			return err
		})
	})
	return p, err
}

// SupersededPage returns which numbers the page of such a list has, with a limit of at least 1, and how many
// there are in all. access.ErrDenied.
func (v *Vault) SupersededPage(ctx context.Context, c access.Caller, by hat.RunID, after int64, limit int) (p vault.Page[int64], err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return p, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		if err := conn.Get(ctx, "SELECT count(*) FROM superseded WHERE by_run = ?", []any{by.Bytes()}, &p.Total); err != nil {
			return err
		}
		query := "SELECT n FROM superseded WHERE by_run = ? AND n > ? ORDER BY n LIMIT ?"
		return conn.Each(ctx, query, []any{by.Bytes(), after, limit + 1}, func(scan func(...any) error) error {
			var n int64
			err := scan(&n)
			addToPage(&p, n, limit)
			return err
		})
	})
	return p, err
}

// addToPage adds the next element to a page of a list, or notes that there are more.
func addToPage[T any](p *vault.Page[T], next T, limit int) {
	if p.Count == limit {
		p.More = true
		return
	}
	if p.Count == 0 {
		p.First = next
	}
	p.Last = next
	p.Count++
}

func whereOf(terms []string) string {
	if len(terms) == 0 {
		return " "
	}
	return " WHERE " + strings.Join(terms, " AND ")
}
