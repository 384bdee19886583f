package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"she/internal/hat"
)

const (
	// MaxPayload bounds a request to a function and its answer, in bytes: 6 MiB, as on AWS Lambda.
	MaxPayload = 6 << 20
	// maxConfiguration and maxBundle bound the two answers that are stored and sent with every run.
	maxConfiguration = 512 << 10
	maxBundle        = 256 << 10
	// MaxRecords bounds what one answer may add to a vault. 6 MiB could hold a million tiny records, which
	// would keep the vault's writer lock for most of a minute. Real functions write one record, or one for
	// each they read.
	MaxRecords = 100_000
)

// Codes of the faults in an answer. Answer… concern any of the three entries.
const (
	CodeAnswerEmpty    = "Answer.Empty"
	CodeAnswerTooLarge = "Answer.TooLarge"
	CodeAnswerNotJSON  = "Answer.NotJSON"
	CodeAnswerError    = "Answer.ErrorMessage"

	CodeConfigurationInvalid = "Configuration.Invalid"
	CodeBundleInvalid        = "Bundle.Invalid"
	CodeResponseInvalid      = "Response.Invalid"
	CodeResponseAddress      = "Response.WrongAddress"
	CodeResponseLink         = "Response.ForeignLink"
	CodeResponseCount        = "Response.TooManyRecords"
)

func authorFault(code, format string, args ...any) *hat.Fault {
	return hat.NewFault(hat.Author, code, fmt.Sprintf(format, args...))
}

// A Response is one checked element of the process entry's answer: its drafts go to the registered endpoint,
// and its linked records were shown to the run, each named once.
type Response struct {
	Drafts []hat.Draft
	Linked []hat.RecordID
}

// ParseResponses reads the answer of the process entry. On the wire it is
//
//	[{"namespace":"she","endpoint":"insights/emotions","data":[any JSON…],"linkedRecords":["<recordId>"…]}…]
//
// with all four fields required. A Response must name output, whatever its slashes, and link only records for which
// shown is true; else the whole answer is refused, since a function that reaches for another place is not to be
// trusted with the rest. Responses without data are dropped: there is nothing to store or to link. Equal drafts
// stay; the vault, which knows what is stored, drops them.
//
// Every fault is the author's, and its text quotes nothing of the answer.
func ParseResponses(answer []byte, output hat.Endpoint, shown func(hat.RecordID) bool) ([]Response, *hat.Fault) {
	if f := checkAnswer(answer, MaxPayload); f != nil {
		return nil, f
	}
	dec := json.NewDecoder(bytes.NewReader(answer))
	if first, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	} else if first != json.Delim('[') {
		return nil, authorFault(CodeResponseInvalid, "the answer is not a list")
	}
	var (
		all     []Response
		records int
	)
	for n := 1; dec.More(); n++ {
		var text json.RawMessage
		if err := dec.Decode(&text); err != nil {
			return nil, notJSON(err)
		}
		r, fault := parseResponse(text, output, shown)
		if fault != nil {
			fault.Text = fmt.Sprintf("response %d: %s", n, fault.Text)
			return nil, fault
		}
		if records += len(r.Drafts); records > MaxRecords {
			return nil, authorFault(CodeResponseCount, "the answer has more than %d records", MaxRecords)
		}
		if len(r.Drafts) > 0 {
			all = append(all, r)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, authorFault(CodeAnswerNotJSON, "there is text after the answer's JSON")
	}
	return all, nil
}

func parseResponse(text json.RawMessage, output hat.Endpoint, shown func(hat.RecordID) bool) (Response, *hat.Fault) {
	// A map, not a struct, because encoding/json would accept "Namespace" for "namespace".
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil || fields == nil {
		return Response{}, authorFault(CodeResponseInvalid, "it is not an object")
	}
	var (
		namespace, endpoint string
		data                []json.RawMessage
		linked              []string
	)
	for _, f := range []struct {
		name string
		into any
		want string
	}{
		{"namespace", &namespace, "text"},
		{"endpoint", &endpoint, "text"},
		{"data", &data, "a list"},
		{"linkedRecords", &linked, "a list of record ids"},
	} {
		value, ok := fields[f.name]
		if !ok || string(value) == "null" {
			return Response{}, authorFault(CodeResponseInvalid, "%s is missing", f.name)
		}
		if json.Unmarshal(value, f.into) != nil {
			return Response{}, authorFault(CodeResponseInvalid, "%s is not %s", f.name, f.want)
		}
	}
	if oneSlash(namespace) != output.Namespace().String() || oneSlash(endpoint) != output.Path() {
		return Response{}, authorFault(CodeResponseAddress, "it names another endpoint than %s, the only one that the function may write to", output)
	}
	r := Response{Drafts: make([]hat.Draft, 0, min(len(data), MaxRecords+1))}
	for i, element := range data {
		if i > MaxRecords {
			break // the caller counts the records and refuses the answer
		}
		d, err := hat.ParseData(element)
		if err != nil {
			return Response{}, authorFault(CodeResponseInvalid, "data[%d] can't be stored: %s", i, err)
		}
		r.Drafts = append(r.Drafts, hat.Draft{Endpoint: output, Data: d})
	}
	seen := make(map[hat.RecordID]bool, len(linked))
	for i, s := range linked {
		id, err := hat.ParseRecordID(s)
		if err != nil {
			return Response{}, authorFault(CodeResponseInvalid, "linkedRecords[%d] is not a record id", i)
		}
		if !shown(id) {
			return Response{}, authorFault(CodeResponseLink, "linkedRecords[%d] is not a record the function was shown", i)
		}
		if !seen[id] {
			seen[id] = true
			r.Linked = append(r.Linked, id)
		}
	}
	return r, nil
}

// oneSlash removes slashes at the ends of a path and doubled ones inside: functions write "/she/" and
// "insights//emotions".
func oneSlash(path string) string {
	return strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r == '/' }), "/")
}

// checkAnswer refuses what no entry may answer: an empty answer, one that is too large or not UTF-8, or an
// error that the runtime has not marked as one. Failing Scala handlers answer nothing. Failing Python and
// Node.js handlers answer {"errorMessage":…,"errorType":…,"stackTrace":…}.
func checkAnswer(answer []byte, limit int) *hat.Fault {
	switch {
	case len(answer) > limit:
		return authorFault(CodeAnswerTooLarge, "the answer has %d bytes, the limit is %d", len(answer), limit)
	case len(bytes.TrimSpace(answer)) == 0:
		return authorFault(CodeAnswerEmpty, "the answer is empty")
	case !utf8.Valid(answer):
		return authorFault(CodeAnswerNotJSON, "the answer is not valid UTF-8")
	}
	if IsErrorMessage(answer) {
		return authorFault(CodeAnswerError, "the function answered with an error message; it is in the run's log")
	}
	return nil
}

// IsErrorMessage reports whether the answer is an object by which a Lambda runtime reports an error.
func IsErrorMessage(answer []byte) bool {
	text := bytes.TrimLeft(answer, " \t\r\n")
	if len(text) == 0 || text[0] != '{' {
		return false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return false
	}
	_, message := fields["errorMessage"]
	_, kind := fields["errorType"]
	return message || kind
}

func notJSON(err error) *hat.Fault {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return authorFault(CodeAnswerNotJSON, "the answer is not JSON at byte %d", syntax.Offset)
	}
	return authorFault(CodeAnswerNotJSON, "the answer is not JSON: it ends too early")
}
