package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"she/internal/hat"
)

// What ParseResponses says of an answer is what an implementation on encoding/json says of it: the same responses, or the same
// fault. Only which byte is no JSON may differ.
func FuzzResponsesAsOfEncodingJSON(f *testing.F) {
	ids := `["` + shown1.String() + `"]`
	ok := response(`"she"`, `"insights/emotions"`, `[1]`, ids)
	for _, seed := range hostileAnswers(ok) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) { asOfEncodingJSON(t, answer) })
}

func asOfEncodingJSON(t *testing.T, answer []byte) {
	t.Helper()
	got, gotFault := ParseResponses(answer, emotions, wasShown)
	want, wantFault := otherResponses(answer, emotions, wasShown)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%.300q: got %v, want %v", answer, got, want)
	}
	if (gotFault == nil) != (wantFault == nil) {
		t.Fatalf("%.300q: got %v, want %v", answer, gotFault, wantFault)
	}
	if gotFault == nil {
		return
	}
	position := func(text string) string { before, _, _ := strings.Cut(text, " at byte"); return before }
	gotText, wantText := position(gotFault.Text), position(wantFault.Text)
	if ends := "the answer is not JSON: it ends too early"; gotText == ends && wantFault.Code == CodeAnswerNotJSON {
		wantText = ends // encoding/json says so of some texts only
	}
	if gotFault.Code != wantFault.Code || gotText != wantText {
		t.Fatalf("%.300q: got %s: %s, want %s: %s", answer, gotFault.Code, gotFault.Text, wantFault.Code, wantFault.Text)
	}
}

// hostileAnswers are those in which readers of JSON differ.
func hostileAnswers(ok string) (all []string) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	with := func(more string) string { return "[{" + more + "," + ok[1:] + "]" }
	behind := func(more string) string { return "[" + ok[:len(ok)-1] + "," + more + "}]" }
	data := func(text string) string { return "[" + response(`"she"`, `"insights/emotions"`, text, `[]`) + "]" }
	links := func(text string) string { return "[" + response(`"she"`, `"insights/emotions"`, `[1]`, text) + "]" }
	all = []string{
		"", " ", "[]", "[ ]", "[", "]", "[[", "{", "}", "{}", "[}", "[,]", "[1,]", "[1 2]", "null", "nul", "nullx", "1", "1x", "-", "01", `"`, `"a`, `"a"`, `"a"x`, "true false",
		`["\`, `["\u12`, `[{"a\`, "[]x", "[] []", "[]\u0000", "\ufeff[]", "[" + ok, "[" + ok + ",", "[" + ok + "," + ok + "]", "[" + ok + ok + "]", "[" + ok + ",{}]", "[{}]", "[[]]", `["x"]`, "[null]",
		// repeated fields
		with(`"namespace":"rumpel"`), behind(`"namespace":"rumpel"`), with(`"data":7`), behind(`"data":7`), behind(`"data":null`), behind(`"data":[2]`),
		with(`"linkedRecords":null`), behind(`"linkedRecords":["x"]`), with(`"endpoint":[]`), behind(`"n\u0061mespace":"rumpel"`), behind(`"NAMESPACE":"rumpel"`),
		// what is not known
		with(`"":1`), with(`"\u0000":1`), with(`"data\u0000":1`), with(`"x":1e999999999`), with(`"x":-0.0e-0`), with(`"x":01`), with(`"x":` + deep(300)), with(`"x":` + objects(300)),
		with(`"x":` + deep(9_990)), with(`"x":` + deep(9_998)), with(`"x":` + deep(9_999)), with(`"x":` + deep(10_000)), with(`"x":` + deep(10_001)), with(`"x":` + objects(9_999)), with(`"x":` + objects(10_000)),
		with(`"x":"\ud800"`), with(`"x":"\uD83D\uDE00"`), with(`"x":"\x"`), with(`"x":"\u12"`), with("\"x\":\"\n\""), with(`x:1`), with(`"x" 1`), with(`"x":`),
		// data
		data(`[]`), data(`[null]`), data(`null`), data(`"a"`), data(`{}`), data(`[1,]`), data(`[1,[2,{"a":3}]]`), data(`[{"b":1,"a":2,"a":3}]`), data(`[1e400]`), data(`[1,1e999999999]`), data(`[1e999999999,[]`),
		data(`[` + deep(255) + `]`), data(`[` + deep(256) + `]`), data(`[` + deep(257) + `]`), data(`[1,` + deep(300) + `]`), data(`[{"\u0000":1}]`), data(`["\u0000"]`), data(`["\ud800"]`), data(`[[1, 2 ] , { } ]`),
		data("[" + strings.Repeat("1,", MaxRecords-1) + "1]"), data("[" + strings.Repeat("1,", MaxRecords) + "1]"), data("[" + strings.Repeat("1,", MaxRecords) + "1e999999999]"),
		data("[" + strings.Repeat("1,", MaxRecords+1) + "1e999999999]"), data("[1e999999999," + strings.Repeat("1,", MaxRecords+1) + "1]"),
		"[" + strings.Repeat(response(`"she"`, `"insights/emotions"`, "["+strings.Repeat("1,", MaxRecords/2)+"1]", `[]`)+",", 2) + "nonsense",
		// links
		links(`[]`), links(`[null]`), links(`[1]`), links(`null`), links(`"x"`), links(`{}`), links(`[["x"]]`), links(`["` + shown1.String() + `",null]`), links(`["` + shown1.String() + `",1]`), links(`["\u0035` + shown1.String()[1:] + `"]`),
		links(`["` + foreign.String() + `"]`),
		// places
		"[" + response(`"s\u0068e"`, `"insights\/emotions"`, `[1]`, `[]`) + "]", "[" + response(`"she"`, `"insights/\ud800"`, `[1]`, `[]`) + "]", "[" + response(`" she"`, `"insights/emotions"`, `[1]`, `[]`) + "]",
		"[" + response(`"she\u0000"`, `"insights/emotions"`, `[1]`, `[]`) + "]", "[" + response(`1`, `"insights/emotions"`, `[1]`, `[]`) + "]", "[" + response(`""`, `""`, `[1]`, `[]`) + "]",
		// errors of a runtime
		`{"errorMessage":1}`, `{"error\u004dessage":1}`, `{"errormessage":1}`, `{"x":{"errorMessage":1}}`, `{"errorMessage":1`, `{"errorMessage":1}x`, ` {"errorType":null} `, `{"errorMessage":` + deep(9_998) + `}`, `{"errorMessage":` + deep(10_000) + `}`, `[{"errorMessage":1}]`,
		"\xff", "[\"\xff\"]", "[\"\xed\xa0\x80\"]",
	}
	return all
}

func otherResponses(answer []byte, output hat.Endpoint, shown func(hat.RecordID) bool) ([]Response, *hat.Fault) {
	text := bytes.TrimLeft(answer, " \t\r\n")
	if f := checkAnswer(answer, MaxPayload); f != nil && f.Code != CodeAnswerError {
		return nil, f
	}
	var fields map[string]json.RawMessage
	if len(text) > 0 && text[0] == '{' && json.Unmarshal(text, &fields) == nil {
		_, message := fields["errorMessage"]
		if _, kind := fields["errorType"]; message || kind {
			return nil, authorFault(CodeAnswerError, "the function answered with an error message; it is in the run's log")
		}
	}
	dec := json.NewDecoder(bytes.NewReader(answer))
	if first, err := dec.Token(); err != nil {
		return nil, otherNotJSON(err)
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
			return nil, otherNotJSON(err)
		}
		r, fault := otherResponse(text, output, shown)
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
		return nil, otherNotJSON(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, authorFault(CodeAnswerNotJSON, "there is text after the answer's JSON")
	}
	return all, nil
}

func otherResponse(text json.RawMessage, output hat.Endpoint, shown func(hat.RecordID) bool) (Response, *hat.Fault) {
	// A map, not a struct: encoding/json would take "Namespace" for "namespace".
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
			break // the caller counts and refuses
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

func otherNotJSON(err error) *hat.Fault {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return authorFault(CodeAnswerNotJSON, "the answer is not JSON at byte %d", syntax.Offset)
	}
	return authorFault(CodeAnswerNotJSON, "the answer is not JSON: it ends too early")
}
