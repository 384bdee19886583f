package httpapi

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

const (
	loginBurst = 10              // tries at once
	loginEvery = 2 * time.Second // and then one more for each of these
	// nameBurst is for one user's name, from wherever the tries come. It is the larger one, for nobody at a single
	// address to be able to keep somebody out.
	nameBurst = 3 * loginBurst
	// maxClients bounds what the limiter remembers. Over it, the full buckets go first; if all are in use, all go:
	// forgetting is better than growing without end or refusing everybody.
	maxClients = 20_000
)

// A limiter counts tries of each client.
type limiter struct {
	burst int
	every time.Duration
	mu    sync.Mutex
	of    map[string]*rate.Limiter
}

func newLimiter(burst int, every time.Duration) *limiter {
	return &limiter{burst: burst, every: every, of: map[string]*rate.Limiter{}}
}

func (l *limiter) allow(client string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.of[client]
	if bucket == nil {
		if len(l.of) >= maxClients {
			l.forget(now)
		}
		bucket = rate.NewLimiter(rate.Every(l.every), l.burst)
		l.of[client] = bucket
	}
	return bucket.AllowN(now, 1)
}

func (l *limiter) forget(now time.Time) {
	for client, bucket := range l.of {
		if bucket.TokensAt(now) >= float64(l.burst) {
			delete(l.of, client)
		}
	}
	if len(l.of) >= maxClients {
		clear(l.of)
	}
}

// limitLogins counts tries of one address at one HAT: behind a proxy that is not trusted all clients have the same, and
// what one does at a HAT must not close the others.
func (s *server) limitLogins(q *request) error {
	if s.logins.allow(q.hat.ID+" "+s.clientIP(q.Request), q.now) {
		return nil
	}
	return rateExceeded(q)
}

// limitName counts tries for one user of a HAT, because who guesses may have many addresses.
func (s *server) limitName(q *request, username string) error {
	// The digest, for what a client sends may be long.
	digest := sha256.Sum256([]byte(username))
	if s.names.allow(q.hat.ID+" "+string(digest[:]), q.now) {
		return nil
	}
	return rateExceeded(q)
}

// rateExceeded is 400, as in the original and as its clients expect, where 429 would be usual.
func rateExceeded(q *request) error {
	return controller(http.StatusBadRequest, "Request rate exceeded", "Rate of requests from your IP exceeded",
		"Request to "+q.URL.EscapedPath())
}

const (
	defaultCost = 12
	// maxPassword is what bcrypt reads; a longer password would be cut in silence.
	maxPassword = 72
)

// crypt compares passwords, a bounded number at once: each takes a quarter of a second of processor time, and
// anybody may ask.
type crypt struct {
	cost  int
	slots chan struct{}
	// decoy is compared with when there is no such user, so that the answer takes as long as with one.
	decoy func() []byte
}

func newCrypt(cost int) *crypt {
	if cost == 0 {
		cost = defaultCost
	}
	return &crypt{
		cost:  cost,
		slots: make(chan struct{}, max(1, runtime.NumCPU()/2)),
		decoy: sync.OnceValue(func() []byte {
			hash, err := bcrypt.GenerateFromPassword([]byte(newTokenID()[:maxPassword/2]), cost)
			if err != nil {
				panic(fmt.Sprintf("bcrypt: %v", err)) // only a cost out of range can do this
			}
			return hash
		}),
	}
}

// matches compares; a nil hash never matches and takes as long. It gives up when the client does.
func (c *crypt) matches(q *request, hash []byte, password string) (bool, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-q.Context().Done():
		return false, q.Context().Err()
	}
	known := hash != nil
	if !known {
		hash = c.decoy()
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && known, nil
}

func (c *crypt) hash(q *request, password string) ([]byte, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-q.Context().Done():
		return nil, q.Context().Err()
	}
	return bcrypt.GenerateFromPassword([]byte(password), c.cost)
}
