package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/bundle"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
)

// Codes of faults that keep a registered function from being available.
const (
	CodeWrongID      = "Configuration.WrongID"
	CodeWrongVersion = "Configuration.WrongVersion"
	CodeWithdrawn    = "Configuration.Withdrawn"
	CodeOutdated     = "Grant.Outdated"
	CodeNotLoaded    = "Configuration.NotLoaded"
)

// final reports whether a version can't become available until the next start: the id and version that a
// package answers with don't change. Other problems may pass.
func final(problem *hat.Fault) bool {
	if problem == nil {
		return false
	}
	return problem.Code == CodeWrongID || problem.Code == CodeWrongVersion || problem.Code == CodeWithdrawn
}

// loading reports whether a version has not answered yet, so that it is not known whether it may run.
func loading(f catalog.Function) bool { return f.Manifest == nil && f.Problem == nil }

// A registry holds the functions that this server can run, and their configurations. An id may have several
// versions: the current one, and older ones that run for Owners who have not agreed to the current one.
type registry struct {
	mu       sync.RWMutex
	versions map[hat.FunctionID][]catalog.Function // the last one is current; slices are replaced, never changed
	moved    chan struct{}                         // closed and replaced when a version's state changes
}

func newRegistry(functions []catalog.Function) *registry {
	r := &registry{versions: make(map[hat.FunctionID][]catalog.Function), moved: make(chan struct{})}
	for _, f := range functions {
		r.versions[f.ID] = append(r.versions[f.ID], f)
	}
	return r
}

// all returns every version of every function.
func (r *registry) all() (all []catalog.Function) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, versions := range r.versions {
		all = append(all, versions...)
	}
	return all
}

// current returns the current version of every function, by id.
func (r *registry) current() []catalog.Function {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]catalog.Function, 0, len(r.versions))
	for _, versions := range r.versions {
		all = append(all, versions[len(versions)-1])
	}
	slices.SortFunc(all, func(a, b catalog.Function) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return all
}

func (r *registry) function(id hat.FunctionID) (catalog.Function, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	versions := r.versions[id]
	if len(versions) == 0 {
		return catalog.Function{}, false
	}
	return versions[len(versions)-1], true
}

// runnable reports whether any version of the function is available, and the longest that a run of one may
// take. While one is loading, none counts as available: the missing one may be the granted one, and work must
// not be refused for that.
func (r *registry) runnable(id hat.FunctionID) (longest time.Duration, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if slices.ContainsFunc(r.versions[id], loading) {
		return 0, false
	}
	for _, f := range r.versions[id] {
		if f.Available() {
			longest, ok = max(longest, f.Bundle.Timeout+f.Process.Timeout), true
		}
	}
	return longest, ok
}

// isLoading reports whether a version of the function is loading.
func (r *registry) isLoading(id hat.FunctionID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.ContainsFunc(r.versions[id], loading)
}

// fit returns the version to run under a grant: the current one if it asks for nothing beyond the grant, else
// the one that the Owner agreed to. Each run compares the bundle with the grant again; this only avoids runs
// that are known to be refused. If one of the two can't run now but may later, the fault is the operator's
// and the work waits, because the Owner has nothing to agree to.
func (r *registry) fit(g access.Grant) (catalog.Function, *hat.Fault) {
	r.mu.RLock()
	versions := r.versions[g.Function]
	r.mu.RUnlock()
	var waits *hat.Fault
	for i, f := range slices.Backward(versions) {
		current, granted := i == len(versions)-1, f.Digest() == g.Digest
		switch {
		case f.Output != g.Output || !current && !granted:
		case f.Available():
			if granted || !bundle.Widens(g.Bundle, f.Manifest.Bundle) {
				return f, nil
			}
		case loading(f):
			waits = hat.NewFault(hat.Operator, CodeNotLoaded, "version "+f.Version.String()+" has not said yet what it asks for")
		case !final(f.Problem):
			waits = hat.NewFault(hat.Operator, CodeNotLoaded, "version "+f.Version.String()+" can't run now, and is tried again: "+f.Problem.Text)
		}
	}
	if waits != nil {
		return catalog.Function{}, waits
	}
	return catalog.Function{}, hat.NewFault(hat.Owner, CodeOutdated,
		"the installed version asks for more than was granted; it runs again when the owner agrees to it")
}

// wider returns the current version if it can't run under the grant; zero if it can, or if it is the granted
// one.
func (r *registry) wider(g access.Grant) hat.Version {
	f, ok := r.function(g.Function)
	if !ok || !f.Available() || f.Digest() == g.Digest && f.Output == g.Output {
		return hat.Version{}
	}
	if !bundle.Widens(g.Bundle, f.Manifest.Bundle) && f.Output == g.Output {
		return hat.Version{}
	}
	return f.Version
}

// set stores the state of one version.
func (r *registry) set(f catalog.Function) {
	r.change(f, func(was catalog.Function) catalog.Function {
		f.Runs = was.Runs
		return f
	})
}

// ran counts a run of one version.
func (r *registry) ran(f catalog.Function, state backlog.State, now time.Time) {
	r.change(f, func(was catalog.Function) catalog.Function {
		if state == backlog.Committed {
			was.Runs.Committed++
		} else {
			was.Runs.Failed++
		}
		was.Runs.Last, was.Runs.LastState = now.UTC(), string(state)
		return was
	})
}

func (r *registry) change(f catalog.Function, to func(was catalog.Function) catalog.Function) {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions := slices.Clone(r.versions[f.ID])
	for i := range versions {
		if sameRelease(versions[i], f) {
			versions[i] = to(versions[i])
		}
	}
	r.versions[f.ID] = versions
	close(r.moved)
	r.moved = make(chan struct{})
}

// lastRan reports whether the current version could run before the last stop and has not answered since the
// start. moved is closed when that changes.
func (r *registry) lastRan(id hat.FunctionID) (moved <-chan struct{}, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	versions := r.versions[id]
	if len(versions) == 0 {
		return nil, false
	}
	waits := slices.ContainsFunc(versions, loading)
	return r.moved, waits && versions[len(versions)-1].Seen().Available()
}

// sameRelease reports whether two are the same release: the same code registered for another endpoint is
// another release.
func sameRelease(a, b catalog.Function) bool {
	return a.ID == b.ID && a.Version == b.Version && a.Output == b.Output && a.Digest() == b.Digest()
}

const (
	firstReload   = time.Second
	longestReload = 5 * time.Minute
)

// load asks a function for its configuration until it has a manifest, with growing pauses, until ctx ends. A
// function that can't answer stops nothing else; it is shown as not available. changed is called when it is
// first known whether the version can run, and when it can, because HATs may have waited for either.
func (e *Engine) load(ctx context.Context, f catalog.Function, changed func()) {
	first := true
	var told *hat.Fault
	for pause := firstReload; ; pause = min(2*pause, longestReload) {
		if f.Manifest, f.Said, f.Problem = e.askConfiguration(ctx, f); f.Problem == nil {
			f.Said, f.Problem = e.tryInit(ctx, f)
		}
		if ctx.Err() != nil {
			return
		}
		if f.Problem == nil {
			e.propose(f)
		}
		e.registry.set(f)
		e.keepKnown(ctx)
		if first || f.Problem == nil {
			changed()
		}
		first = false
		if f.Problem == nil {
			e.log.Info("function available", "function", f.ID, "version", f.Version, "digest", f.Digest())
			return
		}
		// Once for each problem, not for each attempt: there is one every five minutes for as long as it
		// lasts.
		if told == nil || *told != *f.Problem {
			e.tellProblem(f)
		}
		told = f.Problem
		if final(f.Problem) {
			return
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// tellProblem logs that a function can't run, why, and what to do. No data was involved yet.
func (e *Engine) tellProblem(f catalog.Function) {
	e.log.Warn("function not available", "function", f.ID, "version", f.Version,
		"who", f.Problem.Who, "code", f.Problem.Code, "text", f.Problem.Text, "do", toDo(f.Problem))
}

// toDo says how to fix the problem of a function that can't run.
func toDo(problem *hat.Fault) string {
	const restart = ", then restart the server"
	switch problem.Code {
	case catalog.CodeMissing:
		return "put the package where she.yaml says it is, or change the path" + restart
	case catalog.CodeDuplicate:
		return "register each version of an id, and each deployed name, once" + restart
	case catalog.CodeRuntime:
		return "install the runtime (she doctor says which)" + restart
	case catalog.CodeSlow, catalog.CodeStore:
		return "see to the disk of the package and of the data directory" + restart
	case catalog.CodeProject, catalog.CodeRefused, catalog.CodeHandler, catalog.CodeSample:
		return "mend the package, or ask its author to" + restart
	case CodeWrongID, CodeWrongVersion:
		return "make she.yaml say what the function answers, or have the function mended" + restart
	case CodeWithdrawn:
		return "nothing: its author has taken it out of use; another version may be registered"
	}
	switch problem.Who {
	case hat.Author:
		return "she function list shows what it printed; install a mended package" + restart + "; meanwhile it is tried again"
	case hat.Operator:
		return "she doctor looks for what is missing here; it is tried again by itself"
	case hat.Owner, hat.Engine:
	}
	return "a bug of the engine: report it with this line; it is tried again by itself"
}

// propose reports what the current version asks for, before anybody can see it.
func (e *Engine) propose(f catalog.Function) {
	current, _ := e.registry.function(f.ID)
	if e.proposed != nil && sameRelease(current, f) {
		e.proposed(e.GrantOf(f))
	}
}

// maxSaid bounds the bytes kept of what a function printed instead of its configuration.
const maxSaid = 2 << 10

// askConfiguration is the first of the three questions. No HAT and no data is involved, so the author and the
// operator may read what the function prints.
func (e *Engine) askConfiguration(ctx context.Context, f catalog.Function) (_ *contract.Manifest, said []byte, fault *hat.Fault) {
	defer notOurEnd(&fault)
	ctx, cancel := context.WithTimeout(ctx, f.Configuration.Timeout+e.slack)
	defer cancel()
	answer, err := e.invoker.Invoke(ctx, invocation(f, f.Configuration, "", hat.NewRunID().String(), contract.ConfigurationEvent()))
	said = saidBefore(answer)
	if err != nil {
		return nil, said, faultOf(err)
	}
	m, fault := contract.ParseConfiguration(answer.Payload)
	switch {
	case fault != nil:
		return nil, said, fault
	case m.ID != f.ID:
		return nil, nil, hat.NewFault(hat.Operator, CodeWrongID, "registered as "+f.ID.String()+", but its configuration says "+m.ID.String())
	case m.Version != f.Version:
		return &m, nil, hat.NewFault(hat.Operator, CodeWrongVersion, "registered as version "+f.Version.String()+", but its configuration says "+m.Version.String())
	case !m.Available:
		return &m, nil, hat.NewFault(hat.Author, CodeWithdrawn, "its own configuration says that it is not available")
	}
	return &m, nil, nil
}

// notOurEnd turns a panic into a fault: a package that triggers a bug of the engine must not stop the server
// at every start.
func notOurEnd(fault **hat.Fault) {
	if recover() != nil {
		*fault = hat.NewFault(hat.Engine, CodePanic, "the engine failed while it started the function to see whether it can run")
	}
}

// saidBefore returns what a function printed and reported before there was data.
func saidBefore(answer invoke.Answer) []byte {
	var words transcript
	words.add("printed", answer.Log)
	words.add("answered", answer.Payload)
	return middleDropped(words.bytes(), maxSaid)
}

// tryInit starts the entries that were not asked yet, without an event. So the author sees that an entry
// can't be loaded before it gets anybody's data.
func (e *Engine) tryInit(ctx context.Context, f catalog.Function) (said []byte, fault *hat.Fault) {
	defer notOurEnd(&fault)
	for _, entry := range []catalog.Entry{f.Bundle, f.Process} {
		answer, err := e.initOf(ctx, f, entry)
		if err != nil {
			fault := *faultOf(err)
			fault.Text = entry.Name + ": " + fault.Text
			return saidBefore(answer), &fault
		}
	}
	return nil, nil
}

func (e *Engine) initOf(ctx context.Context, f catalog.Function, entry catalog.Entry) (invoke.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, entry.Timeout+e.slack)
	defer cancel()
	return e.invoker.Init(ctx, invocation(f, entry, "", hat.NewRunID().String(), nil))
}

// sleep waits, and reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
