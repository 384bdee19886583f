package httpapi

import (
	"strings"
	"testing"

	"she/internal/plan"
)

// A HAT that is full does not grow by many small changes of what the owner stores for themselves.
func TestAFullHATDoesNotGrowInSmallSteps(t *testing.T) {
	w := newWorld(t)
	query := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"endpoint":"a/`+strings.Repeat("b", 200)+`"},`, n), ",") + "]"
	}
	bundle := func(n int) string { return `{"p":{"endpoints":` + query(n) + `}}` }
	w.post("bob", api+"/combinator/c", query(2)).want(201)
	w.post("bob", api+"/data-bundle/b", bundle(2)).want(201)
	w.post("bob", api+"/data/a/ballast", `{"v":"`+strings.Repeat("x", 1<<20)+`"}`).want(201)
	w.mayHold(plan.Storage{Bytes: 1 << 20, Records: 1000})
	w.post("bob", api+"/combinator/c", query(3)).want(507)
	w.post("bob", api+"/data-bundle/b", bundle(3)).want(507)
	// What does not grow is stored.
	w.post("bob", api+"/combinator/c", query(2)).want(201)
	w.post("bob", api+"/data-bundle/b", bundle(1)).want(201)
}
