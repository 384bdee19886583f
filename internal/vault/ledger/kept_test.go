package ledger

import (
	"testing"

	"she/internal/hat"
	"she/internal/vault"
)

// A value that was read before a commit may still be returned after it, but must not be cached then.
func TestWhatWasReadBeforeACommitIsNotKeptAfterIt(t *testing.T) {
	var k kept
	u := vault.User{ID: hat.NewUserID()}
	_, _, age := k.user(u.ID)
	_, ageOfIdle := k.isIdle()
	k.forget(true)
	k.keepOwner(u, age)
	k.keepIdle(ageOfIdle)
	_, found, age := k.user(u.ID)
	_, owner, _ := k.owner()
	idle, ageOfIdle := k.isIdle()
	if found || owner || idle {
		t.Errorf("kept what may have changed: user %t, owner %t, idle %t", found, owner, idle)
	}
	k.keepUser(u, age)
	if _, owner, _ := k.owner(); owner {
		t.Error("any user is taken for the Owner")
	}
	k.keepOwner(u, age)
	k.keepIdle(ageOfIdle)
	k.forget(false)
	if idle, age = k.isIdle(); idle {
		t.Error("idle is kept over a commit")
	}
	k.keepIdle(age)
	if _, found, _ := k.user(u.ID); !found {
		t.Error("a user is not kept over a commit that changed none")
	}
	if kept, found, _ := k.owner(); !found || kept.ID != u.ID {
		t.Error("the Owner is not kept")
	}
	if idle, _ := k.isIdle(); !idle {
		t.Error("idle is not kept")
	}
	for range 3 * maxKeptUsers {
		k.keepUser(vault.User{ID: hat.NewUserID()}, age)
	}
	if len(k.users) > maxKeptUsers {
		t.Errorf("%d users are kept", len(k.users))
	}
}
