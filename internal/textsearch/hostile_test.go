package textsearch

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// Text made so that a parser looks ahead again and again: eight times as much of it may not take the square of that
// time.
func TestHostileText(t *testing.T) {
	read := func(part string, size int) time.Duration {
		text := strings.Repeat(part, size/len(part))
		start := cpu()
		for range Lexemes(nil, text) {
		}
		return cpu() - start
	}
	for _, part := range []string{"a_", "a@", "<!--", "<a ", "<a'", "/~", "~/", "a-1-", "1.", "a.", "a1.", "-1.", "&#", "&a", "a:/", "a/../", "../", "é-", "a-", "12-a@", "\u0301"} {
		few, lot := read(part, 1<<15), read(part, 1<<18)
		if lot > 24*few+200*time.Millisecond {
			t.Errorf("%q: %v for 32 KiB, %v for 256 KiB", part, few, lot)
		}
	}
}

// cpu is the processor time this process has used, which other work on the machine doesn't change much.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
