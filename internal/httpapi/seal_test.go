package httpapi

import (
	"testing"
	"time"

	"she/internal/engine"
	"she/internal/verdict"
)

func TestSealOverHTTP(t *testing.T) {
	var found verdict.Verdict
	var err error
	w := newWorld(t, func(o *Options, _ *engine.Options) { o.Seal = func() (verdict.Verdict, error) { return found, err } })
	err = verdict.ErrNone
	w.get("bob", "/api/she/v1/seal").want(404, `{"type":"about:blank","title":"Not Tested","status":404,"detail":"the operator has not run she doctor --seal"}`)
	err = nil
	found = verdict.Verdict{Text: "1 of 1 probes blocked, 2026-11-23", At: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Blocked: 1, Provable: 1, Mechanism: "gvisor",
		Versions: map[string]string{"kernel": "6.1"}, Probes: []verdict.Finding{{Probe: verdict.Probe{Name: "dns", Channel: "out", Tries: "t", Observer: "o"}, Outcome: "blocked"}}}
	w.get("bob", "/api/she/v1/seal").want(200, `{"text":"1 of 1 probes blocked, 2026-11-23","at":"2026-11-23T00:00:00Z","blocked":1,"provable":1,"mechanism":"gvisor",`+
		`"versions":{"kernel":"6.1"},"probes":[{"name":"dns","channel":"out","tries":"t","observer":"o","outcome":"blocked"}]}`)
	w.get("", "/api/she/v1/seal").want(401)
	w.get("hpp", "/api/she/v1/seal").want(403)
}
