package sqlite

import (
	"testing"

	"she/internal/hat"
	"she/internal/vault"
)

// What was read before a commit may be told of after it, and must not be kept then.
func TestWhatWasReadBeforeACommitIsNotKeptAfterIt(t *testing.T) {
	var k kept
	u := vault.User{ID: hat.NewUserID()}
	_, _, age := k.user(u.ID)
	_, ageOfIdle := k.isIdle()
	k.forget()
	k.keepUser(u, age)
	k.keepIdle(ageOfIdle)
	_, found, age := k.user(u.ID)
	idle, ageOfIdle := k.isIdle()
	if found || idle {
		t.Errorf("kept what may have changed: user %t, idle %t", found, idle)
	}
	k.keepUser(u, age)
	k.keepIdle(ageOfIdle)
	if _, found, _ := k.user(u.ID); !found {
		t.Error("a user is not kept")
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
