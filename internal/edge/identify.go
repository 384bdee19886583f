package edge

// identify fills in what the request's token says, if the HAT signed it and it is not over. It needs no vault.
func (s *Server) identify(q *Request) error {
	text := q.Header.Get(TokenHeader)
	if text == "" {
		return ErrNotAuthenticated
	}
	c, err := s.Tokens.read(q.HAT, text, q.Now)
	if err != nil {
		return ErrNotAuthenticated
	}
	q.Claims = c
	return nil
}

// authenticate makes the caller of an identified token's user, and puts the token, as used now, into the answer's
// header: on success and on later refusals alike, because clients replace theirs with it.
func (s *Server) authenticate(w *Recorder, q *Request) error {
	if err := s.Recognise(q); err != nil {
		return err
	}
	c := q.Claims
	c.IssuedAt = lastUse(q.User, q.Now)
	refreshed, err := s.Tokens.Sign(q.HAT, c)
	if err != nil {
		return err
	}
	w.Header().Set(TokenHeader, refreshed)
	return nil
}

// Recognise makes the caller of an identified token's user, as the vault knows them at this moment.
func (s *Server) Recognise(q *Request) (err error) {
	credential, err := s.credential(q.Claims)
	if err != nil {
		return err
	}
	q.Caller, q.User, err = q.Vault.Recognise(q.Context(), credential)
	return err
}
