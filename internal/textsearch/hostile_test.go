package textsearch

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"she/internal/fuel"
)

// hostile are texts that, when repeated, make a naive parser look ahead again and again.
var hostile = []string{
	"a_", "a@", "<!--", "<a ", "<a'", "/~", "~/", "a-1-", "1.", "a.", "a1.", "-1.", "&#", "&a", "a:/", "a/../", "../", "é-", "a-",
	"12-a@", "\u0301",
}

func hostileText(part string, size int) string { return strings.Repeat(part, size/len(part)) }

// Eight times as much text takes at most eight times as much fuel, plus the search for the end of one host.
func TestHostileText(t *testing.T) {
	read := func(part string, size int) (used int64) {
		m := fuel.New(func(units int64) { used += units })
		for range Lexemes(&m, hostileText(part, size)) {
		}
		return used + m.Untold()
	}
	for _, part := range hostile {
		few, lot := read(part, 1<<15), read(part, 1<<18)
		if lot > 8*few+8*(maxHost+costToken+costStem) || few == 0 || lot < few {
			t.Errorf("%q: %d units for 32 KiB, %d for 256 KiB", part, few, lot)
		}
	}
}

// Fuel does not count every byte that the parser reads. So this measures time, which must be in proportion
// too.
func BenchmarkHostileText(b *testing.B) {
	for _, part := range hostile {
		b.Run(strings.NewReplacer("/", "slash", "\u0301", "accent").Replace(part), func(b *testing.B) {
			var ofByte [2]float64
			for i, size := range []int{1 << 15, 1 << 18} {
				text, began := hostileText(part, size), cpu()
				for range b.N {
					for range Lexemes(nil, text) {
					}
				}
				ofByte[i] = float64(cpu()-began) / float64(b.N*size)
			}
			b.ReportMetric(ofByte[1], "ns/byte")
			b.ReportMetric(ofByte[1]/ofByte[0], "growth")
			if b.N > 1 && ofByte[1] > 3*ofByte[0] {
				b.Errorf("%.1f ns for each of 32 Ki bytes, %.1f for each of 256 Ki", ofByte[0], ofByte[1])
			}
		})
	}
}

// cpu returns the processor time that this process has used. Other work on the machine hardly changes it.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
