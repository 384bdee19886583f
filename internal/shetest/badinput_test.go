package shetest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestBadAnswers checks any wrong answer of a function: the run ends with a fault that names the author and
// the error, nothing of it is stored, and the next run succeeds.
func TestBadAnswers(t *testing.T) {
	whole(t)
	bundles := map[string]struct{ bundle, said string }{
		"null-bundle":   {`null`, "refused:Bundle.Invalid"},
		"list-bundle":   {`[]`, "refused:Bundle.Invalid"},
		"empty-bundle":  {`{"name":"b","bundle":{}}`, "committed"}, // it asks for nothing and gets nothing
		"wider-bundle":  {`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"rumpel/diary"}]}}}`, "refused:Bundle.WiderThanGranted"},
		"filter-bundle": {`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"filter-bundle/in","filters":[{"field":"a","operator":{"operator":"resembles","value":1}}]}]}}}`, "refused:Bundle.Invalid"},
		"wide-bundle":   {properties("wide-bundle/in", 10_000), "refused:Answer.TooLarge"},
		"large-bundle":  {properties("large-bundle/in", 1_000), "committed"},
		"many-bundle":   {properties("many-bundle/in", 4_000), "refused:Bundle.Invalid"},
		"deep-bundle":   {`{"name":"b","bundle":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}`, "refused:Bundle.Invalid"},
	}
	functions := []function{manual("bad")}
	for id, b := range bundles {
		f := manual(id)
		f.bundle = b.bundle
		functions = append(functions, f)
	}
	w := newWorld(t, functions, "alice")
	w.start()
	alice := w.owner("alice")
	alice.enable("bad")

	const good = `{"namespace":"bad","endpoint":"out","data":[1],"linkedRecords":[]}`
	without := func(field string) string {
		var r map[string]json.RawMessage
		check(t, json.Unmarshal([]byte(good), &r))
		delete(r, field)
		b, err := json.Marshal([]any{r})
		check(t, err)
		return answering(string(b))
	}
	with := func(field, value string) string {
		var r map[string]json.RawMessage
		check(t, json.Unmarshal([]byte(good), &r))
		r[field] = json.RawMessage(value)
		b, err := json.Marshal([]any{r})
		check(t, err)
		return answering(string(b))
	}
	const open, shut = `[{"namespace":"bad","endpoint":"out","linkedRecords":[],"data":[`, `]}]`
	const most = 6 << 20
	// fresh returns alice without any record for or of the function, and the number of its runs so far.
	fresh := func(t *testing.T) (*person, int) {
		p := alice.in(t)
		for _, e := range []string{"/in", "/out"} {
			p.call("DELETE", api+"/data/bad"+e, "").want(http.StatusOK)
		}
		return p, len(p.runs("bad"))
	}
	for _, c := range []struct{ name, order, said string }{
		{"nothing", answering(""), "refused:Answer.Empty"},
		{"null", answering("null"), "refused:Response.Invalid"},
		{"an object", answering("{}"), "refused:Response.Invalid"},
		{"text", answering(`"[]"`), "refused:Response.Invalid"},
		{"a list of numbers", answering("[1,2]"), "refused:Response.Invalid"},
		{"an unmarked error", answering(`{"errorMessage":"division by zero","errorType":"ZeroDivisionError"}`), "refused:Answer.ErrorMessage"},
		{"half an answer", answering(`[{"namespace":"bad"`), "refused:Answer.NotJSON"},
		{"two answers", answering("[][]"), "refused:Answer.NotJSON"},
		{"no namespace", without("namespace"), "refused:Response.Invalid"},
		{"no endpoint", without("endpoint"), "refused:Response.Invalid"},
		{"no data", without("data"), "refused:Response.Invalid"},
		{"no linkedRecords", without("linkedRecords"), "refused:Response.Invalid"},
		{"linkedRecords is null", with("linkedRecords", "null"), "refused:Response.Invalid"},
		{"linkedRecords names no record", with("linkedRecords", `["first"]`), "refused:Response.Invalid"},
		{"data is no list", with("data", `{"n":1}`), "refused:Response.Invalid"},
		{"the second response is bad", answering("[" + good + `,{"namespace":"bad"}]`), "refused:Response.Invalid"},
		{"NaN", answering(open + "NaN" + shut), "refused:Answer.NotJSON"},
		{"invalid UTF-8", fmt.Sprintf(`{"bytes":%q}`, base64.StdEncoding.EncodeToString([]byte(open+"\"\xff\xfe\""+shut))), "refused:Answer.NotJSON"},
		{"nested three hundred deep", repeating(open+strings.Repeat("[", 300), "1", 1, strings.Repeat("]", 300)+shut), "refused:Response.Invalid"},
		{"nested without end", repeating("", "[", most, ""), "refused:Answer.NotJSON"},
		{"nested without end in data", repeating(open, `{"a":`, most/8, ""), "refused:Answer.NotJSON"},
		{"a byte more than six MiB", repeating(open+`"`, "x", most+1-len(open+`""`+shut), `"`+shut), "failed:Function.ResponseSizeTooLarge"},
		{"a hundred thousand and one records", repeating(open, "0,", 100_000, "0"+shut), "refused:Response.TooManyRecords"},
		{"an exit", `{"exits":1}`, "failed:Runtime.ExitError"},
		{"an exit that looks well", `{"exits":0}`, "failed:Runtime.ExitError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, n := fresh(t)
			p.post("bad/in", c.order)
			p.trigger("bad").want(http.StatusInternalServerError, p.failed("bad"))
			r := p.ended("bad", n+1)[n]
			if r.said() != c.said || r.Fault.Who != "author" || r.Fault.Text == "" {
				t.Errorf("%s %+v, want %s", r.said(), r.Fault, c.said)
			}
			t.Logf("%s", r.Fault.Text)
			p.get(api+"/data/bad/out").want(http.StatusOK, "[]")
		})
	}

	// Unusual answers, and answers just within the limits, are stored.
	for _, c := range []struct {
		name, order string
		records     int
		first       string // "": any
	}{
		{"the character U+0000, which is left out", answering(open + `"a\u0000b"` + shut), 1, `"ab"`},
		{"half a surrogate, which can't be kept", answering(open + `"\ud800"` + shut), 1, "\"\uFFFD\""},
		{"a number of a million digits", repeating(open, "9", 1_000_000, shut), 1, ""},
		{"six MiB to the byte", repeating(open+`"`, "x", most-len(open+`""`+shut), `"`+shut), 1, ""},
		{"a hundred thousand records, all different", fmt.Sprintf(`{"numbers":%d}`, 100_000), 100_000, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, n := fresh(t)
			p.post("bad/in", c.order)
			p.trigger("bad").want(http.StatusOK, executed)
			if r := p.ended("bad", n+1)[n]; len(r.Written) != c.records {
				t.Errorf("%s, %d records", r.said(), len(r.Written))
			}
			var first []record
			p.get(api + "/data/bad/out?take=1").want(http.StatusOK).into(&first)
			if c.first != "" && (len(first) != 1 || string(first[0].Data) != c.first) {
				t.Errorf("stored %.100s", first[0].Data)
			}
		})
	}

	for id, b := range bundles {
		t.Run(id, func(t *testing.T) {
			p := alice.in(t)
			p.enable(id)
			p.post("rumpel/diary", fmt.Sprintf(`{"private":%q}`, id))
			p.post(id+"/in", `{}`)
			status := http.StatusInternalServerError
			if b.said == "committed" {
				status = http.StatusOK
			}
			p.trigger(id).want(status)
			r := p.ended(id, 1)[0]
			if r.said() != b.said || r.Fault != nil && r.Fault.Who != "author" || r.Fault != nil && r.Stats.Read != 0 {
				t.Errorf("%s %+v, want %s", r.said(), r.Fault, b.said)
			}
			if r.Fault != nil {
				t.Logf("%s", r.Fault.Text)
			}
		})
	}
}

// TestBadConfigurations checks functions with a wrong configuration: the operator sees who must act and
// why, and nothing else is affected.
func TestBadConfigurations(t *testing.T) {
	whole(t)
	bad := map[string]struct {
		also       map[string]any
		code, says string
	}{
		"wrong-id":      {map[string]any{"id": "somebody-else"}, "Configuration.WrongID", "somebody-else"},
		"no-id":         {map[string]any{"id": nil}, "Configuration.Invalid", "id"},
		"other-version": {map[string]any{"info": info("2.0.0")}, "Configuration.WrongVersion", "2.0.0"},
		"bad-version":   {map[string]any{"info": info("two")}, "Configuration.Invalid", "version"},
		"withdrawn":     {map[string]any{"status": map[string]any{"available": false, "enabled": false}}, "Configuration.Withdrawn", "not available"},
		"no-status":     {map[string]any{"status": nil}, "Configuration.Invalid", "status"},
		"no-trigger":    {map[string]any{"trigger": nil}, "Configuration.Invalid", "trigger"},
		"odd-trigger":   {map[string]any{"trigger": json.RawMessage(`{"triggerType":"sometimes"}`)}, "Configuration.Invalid", "triggerType"},
		"no-period":     {map[string]any{"trigger": json.RawMessage(`{"triggerType":"periodic"}`)}, "Configuration.Invalid", "period"},
		"period-p0d":    {map[string]any{"trigger": json.RawMessage(`{"triggerType":"periodic","period":"P0D"}`)}, "Configuration.Invalid", "period"},
		"period-minus":  {map[string]any{"trigger": json.RawMessage(`{"triggerType":"periodic","period":"-P1D"}`)}, "Configuration.Invalid", "period"},
		"period-zero":   {map[string]any{"trigger": json.RawMessage(`{"triggerType":"periodic","period":0}`)}, "Configuration.Invalid", "period"},
		"no-bundle":     {map[string]any{"dataBundle": nil}, "Configuration.Invalid", "dataBundle"},
		"many-asked":    {map[string]any{"dataBundle": json.RawMessage(properties("many-asked/in", 10_000))}, "Answer.TooLarge", "limit"},
		"too-large":     {map[string]any{"info": strings.Repeat("x", 1<<20)}, "Answer.TooLarge", "limit"},
	}
	functions := []function{individual("good")}
	for id, b := range bad {
		functions = append(functions, function{id: id, also: b.also})
	}
	w := newWorld(t, functions, "alice")
	w.start()
	p := w.owner("alice")
	p.enable("good")
	p.post("good/in", `{}`)
	p.ended("good", 1)
	problems := w.problems()
	for id, want := range bad {
		t.Run(id, func(t *testing.T) {
			got := problems[id]
			for _, part := range []string{want.code, want.says, map[bool]string{true: "operator", false: "author"}[strings.Contains(want.code, "Wrong")]} {
				if !strings.Contains(got, part) {
					t.Errorf("%q lacks %q", got, part)
				}
			}
			t.Log(got)
			if a := p.in(t).get(functionPath(id) + "/enable"); a.status == http.StatusOK {
				t.Error("it was switched on")
			}
		})
	}
}

func info(version string) json.RawMessage {
	i := function{}.configuration()["info"].(map[string]any)
	i["version"] = version
	b, _ := json.Marshal(i)
	return b
}

// properties returns a bundle with n properties that ask for one endpoint.
func properties(endpoint string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"p%d":{"endpoints":[{"endpoint":%q}]}`, i, endpoint)
	}
	return `{"name":"b","bundle":{` + b.String()[1:] + `}}`
}

// repeating returns a record that asks for a long answer.
func repeating(head, part string, times int, tail string) string {
	b, _ := json.Marshal(map[string]any{"repeat": map[string]any{"head": head, "part": part, "times": times, "tail": tail}}) // always encodes
	return string(b)
}
