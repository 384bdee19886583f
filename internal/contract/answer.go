package contract

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"she/internal/hat"
	"she/internal/jsonb"
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
	if !jsonb.IsArray(answer) {
		if _, err := jsonb.Read(answer); err != nil && !errors.Is(err, jsonb.ErrFollows) && !jsonb.IsObject(answer) {
			return nil, notJSON(err)
		}
		return nil, authorFault(CodeResponseInvalid, "the answer is not a list")
	}
	var (
		all        []Response
		n, records int
	)
	for element, err := range jsonb.ReadElements(answer) {
		if err != nil {
			return nil, notJSON(err)
		}
		n++
		r, fault := parseResponse(element, output, shown)
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
	return all, nil
}

func parseResponse(element jsonb.Written, output hat.Endpoint, shown func(hat.RecordID) bool) (Response, *hat.Fault) {
	if element.Kind() != jsonb.Object {
		return Response{}, authorFault(CodeResponseInvalid, "it is not an object")
	}
	// The last of several fields of one name counts.
	var namespace, endpoint, data, linked jsonb.Written
	fields := []struct {
		name string
		into *jsonb.Written
		kind jsonb.Kind
		want string
	}{
		{"namespace", &namespace, jsonb.String, "text"},
		{"endpoint", &endpoint, jsonb.String, "text"},
		{"data", &data, jsonb.Array, "a list"},
		{"linkedRecords", &linked, jsonb.Array, listOfIDs},
	}
	for name, value := range element.ReadMembers() {
		for _, f := range fields {
			if f.name == name {
				*f.into = value
			}
		}
	}
	for _, f := range fields {
		switch f.into.Kind() {
		case f.kind:
		case jsonb.Missing, jsonb.Null:
			return Response{}, authorFault(CodeResponseInvalid, "%s is missing", f.name)
		default:
			return Response{}, authorFault(CodeResponseInvalid, "%s is not %s", f.name, f.want)
		}
	}
	ids, ok := textsOf(linked)
	if !ok {
		return Response{}, authorFault(CodeResponseInvalid, "linkedRecords is not %s", listOfIDs)
	}
	if pathOf(namespace) != output.Namespace().String() || pathOf(endpoint) != output.Path() {
		return Response{}, authorFault(CodeResponseAddress, "it names another endpoint than %s, the only one that the function may write to", output)
	}
	drafts, fault := parseDrafts(data, output)
	if fault != nil {
		return Response{}, fault
	}
	r := Response{Drafts: drafts}
	seen := make(map[hat.RecordID]bool, len(ids))
	for i, s := range ids {
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

const listOfIDs = "a list of record ids"

// parseDrafts reads the data of a response. Of a list that is too long it returns one draft more than is allowed, which the caller
// counts and refuses.
func parseDrafts(data jsonb.Written, output hat.Endpoint) ([]hat.Draft, *hat.Fault) {
	all, _, err := hat.ParseDataList(data.Bytes(), MaxRecords)
	if err != nil { // the list is too long, or an element can't be stored: find out which
		all = all[:0]
		for element := range jsonb.ReadElements(data.Bytes()) {
			d, err := hat.ParseData(element.Bytes())
			if err != nil {
				return nil, authorFault(CodeResponseInvalid, "data[%d] can't be stored: %s", len(all), err)
			}
			if all = append(all, d); len(all) > MaxRecords {
				break
			}
		}
	}
	drafts := make([]hat.Draft, len(all))
	for i, d := range all {
		drafts[i] = hat.Draft{Endpoint: output, Data: d}
	}
	return drafts, nil
}

// textsOf returns the strings of a list, with null as the empty string. ok is false if the list holds anything else.
func textsOf(list jsonb.Written) (all []string, ok bool) {
	for element := range jsonb.ReadElements(list.Bytes()) {
		text, isText := element.Text()
		if !isText && element.Kind() != jsonb.Null {
			return nil, false
		}
		all = append(all, text)
	}
	return all, true
}

// pathOf returns the content of a JSON string as a path; see oneSlash.
func pathOf(text jsonb.Written) string {
	path, _ := text.Text()
	return oneSlash(path)
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
	if !jsonb.IsObject(answer) {
		return false
	}
	object, err := jsonb.Read(answer)
	if err != nil {
		return false
	}
	for name := range object.ReadMembers() {
		if name == "errorMessage" || name == "errorType" {
			return true
		}
	}
	return false
}

// notJSON returns the fault that says where the answer stops being JSON.
func notJSON(err error) *hat.Fault {
	var syntax *jsonb.SyntaxError
	switch {
	case errors.Is(err, jsonb.ErrFollows):
		return authorFault(CodeAnswerNotJSON, "there is text after the answer's JSON")
	case errors.As(err, &syntax) && syntax.Offset > 0:
		return authorFault(CodeAnswerNotJSON, "the answer is not JSON at byte %d", syntax.Offset)
	}
	return authorFault(CodeAnswerNotJSON, "the answer is not JSON: it ends too early")
}
