package project

import (
	"maps"
	"strings"
	"testing"
)

// An environment variable whose value only a cloud knows is left out with a warning. A
// reference to a resource becomes its logical id.
func TestWhatOnlyACloudKnows(t *testing.T) {
	const template = `Transform: AWS::Serverless-2016-10-31
Parameters:
  Secret: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /a/b}
Resources:
  Table: {Type: 'AWS::DynamoDB::Table'}
  F:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: named-f
      Runtime: python3.12
      Handler: h.f
      Environment: {Variables: {
        V: VALUE,
        W: kept}}
  FBundle: {Type: 'AWS::Serverless::Function', Properties: {Runtime: python3.12, Handler: h.b}}
  FConfiguration: {Type: 'AWS::Serverless::Function', Properties: {Runtime: python3.12, Handler: h.c}}
`
	for _, c := range []struct{ in, set, warning string }{
		{"!Ref Secret", "", "environment variable V is not set: parameter \"Secret\" is in a parameter store"},
		{"!ImportValue x", "", "environment variable V is not set: Fn::ImportValue needs a value that only a cloud has"},
		{"!GetAtt Table.StreamArn", "", "environment variable V is not set: Table.StreamArn is only in a cloud"},
		{"!Sub 'x-${Table.StreamArn}'", "", "environment variable V is not set: Table.StreamArn is only in a cloud"},
		{"'{{resolve:ssm-secure:/a:1}}'", "", "environment variable V is not set: {{resolve:…}} asks"},
		{"!Ref Table", "Table", "Table is only in a cloud: its logical id stands for it"},
		{"!Sub '${Table}!'", "Table!", "Table is only in a cloud"},
		{"!Ref FBundle", "FBundle", ""},
		{"!GetAtt F.Arn", "arn:aws:lambda:eu-west-1:000000000000:function:named-f", ""},
		{"{'Fn::GetAtt': [FBundle, Arn]}", "arn:aws:lambda:eu-west-1:000000000000:function:FBundle", ""},
		{"!Sub '${F.Arn}:live'", "arn:aws:lambda:eu-west-1:000000000000:function:named-f:live", ""},
	} {
		p := mustRead(t, tree(t, map[string]string{"template.yaml": strings.Replace(template, "VALUE", c.in, 1)}), "", "f")
		want := map[string]string{"W": "kept"}
		if c.set != "" {
			want["V"] = c.set
		}
		if !maps.Equal(p.Process.Env, want) {
			t.Errorf("%s: environment %q, want %q", c.in, p.Process.Env, want)
		}
		if c.warning != "" {
			hasWarning(t, p.Warnings, "template.yaml:13: "+c.warning)
		}
	}
	text := strings.Replace(smallest, "{handler: h.f}", "{handler: h.f, environment: {V: '${ssm:/x}', W: kept}}", 1)
	p := mustRead(t, tree(t, map[string]string{"serverless.yml": text}), "", "f")
	if !maps.Equal(p.Process.Env, map[string]string{"W": "kept"}) {
		t.Errorf("environment %q", p.Process.Env)
	}
	hasWarning(t, p.Warnings, "serverless.yml:4: environment variable V is not set: ${ssm:…} needs a service that is not here")
}

// A parameter has the value given beside the file, else the stage, else its default.
func TestParametersGiven(t *testing.T) {
	const template = `Transform: AWS::Serverless-2016-10-31
Parameters:
  Memory: {Type: Number, Default: 256, AllowedValues: [256, 512]}
  Names: {Type: CommaDelimitedList, Default: 'a,b'}
  Asked: {Type: String}
Resources:
  F: {Type: 'AWS::Serverless::Function', Properties: {Runtime: python3.12, Handler: h.f, MemorySize: !Ref Memory,
    Environment: {Variables: {N: !Select [1, !Ref Names], A: !Ref Asked}}}}
`
	src := dir(tree(t, map[string]string{"template.yaml": template}))
	p, err := Read(src, Options{Key: "F", Params: map[string]string{"Memory": "512", "Names": "x, y", "Asked": "given"}})
	if err != nil || p.Process.Memory != 512 || !maps.Equal(p.Process.Env, map[string]string{"N": "y", "A": "given"}) {
		t.Errorf("%+v, %v", p, err)
	}
	for want, params := range map[string]map[string]string{
		"template.yaml:3: parameter Memory is given a value that is not among its AllowedValues": {"Memory": "300", "Asked": "x"},
		"parameter \"Asked\" has no Default and was not given":                                   nil,
	} {
		if _, err := Read(src, Options{Key: "F", Params: params}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	text := strings.Replace(smallest, "{handler: h.f}", "{handler: h.f, environment: {V: '${param:v}', W: '${param:w}'}}", 1) +
		"params: {default: {v: default, w: default}}\n"
	p, err = Read(dir(tree(t, map[string]string{"serverless.yml": text})), Options{Key: "f", Params: map[string]string{"v": "given"}})
	if err != nil || !maps.Equal(p.Process.Env, map[string]string{"V": "given", "W": "default"}) {
		t.Errorf("%+v, %v", p, err)
	}
}
