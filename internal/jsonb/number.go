package jsonb

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ErrNumberTooLarge is Canonical's error for a number whose exponent no client's decimal type can hold.
var ErrNumberTooLarge = errors.New("a number's exponent is beyond ±100000")

const (
	maxExponent = 100_000
	// Numbers between 1e-10 and 1e20 are written without an exponent, as the original HAT does.
	plainAbove, plainBelow = -10, 20
)

// appendNumber writes a JSON number in its one canonical spelling without losing a digit. text is a valid
// JSON number: sign, digits, perhaps a fraction, perhaps an exponent.
func appendNumber(b []byte, text string) ([]byte, error) {
	digits, exponent, negative, err := decompose(text)
	if err != nil {
		return nil, err
	}
	if digits == "" {
		return append(b, '0'), nil
	}
	if negative {
		b = append(b, '-')
	}
	// The value is 0.DIGITS × 10^point.
	point := len(digits) + exponent
	switch {
	case point > plainBelow+1 || point <= plainAbove:
		b = append(b, digits[0])
		if len(digits) > 1 {
			b = append(append(b, '.'), digits[1:]...)
		}
		b = append(b, 'e')
		return strconv.AppendInt(b, int64(point-1), 10), nil
	case point <= 0:
		b = append(append(b, "0."...), strings.Repeat("0", -point)...)
		return append(b, digits...), nil
	case point >= len(digits):
		b = append(b, digits...)
		return append(b, strings.Repeat("0", point-len(digits))...), nil
	default:
		b = append(append(b, digits[:point]...), '.')
		return append(b, digits[point:]...), nil
	}
}

// decompose returns value = ±digits × 10^exponent, with neither leading nor trailing zeros; zero has no
// digits.
func decompose(text string) (digits string, exponent int, negative bool, err error) {
	if text, negative = strings.CutPrefix(text, "-"); text == "" {
		return "", 0, false, ErrNotJSON
	}
	mantissa := text
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		e, convErr := strconv.Atoi(text[i+1:])
		if convErr != nil {
			e = math.MaxInt32 // out of range; zero times anything is still zero
		}
		exponent = e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent -= len(fraction)
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "", 0, false, nil
	}
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	if exponent > maxExponent || exponent < -maxExponent {
		return "", 0, false, ErrNumberTooLarge
	}
	return trimmed, exponent, negative, nil
}
