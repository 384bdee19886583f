package httpapi

import (
	"she/internal/access"
	"she/internal/agreement"
	"she/internal/debit"
	"she/internal/hat"
)

// login is whose reading counts when the call agrees.
func (q *request) login() agreement.Login {
	if q.atSocket {
		return agreement.Login{HAT: q.hat.ID, ID: "socket"} // whoever may reach it
	}
	return agreement.Login{HAT: q.hat.ID, ID: q.claims.ID}
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
func (s *server) agrees(q *request, kind agreement.Kind, id string, named, present hat.TermsDigest, changed bool) error {
	return s.Terms.Agree(q.login(), kind, id, named, present, changed)
}

// didShow notes what is in an answer that has been sent.
func (s *server) didShow(q *request, kind agreement.Kind, id string, terms hat.TermsDigest, changed bool) {
	if q.atSocket || q.caller.May(agreement.Permission(kind, id)) {
		s.Terms.DidShow(q.login(), kind, id, terms, changed)
	}
}

func (s *server) didShowDebit(q *request, d debit.Debit) {
	terms, changed := d.Proposed()
	s.didShow(q, agreement.Debit, d.Key, terms, changed)
}

func (s *server) didShowFunction(q *request, asked access.Grant) {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	s.didShow(q, agreement.Function, id, terms, s.Terms.Changed(agreement.Function, id, terms))
}

// agreesToFunction says whether the call agrees to what the function asks for at present.
func (s *server) agreesToFunction(q *request, named hat.TermsDigest, asked access.Grant) error {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	return s.agrees(q, agreement.Function, id, named, terms, s.Terms.Changed(agreement.Function, id, terms))
}
