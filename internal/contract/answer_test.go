package contract

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"she/internal/hat"
)

var (
	emotions = mustEndpoint("she/insights/emotions")
	shown1   = mustRecordID("5f0c1f3a-8a5e-4f5c-9f57-0d9b6c4f5a01")
	shown2   = mustRecordID("5f0c1f3a-8a5e-4f5c-9f57-0d9b6c4f5a02")
	foreign  = mustRecordID("5f0c1f3a-8a5e-4f5c-9f57-0d9b6c4f5a03")
)

func mustEndpoint(s string) hat.Endpoint {
	e, err := hat.ParseEndpoint(s)
	if err != nil {
		panic(err)
	}
	return e
}

func mustRecordID(s string) hat.RecordID {
	id, err := hat.ParseRecordID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func wasShown(id hat.RecordID) bool { return id == shown1 || id == shown2 }

// response is the wire form with its four parts as raw JSON; an empty part is left out.
func response(namespace, endpoint, data, linked string) string {
	var parts []string
	for _, p := range [][2]string{{"namespace", namespace}, {"endpoint", endpoint}, {"data", data}, {"linkedRecords", linked}} {
		if p[1] != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", p[0], p[1]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestParseResponsesAccepts(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         string // drafts as JSON, a bar between responses, links counted behind #
	}{
		{"nothing to say", `[]`, ``},
		{"one record", `[` + response(`"she"`, `"insights/emotions"`, `[{"b":1.50,"a":2}]`, `[]`) + `]`, `{"a":2,"b":1.5}#0`},
		{"any JSON is data", `[` + response(`"she"`, `"insights/emotions"`, `[null,"x",12345678901234567890,0.1,[]]`, `[]`) + `]`, `null "x" 12345678901234567890 0.1 []#0`},
		{"slashes are normalised", `[` + response(`"/she/"`, `"//insights//emotions/"`, `[1]`, `[]`) + `]`, `1#0`},
		{"links, each once", `[` + response(`"she"`, `"insights/emotions"`, `[1]`, `["`+shown1.String()+`","`+shown2.String()+`","`+strings.ToUpper(shown1.String())+`"]`) + `]`, `1#2`},
		{"order is kept, equal drafts too", `[` + response(`"she"`, `"insights/emotions"`, `[3,1]`, `[]`) + `,` + response(`"she"`, `"insights/emotions"`, `[3,2]`, `[]`) + `]`, `3 1#0|3 2#0`},
		{"a response without data is dropped", `[` + response(`"she"`, `"insights/emotions"`, `[]`, `["`+shown1.String()+`"]`) + `]`, ``},
		{"unknown fields", `[{"x":{"y":[]},` + response(`"she"`, `"insights/emotions"`, `[1]`, `[]`)[1:] + `]`, `1#0`},
		{"white space around", " \n[" + response(`"she"`, `"insights/emotions"`, `[1]`, `[]`) + "]\r\n\t", `1#0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			responses, fault := ParseResponses([]byte(c.answer), emotions, wasShown)
			if fault != nil {
				t.Fatal(fault)
			}
			if got := describe(responses); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func describe(responses []Response) string {
	var all []string
	for _, r := range responses {
		var data []string
		for _, d := range r.Drafts {
			data = append(data, d.Data.JSON())
		}
		all = append(all, fmt.Sprintf("%s#%d", strings.Join(data, " "), len(r.Linked)))
	}
	return strings.Join(all, "|")
}

func TestParseResponsesRefuses(t *testing.T) {
	ok := response(`"she"`, `"insights/emotions"`, `[1]`, `[]`)
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for _, c := range []struct{ name, answer, code string }{
		{"nothing", "", CodeAnswerEmpty},
		{"white space", " \n\t", CodeAnswerEmpty},
		{"no JSON", "Traceback (most recent call last)", CodeAnswerNotJSON},
		{"half a JSON", "[" + ok, CodeAnswerNotJSON},
		{"a comma too many", "[" + ok + ",]", CodeAnswerNotJSON},
		{"two answers", "[" + ok + "][]", CodeAnswerNotJSON},
		{"invalid UTF-8", "[\"\xff\"]", CodeAnswerNotJSON},
		{"a byte too many", "[" + strings.Repeat(" ", MaxPayload-1) + "]", CodeAnswerTooLarge},
		{"a Python error", `{"errorMessage":"division by zero","errorType":"ZeroDivisionError","stackTrace":[]}`, CodeAnswerError},
		{"an error without type", `{"errorMessage":"x"}`, CodeAnswerError},
		{"no list", ok, CodeResponseInvalid},
		{"null", `null`, CodeResponseInvalid},
		{"a list of something else", `[1]`, CodeResponseInvalid},
		{"a null response", `[null]`, CodeResponseInvalid},
		{"no namespace", "[" + response(``, `"insights/emotions"`, `[1]`, `[]`) + "]", CodeResponseInvalid},
		{"no endpoint", "[" + response(`"she"`, ``, `[1]`, `[]`) + "]", CodeResponseInvalid},
		{"no data", "[" + response(`"she"`, `"insights/emotions"`, ``, `[]`) + "]", CodeResponseInvalid},
		{"no linkedRecords", "[" + response(`"she"`, `"insights/emotions"`, `[1]`, ``) + "]", CodeResponseInvalid},
		{"null linkedRecords", "[" + response(`"she"`, `"insights/emotions"`, `[1]`, `null`) + "]", CodeResponseInvalid},
		{"names in another case", "[" + strings.Replace(ok, "linkedRecords", "linkedrecords", 1) + "]", CodeResponseInvalid},
		{"data is no list", "[" + response(`"she"`, `"insights/emotions"`, `{"a":1}`, `[]`) + "]", CodeResponseInvalid},
		{"endpoint is no text", "[" + response(`"she"`, `["insights","emotions"]`, `[1]`, `[]`) + "]", CodeResponseInvalid},
		{"links to no ids", "[" + response(`"she"`, `"insights/emotions"`, `[1]`, `["all"]`) + "]", CodeResponseInvalid},
		{"another namespace", "[" + response(`"rumpel"`, `"insights/emotions"`, `[1]`, `[]`) + "]", CodeResponseAddress},
		{"another endpoint", "[" + ok + "," + response(`"she"`, `"insights/other"`, `[1]`, `[]`) + "]", CodeResponseAddress},
		{"another endpoint without data", "[" + response(`"she"`, `"insights/other"`, `[]`, `[]`) + "]", CodeResponseAddress},
		{"namespace and endpoint cut elsewhere", "[" + response(`"she/insights"`, `"emotions"`, `[1]`, `[]`) + "]", CodeResponseAddress},
		{"a way round", "[" + response(`"she"`, `"insights/../insights/emotions"`, `[1]`, `[]`) + "]", CodeResponseAddress},
		{"upper case", "[" + response(`"SHE"`, `"insights/emotions"`, `[1]`, `[]`) + "]", CodeResponseAddress},
		{"a prefix", "[" + response(`"she"`, `"insights/emotions/positive"`, `[1]`, `[]`) + "]", CodeResponseAddress},
		{"a record it was not shown", "[" + response(`"she"`, `"insights/emotions"`, `[1]`, `["`+foreign.String()+`"]`) + "]", CodeResponseLink},
		{"too deep for us", "[" + response(`"she"`, `"insights/emotions"`, "["+strings.Repeat("[", 300)+strings.Repeat("]", 300)+"]", `[]`) + "]", CodeResponseInvalid},
		{"a hundred thousand levels", "[" + response(`"she"`, `"insights/emotions"`, "["+deep+"]", `[]`) + "]", CodeAnswerNotJSON},
		{"a hundred thousand levels of unknown", `{"x":` + deep + `}`, CodeResponseInvalid},
		{"a number beyond all", "[" + response(`"she"`, `"insights/emotions"`, `[1e999999999]`, `[]`) + "]", CodeResponseInvalid},
		{"too many records", "[" + response(`"she"`, `"insights/emotions"`, "["+strings.Repeat("1,", MaxRecords)+"1]", `[]`) + "]", CodeResponseCount},
		{"too many over several", "[" + strings.TrimSuffix(strings.Repeat(response(`"she"`, `"insights/emotions"`, "["+strings.Repeat("1,", MaxRecords/2)+"1]", `[]`)+",", 2), ",") + "]", CodeResponseCount},
	} {
		t.Run(c.name, func(t *testing.T) {
			responses, fault := ParseResponses([]byte(c.answer), emotions, wasShown)
			if fault == nil {
				t.Fatalf("accepted as %s", describe(responses))
			}
			if fault.Code != c.code || fault.Who != hat.Author {
				t.Errorf("got %s, want the author's %s", fault, c.code)
			}
			if len(fault.Text) > 300 {
				t.Errorf("a fault of %d bytes", len(fault.Text))
			}
		})
	}
}

func TestAsManyRecordsAsAllowed(t *testing.T) {
	answer := "[" + response(`"she"`, `"insights/emotions"`, "["+strings.Repeat("1,", MaxRecords-1)+"1]", `[]`) + "]"
	responses, fault := ParseResponses([]byte(answer), emotions, wasShown)
	if fault != nil || len(responses[0].Drafts) != MaxRecords {
		t.Fatal(fault)
	}
	full := append([]byte(answer), bytes.Repeat([]byte{' '}, MaxPayload-len(answer))...)
	if _, fault := ParseResponses(full, emotions, wasShown); fault != nil {
		t.Errorf("an answer of exactly the limit: %s", fault)
	}
}

// Owner data can come back in an answer; it must not get into a fault, which operators read.
func TestFaultsQuoteNothing(t *testing.T) {
	const canary = "canary-4711"
	for _, answer := range []string{
		canary,
		`{"errorMessage":"` + canary + `","errorType":"` + canary + `"}`,
		"[" + response(`"`+canary+`"`, `"`+canary+`"`, `["`+canary+`"]`, `[]`) + "]",
		"[" + response(`"she"`, `"insights/emotions"`, `["`+canary+`",`+strings.Repeat("[", 300)+strings.Repeat("]", 300)+`]`, `[]`) + "]",
		"[" + response(`"she"`, `"insights/emotions"`, `["`+canary+`"]`, `["`+canary+`"]`) + "]",
		"[" + response(`"she"`, `"insights/emotions"`, `"`+canary+`"`, `[]`) + "]",
		`[{"` + canary + `":1}]`,
		`["` + canary + `"`,
	} {
		_, fault := ParseResponses([]byte(answer), emotions, wasShown)
		if fault == nil {
			t.Fatalf("accepted: %s", answer)
		}
		if strings.Contains(fault.Error(), canary) {
			t.Errorf("the fault quotes the answer: %s", fault)
		}
	}
}

func FuzzParseResponses(f *testing.F) {
	for _, seed := range []string{
		`[]`, `{"errorMessage":"x"}`, `null`,
		"[" + response(`"she"`, `"insights/emotions"`, `[{"a":1.50}]`, `["`+shown1.String()+`"]`) + "]",
		"[" + response(`"/she/"`, `"insights//emotions"`, `[null]`, `[]`) + "]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		responses, fault := ParseResponses(answer, emotions, wasShown)
		if fault != nil {
			if responses != nil || fault.Who != hat.Author || fault.Code == "" {
				t.Fatalf("refused with %v and %v", responses, fault)
			}
			return
		}
		for _, r := range responses {
			if len(r.Drafts) == 0 {
				t.Fatal("a response without drafts")
			}
			for _, d := range r.Drafts {
				again, err := hat.ParseData(d.Data.Bytes())
				if d.Endpoint != emotions || err != nil || again != d.Data {
					t.Fatalf("draft %s at %s, %v", d.Data.JSON(), d.Endpoint, err)
				}
			}
			for _, id := range r.Linked {
				if !wasShown(id) {
					t.Fatalf("linked %s", id)
				}
			}
		}
	})
}
