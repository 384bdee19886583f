// Package pgtime implements PostgreSQL's timestamp with time zone in a session at UTC: parsing, and
// extract.
//
// It guarantees: an Instant is within PostgreSQL's range; parsing takes time in proportion to the text,
// which may have at most MaxText bytes.
package pgtime

import (
	"math"
	"strconv"
	"strings"
)

// Parse reads a timestamp as PostgreSQL 15 does with DateStyle "ISO, MDY" in a session at UTC. It reads all
// spellings of ISO 8601, and the forms that people and programs write: "Fri, 01 Mar 2024 09:15:00 GMT",
// "Fri Mar 01 09:15:00 +0000 2024", "March 1, 2024 9:15 PM", "3/1/2024", "01-Mar-24", "20240301T091500Z",
// "2024.060", "44-03-15 BC".
//
// It does not read, so a filter does not match: names that need a time zone database ("Europe/London"),
// zones with rules ("GMT+2"), words that depend on the clock ("now", "today" and similar), "epoch",
// "infinity", Julian days, and ISO texts with letters for units ("y2001m02d04").
func Parse(s string) (Instant, bool) {
	if len(s) > MaxText {
		return 0, false
	}
	fields, ok := splitTime(strings.ToLower(s))
	if !ok || len(fields) == 0 {
		return 0, false
	}
	r := timeReader{}
	for i, f := range fields {
		var next timeField
		if i+1 < len(fields) {
			next = fields[i+1]
		}
		if !r.read(f, next) {
			return 0, false
		}
	}
	return r.instant()
}

// MaxText is the length in bytes of the longest text that can be a timestamp.
const MaxText = 128

// known is a set of the parts that were read so far.
type known byte

const (
	haveYear known = 1 << iota
	haveMonth
	haveDay
	haveTime
	haveZone
	haveWeekday
	haveEra
	haveAMPM

	haveDate = haveYear | haveMonth | haveDay
)

type timeReader struct {
	have                         known
	year, month, day             int64
	hour, minute, second, micros int64
	offset                       int64 // seconds east of UTC
	dayOfYear                    int64
	textMonth, twoDigits, bc     bool
	meridiem                     string // am, pm
	timeNext                     bool   // a "t" was read
}

// learn adds what a field contained. It returns false if that was known before.
func (r *timeReader) learn(what known) bool {
	if r.have&what != 0 {
		return false
	}
	r.have |= what
	return true
}

func (r *timeReader) read(f, next timeField) bool {
	switch f.kind {
	case fieldDate:
		if r.timeNext || r.have&(haveMonth|haveDay) == haveMonth|haveDay {
			// If a date was read before, this is a time joined to its zone: 091500-05.
			if !isDigit(f.text[0]) || r.have&haveTime != 0 {
				return false
			}
			r.timeNext = false
			dash := strings.IndexByte(f.text, '-')
			return dash > 0 && r.zone(f.text[dash:]) && r.runTogether(f.text[:dash]) == haveTime
		}
		return r.date(f.text)
	case fieldTime:
		r.timeNext = false
		return r.clock(f.text) && r.learn(haveTime)
	case fieldZone:
		return !r.timeNext && r.zone(f.text)
	case fieldNumber:
		if r.timeNext {
			r.timeNext = false
			return r.have&haveDate == haveDate && r.runTogether(f.text) == haveTime
		}
		return r.number(f.text)
	case fieldWord:
		return !r.timeNext && r.word(f.text, next)
	}
	return false
}

// number reads a field of digits, with or without a fraction.
func (r *timeReader) number(text string) bool {
	whole, _, fraction := strings.Cut(text, ".")
	switch {
	case fraction && r.have&haveDate == 0:
		return r.date(text)
	case fraction && len(whole) > 2:
		return r.runTogether(text) != 0
	case len(text) >= 6 && (r.have&haveDate == 0 || r.have&haveTime == 0):
		return r.runTogether(text) != 0
	}
	got := r.dateNumber(text, &r.textMonth)
	return got != 0
}

// runTogether reads yyyymmdd, yymmdd, hhmmss or hhmm, the last two with or without a fraction. It returns 0
// for anything else.
func (r *timeReader) runTogether(text string) known {
	digits, fraction, fractional := strings.Cut(text, ".")
	if fractional {
		var ok bool
		if r.micros, ok = fractionMicros(fraction); !ok {
			return 0
		}
	} else if r.have&haveDate != haveDate && len(digits) >= 6 {
		n := len(digits)
		r.year, r.month, r.day = number(digits[:n-4]), number(digits[n-4:n-2]), number(digits[n-2:])
		r.twoDigits = n == 6
		if !r.learn(haveDate) {
			return 0
		}
		return haveDate
	}
	if r.have&haveTime != 0 || len(digits) != 6 && len(digits) != 4 {
		return 0
	}
	r.hour, r.minute, r.second = number(digits[:2]), number(digits[2:4]), 0
	if len(digits) == 6 {
		r.second = number(digits[4:])
	}
	if !r.learn(haveTime) {
		return 0
	}
	return haveTime
}

// dateNumber decides by what is missing whether a number is the year, month or day. It returns 0 if it fits
// none.
func (r *timeReader) dateNumber(text string, textMonth *bool) known {
	whole, fraction, fractional := strings.Cut(text, ".")
	if fractional {
		if len(whole) > 2 {
			return r.runTogether(text)
		}
		var ok bool
		if r.micros, ok = fractionMicros(fraction); !ok {
			return 0
		}
	}
	n := number(whole)
	if n < 0 {
		return 0
	}
	var what known
	switch have := r.have & haveDate; {
	case len(text) == 3 && have == haveYear && n >= 1 && n <= 366:
		r.dayOfYear = n
		if !r.learn(haveMonth | haveDay) {
			return 0
		}
		return haveMonth | haveDay
	case have == 0 && len(text) >= 3:
		what = haveYear
	case have == 0, have == haveYear, have == haveDay:
		what = haveMonth
	case have == haveMonth && *textMonth && len(text) >= 3:
		what = haveYear
	case have == haveMonth:
		what = haveDay
	case have == haveYear|haveMonth:
		if *textMonth && len(text) >= 3 && r.twoDigits {
			// The first number was the day after all.
			r.day, r.year, r.twoDigits = r.year, n, false
			if !r.learn(haveDay) {
				return 0
			}
			return haveDay
		}
		what = haveDay
	case have == haveMonth|haveDay:
		what = haveYear
	case have == haveDate:
		return r.runTogether(text)
	default:
		return 0
	}
	switch what {
	case haveYear:
		r.year, r.twoDigits = n, len(text) <= 2
	case haveMonth:
		r.month = n
	case haveDay:
		r.day = n
	}
	if !r.learn(what) {
		return 0
	}
	return what
}

// date reads a field of several parts: 2024-03-01, 1-mar-2024, 3/1/24, 2024.060.
func (r *timeReader) date(text string) bool {
	if r.have&haveDate != 0 {
		// PostgreSQL checks the field as a whole: a part of it may not have been given before.
		before := r.have & haveDate
		r.have &^= haveDate
		ok := r.date(text)
		if r.have&before != 0 {
			return false
		}
		r.have |= before
		return ok
	}
	type part struct {
		text string
		done bool
	}
	var parts []part
	for i := 0; i < len(text); {
		j := i
		for j < len(text) && isDigit(text[j]) {
			j++
		}
		if j == i {
			for j < len(text) && isLetter(text[j]) {
				j++
			}
		}
		if j == i {
			i++
			continue
		}
		parts = append(parts, part{text: text[i:j]})
		i = j + 1 // skip the byte that ends a part, even a letter
	}
	textMonth := false
	for i := range parts {
		if !isLetter(parts[i].text[0]) {
			continue
		}
		w, ok := timeWords[cut(parts[i].text)]
		switch {
		case ok && w.kind == wordIgnored:
		case ok && w.kind == wordMonth && !textMonth:
			r.month, textMonth = w.value, true
			r.have |= haveMonth
		default:
			return false
		}
		parts[i].done = true
	}
	for _, p := range parts {
		if !p.done && r.dateNumber(p.text, &textMonth) == 0 {
			return false
		}
	}
	// A date in one field must come first, and give nothing but a date: only a zone may have been read
	// before it.
	return r.have&^haveZone == haveDate
}

// clock reads hh:mm, hh:mm:ss, mm:ss.fraction, hh:mm:ss.fraction.
func (r *timeReader) clock(text string) bool {
	parts := strings.Split(text, ":")
	last := len(parts) - 1
	seconds, fraction, fractional := strings.Cut(parts[last], ".")
	if len(parts) > 3 || fractional && last == 0 {
		return false
	}
	parts[last] = seconds
	if fractional {
		var ok bool
		if r.micros, ok = fractionMicros(fraction); !ok {
			return false
		}
	}
	var n [3]int64
	for i, p := range parts {
		if p == "" {
			continue // an empty number counts as 0: 10::15, 10:15:.5
		}
		if n[i] = number(p); n[i] < 0 {
			return false
		}
	}
	if len(parts) == 2 && fractional {
		n[0], n[1], n[2] = 0, n[0], n[1]
	}
	r.hour, r.minute, r.second = n[0], n[1], n[2]
	return true
}

func (r *timeReader) zone(text string) bool {
	sign, rest := int64(1), text[1:]
	if text[0] == '-' {
		sign = -1
	}
	var h, m, s int64
	switch parts := strings.Split(rest, ":"); {
	case len(parts) > 3:
		return false
	case len(parts) > 1:
		h, m = number(parts[0]), number(parts[1])
		if len(parts) == 3 {
			s = number(parts[2])
		}
	case len(rest) > 2:
		h, m = number(rest[:len(rest)-2]), number(rest[len(rest)-2:])
	default:
		h = number(rest)
	}
	if h < 0 || h > 15 || m < 0 || m > 59 || s < 0 || s > 59 {
		return false
	}
	r.offset = sign * (h*3600 + m*60 + s)
	return r.learn(haveZone)
}

func (r *timeReader) word(text string, next timeField) bool {
	w, ok := timeWords[cut(text)]
	if offset, zone := timeZones[text]; zone {
		r.offset = offset * 60
		return r.learn(haveZone)
	}
	if !ok {
		return false
	}
	switch w.kind {
	case wordIgnored:
		return true
	case wordMonth:
		// As in "1 March": the number before was the day.
		if r.have&haveMonth != 0 && !r.textMonth && r.have&haveDay == 0 && r.month >= 1 && r.month <= 31 {
			r.day = r.month
			r.have = r.have&^haveMonth | haveDay
		}
		r.textMonth, r.month = true, w.value
		return r.learn(haveMonth)
	case wordWeekday:
		return r.learn(haveWeekday)
	case wordEra:
		r.bc = w.value < 0
		return r.learn(haveEra)
	case wordMeridiem:
		r.meridiem = text[:1]
		return r.learn(haveAMPM)
	case wordTime:
		r.timeNext = true
		return r.have&haveDate == haveDate && (next.kind == fieldNumber || next.kind == fieldTime || next.kind == fieldDate)
	}
	return false
}

// instant returns the Instant of everything that was read.
func (r *timeReader) instant() (Instant, bool) {
	if r.timeNext || r.have&haveDate != haveDate {
		return 0, false
	}
	switch {
	case r.bc && r.year <= 0:
		return 0, false
	case r.bc:
		r.year = 1 - r.year
	case r.twoDigits && r.year < 70:
		r.year += 2000
	case r.twoDigits && r.year < 100:
		r.year += 1900
	case r.year <= 0:
		return 0, false
	}
	if r.year > 300_000 {
		return 0, false
	}
	days := int64(0)
	if r.dayOfYear > 0 {
		days = daysFromCivil(r.year, 1, 1) + r.dayOfYear - 1
	} else {
		if r.month < 1 || r.month > 12 || r.day < 1 || r.day > daysInMonth(r.year, r.month) {
			return 0, false
		}
		days = daysFromCivil(r.year, r.month, r.day)
	}
	if r.meridiem != "" {
		if r.hour > 12 {
			return 0, false
		}
		if r.hour %= 12; r.meridiem == "p" {
			r.hour += 12
		}
	}
	if r.hour > 24 || r.minute > 59 || r.second > 60 || r.hour == 24 && (r.minute > 0 || r.second > 0 || r.micros > 0) {
		return 0, false
	}
	seconds := (days-unixDays)*86_400 + r.hour*3600 + r.minute*60 + r.second - r.offset
	if seconds < int64(firstInstant/microsPerSecond) || seconds > int64(endOfTime/microsPerSecond) {
		return 0, false
	}
	t := Instant(seconds*microsPerSecond + r.micros)
	return t, t.valid()
}

// number reads digits. It returns -1 if there are none, other characters, or too many.
func number(digits string) int64 {
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return -1
	}
	return int64(n)
}

// fractionMicros reads the digits after a decimal point as microseconds, rounded. Without digits it returns
// 0.
func fractionMicros(digits string) (int64, bool) {
	if digits == "" {
		return 0, true
	}
	f, err := strconv.ParseFloat("0."+digits, 64)
	if err != nil {
		return 0, false
	}
	return int64(math.RoundToEven(f * 1e6)), true
}
