package ownapi

import (
	"context"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// What the calls need of an open vault, by subject. Package ledger documents the methods.

// A Vault offers all of it. The vault that the edge opens must be one.
type Vault interface {
	consents
	runs
	meter
	vault.Chain
	engine.Facts
	engine.Steered
}

type consents interface {
	Agree(ctx context.Context, c access.Caller, f hat.FunctionID, decide func(*vault.FunctionState) (access.Grant, error)) (vault.FunctionState, error)
	Function(ctx context.Context, c access.Caller, f hat.FunctionID) (vault.FunctionState, error)
	FunctionStates(ctx context.Context, c access.Caller) ([]vault.FunctionState, error)
}

type runs interface {
	RunsPage(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) (vault.Page[hat.RunID], error)
	Runs(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) ([]vault.Run, error)
	Run(ctx context.Context, c access.Caller, id hat.RunID) (vault.Run, error)
	RunChanges(ctx context.Context, c access.Caller, after int64, limit int) (changes []vault.RunChange, last int64, err error)
	Superseded(ctx context.Context, c access.Caller, by hat.RunID, after int64, limit int) ([]vault.Superseded, error)
	SupersededPage(ctx context.Context, c access.Caller, by hat.RunID, after int64, limit int) (vault.Page[int64], error)
}

type meter interface {
	Storage(ctx context.Context, c access.Caller) (plan.Held, plan.Storage, error)
}

func consentsOf(q *edge.Request) consents    { return q.Vault.(consents) }
func runsOf(q *edge.Request) runs            { return q.Vault.(runs) }
func storageOf(q *edge.Request) meter        { return q.Vault.(meter) }
func receiptsOf(q *edge.Request) vault.Chain { return q.Vault.(vault.Chain) }
func factsOf(q *edge.Request) engine.Facts   { return q.Vault.(engine.Facts) }
func steered(q *edge.Request) engine.Steered { return q.Vault.(engine.Steered) }
