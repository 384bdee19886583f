package httpapi

import (
	"fmt"
	"strings"
	"testing"
)

// What an owner asks for that costs too much for what is stored is a 400 that says what to change, in combinators, bundles
// and lists alike; what others ask for is answered.
func TestQuestionsThatCostTooMuch(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/a/a", `{"text":"`+strings.Repeat("the river was quiet ", 150_000)+`","n":1}`).want(201)
	queries := make([]string, 1500)
	properties := make([]string, 900)
	for i := range queries {
		queries[i] = fmt.Sprintf(`{"endpoint":"a/a","filters":[{"field":"m","operator":{"operator":"between","lower":%d,"upper":0}}]}`, i)
		if i < len(properties) {
			properties[i] = fmt.Sprintf(`"p%d":{"endpoints":[%s]}`, i, strings.Replace(queries[i], `"field":"m","operator":{"operator":"between"`,
				`"field":"n","transformation":{"transformation":"timestampExtract","part":"hour"},"operator":{"operator":"between"`, 1))
		}
	}
	w.call("POST", api+"/combinator/costly", "bob", "["+strings.Join(queries, ",")+"]").want(201)
	w.call("POST", api+"/data-bundle/costly", "bob", "{"+strings.Join(properties, ",")+"}").want(201)
	for path, says := range map[string]string{
		api + "/combinator/costly":  "most of it for filters",
		api + "/data-bundle/costly": "the bundle, at property p",
	} {
		r := w.call("GET", path, "bob", "").want(400)
		if body := string(r.body); !strings.Contains(body, says) || !strings.Contains(body, "costs too much") || strings.Contains(body, "river") {
			t.Errorf("GET %s answers %s", path, body)
		}
	}
	w.call("POST", api+"/combinator/modest", "bob", `[{"endpoint":"a/a","mapping":{"n":"n"}}]`).want(201)
	if got := w.call("GET", api+"/combinator/modest", "bob", "").want(200).records(); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}

	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("k%d=x", i)
	}
	w.call("GET", api+"/data/a/a?"+strings.Join(many, "&"), "bob", "").want(400)
	w.call("GET", api+"/data/a/a?"+strings.Join(many[1:], "&"), "bob", "").want(200)
}
