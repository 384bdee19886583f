package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"she/internal/access"
)

// OwnAPI is where the calls are that the original does not have. They are described in openapi.yaml like all others;
// their errors are problem details, RFC 9457.
const OwnAPI = "/api/she/v1"

func (s *server) ownRoutes() routes {
	const get, post = http.MethodGet, http.MethodPost
	return routes{
		{method: get, pattern: OwnAPI + "/seal", needs: needs(access.SeeRuns()), do: s.getSeal},
		{method: get, pattern: OwnAPI + "/storage", needs: needs(access.SeeStorage()), do: s.getStorage},
		{method: get, pattern: OwnAPI + "/receipts", needs: needs(access.SeeRuns()), do: s.exportReceipts},
		{method: post, pattern: OwnAPI + "/receipts/verify", needs: needs(access.SeeRuns()), do: s.verifyReceipts},
		{method: get, pattern: OwnAPI + "/functions", needs: needs(access.SeeRuns()), do: s.listInstalled},
		{method: get, pattern: OwnAPI + "/why", needs: needs(access.SeeRuns()), do: s.whyAll},
		{method: get, pattern: OwnAPI + "/functions/{function}/why", needs: needs(access.SeeRuns()), do: s.why},
		{method: get, pattern: OwnAPI + "/functions/{function}/consent", needs: needs(access.SeeConsent()), do: s.consent},
		{method: post, pattern: OwnAPI + "/functions/{function}/enable", needs: needs(access.SwitchFunctions()), do: s.agree},
		{method: get, pattern: OwnAPI + "/runs", needs: needs(access.SeeRuns()), do: s.listRuns},
		{method: get, pattern: OwnAPI + "/runs/{run}", needs: needs(access.SeeRuns()), do: s.getRun},
		{method: post, pattern: OwnAPI + "/runs/replay", needs: needs(access.SteerRuns()), do: s.replayEach},
		{method: post, pattern: OwnAPI + "/runs/{run}/replay", needs: needs(access.SteerRuns()), do: s.replayRun},
		{method: post, pattern: OwnAPI + "/runs/{run}/skip", needs: needs(access.SteerRuns()), do: s.skipRun},
		{method: get, pattern: OwnAPI + "/runs/{run}/superseded", needs: needs(access.SeeRuns()), do: s.superseded},
		{method: post, pattern: OwnAPI + "/functions/{function}/replay", needs: needs(access.SteerRuns()), do: s.replayRuns},
		{method: post, pattern: OwnAPI + "/runs/{run}/cancel", needs: needs(access.SteerRuns()), do: s.cancelRun},
		{method: get, pattern: OwnAPI + "/events", needs: needs(access.SeeRuns()), do: s.runEvents},
	}
}

func isOwn(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, OwnAPI+"/") }

// problem makes the error of one of our own calls.
func problem(status int, title, detail string) *apiError { return controller(status, title, detail) }

// writeProblem writes an error of either family as problem details. The type is "about:blank": the title says it all.
func writeProblem(w http.ResponseWriter, e *apiError) {
	p := struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{Type: "about:blank", Status: e.status}
	switch b := e.body.(type) {
	case controllerBody:
		p.Title, p.Detail = b.Message, b.Cause
	case frameworkBody:
		p.Title, p.Detail = b.Error, fmt.Sprint(b.Message)
	}
	if e == errNotAuthenticated { // the HAT API's own words say the same twice
		p.Detail = "X-Auth-Token holds no token that is valid now; GET /users/access_token gives one"
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"about:blank","title":"Internal Server error","status":500}`)
	}
	jsonHeaders(w.Header())
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}
