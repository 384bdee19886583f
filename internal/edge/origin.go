package edge

import (
	"net/http"
	"strings"

	"she/internal/logins"
)

// Origin returns the origin of a request. Behind a trusted proxy, it is the last entry of X-Forwarded-For.
func (s *Server) Origin(r *http.Request) logins.Origin {
	text := r.RemoteAddr
	if list := r.Header.Values("X-Forwarded-For"); s.TrustProxy && len(list) > 0 {
		last := list[len(list)-1]
		text = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	return logins.OriginOf(text)
}
