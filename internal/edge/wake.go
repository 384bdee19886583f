package edge

// Committed tells the engine about a commit, unless no function is there for it. The signal may be lost,
// because the engine later finds due work by itself.
func (s *Server) Committed(q *Request) {
	if s.Wake != nil && !q.Vault.Idle() {
		s.Wake(q.HAT.ID)
	}
}
