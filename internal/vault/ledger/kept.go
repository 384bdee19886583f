package ledger

import (
	"slices"
	"sync"

	"she/internal/hat"
	"she/internal/vault"
)

// kept is what was read and holds until a commit that may have changed it: who uses the vault, and that nothing waits
// to be done. Both are asked for at every request, and change about never. Only this vault writes to the file while it
// is open, so that it hears of every change.
type kept struct {
	mu    sync.Mutex
	age   int // counts forget: what was read before one is not kept after it
	users map[hat.UserID]vault.User
	owns  hat.UserID // who of users is the Owner; zero: not known
	idle  bool       // nothing is pending
}

// maxKeptUsers bounds users; a HAT has a handful.
const maxKeptUsers = 100

// forget is called between a commit and the first answer to any of its callers, who would else read what was before. A
// commit that has changed no user leaves users as they are.
func (k *kept) forget(people bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.age++
	k.idle = false
	if people {
		k.users, k.owns = nil, hat.UserID{}
	}
}

// user is a copy, or not found; age is what keepUser wants to be told.
func (k *kept) user(id hat.UserID) (u vault.User, found bool, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	u, found = k.users[id]
	return copyUser(u), found, k.age
}

// keepUser takes a user that was read after age was.
func (k *kept) keepUser(u vault.User, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.age != age {
		return
	}
	if k.users == nil || len(k.users) >= maxKeptUsers {
		k.users = map[hat.UserID]vault.User{}
	}
	k.users[u.ID] = copyUser(u)
}

// owner is a copy, as user is.
func (k *kept) owner() (u vault.User, found bool, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	u, found = k.users[k.owns]
	return copyUser(u), found, k.age
}

// keepOwner is keepUser for the Owner.
func (k *kept) keepOwner(u vault.User, age int) {
	k.keepUser(u, age)
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, kept := k.users[u.ID]; kept && k.age == age {
		k.owns = u.ID
	}
}

func copyUser(u vault.User) vault.User {
	u.PasswordHash, u.Roles = slices.Clone(u.PasswordHash), slices.Clone(u.Roles)
	return u
}

// isIdle says that nothing is known to be pending; age is what keepIdle wants to be told.
func (k *kept) isIdle() (idle bool, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.idle, k.age
}

// keepIdle takes that nothing was pending, read after age was.
func (k *kept) keepIdle(age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = k.age == age
}
