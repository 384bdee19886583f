package logins

import (
	"fmt"

	"github.com/ccojocar/zxcvbn-go"
)

// What a new password must be. There are two rules, because two older APIs set them. The HAT API 2.6 measures
// how easily a password is guessed. The operator's commands set a first password, which is often generated,
// and only bound its length.
const (
	// minStrength is the score of zxcvbn below which a password is refused: 0 and 1 are guessed within hours.
	minStrength = 2
	// leastPassword is the minimum length in bytes for the operator's commands.
	leastPassword = 8
	// MaxPassword is the number of bytes that bcrypt reads. Longer passwords are refused, because bcrypt
	// would ignore the rest silently.
	MaxPassword = 72
)

// Weakness returns what is wrong with a new password set over the HAT API, or "". names are words that an
// attacker who knows the user would try first.
func Weakness(password string, names ...string) string {
	switch {
	case len(password) > MaxPassword:
		return fmt.Sprintf("more than %d bytes", MaxPassword)
	case zxcvbn.PasswordStrength(password, names).Score < minStrength:
		return "Minimum password requirement strength not met"
	}
	return ""
}

// CheckFirst returns an error for a password that the operator may not set.
func CheckFirst(password string) error {
	if len(password) < leastPassword || len(password) > MaxPassword {
		return fmt.Errorf("the password must have %d to %d bytes, this one has %d", leastPassword, MaxPassword, len(password))
	}
	return nil
}
