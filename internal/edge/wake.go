package edge

// Committed tells the engine that something was committed, unless no function is there for it. It may be lost: the engine finds
// due work by itself, later.
func (s *Server) Committed(q *Request) {
	if s.Wake != nil && !q.Vault.Idle() {
		s.Wake(q.HAT.ID)
	}
}
