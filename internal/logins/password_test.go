package logins

import (
	"strings"
	"testing"
)

func TestNewPasswords(t *testing.T) {
	for _, c := range []struct {
		password     string
		weak, refuse bool
	}{
		{"", true, true},
		{"1234567", true, true},
		{"password", true, false}, // the operator's first password is bounded in length alone
		{"alice.example.net", true, false},
		{"vk3 Lq9", false, true},
		{"tallowfield harbour", false, false},
		{strings.Repeat("vk3 Lq9x", 9), false, false},     // 72 bytes
		{strings.Repeat("vk3 Lq9x", 9) + "y", true, true}, // bcrypt reads no more
	} {
		if got := Weakness(c.password, "alice.example.net") != ""; got != c.weak {
			t.Errorf("%q over the API: refused %v", c.password, got)
		}
		if got := CheckFirst(c.password) != nil; got != c.refuse {
			t.Errorf("%q of the operator: refused %v", c.password, got)
		}
	}
}
