package logins

import (
	"time"

	"golang.org/x/crypto/bcrypt"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var morning = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)

// testHash is the hash of the password "testing", at the lowest cost.
var testHash = must(bcrypt.GenerateFromPassword([]byte("testing"), bcrypt.MinCost))
