package ledger

import (
	"slices"
	"sync"

	"she/internal/hat"
	"she/internal/vault"
)

// kept caches what was read, until a commit that may change it: the users, and whether nothing is pending.
// Both are needed for every request and change rarely. While the vault is open it alone writes to the file,
// so it hears of every change.
type kept struct {
	mu    sync.Mutex
	age   int // counts calls of forget, so that older results are not cached afterwards
	users map[hat.UserID]vault.User
	owns  hat.UserID // id of the Owner in users; zero: not known
	idle  bool       // nothing is pending
}

// maxKeptUsers bounds users; a HAT has a handful.
const maxKeptUsers = 100

// forget is called after a commit and before its callers are answered, because they must not read older
// state. people is true if the commit changed users.
func (k *kept) forget(people bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.age++
	k.idle = false
	if people {
		k.users, k.owns = nil, hat.UserID{}
	}
}

// user returns a copy. age is for keepUser.
func (k *kept) user(id hat.UserID) (u vault.User, found bool, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	u, found = k.users[id]
	return copyUser(u), found, k.age
}

// keepUser caches a user who was read after age was returned.
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

// owner returns a copy, like user.
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

// isIdle reports whether nothing is known to be pending. age is for keepIdle.
func (k *kept) isIdle() (idle bool, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.idle, k.age
}

// keepIdle caches that nothing was pending, as read after age was returned.
func (k *kept) keepIdle(age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = k.age == age
}
