package pgtime

import (
	"math"
	"strconv"
	"strings"
)

// Parts are the names that Part accepts.
var Parts = []string{"century", "day", "decade", "dow", "doy", "epoch", "hour", "isodow", "isoyear", "microseconds",
	"millennium", "milliseconds", "minute", "month", "quarter", "second", "week", "year"}

// An Instant is a point in time as PostgreSQL keeps it: microseconds since 2000 in UTC, between 4714 BC and
// 294276 AD.
type Instant int64

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond

	unixDays = 10_957 // from 1970 to 2000
)

// firstInstant is midnight of 24 November 4714 BC. endOfTime is the first Instant that PostgreSQL refuses,
// the beginning of the year 294277.
var (
	firstInstant = Instant(daysFromCivil(-4713, 11, 24)-unixDays) * microsPerDay
	endOfTime    = Instant(daysFromCivil(294277, 1, 1)-unixDays) * microsPerDay
)

func (t Instant) valid() bool { return t >= firstInstant && t < endOfTime }

// Part returns a part of the Instant in UTC as canonical JSON, like PostgreSQL's extract. Fractions are
// exact. date_part in PostgreSQL computes with a double, which turns 27.640288 into 27.640287999999998.
func (t Instant) Part(name string) (json string, ok bool) {
	days := floorDiv(int64(t), microsPerDay)
	micros := int64(t) - days*microsPerDay
	days += unixDays
	year, month, day := civilFromDays(days) // 1 BC is year 0
	switch name {
	case "microseconds":
		return whole(micros % (60 * microsPerSecond))
	case "milliseconds":
		return scaled(micros%(60*microsPerSecond), 3)
	case "second":
		return scaled(micros%(60*microsPerSecond), 6)
	case "minute":
		return whole(micros / (60 * microsPerSecond) % 60)
	case "hour":
		return whole(micros / (3600 * microsPerSecond))
	case "day":
		return whole(day)
	case "month":
		return whole(month)
	case "quarter":
		return whole((month-1)/3 + 1)
	case "year":
		return whole(displayYear(year))
	case "decade":
		return whole(floorDiv(year, 10))
	case "century":
		return whole(groupOfYears(year, 100))
	case "millennium":
		return whole(groupOfYears(year, 1000))
	case "dow":
		return whole(weekday(days))
	case "isodow":
		return whole((weekday(days)+6)%7 + 1)
	case "doy":
		return whole(days - daysFromCivil(year, 1, 1) + 1)
	case "isoyear":
		y, _ := isoWeek(days)
		return whole(displayYear(y))
	case "week":
		_, w := isoWeek(days)
		return whole(w)
	case "epoch":
		// The count in microseconds may overflow, so seconds and the rest are computed separately.
		seconds := floorDiv(int64(t), microsPerSecond)
		rest := int64(t) - seconds*microsPerSecond
		sign := ""
		if seconds += unixDays * 86_400; seconds < 0 {
			sign, seconds = "-", -seconds
			if rest > 0 {
				seconds, rest = seconds-1, microsPerSecond-rest
			}
		}
		fraction, _ := scaled(rest, 6)
		return sign + strconv.FormatInt(seconds, 10) + fraction[1:], true
	}
	return "", false
}

func whole(n int64) (string, bool) { return strconv.FormatInt(n, 10), true }

// scaled returns n / 10^digits as a decimal number.
func scaled(n int64, digits int) (string, bool) {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	text := strconv.FormatInt(n, 10)
	if pad := digits + 1 - len(text); pad > 0 {
		text = strings.Repeat("0", pad) + text
	}
	point := len(text) - digits
	fraction := strings.TrimRight(text[point:], "0")
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + text[:point] + fraction, true
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// displayYear converts to years without a year 0: the year before 1 is -1.
func displayYear(year int64) int64 {
	if year <= 0 {
		return year - 1
	}
	return year
}

// groupOfYears returns the number of a century or millennium. The first begins with the year 1; the one
// before it is -1.
func groupOfYears(year, size int64) int64 {
	if year > 0 {
		return (year + size - 1) / size
	}
	return -((size - year) / size)
}

// weekday returns the day of the week, 0 for Sunday. Day 0, 1 January 1970, was a Thursday.
func weekday(days int64) int64 { return ((days+4)%7 + 7) % 7 }

// isoWeek returns the ISO 8601 week and its year, counted like civil years.
func isoWeek(days int64) (year, week int64) {
	thursday := days - (weekday(days)+6)%7 + 3
	year, _, _ = civilFromDays(thursday)
	return year, (thursday-daysFromCivil(year, 1, 1))/7 + 1
}

// daysFromCivil returns the days since 1970 in the proleptic Gregorian calendar, in which the year before 1
// is 0.
func daysFromCivil(year, month, day int64) int64 {
	// Count from 1 March, so that the leap day comes last.
	if month <= 2 {
		year--
	}
	era := floorDiv(year, 400)
	inEra := year - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146_097 + inEra*365 + inEra/4 - inEra/100 + dayOfYear - 719_468
}

func civilFromDays(days int64) (year, month, day int64) {
	days += 719_468
	era := floorDiv(days, 146_097)
	inEra := days - era*146_097
	yearOfEra := (inEra - inEra/1460 + inEra/36_524 - inEra/146_096) / 365
	dayOfYear := inEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*dayOfYear + 2) / 153
	day = dayOfYear - (153*shifted+2)/5 + 1
	month = (shifted+2)%12 + 1
	year = yearOfEra + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

func daysInMonth(year, month int64) int64 {
	if month == 12 {
		return 31
	}
	return daysFromCivil(year, month+1, 1) - daysFromCivil(year, month, 1)
}

// Unix returns the instant that many seconds after the beginning of 1970. PostgreSQL's to_timestamp takes a
// double too, which holds microseconds until well after the year 2200. The rounding is the same, so the
// results are equal.
func Unix(seconds float64) (Instant, bool) {
	if !(math.Abs(seconds) <= 1e14) {
		return 0, false
	}
	micros := math.RoundToEven((seconds - unixDays*86_400) * microsPerSecond)
	if micros < float64(firstInstant) || micros >= float64(endOfTime) {
		return 0, false
	}
	return Instant(micros), true
}
