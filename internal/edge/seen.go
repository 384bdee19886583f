package edge

import (
	"sync"
	"time"

	"she/internal/hat"
	"she/internal/plan"
)

const maxHeldHATs = 10_000

// HeldAsSeen returns what a HAT holds as the caller sees it. Services see whole MB and thousands of records,
// rounded up and unchanged within a minute. Otherwise they could see to the byte what a run stores, and when.
func (s *Server) HeldAsSeen(q *Request, held plan.Held) plan.Held {
	if q.Caller.IsOwner() {
		return held
	}
	return s.seenHeld.see(q.HAT.ID, q.Now, held)
}

// seenHeld keeps what services see of HATs.
type seenHeld struct {
	mu     sync.Mutex
	minute int64
	of     map[hat.ID]plan.Held // at most maxHeldHATs
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
