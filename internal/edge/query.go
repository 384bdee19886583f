package edge

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"she/internal/hat"
)

// Query reads the query string. It refuses malformed parts, which net/url would drop.
func (q *Request) Query() (url.Values, error) {
	if len(q.URL.RawQuery) > maxQuery {
		return nil, BadRequest("Query string too long")
	}
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return nil, BadRequest("Cannot parse query string")
	}
	return values, nil
}

const maxQuery = 64 << 10 // enough for 1700 record ids

func CannotParse(name, kind, why string) error {
	return BadRequest(fmt.Sprintf("Cannot parse parameter %s as %s: %s", name, kind, why))
}

// IntParam reads a number of records, from 0 to the largest 32-bit number. If it is absent, the result is
// fallback.
func IntParam(values url.Values, name string, fallback int) (int, error) {
	text, found := First(values, name)
	if !found {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, CannotParse(name, "Int", fmt.Sprintf("For input string: %q", Clip(text)))
	}
	if n < 0 {
		return 0, BadRequest(fmt.Sprintf("Parameter %s must not be negative", name))
	}
	return int(n), nil
}

// SecondsParam reads Unix seconds.
func SecondsParam(values url.Values, name string, fallback int64) (int64, error) {
	text, found := First(values, name)
	if !found {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32*1000 {
		return 0, CannotParse(name, "Long", fmt.Sprintf("For input string: %q", Clip(text)))
	}
	return n, nil
}

// BoolParam reads true, false, 1 or 0. found is false if the parameter is absent.
func BoolParam(values url.Values, name string) (value, found bool, err error) {
	switch text, found := First(values, name); {
	case !found:
		return false, false, nil
	case text == "true" || text == "1":
		return true, true, nil
	case text == "false" || text == "0":
		return false, true, nil
	}
	return false, true, CannotParse(name, "Boolean", "should be true, false, 0 or 1")
}

// StringParam reads a parameter that must be present.
func StringParam(values url.Values, name string) (string, error) {
	text, found := First(values, name)
	if !found {
		return "", MissingParameter(name)
	}
	return text, nil
}

func MissingParameter(name string) error { return BadRequest("Missing parameter: " + name) }

// RecordsParam reads record ids from repeated parameters (iOS) or a comma-separated list (hat-js). It drops
// duplicates.
func RecordsParam(values url.Values) ([]hat.RecordID, error) {
	var ids []hat.RecordID
	seen := map[hat.RecordID]bool{}
	for _, joined := range values["records"] {
		for text := range strings.SplitSeq(joined, ",") {
			if text == "" {
				continue
			}
			id, err := hat.ParseRecordID(text)
			if err != nil {
				return nil, CannotParse("records", "UUID", fmt.Sprintf("Invalid UUID string: %s", Clip(text)))
			}
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// First returns the first value of a parameter. An empty value counts as absent, as in the original.
func First(values url.Values, name string) (string, bool) {
	if list := values[name]; len(list) > 0 && list[0] != "" {
		return list[0], true
	}
	return "", false
}

func Clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
