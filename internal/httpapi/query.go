package httpapi

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"she/internal/hat"
)

// query reads the request's query string; what can't be read is refused, where net/url would drop it.
func (q *request) query() (url.Values, error) {
	if len(q.URL.RawQuery) > maxQuery {
		return nil, badRequest("Query string too long")
	}
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return nil, badRequest("Cannot parse query string")
	}
	return values, nil
}

const maxQuery = 64 << 10 // enough for 1700 record ids

func cannotParse(name, kind, why string) error {
	return badRequest(fmt.Sprintf("Cannot parse parameter %s as %s: %s", name, kind, why))
}

// intParam reads a number of records: not negative, at most what 32 bits hold. Absent is fallback.
func intParam(values url.Values, name string, fallback int) (int, error) {
	text, found := first(values, name)
	if !found {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, cannotParse(name, "Int", fmt.Sprintf("For input string: %q", clip(text)))
	}
	if n < 0 {
		return 0, badRequest(fmt.Sprintf("Parameter %s must not be negative", name))
	}
	return int(n), nil
}

// secondsParam reads Unix seconds.
func secondsParam(values url.Values, name string, fallback int64) (int64, error) {
	text, found := first(values, name)
	if !found {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32*1000 {
		return 0, cannotParse(name, "Long", fmt.Sprintf("For input string: %q", clip(text)))
	}
	return n, nil
}

// boolParam reads true, false, 1 or 0; found says whether it was there.
func boolParam(values url.Values, name string) (value, found bool, err error) {
	switch text, found := first(values, name); {
	case !found:
		return false, false, nil
	case text == "true" || text == "1":
		return true, true, nil
	case text == "false" || text == "0":
		return false, true, nil
	}
	return false, true, cannotParse(name, "Boolean", "should be true, false, 0 or 1")
}

// stringParam is one that must be there.
func stringParam(values url.Values, name string) (string, error) {
	text, found := first(values, name)
	if !found {
		return "", missingParameter(name)
	}
	return text, nil
}

func missingParameter(name string) error { return badRequest("Missing parameter: " + name) }

// recordsParam reads record ids, in repeated parameters (iOS) or joined by commas (hat-js), each once.
func recordsParam(values url.Values) ([]hat.RecordID, error) {
	var ids []hat.RecordID
	seen := map[hat.RecordID]bool{}
	for _, joined := range values["records"] {
		for text := range strings.SplitSeq(joined, ",") {
			if text == "" {
				continue
			}
			id, err := hat.ParseRecordID(text)
			if err != nil {
				return nil, cannotParse("records", "UUID", fmt.Sprintf("Invalid UUID string: %s", clip(text)))
			}
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// first is the first value of a parameter; an empty one counts as absent, as in the original.
func first(values url.Values, name string) (string, bool) {
	if list := values[name]; len(list) > 0 && list[0] != "" {
		return list[0], true
	}
	return "", false
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
