// Package agreement makes sure that a call agrees only to terms that it names or that its login was shown
// last.
package agreement

import (
	"container/list"
	"sync"

	"she/internal/access"
	"she/internal/hat"
)

// A Kind is a kind of thing that can be agreed to.
type Kind = string

const (
	Debit       Kind = "debit"
	Function    Kind = "function"
	Application Kind = "application"
)

// A Login is who is shown terms and agrees to them: the HAT, and the id that the token keeps when it is
// renewed.
type Login struct {
	HAT hat.ID
	ID  string
}

// Terms remembers which terms were proposed first and which each login was shown. All methods may be called
// concurrently.
type Terms struct {
	proposals Proposals
	shown     Shown
	// failed is called if the first proposal can't be read or stored.
	failed func(kind Kind, id string, err error)
}

// New returns Terms whose proposals p remembers; nil: only in memory.
func New(p Proposals, failed func(kind Kind, id string, err error)) *Terms {
	if p == nil {
		p = Held()
	}
	return &Terms{proposals: p, failed: failed}
}

// Changed reports whether the terms of a function or an application differ from the first proposal. If that
// is not known, they count as changed.
func (t *Terms) Changed(kind Kind, id string, terms hat.TermsDigest) bool {
	changed, err := t.proposals.Propose(kind, id, terms)
	if err != nil && t.failed != nil {
		t.failed(kind, id, err)
	}
	return changed || err != nil
}

// Agree returns nil if a call agrees to the present terms: those it names, else those it was shown. changed
// is the result of Changed. access.ErrTermsChanged.
func (t *Terms) Agree(l Login, kind Kind, id string, named, present hat.TermsDigest, changed bool) error {
	return access.Agreement{Named: named, Shown: t.shown.Last(l.HAT, l.ID, kind, id), Changed: changed}.To(present)
}

// DidShow notes the terms in an answer that was sent. Terms that have never changed need not be remembered.
func (t *Terms) DidShow(l Login, kind Kind, id string, terms hat.TermsDigest, changed bool) {
	if changed && !terms.IsZero() {
		t.shown.Show(l.HAT, l.ID, kind, id, terms)
	}
}

// Permission returns the permission to agree. What callers without it were shown need not be remembered.
func Permission(kind Kind, id string) access.Permission {
	switch kind {
	case Debit:
		return access.DecideDebits()
	case Application:
		return access.ManageApplication(id)
	}
	return access.SwitchFunctions()
}

// Proposals remembers durably which terms of a function or an application this server proposed first.
type Proposals interface {
	// Propose notes the terms, and reports whether they have ever been different.
	Propose(kind Kind, id string, terms hat.TermsDigest) (changed bool, err error)
}

// Held returns proposals in memory.
func Held() Proposals { return &heldProposals{first: map[[2]string]hat.TermsDigest{}} }

type heldProposals struct {
	mu    sync.Mutex
	first map[[2]string]hat.TermsDigest // the zero digest if they have changed
}

func (p *heldProposals) Propose(kind Kind, id string, terms hat.TermsDigest) (bool, error) {
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

// Shown remembers which terms each login was shown last. Terms that have never changed need not be
// remembered. Forgotten terms count as never shown: a call that agrees is refused until they are read again.
// So it can live in memory, bounded for each HAT and in all, and forget the oldest first.
type Shown struct {
	mu    sync.Mutex
	hats  map[hat.ID]*list.Element // of a *shownAtHAT
	order list.List                // the HAT that was used last is at the front
	count int
}

type shownAtHAT struct {
	hat   hat.ID
	terms map[shownKey]*list.Element // of a *shownTerms
	order list.List
}

// A shownKey is a login and what the terms are about.
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
func (t *Shown) Show(hatID hat.ID, login string, kind Kind, id string, terms hat.TermsDigest) {
	if login == "" {
		return
	}
	key := shownKey{login, kind, id}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hats == nil {
		t.hats = map[hat.ID]*list.Element{}
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

// Last returns the terms that the login was shown last, or the zero digest.
func (t *Shown) Last(hatID hat.ID, login string, kind Kind, id string) hat.TermsDigest {
	t.mu.Lock()
	defer t.mu.Unlock()
	if place, known := t.hats[hatID]; known && login != "" {
		if terms, found := place.Value.(*shownAtHAT).terms[shownKey{login, kind, id}]; found {
			return terms.Value.(*shownTerms).digest
		}
	}
	return hat.TermsDigest{}
}
