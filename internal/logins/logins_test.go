package logins

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"she/internal/hat"
	"she/internal/vault"
)

func from(network string) Origin { return Origin{network, network} }

// slowLogins returns Logins whose comparison takes as long as bcrypt of cost 12, on the clock of the test's
// bubble.
func slowLogins(places int) *Logins {
	l := New(Options{Cost: bcrypt.MinCost})
	l.turns = newTurns(places)
	l.compare = func(hash, password []byte) error {
		time.Sleep(comparison)
		return bcrypt.CompareHashAndPassword(hash, password)
	}
	return l
}

const comparison = 250 * time.Millisecond

// guess does what accessToken does with a password, without a vault.
func guess(ctx context.Context, l *Logins, t Try, password string) (bool, error) {
	r, err := l.Admit(t)
	if err != nil {
		return false, err
	}
	p, err := l.Login(ctx, t, r, testHash, 0, password)
	return p.Right, err
}

// turnsHad returns how many turns were given so far.
func turnsHad(l *Logins) uint64 {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	return l.turns.had
}

// The owner can log in from a known address immediately, and from a new address soon, however many addresses
// guess at the name without a pause. Refused tries take no processor time.
func TestOwnerGetsInWhileOthersGuess(t *testing.T) {
	for _, addresses := range []int{4, 50, 1000} {
		t.Run(fmt.Sprint(addresses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := slowLogins(1)
				ctx, stop := context.WithCancel(t.Context())
				var guessing sync.WaitGroup
				for i := range addresses {
					guessing.Go(func() {
						for ctx.Err() == nil {
							attack := Try{HAT: "bob", Name: "bob", From: from(fmt.Sprint("10.0.0.", i))}
							if right, _ := guess(ctx, l, attack, "guessed"); right {
								t.Error("a guess is right")
							}
							time.Sleep(time.Duration(1+addresses/100) * time.Second)
						}
					})
				}
				time.Sleep(time.Minute)
				at := Try{HAT: "bob", Name: "bob", From: from("192.0.2.1"), Known: true}
				for i := range 55 {
					began := time.Now()
					right, err := guess(ctx, l, at, "testing")
					if !right || err != nil {
						t.Errorf("login %d of the owner from a known address: %v, %v", i, right, err)
					}
					// One slot is kept for known users, so no try is served before. The time is exact here;
					// the number of turns that others begin at the moment this one ends is not.
					if took := time.Since(began); took != comparison {
						t.Errorf("login %d of the owner took %s", i, took)
					}
					time.Sleep(PairEvery)
				}
				// Each guesser has a few first tries. When these are used up, the owner's come first.
				time.Sleep(time.Duration(addresses*freshBurst) * comparison)
				for i := range 5 {
					at := Try{HAT: "bob", Name: "bob", From: from(fmt.Sprint("198.51.100.", i))}
					if right, err := guess(ctx, l, at, "testing"); !right || err != nil {
						t.Errorf("login %d of the owner from a new address: %v, %v", i, right, err)
					}
				}
				stop()
				guessing.Wait()
			})
		})
	}
}

// However many HATs are attacked, a new user at a quiet HAT waits for one comparison of each, and a known
// user for none.
func TestAttackedHATsDoNotDelayOthers(t *testing.T) {
	const attacked = 12
	synctest.Test(t, func(t *testing.T) {
		l := slowLogins(1)
		ctx, stop := context.WithCancel(t.Context())
		var guessing sync.WaitGroup
		for i := range attacked {
			for j := range 40 {
				guessing.Go(func() {
					for ctx.Err() == nil {
						// The names vary, to stay within the budget of each.
						name := fmt.Sprint("name", rand.IntN(1000))
						_, _ = guess(ctx, l, Try{HAT: hat.ID(fmt.Sprint("HAT", i)), Name: name, From: from(fmt.Sprint(i, ".", j))}, "guessed")
						time.Sleep(time.Second)
					}
				})
			}
		}
		time.Sleep(time.Minute)
		l.turns.mu.Lock()
		if waiting := len(l.turns.queue); waiting < 2*attacked {
			t.Errorf("only %d wait: this is no attack", waiting)
		}
		l.turns.mu.Unlock()
		for i := range 6 {
			for _, isKnown := range []bool{false, true} {
				mine := Try{HAT: hat.ID(fmt.Sprint("quiet", i)), Name: "alice", From: from("192.0.2.1"), Known: isKnown}
				before := turnsHad(l)
				if right, err := guess(ctx, l, mine, "testing"); !right || err != nil {
					t.Errorf("%+v: %v, %v", mine, right, err)
				}
				most := uint64(attacked + attacked/fairShare + 2)
				if isKnown {
					most = 2
				}
				if turns := turnsHad(l) - before; turns > most {
					t.Errorf("%+v had to wait for %d turns of others", mine, turns-1)
				}
			}
			time.Sleep(10 * time.Second)
		}
		stop()
		guessing.Wait()
	})
}

// The tries of one name by strangers are bounded, however many addresses they use and whatever else they try.
func TestGuessesOfANameAreBounded(t *testing.T) {
	now := morning
	l := New(Options{Cost: bcrypt.MinCost, Now: func() time.Time { return now }})
	guessed := 0
	const hours = 1
	for second := range hours * 3600 {
		for i := range 20 {
			address := from(fmt.Sprint("10.", second%100, ".", i))
			if _, err := l.Admit(Try{HAT: "bob", Name: "bob", From: address}); err == nil {
				guessed++
			}
			// Tries at many other keys, which might make a meter forget.
			_, _ = l.Admit(Try{HAT: hat.ID(fmt.Sprint("HAT ", second, i)), Name: fmt.Sprint(second, i), From: from(fmt.Sprint(second, i))})
		}
		now = now.Add(time.Second)
	}
	bound := freshOfNameBurst + againOfNameBurst + int(hours*time.Hour/freshOfName) + int(hours*time.Hour/againOfName)
	if guessed > bound {
		t.Errorf("%d guesses in %d hours, want at most %d", guessed, hours, bound)
	}
	if guessed < bound/2 {
		t.Errorf("%d guesses in %d hours: the test does not come near the bound of %d", guessed, hours, bound)
	}
}

// One address at one name has ten tries and one more every two seconds, as in the original. At all names of a
// HAT it has some more. Tries at one HAT do not use up those at another, and tries of strangers do not use up
// those of a known user.
func TestBudgets(t *testing.T) {
	now := morning
	l := New(Options{Cost: bcrypt.MinCost, Now: func() time.Time { return now }})
	tries := func(n int, t Try) (allowed int) {
		for range n {
			if _, err := l.Admit(t); err == nil {
				allowed++
			}
		}
		return allowed
	}
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d tries, want %d", what, got, want)
		}
	}
	a, b := from("192.0.2.1"), from("192.0.2.2")
	want("one address, one name", tries(30, Try{HAT: "bob", Name: "bob", From: a}), PairBurst)
	now = now.Add(PairEvery)
	want("two seconds later", tries(30, Try{HAT: "bob", Name: "bob", From: a}), 1)
	want("another address", tries(1, Try{HAT: "bob", Name: "bob", From: b}), 1)
	want("another name", tries(1, Try{HAT: "bob", Name: "hpp", From: a}), 1)
	all := 0
	for i := range 100 {
		all += tries(1, Try{HAT: "bob", Name: fmt.Sprint(i), From: a})
	}
	if all > addressBurst {
		t.Errorf("one address had %d tries at a HAT", all)
	}
	want("the same address and name at another HAT", tries(30, Try{HAT: "eve", Name: "bob", From: a}), PairBurst)
	want("who is known there", tries(30, Try{HAT: "bob", Name: "carol", From: a, Known: true}), PairBurst)
	want("and others at that address", tries(1, Try{HAT: "bob", Name: "hpp", From: a}), 0)

	// A known user has no second budget immediately.
	c := Try{HAT: "bob", Name: "dave", From: from("192.0.2.3")}
	want("before it is known", tries(7, c), 7)
	l.BecomesKnown(c)
	c.Known = true
	want("after", tries(30, c), PairBurst-7)

	// Setting the clock back neither gives nor takes tries.
	e := Try{HAT: "bob", Name: "erin", From: from("192.0.2.4")}
	want("before the clock is set back", tries(4, e), 4)
	now = now.Add(-24 * time.Hour)
	want("who had tries left", tries(1, e), 1)
	want("when the clock was set back", tries(1, c), 0)
	now = now.Add(PairEvery)
	want("two seconds after that", tries(30, c), 1)

	// A user with a token and the operator share no budget with strangers.
	u := vault.User{ID: hat.NewUserID()}
	for i := range 12 {
		if err := l.AdmitToken("bob", u); (err == nil) != (i < PairBurst) {
			t.Errorf("try %d with a token: %v", i, err)
		}
		if err := l.AdmitReset("bob", a); (err == nil) != (i < resetBurst) {
			t.Errorf("try %d of a token from a mail: %v", i, err)
		}
	}
}

// A meter gives a key at most as many tries as an exact bucket would, and about that many, whatever other
// keys do.
func TestMeterAgainstExactBuckets(t *testing.T) {
	type bucket struct {
		left float64
		at   time.Time
	}
	random := rand.New(rand.NewPCG(1, 2))
	const burst, every = 5, time.Second
	m := newMeter(burst, every, 1<<8)
	exact := map[string]*bucket{}
	now := morning
	refused, fewer := 0, 0
	for range 200_000 {
		now = now.Add(time.Duration(random.IntN(40)) * time.Millisecond)
		k := fmt.Sprint(random.IntN(30))
		b := exact[k]
		if b == nil {
			b = &bucket{burst, now}
			exact[k] = b
		}
		b.left, b.at = min(burst, b.left+now.Sub(b.at).Seconds()), now
		has := m.has(k, now)
		switch {
		case has && b.left < 1-1e-6:
			t.Fatalf("%s has a try more than its bucket, which holds %f", k, b.left)
		case has:
			m.spend(k, now)
			b.left--
		case b.left >= 1+1e-6:
			fewer++
		default:
			refused++
		}
	}
	if refused == 0 || fewer > 200_000/50 {
		t.Errorf("%d tries refused, and %d that the bucket would have allowed", refused, fewer)
	}
}

// No number of other keys makes a meter forget a key.
func TestMeterCanNotBeFlushed(t *testing.T) {
	m := newMeter(10, time.Hour, 1<<10)
	for range 10 {
		m.spend("guessed at", morning)
	}
	for i := range 100_000 {
		m.spend(fmt.Sprint("other ", i), morning)
	}
	if m.has("guessed at", morning) {
		t.Error("the tries are forgotten")
	}
}

// Slots are given in turn and the queue is bounded. The waiter with the worst claim makes room.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		leave, err := q.take(t.Context(), again, "x", "x")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var all sync.WaitGroup
		wait := func(r rank, hatID hat.ID, address string) {
			synctest.Wait() // they come one after the other
			all.Go(func() {
				leave, err := q.take(t.Context(), r, hatID, address)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, fmt.Sprint(hatID, address))
				mu.Unlock()
				leave()
			})
		}
		for range 3 {
			wait(again, "A", "1")
			wait(again, "A", "2")
		}
		wait(again, "B", "3")
		wait(Fresh, "A", "4")
		wait(again, "C", "1")
		synctest.Wait()
		leave()
		all.Wait()
		// The fresh one comes first. Then B, which had no turn yet. The address of C had none either when it
		// came.
		if got, want := strings.Join(order, " "), "A4 B3 C1 A2 A1 A2 A1 A2 A1"; got != want {
			t.Errorf("served %s, want %s", got, want)
		}
	})
}

func TestTurnsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		leaveStranger, err := q.take(t.Context(), again, "x", "x")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		ended := map[string]int{}
		var all sync.WaitGroup
		wait := func(r rank, hatID hat.ID, address string) <-chan error {
			done := make(chan error, 1)
			all.Go(func() {
				leave, err := q.take(ctx, r, hatID, address)
				if err == nil {
					leave()
				}
				mu.Lock()
				ended[fmt.Sprint(hatID, " ", err)]++
				mu.Unlock()
				done <- err
			})
			synctest.Wait()
			return done
		}
		// One HAT fills its share, then many HATs fill the whole queue.
		for i := range 2 * MaxWaitingOfHAT {
			wait(again, "A", fmt.Sprint(i))
		}
		if n := ended["A "+ErrCrowded.Error()]; n != MaxWaitingOfHAT {
			t.Errorf("%d of one HAT are refused, want %d", n, MaxWaitingOfHAT)
		}
		for i := range maxWaiting {
			wait(again, hat.ID(fmt.Sprint("B", i%8)), fmt.Sprint("b", i))
		}
		if len(q.queue) != maxWaiting {
			t.Errorf("%d wait, want %d", len(q.queue), maxWaiting)
		}
		// A HAT without waiters finds room at the cost of the longest queue. A better rank finds room at the
		// cost of any.
		quiet, better := wait(again, "quiet", "q"), wait(Fresh, "A", "new")
		select {
		case err := <-quiet:
			t.Error("the quiet HAT:", err)
		case err := <-better:
			t.Error("the better rank:", err)
		default:
		}
		if len(q.queue) != maxWaiting {
			t.Errorf("%d wait, want %d", len(q.queue), maxWaiting)
		}
		// A known user does not wait for strangers.
		if err := <-wait(Known, "A", "home"); err != nil {
			t.Error("who is known:", err)
		}
		// No waiter waits longer than a client would.
		time.Sleep(maxWait)
		synctest.Wait()
		if err := <-quiet; !errors.Is(err, ErrCrowded) {
			t.Error("after the longest wait:", err)
		}
		if len(q.queue) != 0 {
			t.Errorf("%d still wait", len(q.queue))
		}
		// A waiter that goes away frees its part of the queue, even at the moment of its turn.
		gone := wait(again, "A", "1")
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		all.Wait()
		leaveStranger()
		leaveStranger()
		if q.busy != 0 {
			t.Errorf("%d places are taken by nobody", q.busy)
		}
		if most := 2 * int(q.had); len(q.lines) > most {
			t.Errorf("%d lines are remembered after %d turns", len(q.lines), q.had)
		}
	})
}

// All ranks get a turn: a known user who logs in without end does not keep strangers out.
func TestNoRankStarves(t *testing.T) {
	var queue []*waiter
	for i := range 100 {
		queue = append(queue, &waiter{rank: Known, HAT: &line{}, address: &line{}, since: uint64(i + 10)})
	}
	queue = append(queue, &waiter{rank: again, HAT: &line{}, address: &line{}, since: 1})
	for had := range uint64(fairShare) {
		if w := queue[next(queue, had, true)]; (w.rank == again) != (had == fairShare-1) {
			t.Errorf("turn %d goes to rank %d", had, w.rank)
		}
	}
	if at := next(queue, fairShare-1, false); queue[at].rank != Known {
		t.Error("a place kept for who is known goes to a stranger")
	}
}

// A login takes the same work for every name of a HAT, whatever the cost of the hash and even without a hash.
func TestWorkOfALoginTellsNoNames(t *testing.T) {
	l := New(Options{Cost: 5})
	work := 0
	l.compare = func(hash, _ []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil || len(hash) != 60 {
			t.Errorf("%q is no hash: %v", hash, err)
		}
		work += 1 << cost
		return bcrypt.ErrMismatchedHashAndPassword
	}
	for _, highest := range []int{0, 4, 5, 6, 9} {
		want := 1 << max(highest, l.cost)
		hashes := map[string][]byte{"nobody": nil, "no password": {}, "another form": []byte("x")}
		for cost := bcrypt.MinCost; cost <= max(highest, l.cost); cost++ {
			hashes[fmt.Sprint("cost ", cost)] = decoy(cost)
		}
		for name, hash := range hashes {
			work = 0
			p, err := l.Login(t.Context(), Try{HAT: "bob", Name: name}, Fresh, hash, highest, "guessed")
			if p.Right || err != nil || work != want {
				t.Errorf("highest %d, %s: work %d, want %d; %+v, %v", highest, name, work, want, p, err)
			}
		}
	}
	// A text that looks like a hash but can't be compared with takes as long, and nobody logs in with it.
	work = 0
	l.compare = func(hash, password []byte) error {
		if err := bcrypt.CompareHashAndPassword(hash, password); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return err
		}
		cost, _ := bcrypt.Cost(hash)
		work += 1 << cost
		return bcrypt.ErrMismatchedHashAndPassword
	}
	unreadable := []byte("$2a$05$" + strings.Repeat("!", 53))
	if p, err := l.Login(t.Context(), Try{HAT: "bob", Name: "unreadable"}, Fresh, unreadable, 5, "guessed"); p.Right || err != nil || work != 1<<5 {
		t.Errorf("a hash that can't be read: work %d, want %d; %+v, %v", work, 1<<5, p, err)
	}
	// bcrypt accepts the decoys as hashes of their cost.
	if err := bcrypt.CompareHashAndPassword(decoy(4), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Error(err)
	}
}

// The operator's commands have a budget of wrong passwords. Right ones are not limited.
func TestProve(t *testing.T) {
	now := morning
	l := New(Options{Cost: bcrypt.MinCost, Now: func() time.Time { return now }})
	owner := vault.User{ID: hat.NewUserID(), PasswordHash: testHash, Enabled: true}
	prove := func(password string, want error) {
		t.Helper()
		if err := l.Prove(t.Context(), "bob", owner, password); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", password, err, want)
		}
	}
	for range 3 * PairBurst {
		prove("testing", nil)
	}
	for range PairBurst {
		prove("guessed", ErrWrongPassword)
	}
	prove("guessed", ErrTooOften)
	prove("testing", ErrTooOften)
	now = now.Add(PairEvery)
	prove("testing", nil)
	owner.Enabled = false
	prove("testing", ErrWrongPassword)
}

// BenchmarkLoginUnderAttack measures a login while others guess without a pause at twelve HATs, from forty
// addresses each.
func BenchmarkLoginUnderAttack(b *testing.B) {
	hash, err := bcrypt.GenerateFromPassword([]byte("testing"), defaultCost)
	if err != nil {
		b.Fatal(err)
	}
	for name, isKnown := range map[string]bool{"known": true, "new": false} {
		b.Run(name, func(b *testing.B) {
			l := New(Options{})
			ctx, stop := context.WithCancel(b.Context())
			var guessing sync.WaitGroup
			for i := range 12 * 40 {
				guessing.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						t := Try{HAT: hat.ID(fmt.Sprint(i % 12)), Name: fmt.Sprint(n), From: from(fmt.Sprint("10.", i))}
						if r, err := l.Admit(t); err == nil {
							_, _ = l.Login(ctx, t, r, nil, 0, "guessed")
						}
						select {
						case <-ctx.Done():
						case <-time.After(100 * time.Millisecond):
						}
					}
				})
			}
			n, turns := 0, uint64(0)
			for b.Loop() {
				n++
				before := turnsHad(l)
				t := Try{HAT: hat.ID(fmt.Sprint("quiet", n)), Name: "alice", From: from("192.0.2.1"), Known: isKnown}
				if p, err := l.Login(ctx, t, map[bool]rank{true: Known, false: Fresh}[isKnown], hash, 0, "testing"); err != nil || !p.Right {
					b.Fatal(p, err)
				}
				turns += l.turns.had - before
			}
			b.ReportMetric(float64(turns)/float64(n), "turns/op")
			stop()
			guessing.Wait()
		})
	}
}
