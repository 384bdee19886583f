package edge

import (
	"she/internal/access"
	"she/internal/agreement"
	"she/internal/hat"
)

// login returns the login whose reading of terms counts for this call.
func (q *Request) login() agreement.Login {
	if q.atSocket {
		return agreement.Login{HAT: q.HAT.ID, ID: "socket"} // anybody who can reach the socket
	}
	return agreement.Login{HAT: q.HAT.ID, ID: q.Claims.ID}
}

// Named reads the digest that a call of the HAT API may carry: ?terms=sha256:….
func (q *Request) Named() (hat.TermsDigest, error) {
	values, err := q.Query()
	if err != nil {
		return hat.TermsDigest{}, err
	}
	text, found := First(values, "terms")
	if !found {
		return hat.TermsDigest{}, nil
	}
	named, err := hat.ParseTermsDigest(text)
	if err != nil {
		return hat.TermsDigest{}, CannotParse("terms", "digest", "want the one that came with the terms")
	}
	return named, nil
}

// Agrees says whether the call agrees to the present terms. access.ErrTermsChanged.
func (s *Server) Agrees(q *Request, kind agreement.Kind, id string, named, present hat.TermsDigest, changed bool) error {
	return s.Terms.Agree(q.login(), kind, id, named, present, changed)
}

// DidShow notes what is in an answer that has been sent.
func (s *Server) DidShow(q *Request, kind agreement.Kind, id string, terms hat.TermsDigest, changed bool) {
	if q.atSocket || q.Caller.May(agreement.Permission(kind, id)) {
		s.Terms.DidShow(q.login(), kind, id, terms, changed)
	}
}

func (s *Server) DidShowFunction(q *Request, asked access.Grant) {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	s.DidShow(q, agreement.Function, id, terms, s.Terms.Changed(agreement.Function, id, terms))
}

// AgreesToFunction says whether the call agrees to what the function asks for at present.
func (s *Server) AgreesToFunction(q *Request, named hat.TermsDigest, asked access.Grant) error {
	id, terms := asked.Function.String(), access.TermsOf(asked).Digest
	return s.Agrees(q, agreement.Function, id, named, terms, s.Terms.Changed(agreement.Function, id, terms))
}
