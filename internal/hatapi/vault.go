package hatapi

import (
	"context"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// What the calls need of an open vault, by subject. Package ledger documents the methods.

// A Vault offers all of it. The vault that the edge opens must be one.
type Vault interface {
	records
	reader
	documents
	functions
	users
	discloser
	meter
}

type records interface {
	Append(ctx context.Context, c access.Caller, drafts []hat.Draft, skipDuplicates bool) ([]hat.Record, error)
	Update(ctx context.Context, c access.Caller, changes []vault.Change) ([]hat.Record, error)
	Erase(ctx context.Context, c access.Caller, ids []hat.RecordID) error
	EraseEndpoint(ctx context.Context, c access.Caller, e hat.Endpoint) error
	Link(ctx context.Context, c access.Caller, ids []hat.RecordID) error
	Record(ctx context.Context, c access.Caller, id hat.RecordID) (hat.Record, error)
	EachEndpoint(ctx context.Context, c access.Caller, f func(hat.Endpoint) error) error
}

type reader interface {
	Read(ctx context.Context, c access.Caller, f func(src bundle.Source, upto hat.Seq) error) error
}

type documents interface {
	Document(ctx context.Context, c access.Caller, k vault.DocumentKind, id string) (vault.Document, error)
	EachDocument(ctx context.Context, c access.Caller, k vault.DocumentKind, f func(vault.Document) error) error
	EditDocuments(ctx context.Context, c access.Caller, edit func(vault.Edit) error) error
}

type functions interface {
	Agree(ctx context.Context, c access.Caller, f hat.FunctionID, decide func(*vault.FunctionState) (access.Grant, error)) (vault.FunctionState, error)
	Disable(ctx context.Context, c access.Caller, f hat.FunctionID) (vault.FunctionState, error)
	Function(ctx context.Context, c access.Caller, f hat.FunctionID) (vault.FunctionState, error)
	FunctionStates(ctx context.Context, c access.Caller) ([]vault.FunctionState, error)
}

type users interface {
	UserByName(ctx context.Context, username string) (vault.User, error)
	EachUser(ctx context.Context, room func(bytes int) error, f func(vault.User) error) error
	PasswordCost(ctx context.Context) (int, error)
}

type discloser interface {
	Disclose(ctx context.Context, c access.Caller, d vault.Disclosure) error
}

type meter interface {
	Storage(ctx context.Context, c access.Caller) (plan.Held, plan.Storage, error)
}

func recordsOf(q *edge.Request) records       { return q.Vault.(records) }
func reading(q *edge.Request) reader          { return q.Vault.(reader) }
func documentsOf(q *edge.Request) documents   { return q.Vault.(documents) }
func functionsOf(q *edge.Request) functions   { return q.Vault.(functions) }
func usersOf(q *edge.Request) users           { return q.Vault.(users) }
func disclosuresOf(q *edge.Request) discloser { return q.Vault.(discloser) }
func storageOf(q *edge.Request) meter         { return q.Vault.(meter) }
