package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/logins"
	"she/internal/vault"
)

func behindProxy(o *Options, _ *engine.Options) { o.TrustProxy = true }

func (w *world) loginFrom(address, name, password string) answer {
	w.t.Helper()
	return w.call("GET", "/users/access_token", "", "", "username", name, "password", password, "X-Forwarded-For", address)
}

func (w *world) logins() *logins.Logins { return w.served.edge.Logins }

// rememberedLogins are what a vault keeps of a user's logins.
type rememberedLogins struct {
	Origins []struct {
		Digest []byte `json:"digest"`
		Used   int64  `json:"used"`
	} `json:"origins"`
}

// withCompare has passwords compared otherwise.
func withCompare(compare func(hash, password []byte) error) setting {
	return func(o *Options, _ *engine.Options) {
		o.Logins = logins.New(logins.Options{Cost: bcrypt.MinCost, Now: o.Now, Compare: compare})
	}
}

// stored is what the vault keeps of the user's logins.
func (w *world) storedLogins(name string) (text string, k rememberedLogins) {
	w.t.Helper()
	v, release := w.open(w.bob)
	defer release()
	u := w.users[name]
	d, err := v.Document(w.t.Context(), access.User(u.ID, nil, ""), vault.Logins, u.ID.String())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(d.Body, &k); err != nil {
		w.t.Fatal(err)
	}
	return string(d.Body), k
}

// nothingLeft uses up what strangers may try of a name.
func (w *world) nothingLeft(name string) {
	for i := 0; ; i++ {
		from := logins.OriginOf(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff))
		if _, err := w.logins().Admit(logins.Try{HAT: w.bob.ID, Name: name, From: from}); err != nil {
			return
		}
	}
}

// Four addresses that guess don't keep the owner out: neither where the owner was before nor at a new place.
func TestGuessingAddressesDoNotLockTheOwnerOut(t *testing.T) {
	w := newWorld(t, behindProxy)
	w.loginFrom("192.0.2.1", "bob", "testing").want(200)
	refused := 0
	for range 20 {
		for i := range 4 {
			if a := w.loginFrom(fmt.Sprint("198.51.100.", i), "bob", "guessed"); a.status == 400 {
				refused++
			} else {
				a.want(401, notAuthenticated)
			}
		}
	}
	if refused == 0 {
		t.Error("no guess is refused")
	}
	for range 55 {
		w.loginFrom("192.0.2.1", "bob", "testing").want(200)
		for i := range 4 {
			w.loginFrom(fmt.Sprint("198.51.100.", i), "bob", "guessed")
		}
		w.advance(logins.PairEvery)
	}
	w.loginFrom("192.0.2.99", "bob", "testing").want(200)
}

// Where a user has logged in from is known to the next server too, to nobody who reads the vault, and until the
// password changes.
func TestKnownAddresses(t *testing.T) {
	w := newWorld(t, behindProxy)
	const mine, neighbour, other = "2001:db8:1:2::3", "2001:db8:1:2:ffff::", "2001:db8:1:3::3"
	w.loginFrom(mine, "bob", "testing").want(200)
	w.nothingLeft("bob")
	w.nothingLeft("hpp")
	w.loginFrom(mine, "bob", "testing").want(200)
	w.loginFrom(neighbour, "bob", "testing").want(200)
	w.loginFrom(other, "bob", "testing").want(400)
	// Known is a user, not an address; and nobody is known where no address can be read.
	w.loginFrom(mine, "hpp", "testing").want(400)
	w.loginFrom("unreadable", "bob", "testing").want(400)

	text, _ := w.storedLogins("bob")
	for _, plain := range []string{"2001", "db8", "192.0"} {
		if strings.Contains(text, plain) {
			t.Errorf("the vault tells addresses: %s", text)
		}
	}
	// Another HAT's key makes another digest: who has the vault alone can't look for an address.
	bob := w.users["bob"]
	if bytes.Equal(logins.OriginDigest(w.bob, bob.ID, "x"), logins.OriginDigest(w.eve, bob.ID, "x")) ||
		bytes.Equal(logins.OriginDigest(w.bob, bob.ID, "x"), logins.OriginDigest(w.bob, hat.NewUserID(), "x")) {
		t.Error("digests of two HATs or users are alike")
	}

	// The next server begins with nothing but the vault.
	w.served.edge.Logins = logins.New(logins.Options{Cost: bcrypt.MinCost, Now: w.clock})
	w.nothingLeft("bob")
	w.loginFrom(mine, "bob", "testing").want(200)
	w.loginFrom(other, "bob", "testing").want(400)

	// Others may have had the password that is changed.
	w.post("bob", "/control/v2/auth/password", `{"password":"testing","newPassword":"correct horse battery"}`).want(200)
	w.advance(time.Minute)
	w.nothingLeft("bob")
	w.loginFrom(mine, "bob", "correct+horse+battery").want(400)
}

// A login stores something only when there is something new, and is right even if the disk is full.
func TestLoginWritesSeldom(t *testing.T) {
	w := newWorld(t, behindProxy)
	writes := 0
	w.disk(func([]string, bool) error { writes++; return nil })
	for range 3 {
		w.loginFrom("192.0.2.1", "bob", "testing").want(200)
		w.loginFrom("192.0.2.1", "bob", "guessed").want(401)
	}
	_, before := w.storedLogins("bob")
	w.advance(logins.KnownAgain + time.Second)
	w.loginFrom("192.0.2.1", "bob", "testing").want(200)
	_, after := w.storedLogins("bob")
	if len(after.Origins) != 1 || after.Origins[0].Used != before.Origins[0].Used+int64(logins.KnownAgain/time.Second)+1 {
		t.Errorf("%+v, then %+v", before, after)
	}
	if writes == 0 || writes > 4 {
		t.Errorf("%d commits for two things to remember", writes)
	}
	w.disk(func([]string, bool) error { return vault.ErrFull })
	w.loginFrom("192.0.2.2", "bob", "testing").want(200)
	w.disk(nil)
}

// Who has guessed at the time an answer takes finds the same work for every name; and the next right login makes all
// hashes of the present cost.
func TestHashesOfOtherCosts(t *testing.T) {
	work := 0
	w := newWorld(t, withCompare(func(hash, password []byte) error {
		work += 1 << must(bcrypt.Cost(hash))
		return bcrypt.CompareHashAndPassword(hash, password)
	}))
	v, release := w.open(w.bob)
	defer release()
	put := func(name string, cost int, enabled bool) vault.User {
		t.Helper()
		u := vault.User{
			ID: hat.NewUserID(), Username: name, Enabled: enabled, Roles: []access.Role{{Title: access.TitleDataCredit}},
			PasswordHash: must(bcrypt.GenerateFromPassword([]byte("testing"), cost)),
		}
		if err := v.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	dear := put("dear", bcrypt.MinCost+3, true)
	put("disabled", bcrypt.MinCost+1, false)
	for _, name := range []string{"bob", "hpp", "dear", "disabled", "nobody"} {
		work = 0
		w.login(name, "guessed").want(401, notAuthenticated)
		if want := 1 << (bcrypt.MinCost + 3); work != want {
			t.Errorf("%s: work %d, want %d", name, work, want)
		}
	}
	w.login("disabled", "testing").want(401, notAuthenticated)

	token := w.login("dear", "testing").want(200).header.Get(edge.TokenHeader)
	u, err := v.UserByName(t.Context(), "dear")
	if err != nil || must(bcrypt.Cost(u.PasswordHash)) != bcrypt.MinCost {
		t.Errorf("the hash is %s, %v", u.PasswordHash, err)
	}
	if bcrypt.CompareHashAndPassword(u.PasswordHash, []byte("testing")) != nil || !u.TokensFrom.Equal(dear.TokensFrom) {
		t.Error("the new hash is of another password, or ends tokens")
	}
	w.get(token, "/users/access_token/validate").want(200)
	w.login("dear", "testing").want(200)
	if cost, err := v.PasswordCost(t.Context()); err != nil || cost != bcrypt.MinCost+1 {
		t.Errorf("the highest cost is %d, %v: that of the disabled user is what is left", cost, err)
	}
}

// Tries of the present password by somebody with a token are counted for the user; what strangers do costs them nothing.
func TestPasswordChangeHasItsOwnBudget(t *testing.T) {
	w := newWorld(t)
	const change = "/control/v2/auth/password"
	for range 2 * logins.PairBurst {
		w.login("bob", "guessed")
		w.post("", change, `{}`).want(401)
	}
	for range logins.PairBurst {
		w.post("bob", change, `{"password":"guessed","newPassword":"correct horse battery"}`).want(403)
	}
	w.post("bob", change, `{"password":"testing","newPassword":"correct horse battery"}`).want(400,
		`{"message":"Request rate exceeded","cause":"Rate of requests from your IP exceeded","details":["Request to /control/v2/auth/password"]}`)
	w.advance(logins.PairEvery)
	w.post("bob", change, `{"password":"testing","newPassword":"correct horse battery"}`).want(200)
}

// A login that finds the queue full is told so, in the form of the interface, and when to come again.
func TestCrowdedLogins(t *testing.T) {
	goOn := make(chan struct{})
	w := newWorld(t, withCompare(func(hash, password []byte) error {
		<-goOn
		return bcrypt.CompareHashAndPassword(hash, password)
	}))
	var others sync.WaitGroup
	for i := range logins.MaxWaitingOfHAT + runtime.NumCPU() + 1 { // those that have a turn are fewer
		others.Go(func() {
			from := logins.OriginOf(fmt.Sprintf("10.0.0.%d", i))
			_, _ = w.logins().Login(t.Context(), logins.Try{HAT: w.bob.ID, Name: "bob", From: from}, logins.Fresh, testHash, 0, "guessed")
		})
	}
	for tick := time.NewTicker(time.Millisecond); w.logins().Waiting() < logins.MaxWaitingOfHAT; {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("nobody waits")
		}
	}
	a := w.login("bob", "testing").want(http.StatusServiceUnavailable,
		`{"error":"Service Unavailable","message":"Too many logins at once, try again in a few seconds"}`)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(goOn)
	others.Wait()
	w.login("bob", "testing").want(200)
}
