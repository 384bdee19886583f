package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"she/internal/directory"
	"she/internal/edge"
	"she/internal/engine"
)

// atSocket asks as the operator or, with a password, as the owner beside them.
func (w *world) atSocket(method, path, password, body string) (status int, answer string) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if password != "" {
		r.SetBasicAuth("owner", password)
	}
	out := httptest.NewRecorder()
	w.served.operators.ServeHTTP(out, r)
	text, err := io.ReadAll(out.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Code, string(text)
}

func byName(o *Options, _ *engine.Options) {
	o.Named = func(text string) (directory.HAT, error) {
		if text == "bob" || text == "bob.test:9000" {
			return bob(), nil
		}
		return directory.HAT{}, errors.New("no HAT of that name")
	}
}

// The operator has the owner's calls and sees that things happened: no record, nothing that a function printed. Who has the
// owner's password is the owner.
func TestTheOperatorSeesNoMoreThanThatThingsHappened(t *testing.T) {
	f := func(ctx context.Context, name string, event []byte) ([]byte, error) { return count(ctx, name, event) }
	w := newWorld(t, byName, withFunctions(f, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.post("bob", api+"/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	w.get("bob", functions+"/counter/trigger").want(200)
	var runs []wireRun
	w.get("bob", own+"/runs?limit=1").want(200).decode(&runs)
	at := edge.OperatorPrefix + "bob" + own
	for _, c := range []struct {
		method, path, body string
		operator           int    // the status without a password
		owner              int    // and with it
		says               string // a pattern of what the operator is told
	}{
		{"GET", "/runs", "", 200, 200, `"id":"` + runs[0].ID + `"`},
		{"GET", "/runs/" + runs[0].ID, "", 200, 200, `"state":"committed"`},
		{"GET", "/runs/" + runs[0].ID + "/superseded", "", 200, 200, `^\[\]$`},
		{"GET", "/why", "", 200, 200, `^\[\{"function":"counter"`},
		{"GET", "/functions", "", 200, 200, `counter`},
		{"GET", "/functions/counter/why", "", 200, 200, `"code"`},
		{"GET", "/functions/counter/consent", "", 200, 200, `"enabled":true`},
		{"POST", "/functions/counter/enable", `{}`, 403, 200, `password was not given`},
		{"GET", "/storage", "", 200, 200, `"records":`},
		{"GET", "/receipts", "", 200, 200, `"checkpoint"`},
		{"POST", "/receipts/verify", "", 200, 200, `"whole":true`},
		{"POST", "/runs/" + runs[0].ID + "/cancel", "", 409, 409, `Run Ended`},
		{"POST", "/runs/" + runs[0].ID + "/replay", "", 202, 202, `Due`},
		{"GET", "/nowhere", "", 404, 404, `does not exist`},
	} {
		status, answer := w.atSocket(c.method, at+c.path, "", c.body)
		if status != c.operator || !regexp.MustCompile(c.says).MatchString(answer) {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, answer)
		}
		if strings.Contains(answer, canary) || strings.Contains(answer, `"log"`) {
			t.Errorf("%s %s shows the operator %s", c.method, c.path, answer)
		}
		w.advance(time.Minute) // tries of a password are counted
		if strings.HasSuffix(c.path, "/replay") {
			continue // done by now
		}
		if status, answer := w.atSocket(c.method, at+c.path, "testing", c.body); status != c.owner {
			t.Errorf("%s %s with the password: %d %s", c.method, c.path, status, answer)
		}
	}
	if _, answer := w.atSocket("GET", at+"/runs/"+runs[0].ID, "testing", ""); !strings.Contains(answer, `"log":`) {
		t.Errorf("the owner is not shown the log: %s", answer)
	}
	if status, answer := w.atSocket("GET", at+"/runs", "guessed", ""); status != 403 || !strings.Contains(answer, "Wrong Password") {
		t.Errorf("a wrong password: %d %s", status, answer)
	}
	for _, path := range []string{edge.OperatorPrefix + "eve" + own + "/runs", edge.OperatorPrefix + own + "/runs", edge.OperatorPrefix, edge.OperatorPrefix + "%25zz" + own + "/runs"} {
		if status, answer := w.atSocket("GET", path, "", ""); status != 404 {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	// The HAT API is not there: it has no operator.
	if status, _ := w.atSocket("GET", edge.OperatorPrefix+"bob"+api+"/data/rumpel/notes", "testing", ""); status != 404 {
		t.Errorf("records at the socket: %d", status)
	}
}

// What the socket has shown may be agreed to there, and what changed since may not.
func TestTheSocketAgreesToWhatItShowed(t *testing.T) {
	w := newWorld(t, byName, withFunctions(count, functionNamed("counter")))
	at := edge.OperatorPrefix + "bob.test:9000" + own + "/functions/counter"
	status, answer := w.atSocket("GET", at+"/consent", "", "")
	terms := regexp.MustCompile(`"digest":"(sha256:[0-9a-f]{64})"`).FindStringSubmatch(answer)
	if status != 200 || terms == nil {
		t.Fatalf("%d %s", status, answer)
	}
	if status, answer := w.atSocket("POST", at+"/enable", "testing", `{"terms":"sha256:`+strings.Repeat("0", 64)+`"}`); status != 409 || !strings.Contains(answer, edge.TermsChanged) {
		t.Errorf("other terms: %d %s", status, answer)
	}
	if status, answer := w.atSocket("POST", at+"/enable", "testing", `{"terms":"`+terms[1]+`"}`); status != 200 || !strings.Contains(answer, `"enabled":true`) {
		t.Errorf("%d %s", status, answer)
	}
}
