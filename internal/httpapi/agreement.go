package httpapi

import (
	"container/list"
	"sync"

	"she/internal/access"
	"she/internal/debit"
	"she/internal/hat"
)

// Kinds of what is agreed to.
const (
	debitTerms       = "debit"
	FunctionTerms    = "function"
	applicationTerms = "application"
)

// Proposals remembers which terms of a function or an application this node proposed first, for good.
type Proposals interface {
	// Propose says whether the terms have ever been others; they are proposed from now on.
	Propose(kind, id string, terms hat.TermsDigest) (changed bool, err error)
}

// heldProposals are those of a server that has no directory of its own: they end with it.
type heldProposals struct {
	mu    sync.Mutex
	first map[[2]string]hat.TermsDigest // the zero digest: they have changed
}

func (p *heldProposals) Propose(kind, id string, terms hat.TermsDigest) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]string{kind, id}
	first, known := p.first[key]
	if !known {
		p.first[key] = terms
		return false, nil
	}
	if first != terms {
		p.first[key] = hat.TermsDigest{}
		return true, nil
	}
	return false, nil
}

// TermsShown remembers which terms each login was shown last, as far as that matters: terms that have never changed need no
// memory. What is forgotten counts as never shown, and then a call that agrees is refused until the terms are read again. So it
// lives in memory, is bounded for each HAT and in all, and forgets the oldest first.
type TermsShown struct {
	mu    sync.Mutex
	hats  map[string]*list.Element // of a *shownAtHAT
	order list.List                // the HAT that was used last is at the front
	count int
}

type shownAtHAT struct {
	hat   string
	terms map[shownKey]*list.Element // of a *shownTerms
	order list.List
}

// A shownKey is a login, by the id its token keeps when it is renewed, and what it was shown the terms of.
type shownKey struct{ login, kind, id string }

type shownTerms struct {
	shownKey
	digest hat.TermsDigest
}

const (
	maxShownAtHAT = 1_000
	maxShown      = 20_000 // of some 400 bytes each
)

// Show notes that the login was shown the terms.
func (t *TermsShown) Show(hatID, login, kind, id string, terms hat.TermsDigest) {
	if login == "" {
		return
	}
	key := shownKey{login, kind, id}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hats == nil {
		t.hats = map[string]*list.Element{}
	}
	place, known := t.hats[hatID]
	if !known {
		place = t.order.PushFront(&shownAtHAT{hat: hatID, terms: map[shownKey]*list.Element{}})
		t.hats[hatID] = place
	}
	t.order.MoveToFront(place)
	at := place.Value.(*shownAtHAT)
	if known, found := at.terms[key]; found {
		known.Value.(*shownTerms).digest = terms
		at.order.MoveToFront(known)
		return
	}
	at.terms[key] = at.order.PushFront(&shownTerms{key, terms})
	t.count++
	if at.order.Len() > maxShownAtHAT {
		oldest := at.order.Back()
		delete(at.terms, at.order.Remove(oldest).(*shownTerms).shownKey)
		t.count--
	}
	for t.count > maxShown {
		last := t.order.Remove(t.order.Back()).(*shownAtHAT)
		delete(t.hats, last.hat)
		t.count -= last.order.Len()
	}
}

// Last is what the login was shown last; the zero digest if nothing is remembered.
func (t *TermsShown) Last(hatID, login, kind, id string) hat.TermsDigest {
	t.mu.Lock()
	defer t.mu.Unlock()
	if place, known := t.hats[hatID]; known && login != "" {
		if terms, found := place.Value.(*shownAtHAT).terms[shownKey{login, kind, id}]; found {
			return terms.Value.(*shownTerms).digest
		}
	}
	return hat.TermsDigest{}
}

// named reads the digest that a call of the HAT API may carry: ?terms=sha256:….
func (q *request) named() (hat.TermsDigest, error) {
	values, err := q.query()
	if err != nil {
		return hat.TermsDigest{}, err
	}
	text, found := first(values, "terms")
	if !found {
		return hat.TermsDigest{}, nil
	}
	named, err := hat.ParseTermsDigest(text)
	if err != nil {
		return hat.TermsDigest{}, cannotParse("terms", "digest", "want the one that came with the terms")
	}
	return named, nil
}

// agrees says whether the call agrees to the present terms. access.ErrTermsChanged.
func (s *server) agrees(q *request, kind, id string, named, present hat.TermsDigest, changed bool) error {
	return access.Agreement{Named: named, Shown: s.shown.Last(q.hat.ID, q.claims.ID, kind, id), Changed: changed}.To(present)
}

// changed says whether these terms of a function or an application are others than those that were proposed first. If that can't be
// told, they count as changed.
func (s *server) changed(kind, id string, terms hat.TermsDigest) bool {
	changed, err := s.Proposals.Propose(kind, id, terms)
	if err != nil {
		s.Log.Error("what was proposed first can't be told", "kind", kind, "id", id, "error", err)
		return true
	}
	return changed
}

// deciding is the permission to agree. Who has it not is shown much, and need not be remembered.
func deciding(kind, id string) access.Permission {
	switch kind {
	case debitTerms:
		return access.DecideDebits()
	case applicationTerms:
		return access.ManageApplication(id)
	}
	return access.SwitchFunctions()
}

// didShow notes what is in an answer that has been sent.
func (s *server) didShow(q *request, kind, id string, terms hat.TermsDigest, changed bool) {
	if changed && !terms.IsZero() && q.caller.May(deciding(kind, id)) {
		s.shown.Show(q.hat.ID, q.claims.ID, kind, id, terms)
	}
}

func (s *server) didShowDebit(q *request, d debit.Debit) {
	terms, changed := d.Proposed()
	s.didShow(q, debitTerms, d.Key, terms, changed)
}

func (s *server) didShowFunction(q *request, asked access.Grant) {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	s.didShow(q, FunctionTerms, id, terms, s.changed(FunctionTerms, id, terms))
}

// agreesToFunction says whether the call agrees to what the function asks for at present.
func (s *server) agreesToFunction(q *request, named hat.TermsDigest, asked access.Grant) error {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	return s.agrees(q, FunctionTerms, id, named, terms, s.changed(FunctionTerms, id, terms))
}
