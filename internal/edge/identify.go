package edge

// identify reads the request's token. The HAT must have signed it, and it must not have expired. It needs no
// vault.
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

// authenticate sets the caller to the user of an identified token. It puts the token with the present time of
// use into the answer's header, on success and on later refusals alike, because clients replace their token
// with it.
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

// Recognise sets the caller to the user of an identified token, as the vault knows the user now.
func (s *Server) Recognise(q *Request) (err error) {
	credential, err := s.credential(q.Claims)
	if err != nil {
		return err
	}
	q.Caller, q.User, err = q.Vault.Recognise(q.Context(), credential)
	return err
}
