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
	all, faults := readResponses(answer, output, shown, 1)
	return all, together(faults)
}

// CheckResponses is ParseResponses for an author: it returns every fault, at most mostFaults. A zero output is no
// endpoint at all, which is a fault of every Response.
func CheckResponses(answer []byte, output hat.Endpoint, shown func(hat.RecordID) bool) ([]Response, []*hat.Fault) {
	return readResponses(answer, output, shown, mostFaults)
}

// mostFaults bounds the faults of one answer that are told.
const mostFaults = 50

// together returns one fault for several, and nil for none.
func together(faults []*hat.Fault) *hat.Fault {
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	const most = 20
	var texts []string
	for _, f := range faults[:min(most, len(faults))] {
		texts = append(texts, f.Text)
	}
	if more := len(faults) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return hat.NewFault(faults[0].Who, faults[0].Code, strings.Join(texts, "; "))
}

// A faultList collects faults up to a number.
type faultList struct {
	all  []*hat.Fault
	most int
}

func (l *faultList) add(f *hat.Fault) {
	if len(l.all) < l.most {
		l.all = append(l.all, f)
	}
}

func (l *faultList) addf(code, format string, args ...any) { l.add(authorFault(code, format, args...)) }

// enough says that no more faults are wanted.
func (l *faultList) enough() bool { return len(l.all) >= l.most }

// readResponses reads until it has so many faults, or nothing more can be read. With a fault there are no Responses.
func readResponses(answer []byte, output hat.Endpoint, shown func(hat.RecordID) bool, most int) ([]Response, []*hat.Fault) {
	if f := checkAnswer(answer, MaxPayload); f != nil {
		return nil, []*hat.Fault{f}
	}
	if !jsonb.IsArray(answer) {
		if _, err := jsonb.Read(answer); err != nil && !errors.Is(err, jsonb.ErrFollows) && !jsonb.IsObject(answer) {
			return nil, []*hat.Fault{notJSON(err)}
		}
		return nil, []*hat.Fault{authorFault(CodeResponseInvalid, "the answer is not a list")}
	}
	var (
		all        []Response
		n, records int
		faults     = faultList{most: most}
	)
	for element, err := range jsonb.ReadElements(answer) {
		if err != nil {
			faults.add(notJSON(err))
			break
		}
		n++
		before := len(faults.all)
		r := parseResponse(element, output, shown, &faults)
		for _, fault := range faults.all[before:] {
			fault.Text = fmt.Sprintf("response %d: %s", n, fault.Text)
		}
		if records += len(r.Drafts); records > MaxRecords {
			faults.addf(CodeResponseCount, "the answer has more than %d records", MaxRecords)
			break
		}
		if faults.enough() {
			break
		}
		if len(r.Drafts) > 0 {
			all = append(all, r)
		}
	}
	if len(faults.all) > 0 {
		return nil, faults.all
	}
	return all, nil
}

func parseResponse(element jsonb.Written, output hat.Endpoint, shown func(hat.RecordID) bool, faults *faultList) (r Response) {
	if element.Kind() != jsonb.Object {
		faults.addf(CodeResponseInvalid, "it is not an object")
		return r
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
			faults.addf(CodeResponseInvalid, "%s is missing", f.name)
		default:
			faults.addf(CodeResponseInvalid, "%s is not %s", f.name, f.want)
		}
	}
	ids, ok := []string(nil), true
	if linked.Kind() == jsonb.Array {
		if ids, ok = textsOf(linked); !ok {
			faults.addf(CodeResponseInvalid, "linkedRecords is not %s", listOfIDs)
		}
	}
	if namespace.Kind() == jsonb.String && endpoint.Kind() == jsonb.String {
		switch {
		case output.IsZero():
			faults.addf(CodeResponseAddress, "namespace and endpoint don't name an endpoint; want for example she and insights/mood")
		case pathOf(namespace) != output.Namespace().String() || pathOf(endpoint) != output.Path():
			faults.addf(CodeResponseAddress, "it names another endpoint than %s, the only one that the function may write to", output)
		}
	}
	if faults.enough() {
		return r
	}
	if data.Kind() == jsonb.Array {
		r.Drafts = parseDrafts(data, output, faults)
	}
	seen := make(map[hat.RecordID]bool, len(ids))
	for i, s := range ids {
		if faults.enough() {
			return r
		}
		id, err := hat.ParseRecordID(s)
		switch {
		case err != nil:
			faults.addf(CodeResponseInvalid, "linkedRecords[%d] is not a record id", i)
		case !shown(id):
			faults.addf(CodeResponseLink, "linkedRecords[%d] is not a record the function was shown", i)
		case !seen[id]:
			seen[id] = true
			r.Linked = append(r.Linked, id)
		}
	}
	return r
}

const listOfIDs = "a list of record ids"

// parseDrafts reads the data of a response. Of a list that is too long it returns one draft more than is allowed, which the caller
// counts and refuses.
func parseDrafts(data jsonb.Written, output hat.Endpoint, faults *faultList) []hat.Draft {
	all, _, err := hat.ParseDataList(data.Bytes(), MaxRecords)
	if err != nil { // the list is too long, or an element can't be stored: find out which
		all = all[:0]
		for element := range jsonb.ReadElements(data.Bytes()) {
			d, err := hat.ParseData(element.Bytes())
			if err != nil {
				faults.addf(CodeResponseInvalid, "data[%d] can't be stored: %s", len(all), err)
			}
			if faults.enough() {
				return nil
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
	return drafts
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
