package pgtime

import "testing"

// A parsed Instant is within the range, each of its parts is a number in canonical form, and whole seconds
// survive the way back through Unix.
func FuzzParse(f *testing.F) {
	for _, text := range dateTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := Parse(text)
		if !ok {
			return
		}
		if !at.valid() {
			t.Fatalf("%q is out of range", text)
		}
		for _, part := range Parts {
			if n, ok := at.Part(part); !ok || canon(t, n) != n {
				t.Errorf("%s of %q is %s", part, text, n)
			}
		}
		seconds := floorDiv(int64(at), microsPerSecond)
		whole := Instant(seconds * microsPerSecond)
		if back, ok := Parse(date(seconds + unixDays*86_400)); !ok || back != whole {
			t.Errorf("%q is written as %s", text, date(seconds+unixDays*86_400))
		}
		// A double holds microseconds exactly for some centuries.
		if back, ok := Unix(float64(seconds + unixDays*86_400)); max(seconds, -seconds) < 1<<33 && (!ok || back != whole) {
			t.Errorf("%q is not so many seconds: %d", text, seconds)
		}
	})
}
