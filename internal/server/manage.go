package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/catalog"
	"she/internal/config"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/httpapi"
	"she/internal/invoke"
	"she/internal/local"
	"she/internal/logins"
	"she/internal/metrics"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

// Management is a small HTTP API on a socket in the data directory, for the operator's commands. It shows
// ids, counts, times and faults. What a function printed belongs to the Owner and is shown only with the
// Owner's password.
//
// If a server runs, a command uses the socket, else the same handler in its own process.

// Socket returns the path of the management socket.
func Socket(data string) string { return filepath.Join(data, "she.sock") }

// A HAT is a HAT as commands show it.
type HAT struct {
	Domain   string    `json:"domain"`
	ID       hat.ID    `json:"id"`
	Username string    `json:"username,omitempty"`
	Created  time.Time `json:"created"`
	// Storage is set only when one HAT is shown. Its File, the disk space of the vault, is in lists too.
	Storage *Storage `json:"storage,omitempty"`
	File    int64    `json:"file,omitempty"`
	// Receipts is the head of its receipts, when one HAT is shown.
	Receipts string `json:"receipts,omitempty"`
}

// Storage is what a HAT holds and may hold. A limit of 0 means none.
type Storage struct {
	Used  plan.Held `json:"used"`
	Limit plan.Held `json:"limit"`
}

// A Function is a registered function as commands show it.
type Function struct {
	ID        string   `json:"id"`
	Version   string   `json:"version"`
	Output    string   `json:"output"`
	Runtime   string   `json:"runtime"`
	Digest    string   `json:"digest"`
	Available bool     `json:"available"`
	WarmUp    bool     `json:"warmUp"`             // whether it is warmed up
	Sample    string   `json:"sample,omitempty"`   // the file in its package with the warm-up event
	NoCopies  string   `json:"noCopies,omitempty"` // why each of its instances is a cold start, known after its first call
	Trigger   string   `json:"trigger,omitempty"`
	Reads     []string `json:"reads,omitempty"`
	Problem   string   `json:"problem,omitempty"`
	Said      string   `json:"said,omitempty"` // what it printed instead of its configuration, before there was data
	Warnings  []string `json:"warnings,omitempty"`
	// AsOf is when the state was last known, if this server process has not asked the function yet.
	AsOf time.Time    `json:"asOf,omitzero"`
	Runs catalog.Runs `json:"runs"` // in all HATs
}

// management is the API of a server, or of a command that has opened the data directory itself.
type management struct {
	*node
	own       http.Handler // answers requests about one HAT, see httpapi.Both
	functions func() []catalog.Function
	// Only in a server.
	metrics   *metrics.Metrics
	memory    *engine.Budget
	instances func() invoke.Stats // figures of the functions that were called
}

// handler answers the operator's commands.
func (n management) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxManagementBody)
			held, err := n.memory.Acquire(r.Context(), edge.OperatorTenant, commandHold)
			var answer any
			if err == nil {
				answer, err = f(r)
				defer held.Release()
			}
			status := http.StatusOK
			if err != nil {
				status, answer = http.StatusBadRequest, map[string]string{"error": err.Error()}
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	handle("GET /hats", n.listHATs)
	handle("POST /hats", n.createHAT)
	handle("GET /hats/{domain}", n.showHAT)
	handle("POST /hats/{domain}/platforms", n.putPlatform)
	handle("GET /functions", n.listFunctions)
	handle("GET /access-keys", n.listKeys)
	handle("POST /access-keys", n.createKey)
	handle("DELETE /access-keys/{id}", n.deleteKey)
	mux.Handle(edge.OperatorPrefix+"{domain}/api/", n.own)
	if n.metrics != nil {
		mux.Handle("GET /metrics", n.metrics.Handler())
	}
	return mux
}

// commandHold is from the share that all commands have together, as large as a HAT's.
const commandHold = 4 << 20

func (n *node) listHATs(*http.Request) (any, error) {
	views := []HAT{}
	for _, h := range n.hats.List() {
		views = append(views, HAT{Domain: h.Domain.String(), ID: h.ID, Created: h.Created, File: n.vaults.FileSize(h.ID)})
	}
	return views, nil
}

func (n *node) showHAT(r *http.Request) (any, error) {
	h, v, release, err := n.open(r)
	if err != nil {
		return nil, err
	}
	defer release()
	held, limit, err := v.Storage(r.Context(), access.Operator())
	if err != nil {
		return nil, err
	}
	head, err := v.Head(r.Context(), access.Operator())
	return HAT{
		Domain: h.Domain.String(), ID: h.ID, Created: h.Created, File: n.vaults.FileSize(h.ID),
		Storage: &Storage{Used: held, Limit: plan.Held(limit)}, Receipts: head.String(),
	}, err
}

// NewHAT is the request to create a HAT.
type NewHAT struct{ Name, Domain, Password string }

func (n *node) createHAT(r *http.Request) (any, error) {
	req, err := requestOf[NewHAT](r)
	if err != nil {
		return nil, err
	}
	name, err := hat.ParseName(req.Name)
	if err != nil {
		return nil, err
	}
	domain, err := hat.ParseDomain(local.HostOf(req.Domain))
	if err != nil {
		return nil, err
	}
	hash, err := n.hashOf(r.Context(), "", req.Password)
	if err != nil {
		return nil, err
	}
	h, err := n.hats.Create(r.Context(), domain)
	there := errors.Is(err, directory.ErrExists)
	if there {
		h, err = n.hats.ByDomain(domain)
	}
	if err != nil {
		return nil, fmt.Errorf("create HAT %s: %w", domain, err)
	}
	owner := vault.User{
		ID: hat.NewUserID(), Username: name.String(), PasswordHash: hash,
		Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true,
	}
	// If an earlier attempt stopped here, the HAT has no vault yet, and this one creates it.
	err = n.vaults.Create(r.Context(), h.ID, owner)
	if there && errors.Is(err, vault.ErrExists) {
		err = directory.ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("create HAT %s: %w", domain, err)
	}
	return HAT{Domain: h.Domain.String(), ID: h.ID, Username: name.String(), Created: h.Created}, nil
}

func (n *node) hashOf(ctx context.Context, hatID hat.ID, password string) ([]byte, error) {
	if err := logins.CheckFirst(password); err != nil {
		return nil, err
	}
	return n.logins.Hash(ctx, hatID, password)
}

// PlatformChange is the request for a platform user, a new password, or its end.
type PlatformChange struct {
	Name, Password string
	Off            bool
}

// A Platform is a platform user as commands show it.
type Platform struct {
	Domain   string `json:"domain"`
	Username string `json:"username"`
	Enabled  bool   `json:"enabled"`
}

// putPlatform creates a platform user, gives it a new password, or disables it.
func (n *node) putPlatform(r *http.Request) (any, error) {
	req, err := requestOf[PlatformChange](r)
	if err != nil {
		return nil, err
	}
	name, err := hat.ParseName(req.Name)
	if err != nil {
		return nil, err
	}
	h, v, release, err := n.open(r)
	if err != nil {
		return nil, err
	}
	defer release()
	var hash []byte
	if !req.Off {
		if hash, err = n.hashOf(r.Context(), h.ID, req.Password); err != nil {
			return nil, err
		}
	}
	u, err := v.PutUser(r.Context(), name.String(), func(u *vault.User, there bool) error {
		switch platform := (access.Role{Title: access.TitlePlatform}); {
		case there && !slices.Contains(u.Roles, platform):
			return fmt.Errorf("%s is a user of %s without the role platform; choose another name", name, h.Domain)
		case !there && req.Off:
			return fmt.Errorf("%s has no platform user %s", h.Domain, name)
		case !there:
			u.Roles = []access.Role{platform}
		}
		if u.Enabled = !req.Off; u.Enabled {
			// The next full second, because tokens have whole seconds: tokens of this second are refused too.
			u.PasswordHash, u.TokensFrom = hash, time.Now().Truncate(time.Second).Add(time.Second)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return Platform{Domain: h.Domain.String(), Username: name.String(), Enabled: u.Enabled}, nil
}

func (n management) listFunctions(*http.Request) (any, error) {
	views := []Function{}
	noCopies := map[string]string{}
	if n.instances != nil {
		for _, f := range n.instances().Functions {
			noCopies[f.Name+" "+f.Version] = f.NoCopies
		}
	}
	for _, f := range n.functions() {
		v := Function{
			ID:        f.ID.String(),
			Version:   f.Registered.Version.String(),
			Output:    f.Output.String(),
			Runtime:   f.Process.Runtime,
			Digest:    f.Digest(),
			Available: f.Available(),
			WarmUp:    !f.NoWarmUp,
			Sample:    f.Sample,
			Warnings:  f.Warnings,
			AsOf:      f.AsOf,
			Runs:      f.Runs,
			NoCopies:  noCopies[f.Process.Name+" "+f.Registered.Version.String()],
		}
		if f.Problem != nil {
			v.Problem, v.Said = f.Problem.Error(), string(bytes.ToValidUTF8(f.Said, []byte("\uFFFD")))
		}
		if f.Manifest != nil {
			v.Trigger = string(f.Manifest.Trigger.Kind)
			if !f.Manifest.Trigger.Period.IsZero() {
				v.Trigger += " " + f.Manifest.Trigger.Period.String()
			}
			for _, e := range f.Manifest.Bundle.Endpoints() {
				v.Reads = append(v.Reads, e.String())
			}
		}
		views = append(views, v)
	}
	return views, nil
}

// requestOf reads the body of a request.
func requestOf[T any](r *http.Request) (req T, err error) {
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return req, fmt.Errorf("unreadable request: %w", err)
	}
	return req, nil
}

// open opens the vault of the HAT that a request names.
func (n *node) open(r *http.Request) (h directory.HAT, v *ledger.Vault, release func(), err error) {
	if h, err = n.named(r.PathValue("domain")); err != nil {
		return h, nil, nil, err
	}
	v, release, err = n.vaults.Open(r.Context(), h.ID)
	return h, v, release, err
}

// meant returns the HATs that a name may mean: the one with that domain, else those with that host and any
// port, else those with that name.
func meant(all []directory.HAT, asked string) []directory.HAT {
	asked = strings.ToLower(local.HostOf(asked))
	host, port, _ := strings.Cut(asked, ":")
	if host = strings.TrimSuffix(host, "."); port != "" { // a final dot means the root of the DNS
		host += ":" + port
	}
	asked = host
	if domain, err := hat.ParseDomain(asked); err == nil {
		asked = domain.String()
	}
	for _, fits := range []func(hat.Domain) bool{
		func(d hat.Domain) bool { return d.String() == asked },
		func(d hat.Domain) bool { host, _, _ := strings.Cut(d.String(), ":"); return host == asked },
		func(d hat.Domain) bool { return d.Name().String() == asked },
	} {
		var found []directory.HAT
		for _, h := range all {
			if fits(h.Domain) {
				found = append(found, h)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// named returns the HAT with that domain, or with that host or name if only one has it, without its key.
func (n *node) named(asked string) (directory.HAT, error) {
	found := meant(n.hats.List(), asked)
	switch len(found) {
	case 0:
		return directory.HAT{}, fmt.Errorf("there is no HAT %.80q; see she hat list", asked)
	case 1:
		return found[0], nil
	}
	return directory.HAT{}, fmt.Errorf("%d HATs have the name %s; give the whole domain with its port", len(found), asked)
}

// An Effect says what a command does to a data directory.
type Effect int

const (
	Reads   Effect = iota // creates and changes nothing
	Changes               // changes an existing directory
	Creates               // creates the directory if it does not exist
)

// Command returns the management API for a command on a data directory that no server holds. end closes the
// directory. directory.ErrInUse.
func Command(ctx context.Context, dir string, c config.Config, does Effect) (handler http.Handler, end func() error, err error) {
	n, err := openFor(dir, c, does)
	if err != nil {
		return nil, nil, err
	}
	_, own := httpapi.Both(httpapi.Options{
		HATs:      n.hats,
		Named:     n.named,
		Vaults:    edgeNode{n},
		Functions: engine.New(engine.Options{}), // an engine that runs nothing
		Terms:     agreement.New(n.hats, nil),
		Logins:    n.logins,
	})
	functions := registered(ctx, dir, c)
	managed := management{node: n, own: own, functions: func() []catalog.Function { return functions }}
	return managed.handler(), n.close, nil
}

// openFor opens a data directory without a server, as far as a command needs it. Like a start, it finishes
// what a killed process left unfinished.
func openFor(dir string, config config.Config, does Effect) (*node, error) {
	if does == Reads {
		n, err := readNode(dir, config)
		if !errors.Is(err, directory.ErrUnfinished) {
			return n, err
		}
	}
	if does != Creates {
		if err := directory.IsThere(dir); err != nil {
			return nil, Missing(err)
		}
	}
	return openNode(dir, config, sqlite.Options{})
}

// Missing adds what to do about a missing directory.
func Missing(err error) error {
	if errors.Is(err, directory.ErrMissing) {
		return fmt.Errorf("%w; she serve or she hat create creates one", err)
	}
	return err
}

// listenManagement opens the socket. Only the holder of the directory's lock gets here, so an existing socket
// is stale.
func listenManagement(dir string) (net.Listener, error) {
	socket := Socket(dir)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("management socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}
