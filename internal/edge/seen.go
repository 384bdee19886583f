package edge

import (
	"sync"
	"time"

	"she/internal/hat"
	"she/internal/plan"
)

const maxHeldHATs = 10_000

// HeldAsSeen is what a HAT holds as the caller sees it: services in whole MB and thousands, rounded up, and within a minute
// always the same. What a run stores would else be known to the byte, and when it did.
func (s *Server) HeldAsSeen(q *Request, held plan.Held) plan.Held {
	if q.Caller.IsOwner() {
		return held
	}
	return s.seenHeld.see(q.HAT.ID, q.Now, held)
}

// seenHeld is what HATs hold as services see it.
type seenHeld struct {
	mu     sync.Mutex
	minute int64
	of     map[hat.ID]plan.Held // by HAT; at most maxHeldHATs
}

func (t *seenHeld) see(hatID hat.ID, now time.Time, held plan.Held) plan.Held {
	t.mu.Lock()
	defer t.mu.Unlock()
	if minute := now.Unix() / 60; minute != t.minute || t.of == nil {
		t.minute, t.of = minute, map[hat.ID]plan.Held{}
	}
	if seen, found := t.of[hatID]; found {
		return seen
	}
	if len(t.of) >= maxHeldHATs {
		return plan.Held{}
	}
	const mb, thousand = 1 << 20, 1000
	seen := plan.Held{Bytes: (held.Bytes + mb - 1) / mb * mb, Records: (held.Records + thousand - 1) / thousand * thousand}
	t.of[hatID] = seen
	return seen
}
