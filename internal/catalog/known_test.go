package catalog

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"she/internal/contract"
	"she/internal/hat"
)

// The known state of functions is restored only for the same code, whatever happened to the file. Defect
// B-59.
func TestWhatIsKnownIsKept(t *testing.T) {
	const answer = `{"id":"f","info":{"version":"1.0.0","versionReleaseDate":"2024-01-08T10:00:00.000Z","name":"F","headline":"",
		"description":{"text":""},"termsUrl":"","supportContact":"","graphics":{"banner":{"normal":""},"logo":{"normal":""},"screenshots":[]}},
		"developer":{"id":"","name":"","url":""},"trigger":{"triggerType":"individual"},
		"dataBundle":{"name":"b","bundle":{"x":{"endpoints":[{"endpoint":"a/x"}]}}},"status":{"available":true,"enabled":false}}`
	manifest, fault := contract.ParseConfiguration([]byte(answer))
	if fault != nil {
		t.Fatal(fault)
	}
	function := func(id, digest string) (f Function) {
		f.ID, _ = hat.ParseFunctionID(id)
		f.Version, _ = hat.ParseVersion("1.0.0")
		f.Output, _ = hat.ParseEndpoint("she/out")
		for _, p := range []*Package{&f.Package, &f.Configuration.Package, &f.Bundle.Package, &f.Process.Package} {
			p.Digest = digest
		}
		return f
	}
	dir := t.TempDir()
	at := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	runs := Runs{Committed: 3, Failed: 1, Last: at, LastState: "failed"}
	works, broken, never := function("f", "sha256:1"), function("g", "sha256:2"), function("h", "sha256:3")
	works.Manifest, works.Runs = &manifest, runs
	broken.Problem, broken.Said = hat.NewFault(hat.Author, "Runtime.Exit", "no"), []byte("printed\xff")
	if err := Keep(dir, []Function{works, broken, never}, at); err != nil {
		t.Fatal(err)
	}
	recall := func() (all []Function) {
		return Recall(dir, []Function{function("f", "sha256:1"), function("g", "sha256:2"), function("h", "sha256:3"), function("f", "sha256:9")})
	}
	all := recall()
	if f := all[0].Seen(); !f.Available() || !f.AsOf.Equal(at) || f.Runs != runs || !reflect.DeepEqual(*f.Manifest, manifest) || all[0].Manifest != nil {
		t.Errorf("works: %+v", f)
	}
	if f := all[1].Seen(); f.Available() || !reflect.DeepEqual(f.Problem, broken.Problem) || string(f.Said) != "printed\xff" {
		t.Errorf("broken: %+v", f)
	}
	if all[2].Last != nil || all[3].Last != nil || all[3].Runs != (Runs{}) {
		t.Errorf("never asked, and other code: %+v, %+v", all[2].Last, all[3].Last)
	}
	// A function that has not answered since then keeps its time.
	if err := Keep(dir, all[:3], at.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if f := recall()[0].Seen(); !f.AsOf.Equal(at) || !f.Available() {
		t.Errorf("kept again: %+v", f)
	}
	// A function that has answered shows its new state.
	if f := Recall(dir, []Function{broken})[0].Seen(); !f.AsOf.IsZero() {
		t.Errorf("%+v", f)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
	for _, text := range []string{"", "{", "[]", `{"x":{"manifest":7}}`} {
		if err := os.WriteFile(filepath.Join(dir, knownName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if all := recall(); len(all) != 4 || all[0].Last != nil {
			t.Errorf("%q: %+v", text, all)
		}
	}
}
