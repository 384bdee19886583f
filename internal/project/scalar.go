package project

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A dialect gives the text that a plain (unquoted) YAML scalar becomes in an environment variable. A tool reads the
// scalar as a value of its language and converts that to text, so TRUE becomes true and 1.50 becomes 1.5.
type dialect func(plain string) string

// spelled returns the text of a scalar node in the dialect. Quoted text and text that an evaluation made stay as they
// are.
func (d dialect) spelled(v value) string {
	const notPlain = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	if d == nil || v.node.Style&notPlain != 0 || v.final && v.node.Tag == "!!str" {
		return v.node.Value
	}
	return d(v.node.Value)
}

var (
	coreInt   = regexp.MustCompile(`^([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|0o([0-7_]+)|([0-9][0-9_]*))$`)
	coreFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?)$`)
	coreTime  = regexp.MustCompile(`^(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d*))?(?:[ \t]*(?:Z|([-+])(\d\d?)(?::(\d\d))?))?)?$`)
	fullDate  = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)
)

// frameworkText is the Serverless Framework's dialect: js-yaml 4 with its default schema (YAML 1.2's core schema with
// underscores in numbers, and times), then JavaScript's String. See js-yaml's documentation of its schemas, and
// ECMA-262, Number::toString.
func frameworkText(plain string) string {
	switch plain {
	case "true", "True", "TRUE":
		return "true"
	case "false", "False", "FALSE":
		return "false"
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return "Infinity"
	case "-.inf", "-.Inf", "-.INF":
		return "-Infinity"
	case ".nan", ".NaN", ".NAN":
		return "NaN"
	}
	if strings.HasSuffix(plain, "_") {
		return plain
	}
	if m := coreInt.FindStringSubmatch(plain); m != nil {
		for i, base := range map[int]int{2: 2, 3: 16, 4: 8, 5: 10} {
			if n, ok := new(big.Int).SetString(strings.ReplaceAll(m[i], "_", ""), base); ok {
				f, _ := new(big.Float).SetInt(n).Float64()
				return javaScriptNumber(f, m[1])
			}
		}
		return plain
	}
	if coreFloat.MatchString(plain) {
		if f, err := strconv.ParseFloat(strings.ReplaceAll(plain, "_", ""), 64); err == nil || math.IsInf(f, 0) {
			return javaScriptNumber(f, "")
		}
		return plain
	}
	if t, ok := coreTimestamp(plain); ok {
		return t.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return plain
}

// javaScriptNumber writes f as JavaScript's String does.
func javaScriptNumber(f float64, sign string) string {
	if sign == "-" {
		f = -f
	}
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0:
		return "0"
	case math.Abs(f) >= 1e21 || math.Abs(f) < 1e-6:
		return shortExponent(strconv.FormatFloat(f, 'e', -1, 64))
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// shortExponent turns 1e-07 into 1e-7.
func shortExponent(s string) string {
	if i := strings.LastIndexByte(s, 'e'); i >= 0 && i+2 < len(s) && s[i+2] == '0' {
		return s[:i+2] + s[i+3:]
	}
	return s
}

// coreTimestamp reads the times that js-yaml takes for dates: a day, or a day with a time of day.
func coreTimestamp(plain string) (time.Time, bool) {
	m := coreTime.FindStringSubmatch(plain)
	if m == nil || m[4] == "" && !fullDate.MatchString(plain) {
		return time.Time{}, false
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	milliseconds := number((m[7] + "000")[:3])
	zone := 60*number(m[9]) + number(m[10])
	if m[8] == "-" {
		zone = -zone
	}
	// Fields beyond their range carry over, in JavaScript's Date as in Go's.
	t := time.Date(number(m[1]), time.Month(number(m[2])), number(m[3]), number(m[4]), number(m[5]), number(m[6]),
		milliseconds*int(time.Millisecond), time.UTC)
	return t.Add(-time.Duration(zone) * time.Minute), true
}

var (
	oldInt   = regexp.MustCompile(`^([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|(0[0-7_]+)|(0|[1-9][0-9_]*)|([1-9][0-9_]*(?::[0-5]?[0-9])+))$`)
	oldFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?)$`)
	oldSixty = regexp.MustCompile(`^([-+]?)([0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)$`)
)

// samText is the dialect of SAM's tools: PyYAML, which reads YAML 1.1, then Python's str, with booleans as
// CloudFormation writes them. Times stay as they are spelled. See the YAML 1.1 type repository.
func samText(plain string) string {
	switch plain {
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return "true"
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return "false"
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return "inf"
	case "-.inf", "-.Inf", "-.INF":
		return "-inf"
	case ".nan", ".NaN", ".NAN":
		return "nan"
	}
	digits := strings.ReplaceAll(plain, "_", "")
	if m := oldInt.FindStringSubmatch(plain); m != nil {
		for i, base := range map[int]int{2: 2, 3: 16, 4: 8, 5: 10} {
			if n, ok := new(big.Int).SetString(strings.ReplaceAll(m[i], "_", ""), base); ok {
				if m[1] == "-" {
					n.Neg(n)
				}
				return n.String()
			}
		}
		if m[6] != "" {
			return strings.TrimSuffix(m[1], "+") + strconv.FormatFloat(sixties(strings.ReplaceAll(m[6], "_", "")), 'f', 0, 64)
		}
		return plain
	}
	if oldFloat.MatchString(plain) {
		if f, err := strconv.ParseFloat(digits, 64); err == nil || math.IsInf(f, 0) {
			return pythonFloat(f)
		}
		return plain
	}
	if m := oldSixty.FindStringSubmatch(plain); m != nil {
		f := sixties(strings.ReplaceAll(m[2], "_", ""))
		if m[1] == "-" {
			f = -f
		}
		return pythonFloat(f)
	}
	return plain
}

// sixties reads 190:20:30, digits in base 60.
func sixties(s string) (f float64) {
	for part := range strings.SplitSeq(s, ":") {
		digit, _ := strconv.ParseFloat(part, 64)
		f = f*60 + digit
	}
	return f
}

// pythonFloat writes f as Python's str does.
func pythonFloat(f float64) string {
	switch a := math.Abs(f); {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case a != 0 && (a >= 1e16 || a < 1e-4):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
