package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"she/internal/hat"
)

// costly is a bundle that does far too much with each byte of one endpoint.
func costly(endpoint string) string {
	parts := make([]string, 900)
	for i := range parts {
		parts[i] = fmt.Sprintf(`"p%d":{"endpoints":[{"endpoint":%q,"filters":[{"field":"v","transformation":{"transformation":"searchable"},`+
			`"operator":{"operator":"find","search":"nothing%d"}}]}]}`, i, endpoint, i)
	}
	return `{"name":"b","bundle":{` + strings.Join(parts, ",") + `}}`
}

// A bundle of 257 KB over one record of 3 MB is its author's fault, said by a code and in words, and others run.
func TestBundleThatCostsTooMuch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.installBundle("greedy", manual, costly("a/x"), "she/greedy", silent)
		w.install("innocent", individual, []string{"a/y"}, "she/out", writing("she/out", "did "))
		w.start()
		w.addHAT("alice")
		w.enable("alice", "greedy")
		w.enable("alice", "innocent")
		w.write("alice", "a/x", strings.Repeat("the river was quiet ", 150_000))
		var failed *FailedError
		if err := w.trigger("alice", "greedy", false); !errors.As(err, &failed) || failed.Fault.Who != hat.Author || failed.Fault.Code != CodeFuel {
			t.Fatalf("got %v", err)
		}
		if text := failed.Fault.Text; !strings.Contains(text, "filters") || !strings.Contains(text, "fewer properties") || strings.Contains(text, "river") {
			t.Errorf("its author reads %q", text)
		}
		if runs := w.runs("alice", "greedy"); runs != "refused:"+CodeFuel {
			t.Errorf("its runs: %s", runs)
		}
		w.post("alice", "a/y", "1")
		expect(t, w.at("alice", "she/out"), "did 1")
	})
}
