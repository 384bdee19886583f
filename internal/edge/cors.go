package edge

import (
	"net/http"
	"slices"
	"strings"
)

// Browsers of any origin may call, because only the token in the header counts and there are no cookies.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set(exposed, TokenHeader)
}

const exposed = "Access-Control-Expose-Headers"

// expose allows pages of other origins to read these headers too.
func expose(h http.Header, names ...string) {
	list := strings.Split(h.Get(exposed), ", ")
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	h.Set(exposed, strings.Join(list, ", "))
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

func answerPreflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "Content-Type, X-Auth-Token, username, password, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusNoContent)
}
