package edge

// still returns an error if the client may no longer have the rest of an answer. It is cheap if no right has
// changed. It may be called while a snapshot of the vault is being read, and after the vault was given back.
func (s *Server) still(q *Request) error {
	if err := q.Claims.Hold(q.HAT, s.Now()); err != nil {
		return ErrNotAuthenticated
	}
	v := q.Vault
	if !q.held {
		opened, release, err := s.Vaults.Open(q.Context(), q.HAT.ID)
		if err != nil {
			return err
		}
		defer release()
		v = opened
	}
	caller, moved, err := v.Renew(q.Context(), q.Caller)
	if err != nil {
		return err
	}
	q.Caller = caller
	if q.Agreed != nil {
		return q.Agreed(v, moved)
	}
	return nil
}
