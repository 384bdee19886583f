package logins

import (
	"fmt"

	"github.com/ccojocar/zxcvbn-go"
)

// What a new password must be. There are two rules, because two APIs are older than this code. The HAT API 2.6 measures how
// easily a password is guessed. The operator's commands set a first password, often a generated one, and bound its length.
const (
	// minStrength is the score of zxcvbn below which a password is refused: 0 and 1 are guessed within hours.
	minStrength = 2
	// leastPassword is the length in bytes that the operator's commands want.
	leastPassword = 8
	// MaxPassword is how many bytes bcrypt reads. A longer password is refused: it would be cut in silence.
	MaxPassword = 72
)

// Weakness returns what is wrong with a new password that somebody sets over the HAT API, or "". names are what a person who
// knows them would try first.
func Weakness(password string, names ...string) string {
	switch {
	case len(password) > MaxPassword:
		return fmt.Sprintf("more than %d bytes", MaxPassword)
	case zxcvbn.PasswordStrength(password, names).Score < minStrength:
		return "Minimum password requirement strength not met"
	}
	return ""
}

// CheckFirst returns what is wrong with a password that the operator sets.
func CheckFirst(password string) error {
	if len(password) < leastPassword || len(password) > MaxPassword {
		return fmt.Errorf("the password must have %d to %d bytes, this one has %d", leastPassword, MaxPassword, len(password))
	}
	return nil
}
