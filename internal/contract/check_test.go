package contract

import (
	"strings"
	"testing"

	"she/internal/hat"
)

func texts(faults []*hat.Fault) (all []string) {
	for _, f := range faults {
		all = append(all, f.Code+" "+f.Text)
	}
	return all
}

func same(t *testing.T, got []*hat.Fault, want ...string) {
	t.Helper()
	if g, w := strings.Join(texts(got), "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestEveryReasonAgainstAnAnswer(t *testing.T) {
	output, err := hat.ParseEndpoint("she/mood")
	if err != nil {
		t.Fatal(err)
	}
	none := func(hat.RecordID) bool { return false }
	_, faults := CheckResponses([]byte(`[
		{"namespace":"she","endpoint":"mood","data":[1],"linkedRecords":[]},
		{"namespace":"she","endpoint":"moods","data":[{"\u0000":1}],"linkedRecords":["no","5c3a1f0e-7d7e-4d8b-9d66-0a3a3c1c8a01"]},
		{"namespace":7,"data":{}},
		"text"
	]`), output, none)
	same(t, faults,
		"Response.WrongAddress response 2: it names another endpoint than she/mood, the only one that the function may write to",
		"Response.Invalid response 2: data[0] can't be stored: "+nulText(t),
		"Response.Invalid response 2: linkedRecords[0] is not a record id",
		"Response.ForeignLink response 2: linkedRecords[1] is not a record the function was shown",
		"Response.Invalid response 3: namespace is not text",
		"Response.Invalid response 3: endpoint is missing",
		"Response.Invalid response 3: data is not a list",
		"Response.Invalid response 3: linkedRecords is missing",
		"Response.Invalid response 4: it is not an object")

	// ParseResponses stops at the first, and says the same.
	_, first := ParseResponses([]byte(`[{"namespace":7},{"namespace":8}]`), output, none)
	same(t, []*hat.Fault{first}, "Response.Invalid response 1: namespace is not text")

	// A place that nobody could write to is said of each.
	_, faults = CheckResponses([]byte(`[{"namespace":"she","endpoint":"","data":[],"linkedRecords":[]}]`), hat.Endpoint{}, none)
	same(t, faults, "Response.WrongAddress response 1: namespace and endpoint don't name an endpoint; want for example she and insights/mood")

	// What can't be read at all ends the list.
	_, faults = CheckResponses([]byte(`[{"namespace":7,"endpoint":"mood","data":[],"linkedRecords":[]},`), output, none)
	same(t, faults, "Response.Invalid response 1: namespace is not text", "Answer.NotJSON the answer is not JSON: it ends too early")

	// However much is wrong, the list has an end.
	_, faults = CheckResponses([]byte("["+strings.Repeat(`7,`, 1000)+"7]"), output, none)
	if len(faults) != mostFaults {
		t.Errorf("%d faults", len(faults))
	}
}

func nulText(t *testing.T) string {
	t.Helper()
	_, err := hat.ParseData([]byte(`{"\u0000":1}`))
	if err == nil {
		t.Fatal("U+0000 in a key is taken")
	}
	return err.Error()
}

func TestAnIncompleteConfigurationIsToldWhole(t *testing.T) {
	answer := []byte(`{"id":"Not an id","info":{"version":"one","name":7},"trigger":{"triggerType":"periodic"},"dataBundle":{"name":"b"},"status":{}}`)
	_, faults := CheckConfiguration(answer)
	want := []string{
		"configuration.info.version is not a version such as 1.0.0",
		"configuration.trigger.period is missing, and the trigger is periodic",
		"configuration.id is not a function id",
		"configuration.info.name is not text",
		"configuration.info.headline is missing",
		"configuration.info.termsUrl is missing",
		"configuration.info.supportContact is missing",
		"configuration.info.description is missing",
		"configuration.info.graphics is missing",
		"configuration.info.versionReleaseDate is missing",
		"configuration.developer is missing",
		"configuration.status.available is missing",
		"configuration.status.enabled is missing",
		"dataBundle: bundle is missing",
	}
	for i := range want {
		want[i] = "Configuration.Invalid " + want[i]
	}
	same(t, faults, want...)

	// The engine, and so the operator, is told all of it in one message.
	_, fault := ParseConfiguration(answer)
	for _, w := range want {
		if text := strings.TrimPrefix(w, "Configuration.Invalid "); !strings.Contains(fault.Text, text) {
			t.Errorf("%q is not in %q", text, fault.Text)
		}
	}
}

func TestEachPropertyOfABundleIsTold(t *testing.T) {
	_, faults := CheckBundle([]byte(`{"name":"b","bundle":{"good":{"endpoints":[{"endpoint":"a/b"}]},"notes":{"endpoints":7},"tweets":{"endpoints":[{}]}}}`))
	if len(faults) != 2 || !strings.Contains(faults[0].Text, "notes") || !strings.Contains(faults[1].Text, "tweets") {
		t.Errorf("%q", texts(faults))
	}
	if _, faults := CheckBundle([]byte(`{"name":"b","bundle":{"good":{"endpoints":[{"endpoint":"a/b"}]}}}`)); faults != nil {
		t.Errorf("%q", texts(faults))
	}
	_, faults = CheckBundle([]byte(`{"bundle":{"a":{"endpoints":[{"endpoint":"a/b"}]},"b":{"endpoints":[{"endpoint":"a/b"}]}}}`))
	if len(faults) != 1 {
		t.Errorf("what is wrong with the whole is told once: %q", texts(faults))
	}
}
