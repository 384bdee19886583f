// Package logins decides when a password is compared. It keeps budgets of tries for each name, address and
// HAT, queues comparisons for the processor, and knows the networks that users log in from. Strangers who
// guess can't keep anybody out for long, and learn nothing from the duration of an answer.
//
// It keeps no passwords and answers no requests; package edge and the operator's commands do.
package logins

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"she/internal/hat"
	"she/internal/vault"
)

// The budgets of tries. docs/threat-model.md says what they add up to.
const (
	// One address at one name, as in the original. The same budget holds for a user with a token who must
	// give the password again.
	PairBurst = 10
	PairEvery = 2 * time.Second
	// One address at all names of a HAT.
	addressBurst = 30
	addressEvery = time.Second
	// The first tries of an address at a name are counted separately, and so are those of an address in all.
	// A guesser uses them up and then leaves room for a user at a new address.
	freshBurst, freshEvery        = 3, time.Hour
	freshOfAllBurst, freshOfAll   = 20, time.Minute
	freshOfNameBurst, freshOfName = 4096, 2 * time.Second
	againOfNameBurst, againOfName = 30, 4 * time.Second
	resetBurst, resetEvery        = 10, 2 * time.Second // by address, for routes that take a token sent by mail
	defaultCost                   = 12
)

// Logins compares passwords for all parts of a process, so that they share one budget of processor time. A
// comparison takes a quarter of a second, and anybody may ask for one. Logins keeps no password.
type Logins struct {
	cost  int
	now   func() time.Time
	turns *turns
	// compare is bcrypt's comparison.
	compare func(hash, password []byte) error

	mu          sync.Mutex
	latest      time.Time     // the latest result of clock
	ahead       time.Duration // how far clock is ahead of now
	ofKnown     *meter        // user and known address; strangers do not count here
	ofPair      *meter        // name and address
	ofAddress   *meter        // address at a HAT
	fresh       *meter        // name and site
	freshOfSite *meter
	freshOfName *meter
	againOfName *meter
	ofToken     *meter // user with a token, or operator
	ofReset     *meter // address at a HAT
}

// Options of Logins.
type Options struct {
	Cost int              // for new passwords; 0: 12, as in the original
	Now  func() time.Time // nil: time.Now
	// Compare compares a password with its hash; nil means bcrypt.
	Compare func(hash, password []byte) error
}

// New returns Logins with these options.
func New(o Options) *Logins {
	if o.Cost == 0 {
		o.Cost = defaultCost
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Compare == nil {
		o.Compare = bcrypt.CompareHashAndPassword
	}
	return &Logins{
		cost:        o.Cost,
		now:         o.Now,
		turns:       newTurns(max(1, runtime.NumCPU()/2)),
		compare:     o.Compare,
		ofKnown:     newMeter(PairBurst, PairEvery, meterCells),
		ofPair:      newMeter(PairBurst, PairEvery, meterCells),
		ofAddress:   newMeter(addressBurst, addressEvery, meterCells),
		fresh:       newMeter(freshBurst, freshEvery, meterCellsLong),
		freshOfSite: newMeter(freshOfAllBurst, freshOfAll, meterCells),
		freshOfName: newMeter(freshOfNameBurst, freshOfName, meterCells),
		againOfName: newMeter(againOfNameBurst, againOfName, meterCells),
		ofToken:     newMeter(PairBurst, PairEvery, meterCells),
		ofReset:     newMeter(resetBurst, resetEvery, meterCells),
	}
}

// clock returns the time of the meters. It requires l.mu. It never goes back: if now is set back, clock
// continues from its last value. Otherwise a user who had tried before would have no try left.
func (l *Logins) clock() time.Time {
	t := l.now().Round(0).Add(l.ahead)
	if t.Before(l.latest) {
		l.ahead += l.latest.Sub(t)
		t = l.latest
	}
	l.latest = t
	return t
}

// A Try is one try of a password.
type Try struct {
	HAT   hat.ID
	Name  string
	From  Origin
	Known bool // the user has logged in from there before
}

// meterKey joins words to the key of a meter. The key contains their lengths, so that different words never
// give the same key.
func meterKey(words ...string) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, "%d:%s", len(w), w)
	}
	return b.String()
}

// ErrTooOften is the error of a try that exceeds its budget.
var ErrTooOften = errors.New("too many tries of a password")

// Admit counts the try and returns its rank, or ErrTooOften. A refused try uses up nothing.
func (l *Logins) Admit(t Try) (rank, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	pair := meterKey(string(t.HAT), t.Name, t.From.Network)
	if t.Known {
		if !l.ofKnown.has(pair, now) {
			return 0, ErrTooOften
		}
		l.ofKnown.spend(pair, now)
		return Known, nil
	}
	address, name := meterKey(string(t.HAT), t.From.Network), meterKey(string(t.HAT), t.Name)
	if !l.ofPair.has(pair, now) || !l.ofAddress.has(address, now) {
		return 0, ErrTooOften
	}
	site := meterKey(string(t.HAT), t.Name, t.From.Site)
	r := again
	switch {
	case l.fresh.has(site, now) && l.freshOfSite.has(t.From.Site, now) && l.freshOfName.has(name, now):
		r = Fresh
		l.fresh.spend(site, now)
		l.freshOfSite.spend(t.From.Site, now)
		l.freshOfName.spend(name, now)
	case l.againOfName.has(name, now):
		l.againOfName.spend(name, now)
	default:
		return 0, ErrTooOften
	}
	l.ofPair.spend(pair, now)
	l.ofAddress.spend(address, now)
	return r, nil
}

// BecomesKnown copies the tries of an address to its own budget, because the login that made it known is one
// of them.
func (l *Logins) BecomesKnown(t Try) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock().UnixNano()
	pair := meterKey(string(t.HAT), t.Name, t.From.Network)
	l.ofKnown.raise(pair, now, l.ofPair.until(pair, now))
}

// AdmitReset counts a try of a token sent by mail.
func (l *Logins) AdmitReset(hatID hat.ID, from Origin) error {
	return l.admitTo(l.ofReset, meterKey(string(hatID), from.Network))
}

// AdmitToken counts a try of the present password by a user who is logged in. Tries of strangers do not count
// here.
func (l *Logins) AdmitToken(hatID hat.ID, u vault.User) error {
	return l.admitTo(l.ofToken, meterKey("token", string(hatID), u.ID.String()))
}

func (l *Logins) admitTo(m *meter, key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	if !m.has(key, now) {
		return ErrTooOften
	}
	m.spend(key, now)
	return nil
}

// Waiting returns how many tries wait for their turn.
func (l *Logins) Waiting() int {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	return len(l.turns.queue)
}

// HighestCost bounds the cost of a hash that a client sends. A hash with a higher cost would make every login
// at its HAT as slow.
func (l *Logins) HighestCost() int { return max(l.cost, defaultCost) }

// ErrWrongPassword is the error of Prove for a wrong password.
var ErrWrongPassword = errors.New("this is not the owner's password")

// Prove compares the Owner's password for the operator's commands. Only wrong passwords are counted, so a
// script with the right one may run as often as it likes.
func (l *Logins) Prove(ctx context.Context, hatID hat.ID, owner vault.User, password string) error {
	leave, err := l.turns.take(ctx, Known, hatID, "")
	if err != nil {
		return err
	}
	defer leave()
	k := meterKey("operator", string(hatID), owner.ID.String())
	l.mu.Lock()
	left := l.ofToken.has(k, l.clock())
	l.mu.Unlock()
	if !left {
		return fmt.Errorf("%w: wait %s", ErrTooOften, PairEvery)
	}
	if !l.right(owner.PasswordHash, 0, password) || !owner.Enabled {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ofToken.spend(k, l.clock())
		return ErrWrongPassword
	}
	return nil
}

// right compares the password with the hash. It always does the work of the highest cost among the HAT's
// users, whatever the cost of the hash and even without a hash. So the duration does not reveal which names
// exist.
func (l *Logins) right(hash []byte, highest int, password string) bool {
	cost, err := bcrypt.Cost(hash)
	exists := err == nil
	if !exists {
		cost = max(highest, l.cost)
		hash = decoy(cost)
	}
	err = l.compare(hash, []byte(password))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) { // an unreadable hash takes no time
		err = l.compare(decoy(cost), []byte(password))
		exists = false
	}
	right := err == nil && exists
	for _, c := range padding(cost, highest) {
		_ = l.compare(decoy(c), []byte(password))
	}
	return right
}

// padding returns the costs of extra comparisons that bring the work from cost up to highest. Each step of
// the cost doubles the work: 10 becomes 12 with another 10 and an 11.
func padding(cost, highest int) (costs []int) {
	for ; cost < highest; cost++ {
		costs = append(costs, cost)
	}
	return costs
}

// decoy returns a hash of this cost for which no password is known. A comparison with it takes as long as
// with any other.
func decoy(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("she.", 13)+".")
}

// Hash hashes a new password of a user with a token.
func (l *Logins) Hash(ctx context.Context, hatID hat.ID, password string) ([]byte, error) {
	leave, err := l.turns.take(ctx, Known, hatID, "")
	if err != nil {
		return nil, err
	}
	defer leave()
	return bcrypt.GenerateFromPassword([]byte(password), l.cost)
}

// A Proof is the result of a login.
type Proof struct {
	Right bool
	// Fresh is the password's hash at the present cost, if the stored hash has another cost.
	Fresh []byte
}

// Login compares a stranger's password with the hash of the named user; the hash is nil if there is none.
// highest is the highest cost among the HAT's users.
func (l *Logins) Login(ctx context.Context, t Try, r rank, hash []byte, highest int, password string) (p Proof, err error) {
	leave, err := l.turns.take(ctx, r, t.HAT, t.From.Network)
	if err != nil {
		return p, err
	}
	defer leave()
	p.Right = l.right(hash, max(highest, l.cost), password)
	if cost, err := bcrypt.Cost(hash); p.Right && err == nil && cost != l.cost && len(password) <= MaxPassword {
		if p.Fresh, err = bcrypt.GenerateFromPassword([]byte(password), l.cost); err != nil {
			return p, err
		}
	}
	return p, nil
}
