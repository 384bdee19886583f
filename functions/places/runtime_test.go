package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain lets the test binary be the function: started again with a runtime API to talk to, it runs main.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// invoke starts the function with the environment a runtime gives it, hands it one event, and gives what it posts.
func invoke(t *testing.T, event string, environment ...string) (path, body string) {
	t.Helper()
	type answer struct{ path, body string }
	answers := make(chan answer, 1)
	asked := false
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		if asked { // the function is done; it waits until it is killed
			<-r.Context().Done()
			return
		}
		asked = true
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "one")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", "32503680000000")
		_, _ = io.WriteString(w, event)
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/one/{what}", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		answers <- answer{r.PathValue("what"), string(b)}
	})
	server := httptest.NewServer(mux)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	function := exec.Command(self)
	function.Env = append(environment, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(server.URL, "http://"))
	if err := function.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- function.Wait() }()
	defer server.Close()
	select {
	case a := <-answers:
		_ = function.Process.Kill()
		<-ended
		return a.path, a.body
	case err := <-ended:
		return "exit", fmt.Sprint(err)
	}
}

func TestTheThreeEntriesSpeakTheRuntimeAPI(t *testing.T) {
	records := []object{}
	for i, p := range aWeek(rand.New(rand.NewPCG(1, 1))) {
		records = append(records, object{"endpoint": "rumpel/locations/ios", "recordId": fmt.Sprint(i), "data": p})
	}
	event := string(raw(object{
		"functionConfiguration": configuration(),
		"request":               object{"data": object{"locations": records}, "linkRecords": true},
	}))
	for _, c := range []struct {
		name, event string
		environment []string
		check       func(got any) bool
	}{
		{"configuration", `""`, []string{"_HANDLER=configuration"}, func(got any) bool {
			return got.(object)["id"] == "places"
		}},
		{"bundle", `{"fromDate":null,"untilDate":"2024-01-08T10:00:00.000Z"}`, []string{"_HANDLER=bundle"}, func(got any) bool {
			return got.(object)["name"] == "places"
		}},
		{"process", event, []string{"_HANDLER=process"}, func(got any) bool {
			r := got.([]any)[0].(object)
			linked, ok := r["linkedRecords"].([]any)
			return r["namespace"] == "drops" && r["endpoint"] == "insights/places" && ok && len(linked) == 0 && len(r["data"].([]any)) == 1
		}},
		{"nothing new", `{"request":{"data":{"locations":[]}}}`, []string{"_HANDLER=process"}, func(got any) bool {
			list, ok := got.([]any)
			return ok && len(list) == 0
		}},
		{"by the function's name", `""`, []string{"_HANDLER=bootstrap", "AWS_LAMBDA_FUNCTION_NAME=places-dev-places-configuration"}, func(got any) bool {
			return got.(object)["id"] == "places"
		}},
		{"by the plain name", `{}`, []string{"_HANDLER=bootstrap", "AWS_LAMBDA_FUNCTION_NAME=places-dev-places"}, func(got any) bool {
			list, ok := got.([]any)
			return ok && len(list) == 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, body := invoke(t, c.event, c.environment...)
			var got any
			if err := json.Unmarshal([]byte(body), &got); path != "response" || err != nil || !c.check(got) {
				t.Errorf("%s: %.300s", path, body)
			}
		})
	}
}

func TestAnEventThatIsNoneIsAnError(t *testing.T) {
	path, body := invoke(t, `{"request":{"data":{"locations":"secret-canary"}}}`, "_HANDLER=process")
	if path != "error" || strings.Contains(body, "secret-canary") {
		t.Errorf("%s: %s", path, body)
	}
}

func TestAnUnknownHandlerEndsTheProcess(t *testing.T) {
	if path, body := invoke(t, `""`, "_HANDLER=other"); path != "exit" || body != "exit status 1" {
		t.Errorf("%s: %s", path, body)
	}
}
