package project

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

// testdata/judged/printed-*.json is what Serverless Framework 3.40.0 made of the project beside it
// (serverless print --stage … --format json). What is read here is the same.
func TestServerlessReadsTheSame(t *testing.T) {
	for _, stage := range []string{"dev", "prod"} {
		text, err := os.ReadFile("testdata/judged/printed-" + stage + ".json")
		if err != nil {
			t.Fatal(err)
		}
		type described struct {
			Name, Handler, Runtime string
			MemorySize, Timeout    int
			Environment            map[string]any
		}
		var printed struct {
			Provider  described
			Functions map[string]described
		}
		if err := json.Unmarshal(text, &printed); err != nil {
			t.Fatal(err)
		}
		if len(printed.Functions) != 2 {
			t.Fatalf("%d functions", len(printed.Functions))
		}
		for key, want := range printed.Functions {
			p, err := Read(dir("testdata/judged"), Options{Key: key, Stage: stage})
			if err != nil {
				t.Errorf("%s, %s: %v", stage, key, err)
				continue
			}
			got := p.Process
			env := make(map[string]string)
			for _, part := range []map[string]any{printed.Provider.Environment, want.Environment} {
				for name, v := range part {
					env[name] = fmt.Sprint(v)
				}
			}
			memory, timeout := want.MemorySize, time.Duration(want.Timeout)*time.Second
			if memory == 0 {
				memory = printed.Provider.MemorySize
			}
			if timeout == 0 {
				timeout = defaultTimeout
			}
			if got.Name != want.Name || got.Handler != want.Handler || got.Memory != memory || got.Timeout != timeout || !maps.Equal(got.Env, env) {
				t.Errorf("%s, %s:\ngot  %+v\nwant %+v with %q", stage, key, got, want, env)
			}
		}
	}
}

// testdata/judged-sam/local-*.json is what the SamFunctionProvider of SAM CLI 1.170.0 reads from the template
// beside it for sam local invoke, with the parameters below and AWS::Region=eu-west-1.
func TestSAMReadsTheSame(t *testing.T) {
	for name, params := range map[string]map[string]string{
		"dev": nil, "prod": {"Stage": "prod", "Memory": "512", "Hosts": "x"},
	} {
		text, err := os.ReadFile("testdata/judged-sam/local-" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]struct {
			Name, Handler, Runtime, CodeURI string
			Memory                          any // a number, or its text
			Timeout                         int
			Env                             map[string]any
			Layers                          []string
		}
		if err := json.Unmarshal(text, &all); err != nil || len(all) == 0 {
			t.Fatalf("%d functions, %v", len(all), err)
		}
		for key, want := range all {
			p, err := Read(dir("testdata/judged-sam"), Options{Key: key, Params: params})
			if name == "prod" && key == "Second" { // its condition is false, which SAM CLI does not look at
				if err == nil {
					t.Error("a function that is not deployed was read")
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s: %v", name, key, err)
				continue
			}
			got := p.Process
			env := make(map[string]string)
			for name, v := range want.Env {
				env[name] = fmt.Sprint(v)
			}
			var layers []string
			for _, l := range got.Layers {
				layers = append(layers, l.Name)
			}
			if got.Name != want.Name || got.Handler != want.Handler || got.Runtime != want.Runtime || fmt.Sprint(got.Memory) != fmt.Sprint(want.Memory) ||
				got.Packing.Folder != want.CodeURI || got.Timeout != time.Duration(want.Timeout)*time.Second || !maps.Equal(got.Env, env) || !slices.Equal(layers, want.Layers) {
				t.Errorf("%s, %s:\ngot  %+v\nwant %+v", name, key, got, want)
			}
		}
	}
}

// testdata/judged-cdk is the output of aws-cdk-lib 2.276.0 for the program beside it: a stage with a layer
// and three functions. It lacks the metadata that only the CDK's command line adds.
func TestCDKProgramIsRead(t *testing.T) {
	const fn, layer = "cdk.out/asset.463eea280f50358a3ffa4f2e7f1d84048dcc6be378f5a9016244e419feec6cae", "cdk.out/asset.e8cd279485f6da47967c87b895d751c7c330b41c7df84ef07f3be134c50c43b1"
	p := mustRead(t, "testdata/judged-cdk", "", "busy-hours")
	if p.File != "cdk.out/assembly-Prod/ProdWork50AF616D.template.json" || p.Bundle.Name != "own-busy-hours-bundle" {
		t.Errorf("%+v", p)
	}
	for _, e := range p.Entries() {
		if e.Handler != "h.f" || e.Runtime != "python3.12" || e.Memory != 512 || e.Timeout != 20*time.Second || e.Packing.Folder != fn {
			t.Errorf("%+v", e)
		}
	}
	if got := folders(p.Process); len(got) != 1 || got[0] != "Tools14E15C69 "+layer {
		t.Errorf("layers %q", got)
	}
	if want := map[string]string{"WHERE": "s3://eu-west-1/Prod-Work", "SELF": "aws"}; !maps.Equal(p.Process.Env, want) {
		t.Errorf("environment %q", p.Process.Env)
	}
}
