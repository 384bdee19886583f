package invoke_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"she/internal/invoke"
)

func ask(t testing.TB, v *invoke.Invoker, c invoke.Code, event string) (invoke.Answer, error) {
	t.Helper()
	return v.Invoke(t.Context(), invoke.Request{Code: c, Tenant: "alice", ID: uuid.NewString(), Event: []byte(event)})
}

func TestPython(t *testing.T) {
	v := newInvoker(t)
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": `
import os
def handler(event, context):
    print("seen", event["n"])
    return {"n": event["n"] + 1, "id": context.aws_request_id, "cwd": os.getcwd(), "uid": os.getuid()}
`})
	for range 3 {
		a, err := ask(t, v, c, `{"n":41}`)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, a.Payload, a.Log)
		}
		var got map[string]any
		if err := json.Unmarshal(a.Payload, &got); err != nil || got["n"] != 42.0 {
			t.Fatalf("answer %s: %v", a.Payload, err)
		}
		t.Logf("%s %s %+v %+v", a.Payload, a.Log, a.Timing, a.Usage)
	}
}
