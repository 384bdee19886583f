package hat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/sosodev/duration"
)

// A Period is a calendar period: ISO 8601 on the wire ("P1D", "P1W", "PT1H"), or a number of milliseconds. A
// month has the length that the calendar says. A Period is positive; the zero Period means "none".
type Period struct {
	years, months, days int
	rest                time.Duration
}

// ErrPeriodInvalid is wrapped by ParsePeriod.
var ErrPeriodInvalid = errors.New("want a positive ISO 8601 period such as P1D or PT1H")

// ParsePeriod reads ISO 8601 text. Years, months, weeks and days must be whole numbers. No part may be
// negative, and at least one must be positive.
func ParsePeriod(s string) (Period, error) {
	d, err := duration.Parse(s)
	if len(s) > 64 || err != nil || d.Negative {
		return Period{}, fmt.Errorf("period %.40q: %w", s, ErrPeriodInvalid)
	}
	for _, whole := range []float64{d.Years, d.Months, d.Weeks, d.Days} {
		if whole != math.Trunc(whole) || whole < 0 || whole > 10_000 {
			return Period{}, fmt.Errorf("period %.40q: %w", s, ErrPeriodInvalid)
		}
	}
	rest := d.Hours*3600 + d.Minutes*60 + d.Seconds
	if rest < 0 || rest > 100*365*86400 {
		return Period{}, fmt.Errorf("period %.40q: %w", s, ErrPeriodInvalid)
	}
	p := Period{int(d.Years), int(d.Months), int(d.Weeks)*7 + int(d.Days), time.Duration(math.Round(rest*1000)) * time.Millisecond}
	if p.IsZero() {
		return Period{}, fmt.Errorf("period %.40q: %w", s, ErrPeriodInvalid)
	}
	return p, nil
}

// PeriodOf returns a period of that many milliseconds.
func PeriodOf(ms int64) (Period, error) {
	if ms <= 0 || ms > int64(100*365*24*time.Hour/time.Millisecond) {
		return Period{}, fmt.Errorf("period %d ms: %w", ms, ErrPeriodInvalid)
	}
	return Period{rest: time.Duration(ms) * time.Millisecond}, nil
}

func (p Period) IsZero() bool { return p == Period{} }

// After returns t plus the period, by the calendar in UTC.
func (p Period) After(t time.Time) time.Time {
	return t.UTC().AddDate(p.years, p.months, p.days).Add(p.rest)
}

// String is the ISO 8601 text.
func (p Period) String() string {
	if p.IsZero() {
		return "P0D"
	}
	b := []byte{'P'}
	part := func(n int64, unit byte) {
		if n != 0 {
			b = append(strconv.AppendInt(b, n, 10), unit)
		}
	}
	part(int64(p.years), 'Y')
	part(int64(p.months), 'M')
	part(int64(p.days), 'D')
	if p.rest != 0 {
		b = append(b, 'T')
		part(int64(p.rest/time.Hour), 'H')
		part(int64(p.rest%time.Hour/time.Minute), 'M')
		if ms := int64(p.rest % time.Minute / time.Millisecond); ms != 0 {
			b = strconv.AppendInt(b, ms/1000, 10)
			if ms%1000 != 0 {
				b = append(b, bytes.TrimRight(fmt.Appendf(nil, ".%03d", ms%1000), "0")...)
			}
			b = append(b, 'S')
		}
	}
	return string(b)
}

func (p Period) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

func (p *Period) UnmarshalJSON(b []byte) (err error) {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*p, err = ParsePeriod(s)
		return err
	}
	ms, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return ErrPeriodInvalid
	}
	*p, err = PeriodOf(ms)
	return err
}
