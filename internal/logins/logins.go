// Package logins is whose password is tried, and when: budgets of tries for each name, address and HAT, turns at the
// processor, and the networks a user is known to log in from. Strangers who guess keep nobody out for long, and learn
// nothing from the time an answer takes.
//
// It keeps no password, and answers no request: package edge and the commands of the operator do.
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
	// One address at one name, as in the original; also somebody with a token at the password that must be given again.
	PairBurst = 10
	PairEvery = 2 * time.Second
	// One address at all names of a HAT.
	addressBurst = 30
	addressEvery = time.Second
	// The first tries of an address at a name are counted apart, and those of an address in all: who guesses uses them
	// up, and then leaves room for somebody who comes from a new place.
	freshBurst, freshEvery        = 3, time.Hour
	freshOfAllBurst, freshOfAll   = 20, time.Minute
	freshOfNameBurst, freshOfName = 4096, 2 * time.Second
	againOfNameBurst, againOfName = 30, 4 * time.Second
	resetBurst, resetEvery        = 10, 2 * time.Second // of routes that take a token sent by mail, by address
	defaultCost                   = 12
)

// Logins compares passwords for everything in a process that asks for one, so that all of it together has one budget
// of processor time: each comparison takes a quarter of a second, and anybody may ask. It keeps no password.
type Logins struct {
	cost  int
	now   func() time.Time
	turns *turns
	// compare is bcrypt's.
	compare func(hash, password []byte) error

	mu          sync.Mutex
	latest      time.Time     // of what clock gave
	ahead       time.Duration // by which clock is ahead of now
	ofKnown     *meter        // user and address that are known; strangers have no part in it
	ofPair      *meter        // name and address
	ofAddress   *meter        // address at a HAT
	fresh       *meter        // name and site
	freshOfSite *meter
	freshOfName *meter
	againOfName *meter
	ofToken     *meter // user with a token, or the operator
	ofReset     *meter // address at a HAT
}

// Options are what Logins are made of.
type Options struct {
	Cost int              // of passwords that are set from now on; 0: 12, as in the original
	Now  func() time.Time // nil: time.Now
	// Compare compares a password with its hash; nil: bcrypt does.
	Compare func(hash, password []byte) error
}

// New makes one.
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

// clock is the time of the meters, under l.mu. It never goes back: when now is set back it goes on from where it was, for
// otherwise whoever had tried before would have no try left.
func (l *Logins) clock() time.Time {
	t := l.now().Round(0).Add(l.ahead)
	if t.Before(l.latest) {
		l.ahead += l.latest.Sub(t)
		t = l.latest
	}
	l.latest = t
	return t
}

// A Try is one of a password that proves who somebody is.
type Try struct {
	HAT   hat.ID
	Name  string
	From  Origin
	Known bool // the user has logged in from there before
}

// meterKey joins words to the key of a meter. The lengths keep apart what differs.
func meterKey(words ...string) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, "%d:%s", len(w), w)
	}
	return b.String()
}

// ErrTooOften is that of a try over its budget.
var ErrTooOften = errors.New("too many tries of a password")

// Admit counts the try and says how it ranks, or errTooOften. What is refused costs nothing.
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

// BecomesKnown carries the tries of an address over to its own budget: the login that made it known is one of them.
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

// AdmitToken counts a try of the present password by somebody who is logged in, which strangers have no part in.
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

// Waiting is how many wait for their turn.
func (l *Logins) Waiting() int {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	return len(l.turns.queue)
}

// HighestCost bounds the cost of a hash that somebody else made: a login with a dearer one would make each login at its HAT
// as dear.
func (l *Logins) HighestCost() int { return max(l.cost, defaultCost) }

// ErrWrongPassword is Prove's.
var ErrWrongPassword = errors.New("this is not the owner's password")

// Prove compares the Owner's password for the operator's commands. Wrong ones are counted, so that a script with the
// right one may run as often as it likes.
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

// right compares with all the work that the highest cost among the HAT's users needs, whatever the hash costs and
// whether or not there is one: nobody learns from the time an answer takes which names there are.
func (l *Logins) right(hash []byte, highest int, password string) bool {
	cost, err := bcrypt.Cost(hash)
	exists := err == nil
	if !exists {
		cost = max(highest, l.cost)
		hash = decoy(cost)
	}
	err = l.compare(hash, []byte(password))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) { // it can't be read, which takes no time
		err = l.compare(decoy(cost), []byte(password))
		exists = false
	}
	right := err == nil && exists
	for _, c := range padding(cost, highest) {
		_ = l.compare(decoy(c), []byte(password))
	}
	return right
}

// padding are the costs of comparisons that make one of cost as much work as one of highest: each step of the cost
// doubles it, so 10 becomes 12 with another 10 and an 11.
func padding(cost, highest int) (costs []int) {
	for ; cost < highest; cost++ {
		costs = append(costs, cost)
	}
	return costs
}

// decoy is a hash of the cost that no password is known for. To compare with it is as much work as with any other.
func decoy(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("she.", 13)+".")
}

// Hash makes the hash of a new password of somebody with a token.
func (l *Logins) Hash(ctx context.Context, hatID hat.ID, password string) ([]byte, error) {
	leave, err := l.turns.take(ctx, Known, hatID, "")
	if err != nil {
		return nil, err
	}
	defer leave()
	return bcrypt.GenerateFromPassword([]byte(password), l.cost)
}

// A Proof is what a login found.
type Proof struct {
	Right bool
	// Fresh is the password at the present cost, if the stored hash has another one.
	Fresh []byte
}

// Login compares a stranger's password with the hash of the user they name, nil if there is none. highest is the
// highest cost among the HAT's users.
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
