package plan

import (
	"strings"
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	now := time.Date(2024, 2, 29, 23, 59, 59, 0, time.FixedZone("", -3600)) // 1 March in UTC
	none := Used{}
	for _, c := range []struct {
		says string
		q    Quota
		used Used
		code string
	}{
		{"no quota bounds nothing", Quota{}, Used{1 << 40, time.Hour << 10}, ""},
		{"the first run of a day", Quota{Runs: 1}, none, ""},
		{"the second one", Quota{Runs: 1}, Used{Runs: 1}, CodeRuns},
		{"a bound of runs counts no time", Quota{Runs: 2}, Used{1, time.Hour}, ""},
		{"a run that may begin may go beyond", Quota{Compute: time.Minute}, Used{9, time.Minute - 1}, ""},
		{"the next may not", Quota{Compute: time.Minute}, Used{9, time.Minute}, CodeCompute},
	} {
		fault, until := c.q.Over(c.used, now)
		switch {
		case c.code == "" && (fault != nil || !until.IsZero()):
			t.Errorf("%s: %v until %s", c.says, fault, until)
		case c.code != "" && (fault == nil || fault.Code != c.code || !until.Equal(time.Date(2024, 3, 2, 0, 0, 0, 0, time.UTC)) ||
			!strings.HasSuffix(fault.Text, "it goes on at 2024-03-02T00:00:00Z")):
			t.Errorf("%s: %v until %s", c.says, fault, until)
		}
	}
}
