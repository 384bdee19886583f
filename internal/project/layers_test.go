package project

import (
	"slices"
	"strings"
	"testing"
)

func folders(e Entry) (all []string) {
	for _, l := range e.Layers {
		all = append(all, l.Name+" "+l.Packing.Folder+l.Packing.Artifact)
	}
	return all
}

func TestLayersOfServerless(t *testing.T) {
	const project = `service: s
provider: {name: aws, runtime: python3.12, layers: [!Ref NumpyLambdaLayer]}
layers:
  numpy: {path: layers/numpy, description: d, compatibleRuntimes: [python3.12]}
  more-text_tools: {path: layers/text, package: {patterns: ['!**/*.md']}}
  zipped: {package: {artifact: layers/z.zip}}
functions:
  f: {handler: h.f, layers: [{Ref: MoreDashtextUnderscoretoolsLambdaLayer}, !Ref ZippedLambdaLayer]}
  f-bundle: {handler: h.b}
  f-configuration: {handler: h.c, layers: []}
`
	p := mustRead(t, tree(t, map[string]string{"serverless.yml": project}), "", "f")
	for _, c := range []struct {
		e    Entry
		want []string
	}{
		{p.Process, []string{"more-text_tools layers/text", "zipped layers/z.zip"}}, // replaces the provider's
		{p.Bundle, []string{"numpy layers/numpy"}},
		{p.Configuration, nil},
	} {
		if got := folders(c.e); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.e.Name, got, c.want)
		}
	}
	rules := p.Bundle.Packing.Rules
	if !slices.Contains(rules, Rule{Pattern: "layers/numpy/**"}) || !slices.Contains(rules, Rule{Pattern: "layers/text/**"}) {
		t.Errorf("the folders of layers are part of the package: %v", rules)
	}
	if !slices.Contains(p.Process.Layers[0].Packing.Rules, Rule{Pattern: "**/*.md"}) {
		t.Errorf("a layer's own patterns are lost: %v", p.Process.Layers[0].Packing.Rules)
	}
	six := strings.Replace(project, "layers: []", "layers: ["+strings.Repeat("!Ref NumpyLambdaLayer, ", 6)+"]", 1)
	for want, text := range map[string]string{
		"serverless.yml:4: path: \"../x\" leads out":                      strings.Replace(project, "layers/numpy,", "../x,", 1),
		"serverless.yml:8: layer \"arn:aws:lambda:x\" is not in this pro": strings.Replace(project, "!Ref ZippedLambdaLayer", "arn:aws:lambda:x", 1),
		"serverless.yml:4: layer \"numpy\" has no path":                   strings.Replace(project, "path: layers/numpy, ", "", 1),
		"serverless.yml:10: a function has at most 5 layers":              six,
	} {
		_, err := read(tree(t, map[string]string{"serverless.yml": text}), "", id(t, "f"), nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestLayersOfSAM(t *testing.T) {
	const template = `Transform: AWS::Serverless-2016-10-31
Conditions: {Never: !Equals [a, b]}
Globals: {Function: {Runtime: python3.12, Layers: [!Ref Shared]}}
Resources:
  Shared: {Type: 'AWS::Serverless::LayerVersion', Properties: {ContentUri: layers/shared}}
  Plain: {Type: 'AWS::Lambda::LayerVersion', Properties: {Content: layers/plain.zip}}
  Bucket: {Type: 'AWS::Lambda::LayerVersion', Properties: {Content: {S3Bucket: b, S3Key: k}}}
  F: {Type: 'AWS::Serverless::Function', Properties: {Handler: h.f, Layers: [!Ref Plain, !If [Never, !Ref Bucket, !Ref 'AWS::NoValue']]}}
  FBundle: {Type: 'AWS::Serverless::Function', Properties: {Handler: h.b}}
  FConfiguration: {Type: 'AWS::Serverless::Function', Properties: {Handler: h.c}}
`
	p := mustRead(t, tree(t, map[string]string{"template.yaml": template}), "", "f")
	if got, want := folders(p.Process), []string{"Shared layers/shared", "Plain layers/plain.zip"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := folders(p.Bundle), []string{"Shared layers/shared"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for want, text := range map[string]string{
		"template.yaml:7: Content: what lies in a bucket can't be fetched": strings.Replace(template, "[!Ref Plain,", "[!Ref Bucket,", 1),
		"template.yaml:8: layer \"arn:aws:x\" is not in this template":     strings.Replace(template, "[!Ref Plain,", "['arn:aws:x',", 1),
		"template.yaml:5: ContentUri: \"../x\" leads out":                  strings.Replace(template, "layers/shared", "../x", 1),
	} {
		_, err := read(tree(t, map[string]string{"template.yaml": text}), "", id(t, "f"), nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
