package ledger_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

// A grant that drops equal results is stored in the form that grants had before KeepEqual existed.
func TestStoredGrantsOfBeforeDropEqualResults(t *testing.T) {
	g := access.Grant{
		Function: vaulttest.Parsed(hat.ParseFunctionID("f")), Version: vaulttest.Parsed(hat.ParseVersion("1.0.0")),
		Output: vaulttest.Note(t, `1`).Endpoint, Trigger: hat.Trigger{Kind: hat.Manual},
	}
	before := g
	text := vaulttest.Parsed(ledger.EncodeGrant(g))
	if strings.Contains(text, "equal") {
		t.Errorf("stored as %s", text)
	}
	g.Equal = hat.KeepEqual
	kept := vaulttest.Parsed(ledger.EncodeGrant(g))
	if !strings.Contains(kept, `"equal":"keep"`) || ledger.SameGrant(g, before) {
		t.Errorf("stored as %s", kept)
	}
}

// checkIdentities checks that column digest is the digest of the data, or of the data and the run. It
// returns how many rows include the run.
func checkIdentities(t testing.TB, v *ledger.Vault) (withRun int) {
	t.Helper()
	vaulttest.Must(t, 0, v.Rows().Read(t.Context(), func(conn ledger.Reader) error {
		return conn.Each(t.Context(), "SELECT run, digest, data FROM records", nil, func(scan func(...any) error) error {
			var run, digest []byte
			var data string
			if err := scan(&run, &digest, &data); err != nil {
				return err
			}
			plain := sha256.Sum256([]byte(data))
			keyed := sha256.Sum256(slices.Concat([]byte{0}, run, plain[:]))
			switch {
			case slices.Equal(digest, plain[:]):
			case run != nil && slices.Equal(digest, keyed[:]):
				withRun++
			default:
				t.Errorf("%s of run %x has digest %x", data, run, digest)
			}
			return nil
		})
	}))
	return withRun
}

// After any history of the runs, column digest says of each row which records it equals, and the statements
// that read it use its index.
func TestColumnDigestSaysWhatARecordIsTheSameAs(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	in := vaulttest.Note(t, `1`).Endpoint
	g := access.Grant{
		Function: vaulttest.Parsed(hat.ParseFunctionID("f")), Version: vaulttest.Parsed(hat.ParseVersion("1.0.0")), Digest: "sha256:00",
		Bundle: bundle.Bundle{Name: "f", Properties: map[string]bundle.PropertyQuery{
			"in": {Endpoints: []bundle.EndpointQuery{{Endpoint: in}}},
		}},
		Output: vaulttest.Parsed(hat.ParseEndpoint("she/f")), Trigger: hat.Trigger{Kind: hat.Individual}, Equal: hat.KeepEqual,
	}
	vaulttest.Parsed(v.Enable(t.Context(), alice, g))
	run := func() plan.Plan {
		t.Helper()
		p := vaulttest.Parsed(v.Claim(t.Context(), vault.Claim{
			Function: g.Function, Run: hat.NewRunID(), Cause: plan.ByData, Now: time.Now(), Expires: time.Now().Add(time.Minute),
		}))
		same := hat.Draft{Endpoint: g.Output, Data: vaulttest.Data(t, `"same"`)}
		vaulttest.Parsed(v.Commit(t.Context(), p, vault.Output{Responses: []contract.Response{{Drafts: []hat.Draft{same, same}}}}))
		return p
	}
	expect := func(what string, withRun int) {
		t.Helper()
		if n := checkIdentities(t, v); n != withRun {
			t.Errorf("%s: %d rows have the run in column digest, want %d", what, n, withRun)
		}
	}
	var runs []plan.Plan
	for i := range 3 {
		vaulttest.Parsed(v.Append(t.Context(), alice, []hat.Draft{vaulttest.Note(t, fmt.Sprint(i))}, false))
		runs = append(runs, run())
	}
	expect("three runs", 2)
	for range 2 {
		vaulttest.Must(t, 0, v.Replay(t.Context(), alice, runs[1].Run))
		run()
	}
	expect("replayed twice", 2)
	g.Equal = hat.DropEqual
	vaulttest.Parsed(v.Enable(t.Context(), alice, g))
	vaulttest.Must(t, 0, v.Replay(t.Context(), alice, runs[1].Run))
	run()
	expect("replayed under drop", 1)

	vaulttest.Must(t, 0, v.Rows().Read(t.Context(), func(conn ledger.Reader) error {
		for query, arguments := range map[string]int{ledger.InsertResult: 12, ledger.TakeOver: 7} {
			asked := 0
			err := conn.Each(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, arguments), func(scan func(...any) error) error {
				var id, parent, unused int
				var detail string
				err := scan(&id, &parent, &unused, &detail)
				if !strings.Contains(detail, "records") {
					return err
				}
				if asked++; !strings.Contains(detail, "INDEX records_once (endpoint=? AND digest=?)") {
					t.Errorf("%s:\n%s", query, detail)
				}
				return err
			})
			if err != nil || asked == 0 {
				return errors.Join(err, fmt.Errorf("records were asked %d times: %s", asked, query))
			}
		}
		return nil
	}))
}
