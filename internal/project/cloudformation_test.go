package project

import (
	"maps"
	"strings"
	"testing"
)

const cloudTemplate = `AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: prod}
  Size: {Type: Number, Default: 1_024}
  Hosts: {Type: CommaDelimitedList, Default: 'a.example, b.example'}
  Secret: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /name/of/it}
Mappings:
  Environments:
    prod: {MemorySize: 512, Url: !Sub 'sqlite:///${Stage}/x'}
    test: {MemorySize: 256, Url: 'sqlite:///tmp/x'}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsTest: {'Fn::Equals': [{Ref: Stage}, test]}
  Other: !Not [!Condition IsProd]
  Both: !And [{Condition: IsProd}, !Or [!Condition IsTest, !Equals [a, a]]]
  Loop: !Not [!Condition Loop]
Globals:
  Function:
    Runtime: python3.11
    MemorySize: !FindInMap [Environments, !Ref Stage, MemorySize]
    Timeout: !If [IsProd, 20, !GetAtt Nobody.Asks]
    Environment: {Variables: {URL: !FindInMap [Environments, !Ref Stage, Url], GONE: x}}
Resources:
  'Fn::ForEach::Buckets': [Name, [A, B], {'Bucket${Name}': {Type: 'AWS::S3::Bucket'}}]
  Included: {'Fn::Transform': {Name: 'AWS::Include', Parameters: {Location: 's3://x'}}}
  FFunction:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Join ['-', [a, !Ref Stage, f]]
      Handler: app.f
      Environment: {Variables: {
        V: VALUE,
        GONE: !If [Other, x, !Ref AWS::NoValue]}}
  FBundleFunction:
    Type: AWS::Serverless::Function
    Condition: IsProd
    Properties: {Handler: app.b, MemorySize: !If [IsTest, 128, !Ref AWS::NoValue]}
  FBundle:
    Type: AWS::Serverless::Function
    Condition: IsTest
    Properties: {Handler: app.b}
  FConfigurationFunction:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.c, Role: !GetAtt Role.Arn}
`

// Functions whose arguments are in the template are evaluated, in the short and the long form.
func TestCloudFormationFunctions(t *testing.T) {
	for in, want := range map[string]string{
		"!Ref AWS::Region": "eu-west-1",
		"!Sub 'arn:${AWS::Partition}:s3:::${AWS::AccountId}'": "arn:aws:s3:::000000000000",
		"!Ref Size":           "1024",
		"!If [Both, 1.50, 2]": "1.5",
		"{'Fn::If': [Other, a, {'Fn::If': [IsTest, b, c]}]}":             "c",
		"!Join ['', [a, !Ref Stage, !If [Other, x, !Ref AWS::NoValue]]]": "aprod",
		"!Join [',', !Ref Hosts]":                                        "a.example,b.example",
		"{'Fn::Join': ['-', ['Fn::Sub': '${Stage}', 0x10]]}":             "prod-16",
		"!Select [1, !Ref Hosts]":                                        "b.example",
		"!Select [0, !Split ['/', 'x/y']]":                               "x",
		"!Base64 abc":                                                    "YWJj",
		"!FindInMap [Environments, none, Url, {DefaultValue: d}]":        "d",
		"!Sub ['${A}-${Stage}', {A: !Select [0, [p, q]]}]":               "p-prod",
		"!Sub '${!Kept}'":                                                "${Kept}",
		"!Equals [!Ref Stage, prod]":                                     "true",
		"TRUE":                                                           "true",
	} {
		p, err := read(tree(t, map[string]string{"template.yaml": strings.Replace(cloudTemplate, "VALUE", in, 1)}), "", id(t, "f"), nil)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := p.Process.Env; !maps.Equal(got, map[string]string{"URL": "sqlite:///prod/x", "V": want}) {
			t.Errorf("%s: environment %q, want V %q", in, got, want)
		}
		if p.Process.Memory != 512 || p.Bundle.Memory != 512 || p.Process.Timeout.Seconds() != 20 || p.Process.Name != "a-prod-f" {
			t.Errorf("%s: %+v", in, p.Process)
		}
		hasWarning(t, p.Warnings, "Fn::ForEach::Buckets is not read")
		hasWarning(t, p.Warnings, "Included is not a function")
		hasWarning(t, p.Warnings, "function FBundle is ignored: its condition IsTest is false")
	}
}

// A function that can't be evaluated gives an error with the reason and the line.
func TestCloudFormationThatFails(t *testing.T) {
	for in, want := range map[string]string{
		"!GetAtt Role.Arn":                     "\"Role\" is no resource of this template",
		"!GetAtt Role":                         "GetAtt: want a resource and an attribute",
		"!Cidr [a, 1, 2]":                      "Fn::Cidr is not evaluated here",
		"!If [Nobody, a, b]":                   "\"Nobody\" is not a condition",
		"!If [Loop, a, b]":                     "depends on itself",
		"!If [IsProd, a]":                      "If: want a list of 3 values",
		"!Join [x]":                            "Join: want a list of 2 values",
		"!Join ['', text]":                     "Join: want a list here",
		"!Select [7, [a]]":                     "has no item 7",
		"!Split ['', a]":                       "the delimiter is empty",
		"!FindInMap [Environments, none, Url]": "Mappings has no \"none\"",
		"!FindInMap [Environments, prod]":      "FindInMap: want a list of 3 to 4 values",
		"!Ref Nobody":                          "\"Nobody\" is not a parameter or resource",
		"!Ref Hosts":                           "want text",
		"!Join ['', &a [x, !Join ['', *a]]]":   "nest deeper",
		"&b !Equals [*b, x]":                   "nest deeper",
	} {
		_, err := read(tree(t, map[string]string{"template.yaml": strings.Replace(cloudTemplate, "VALUE", in, 1)}), "", id(t, "f"), nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "template.yaml:") {
			t.Errorf("%s: got %v, want %q", in, err, want)
		}
	}
}

// Conditions that double with each level are evaluated once each.
func TestConditionsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := 1; i < 28; i++ {
		b.WriteString("  C" + itoa(i) + ": !And [!Condition C" + itoa(i-1) + ", !Condition C" + itoa(i-1) + "]\n")
	}
	text := strings.Replace(cloudTemplate, "Conditions:\n", "Conditions:\n  C00: !Equals [a, a]\n"+b.String(), 1)
	p := mustRead(t, tree(t, map[string]string{"template.yaml": strings.Replace(text, "VALUE", "!If [C27, yes, no]", 1)}), "", "f")
	if got := p.Process.Env["V"]; got != "true" {
		t.Errorf("V is %q", got)
	}
}

// What the AWS CDK writes: plain functions, their code beside the template.
func TestPlainFunctions(t *testing.T) {
	const template = `{"Resources": {
	"F9A1": {"Type": "AWS::Lambda::Function", "Metadata": {"aws:asset:path": "asset.1"},
		"Properties": {"FunctionName": "f", "Handler": "app.h", "Runtime": "python3.11", "Code": {"S3Bucket": {"Fn::Sub": "b-${AWS::Region}"}, "S3Key": "k.zip"},
			"Environment": {"Variables": {"N": 1.50}}}},
	"F9A2": {"Type": "AWS::Lambda::Function",
		"Properties": {"FunctionName": "f-bundle", "Handler": "app.h", "Runtime": "python3.11", "Code": "./src"}},
	"F9A3": {"Type": "AWS::Lambda::Function",
		"Properties": {"FunctionName": "f-configuration", "Handler": "app.h", "Runtime": "python3.11", "Code": CODE}}
}}`
	files := func(code string) map[string]string {
		return map[string]string{"template.json": strings.Replace(template, "CODE", code, 1), "asset.1/app.py": "", "src/app.py": ""}
	}
	p := mustRead(t, tree(t, files(`"src/"`)), "", "f")
	if p.Process.Packing.Folder != "asset.1" || p.Bundle.Packing.Folder != "src" || p.Configuration.Packing.Folder != "src" {
		t.Errorf("packed from %q, %q, %q", p.Process.Packing.Folder, p.Bundle.Packing.Folder, p.Configuration.Packing.Folder)
	}
	if got := p.Process.Env["N"]; got != "1.5" {
		t.Errorf("N is %q", got)
	}
	_, err := read(tree(t, files(`{"S3Bucket": "b", "S3Key": "k.zip"}`)), "", id(t, "f"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "template.json:8: Code: code in a bucket") {
		t.Errorf("code in a bucket: %v", err)
	}
	_, err = read(tree(t, map[string]string{"template.json": strings.Replace(template, `"f-configuration"`, `"other"`, 1)}), "", id(t, "f"), nil)
	if err == nil || !strings.Contains(err.Error(), "there is no function f-configuration; there is F9A1 (f), F9A2 (f-bundle), F9A3 (other)") {
		t.Errorf("a function is missing: %v", err)
	}
	without := strings.Replace(cloudTemplate, "FConfigurationFunction", "Else", 1)
	_, err = read(tree(t, map[string]string{"template.yaml": strings.Replace(without, "VALUE", "x", 1)}), "", id(t, "f"), nil)
	if err == nil || !strings.Contains(err.Error(), "what Fn::ForEach makes is not read") {
		t.Errorf("a function that a loop may make: %v", err)
	}
}

// serverless.yml may use the same functions in its environment, with the framework's variables in them.
func TestCloudFormationInServerless(t *testing.T) {
	const project = `service: s
custom: {part: x, n: 0x10}
provider:
  name: aws
  runtime: python3.11
  environment:
    A: !Join ['-', ['${self:custom.part}', !Ref AWS::Region]]
    B: !Sub '${self:custom.part}-${AWS::AccountId}'
    C: {'Fn::If': [Yes, '${self:custom.n}', no]}
    D: !FindInMap [M, k, v]
    E: !Ref P
    F: plain ${AWS::Region}
    G: !Sub ${self:custom.part}
resources:
  Parameters: {P: {Type: String, Default: TRUE}}
  Mappings: {M: {k: {v: found}}}
  Conditions: {Yes: !Equals ['${self:custom.part}', x]}
  Resources: {Table: {Type: 'AWS::DynamoDB::Table', Properties: {Arn: !GetAtt x.y}}}
functions:
  f: {handler: h.f}
  f-bundle: {handler: h.b}
  f-configuration: {handler: h.c}
`
	p := mustRead(t, tree(t, map[string]string{"serverless.yml": project}), "", "f")
	want := map[string]string{"A": "x-eu-west-1", "B": "x-000000000000", "C": "16", "D": "found", "E": "true", "F": "plain ${AWS::Region}", "G": "x"}
	if !maps.Equal(p.Process.Env, want) {
		t.Errorf("environment %q, want %q", p.Process.Env, want)
	}
}

// A plugin's keys are no reason to refuse a project; a slip of the pen is.
func TestKeysOfPlugins(t *testing.T) {
	with := func(plugins, old, new string) error {
		_, err := read(tree(t, map[string]string{"serverless.yml": strings.Replace(smallest, old, new, 1) + plugins}), "", id(t, "f"), nil)
		return err
	}
	const plugins = "plugins: [serverless-step-functions]\nstepFunctions: {a: b}\n"
	p := mustRead(t, tree(t, map[string]string{"serverless.yml": strings.Replace(smallest, "h.f", "h.f, canary: {type: x}", 1) + plugins}), "", "f")
	hasWarning(t, p.Warnings, "serverless.yml:4: canary is ignored: it is not known here, and no plugin is run (serverless-step-functions)")
	hasWarning(t, p.Warnings, "serverless.yml:8: stepFunctions is ignored")
	for slip, meant := range map[string]string{"memorysize": "memorySize", "enviroment": "environment", "handlr": "handler", "timout": "timeout"} {
		if err := with(plugins, "h.f", "h.f, "+slip+": x"); err == nil || !strings.Contains(err.Error(), "did you mean "+meant) {
			t.Errorf("%s: %v", slip, err)
		}
	}
	if err := with("stepFunctions: {}\n", "", ""); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("no plugin: %v", err)
	}
}

// What an author would miss, and nobody else would notice, is said with file and line.
func TestSchedulesAndRequirements(t *testing.T) {
	const events = `h.f
    events:
      - sns: topic
      - schedule: rate(1 hour)
      - schedule: {rate: 'cron(0 12 * * ? *)', enabled: false}
      - plain
    #`
	p := mustRead(t, tree(t, map[string]string{
		"serverless.yml":   strings.Replace(smallest, "{handler: h.f}", "\n    handler: "+events, 1),
		"requirements.txt": "# what it needs\n\nnumpy==1.26\n",
	}), "", "f")
	hasWarning(t, p.Warnings, "serverless.yml:8: schedule is ignored: the trigger in the function's configuration says when it runs")
	hasWarning(t, p.Warnings, "serverless.yml:9: schedule is ignored")
	hasWarning(t, p.Warnings, "requirements.txt:3: nothing is installed from requirements.txt")
	hasWarning(t, p.Warnings, "serverless.yml:7: event sns is ignored: a function here is called by its trigger alone")
	hasWarning(t, p.Warnings, "serverless.yml:10: event plain is ignored")
	if len(p.Warnings) != 5 {
		t.Errorf("warnings: %q", p.Warnings)
	}
	text := strings.Replace(smallSAM, "h.f", "h.f, Events: {Hourly: {Type: Schedule, Properties: {Schedule: rate(1 hour)}}, Post: {Type: Api}}", 1)
	p = mustRead(t, tree(t, map[string]string{"template.yaml": text}), "", "f")
	hasWarning(t, p.Warnings, "template.yaml:4: schedule is ignored")
	hasWarning(t, p.Warnings, "template.yaml:4: event Api is ignored")
}
