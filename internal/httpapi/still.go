package httpapi

// still says whether the client may have the rest of an answer. What it costs where nothing has changed is next to
// nothing. It may be called while a snapshot of the vault is being read, and after the vault was given back.
func (s *server) still(q *request) error {
	if err := q.claims.hold(q.hat, s.Now()); err != nil {
		return errNotAuthenticated
	}
	v := q.vault
	if !q.held {
		opened, release, err := s.Vaults.Open(q.Context(), q.hat.ID)
		if err != nil {
			return err
		}
		defer release()
		v = opened
	}
	caller, moved, err := v.Renew(q.Context(), q.caller)
	if err != nil {
		return err
	}
	q.caller = caller
	if q.agreed != nil {
		return q.agreed(v, moved)
	}
	return nil
}
