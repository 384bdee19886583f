package project

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

// oneFile is a folder with one file.
type oneFile struct{ name, text string }

func (f oneFile) Read(name string, max int64) ([]byte, error) {
	if name != f.name {
		return nil, fs.ErrNotExist
	}
	return []byte(f.text)[:min(int64(len(f.text)), max)], nil
}

func (f oneFile) Has(name string) bool { return name == f.name }

const manifest = `{"version":"38.0.1","artifacts":{
 "Tree":{"type":"cdk:tree","properties":{"file":"tree.json"}},
 "Store.assets":{"type":"cdk:asset-manifest","properties":{"file":"Store.assets.json"}},
 "Store":{"type":"aws:cloudformation:stack","properties":{"templateFile":"Store.template.json"}},
 "Work":{"type":"aws:cloudformation:stack","properties":{"templateFile":"Work.template.json"}}}}`

const storeTemplate = `{"Resources":{"Table1A2B3C4D":{"Type":"AWS::DynamoDB::Table","Properties":{}}}}`

const workTemplate = `{"Resources":{
 "Tools8F1B2C3D":{"Type":"AWS::Lambda::LayerVersion","Properties":{"Content":{"S3Bucket":{"Fn::Sub":"cdk-${AWS::AccountId}"},"S3Key":"1.zip"}},
  "Metadata":{"aws:cdk:path":"Work/Tools/Resource","aws:asset:path":"asset.1","aws:asset:is-bundled":false,"aws:asset:property":"Content"}},
 "BusyHours0A1B2C3D":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"S3Bucket":"b","S3Key":"2.zip"},"Handler":"h.f","Runtime":"python3.12",
   "Layers":[{"Ref":"Tools8F1B2C3D"}],"Role":{"Fn::GetAtt":["Role1","Arn"]},
   "Environment":{"Variables":{"WHERE":{"Fn::Join":["",["s3://",{"Ref":"AWS::Region"},"/x"]]}}}},
  "DependsOn":["Role1"],"Metadata":{"aws:cdk:path":"Work/BusyHours/Resource","aws:asset:path":"asset.2","aws:asset:property":"Code"}},
 "BusyHoursBundle0A1B2C3D":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"S3Bucket":"b","S3Key":"2.zip"},"Handler":"h.b","Runtime":"python3.12"},
  "Metadata":{"aws:cdk:path":"Work/BusyHoursBundle/Resource","aws:asset:path":"asset.2"}},
 "BusyHoursConfiguration0A1B2C3D":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"S3Bucket":"b","S3Key":"3.jar"},"Handler":"h.c","Runtime":"python3.12"},
  "Metadata":{"aws:cdk:path":"Work/BusyHoursConfiguration/Resource","aws:asset:path":"asset.3.jar"}},
 "Role1":{"Type":"AWS::IAM::Role","Properties":{}}}}`

// A program of the AWS CDK is read from the output of cdk synth, from the folder beside it or the output
// folder itself.
func TestCDK(t *testing.T) {
	all := map[string]string{"manifest.json": manifest, "Store.template.json": storeTemplate, "Work.template.json": workTemplate}
	below := map[string]string{"cdk.json": "{}"}
	for name, text := range all {
		below["cdk.out/"+name] = text
	}
	for at, files := range map[string]map[string]string{"": all, "cdk.out/": below} {
		p := mustRead(t, tree(t, files), "", "busy-hours")
		if p.File != at+"Work.template.json" || p.Process.Handler != "h.f" || p.Process.Name != "BusyHours0A1B2C3D" || p.Bundle.Handler != "h.b" {
			t.Errorf("%+v", p)
		}
		if p.Process.Packing.Folder != at+"asset.2" || p.Configuration.Packing.Artifact != at+"asset.3.jar" {
			t.Errorf("packed of %+v and %+v", p.Process.Packing, p.Configuration.Packing)
		}
		if got := folders(p.Process); !slices.Equal(got, []string{"Tools8F1B2C3D " + at + "asset.1"}) {
			t.Errorf("layers %q", got)
		}
		if !maps.Equal(p.Process.Env, map[string]string{"WHERE": "s3://eu-west-1/x"}) {
			t.Errorf("environment %q", p.Process.Env)
		}
		hasWarning(t, p.Warnings, "Role is ignored: a function has no rights in a cloud")
		keys, err := Read(dir(tree(t, files)), Options{})
		if err != nil || !slices.Equal(keys.Keys, []string{"BusyHours", "BusyHoursBundle", "BusyHoursConfiguration"}) {
			t.Errorf("functions %+v, %v", keys, err)
		}
	}
	for want, files := range map[string]map[string]string{
		"cdk.json: there is no cdk.out yet: run cdk synth first":             {"cdk.json": "{}"},
		"cdk.out/manifest.json: it is no manifest of a cloud assembly":       {"cdk.out/manifest.json": "[]"},
		"manifest.json: templateFile: \"../x\" leads out of the project":     {"manifest.json": strings.Replace(manifest, "Work.template.json", "../x", 1)},
		"there is no function busy-hours":                                    {"manifest.json": manifest, "Work.template.json": strings.ReplaceAll(workTemplate, "BusyHours", "Idle"), "Store.template.json": storeTemplate},
		"Work.template.json:7: CodeUri: \"../asset\" leads out of the proje": {"manifest.json": manifest, "Store.template.json": storeTemplate, "Work.template.json": strings.Replace(workTemplate, `"asset.2","aws:asset:property"`, `"../asset","x"`, 1)},
	} {
		if _, err := read(tree(t, files), "", id(t, "busy-hours"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// FuzzAssembly checks that no manifest crashes the reader, leads out of the project, or hangs it.
func FuzzAssembly(f *testing.F) {
	f.Add(manifest)
	f.Add(`{"version":"1","artifacts":{"a":{"type":"cdk:cloud-assembly","properties":{"directoryName":"."}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		stacks, err := projectFiles(oneFile{"manifest.json", text})
		for _, name := range stacks {
			if _, inside := insideName(name); err == nil && inside != nil {
				t.Errorf("%q leads out", name)
			}
		}
	})
}

// FuzzVendored checks that no package list crashes the reader, and that every reported line exists in the
// list.
func FuzzVendored(f *testing.F) {
	f.Add("# x\nnumpy==1.2 ; python_version < '3'\n-r other.txt\n", true)
	f.Add(`{"dependencies": {"a": "1", "../b": "2"}}`, false)
	f.Fuzz(func(t *testing.T, text string, python bool) {
		lines := 1 + strings.Count(text, "\n")
		if python {
			if line := lacksRequirement(oneFile{"requirements.txt", text}, "."); line < 0 || line > lines {
				t.Errorf("line %d of %d", line, lines)
			}
			return
		}
		if name, line := lacksDependency(oneFile{"package.json", text}, "."); name != "" && (line < 1 || line > lines) {
			t.Errorf("%q: line %d of %d", name, line, lines)
		}
	})
}
