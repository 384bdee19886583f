package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"she/internal/shetest"
)

// Over quota, an owner is told so and until when, a request is refused, and nothing is lost: with a higher quota the work
// goes on.
func TestQuota(t *testing.T) {
	dir := t.TempDir()
	config, err := install(dir, standIns[:1])
	if err != nil {
		t.Fatal(err)
	}
	limited := filepath.Join(dir, "limited.yaml")
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: limited, Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice"})
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(limited, append(b, "limits: {runsPerDay: 1}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, s)
	alice := s.Client("alice")
	ok := func(answer []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	ok(nil, alice.Login())
	const f = "/api/v2.6/she/function/each"
	ok(alice.Until("GET", f, regexp.MustCompile(`"available":true`)))
	ok(alice.Must("GET", f+"/enable", nil))
	for n := range 3 {
		ok(alice.Must("POST", "/api/v2.6/data/in/a", fmt.Appendf(nil, `{"n":%d,"v":1}`, n+1)))
		if n == 0 {
			ok(alice.Until("GET", "/api/v2.6/data/out/each", regexp.MustCompile(`"n":1`)))
		}
	}
	var why struct {
		Code  string
		Until time.Time
		Fault struct{ Who, Code string }
	}
	if err := json.Unmarshal(ok(alice.Until("GET", "/api/she/v1/functions/each/why", regexp.MustCompile(`"over-quota"`))), &why); err != nil {
		t.Fatal(err)
	}
	if why.Until.Before(time.Now()) || time.Until(why.Until) > 24*time.Hour || why.Fault.Who != "owner" || why.Fault.Code != "Quota.Runs" {
		t.Errorf("why: %+v", why)
	}
	status, answer, err := alice.Do("GET", f+"/trigger", nil)
	if err != nil || status != http.StatusInternalServerError || !strings.Contains(string(answer), "Function Execution Failed") {
		t.Errorf("a trigger over quota: %d %s %v", status, answer, err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s.Config = config
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	alice.Follow(s)
	ok(alice.Until("GET", "/api/v2.6/data/out/each", regexp.MustCompile(`(?s)"n":2.*"n":3`)))
}

// she.yaml bounds what partners may propose in data debits.
func TestDebitsOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "she.yaml")
	must(t, os.WriteFile(config, []byte("limits: {partnerDebits: 1, debitKB: 1}\n"), 0o600))
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config, Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice"})
	if _, err := s.CreatePlatform("partner", "alice"); err != nil {
		t.Fatal(err)
	}
	start(t, s)
	partner := s.Client("alice")
	must(t, partner.LoginAs("partner"))
	propose := func(key, name, purpose string) (int, string) {
		t.Helper()
		status, answer, err := partner.Do("POST", "/api/v2.6/data-debit/"+key, fmt.Appendf(nil, `{"dataDebitKey":%q,"purpose":%q,
			"start":"2026-03-04T09:00:00+0000","period":604800000,"cancelAtPeriodEnd":false,"requestClientName":"c","requestClientUrl":"u",
			"requestClientLogoUrl":"l","termsUrl":"t","bundle":{"name":%q,"bundle":{"p":{"endpoints":[{"endpoint":"a/b"}]}}}}`, key, purpose, name))
		must(t, err)
		return status, string(answer)
	}
	if status, answer := propose("one", "b1", strings.Repeat("x", 1<<10)); status != http.StatusBadRequest || !strings.Contains(answer, "Too large, with all its former terms") {
		t.Errorf("a large one: %d %s", status, answer)
	}
	if status, answer := propose("one", "b1", "why"); status != http.StatusCreated {
		t.Errorf("the first: %d %s", status, answer)
	}
	if status, answer := propose("two", "b2", "why"); status != http.StatusBadRequest || !strings.Contains(answer, "one partner may propose 1") {
		t.Errorf("the second: %d %s", status, answer)
	}
}
