package catalog

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SAM templates: AWS::Serverless::Function with Globals, Parameters (their defaults), Ref and Sub. Form: "AWS SAM
// template anatomy" and the resource reference of AWS::Serverless::Function.

const samFunction = "AWS::Serverless::Function"

var (
	ignoredTemplate = map[string]string{
		"AWSTemplateFormatVersion": "", "Description": "", "Metadata": "", "Outputs": "", "Conditions": "", "Rules": "",
		"Mappings": "",
	}
	ignoredGlobals = map[string]string{
		"Api": "", "HttpApi": "", "SimpleTable": "", "StateMachine": "", "LayerVersion": "", "CapacityProvider": "", "WebSocketApi": "",
	}
	ignoredProperties = map[string]string{
		"Description": "", "Events": "", "Tags": "", "Tracing": "", "AutoPublishAlias": "", "AutoPublishAliasAllProperties": "",
		"AutoPublishCodeSha256": "", "DeploymentPreference": "", "ReservedConcurrentExecutions": "",
		"ProvisionedConcurrencyConfig": "", "EphemeralStorage": "", "SnapStart": "", "KmsKeyArn": "", "LoggingConfig": "",
		"PropagateTags": "", "RuntimeManagementConfig": "", "VersionDescription": "", "Architectures": "", "EventInvokeConfig": "",
		"AssumeRolePolicyDocument": "", "FunctionUrlConfig": "", "RecursiveLoop": "", "CodeSigningConfigArn": "",
		"VpcConfig":           "a function has no network",
		"Policies":            "a function has no rights in a cloud",
		"Role":                "a function has no rights in a cloud",
		"RolePath":            "",
		"PermissionsBoundary": "",
		"DeadLetterQueue":     "failed runs are kept and shown by the engine",
		"FileSystemConfigs":   "a function has no shared disk",
	}
	readProperties = []string{
		"FunctionName", "CodeUri", "Handler", "Runtime", "MemorySize", "Timeout", "Environment", "Layers", "PackageType",
		"InlineCode", "ImageUri", "ImageConfig",
	}
)

type sam struct {
	document
	in      projectReader
	stage   string
	depth   int              // of Sub within Sub
	params  map[string]value // by name: the default, or a null
	globals map[string]value
}

func readSAM(in projectReader) (*Project, error) {
	root, err := parseYAML(in.file, in.text)
	if err != nil {
		return nil, err
	}
	s := &sam{in: in, stage: in.stage, params: make(map[string]value)}
	if s.stage == "" {
		s.stage = "dev"
	}
	s.eval, s.dialect = s.evaluate, samText
	fields, err := s.fields(root)
	if err != nil {
		return nil, err
	}
	top, err := s.checkKeys("the template", fields, []string{"Transform", "Globals", "Parameters", "Resources"}, ignoredTemplate)
	if err != nil {
		return nil, err
	}
	if err := s.readTransform(root, top["Transform"]); err != nil {
		return nil, err
	}
	if err := s.readParameters(top["Parameters"]); err != nil {
		return nil, err
	}
	if err := s.readGlobals(top["Globals"]); err != nil {
		return nil, err
	}
	p := &Project{File: in.file, Stage: s.stage}
	if err := s.readResources(root, top["Resources"], p); err != nil {
		return nil, err
	}
	p.Warnings = s.warnings
	return p, nil
}

func (s *sam) readTransform(root, v value) error {
	if v.node != nil {
		names, _, err := s.texts(v)
		if err != nil {
			return err
		}
		if slices.Contains(names, "AWS::Serverless-2016-10-31") {
			return nil
		}
	}
	return root.errorf("this is no SAM template: want Transform: AWS::Serverless-2016-10-31")
}

// readParameters keeps the defaults. A parameter named Stage is the stage the function is registered with.
func (s *sam) readParameters(v value) error {
	if v.node == nil {
		return nil
	}
	all, err := s.fields(v)
	if err != nil {
		return err
	}
	for _, p := range all {
		fields, err := s.fields(p.val)
		if err != nil {
			return err
		}
		s.params[p.key] = p.at.scalar("!!null", "")
		for _, f := range fields {
			if f.key == "Default" {
				text, err := s.text(f.val)
				if err != nil {
					return err
				}
				s.params[p.key] = f.val.scalar("!!str", text)
			}
		}
		if strings.EqualFold(p.key, "Stage") && s.in.stage != "" {
			s.params[p.key] = p.at.scalar("!!str", s.stage)
		}
	}
	return nil
}

func (s *sam) readGlobals(v value) error {
	if v.node == nil {
		return nil
	}
	fields, err := s.fields(v)
	if err != nil {
		return err
	}
	got, err := s.checkKeys("Globals", fields, []string{"Function"}, ignoredGlobals)
	if err != nil || got["Function"].node == nil {
		return err
	}
	if fields, err = s.fields(got["Function"]); err != nil {
		return err
	}
	s.globals, err = s.checkKeys("Globals.Function", fields, readProperties, ignoredProperties)
	return err
}

// samResource is one AWS::Serverless::Function of the template.
type samResource struct {
	logical    string
	name       string // FunctionName, "" if not given
	at         value
	properties value
}

func (s *sam) readResources(root, v value, p *Project) error {
	if v.node == nil {
		return root.errorf("Resources is missing")
	}
	all, err := s.fields(v)
	if err != nil {
		return err
	}
	var functions []samResource
	for _, f := range all {
		r := samResource{logical: f.key, at: f.at}
		fields, err := s.fields(f.val)
		if err != nil {
			return err
		}
		kind := ""
		for _, g := range fields {
			switch g.key {
			case "Type":
				if kind, err = s.text(g.val); err != nil {
					return err
				}
			case "Properties":
				r.properties = g.val
			}
		}
		if kind != samFunction {
			s.warnf(f.at, "%.80s is not a function: nothing is created in a cloud", f.key)
			continue
		}
		if r.properties.node == nil {
			return f.at.errorf("function %.80q has no Properties", f.key)
		}
		// The names first: a function that is not ours may use what we don't understand.
		if r.name, err = s.functionName(r.properties); err != nil {
			return err
		}
		functions = append(functions, r)
	}
	for i, key := range entryKeys(s.in.id) {
		r, err := s.entryFor(v, key, functions)
		if err != nil {
			return err
		}
		if err := s.readFunction(r, p.entries()[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *sam) functionName(properties value) (string, error) {
	fields, err := s.fields(properties)
	if err != nil {
		return "", err
	}
	for _, f := range fields {
		if f.key == "FunctionName" {
			return s.text(f.val)
		}
	}
	return "", nil
}

// entryFor finds the function of a key by the mapping that ReadProject describes. Two that fit are an error.
func (s *sam) entryFor(at value, key string, functions []samResource) (samResource, error) {
	fits := []func(samResource) bool{
		func(r samResource) bool { return r.name == key },
		func(r samResource) bool { return strings.HasSuffix(r.name, "-"+key) },
		func(r samResource) bool {
			logical := strings.ToLower(r.logical)
			plain := strings.ReplaceAll(key, "-", "")
			return logical == plain || logical == plain+"function"
		},
	}
	for _, fit := range fits {
		var found []samResource
		for _, r := range functions {
			if fit(r) {
				found = append(found, r)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return samResource{}, found[1].at.errorf("%.80q and %.80q could both be function %s", found[0].logical, found[1].logical, key)
		}
	}
	var have []string
	for _, r := range functions {
		have = append(have, r.logical)
	}
	return samResource{}, missing(at, key, have)
}

func (s *sam) readFunction(r samResource, e *ProjectEntry) error {
	fields, err := s.fields(r.properties)
	if err != nil {
		return err
	}
	own, err := s.checkKeys("function "+r.logical, fields, readProperties, ignoredProperties)
	if err != nil {
		return err
	}
	get := func(key string) value {
		if v := own[key]; v.node != nil {
			return v
		}
		return s.globals[key]
	}
	for _, key := range []string{"ImageUri", "ImageConfig"} {
		if v := get(key); v.node != nil {
			return v.errorf("container images can't be run; give the files as CodeUri")
		}
	}
	if v := get("PackageType"); v.node != nil {
		if kind, err := s.text(v); err != nil {
			return err
		} else if kind != "Zip" {
			return v.errorf("PackageType: only Zip can be run")
		}
	}
	if v := get("InlineCode"); v.node != nil {
		return v.errorf("InlineCode is not read; put the code into a file and give its folder as CodeUri")
	}
	for _, v := range []value{own["Layers"], s.globals["Layers"]} { // SAM joins the two lists
		if v.node == nil {
			continue
		}
		items, err := s.items(v)
		if err != nil {
			return err
		}
		if len(items) > 0 {
			return items[0].errorf("there are no layers: put what the layer holds into the package")
		}
	}
	e.at = r.at
	e.Name = r.name
	if e.Name == "" {
		e.Name = r.logical
	}
	for _, text := range []struct {
		key  string
		into *string
	}{{"Handler", &e.Handler}, {"Runtime", &e.Runtime}} {
		if v := get(text.key); v.node != nil {
			if *text.into, err = s.text(v); err != nil {
				return err
			}
		}
	}
	e.Env = mergedEnv(nil)
	for _, v := range []value{s.globals["Environment"], own["Environment"]} {
		if err := s.readEnvironment(e.Env, v); err != nil {
			return err
		}
	}
	if e.Packing, err = s.packing(r, get("CodeUri")); err != nil {
		return err
	}
	return s.checkEntry(e, r.at, get("MemorySize"), get("Timeout"))
}

func (s *sam) readEnvironment(env map[string]string, v value) error {
	if v.node == nil {
		return nil
	}
	fields, err := s.fields(v)
	if err != nil {
		return err
	}
	got, err := s.checkKeys("Environment", fields, []string{"Variables"}, nil)
	if err != nil || got["Variables"].node == nil {
		return err
	}
	return s.environment(env, got["Variables"])
}

func (s *sam) packing(r samResource, uri value) (Packing, error) {
	folder := "." // SAM's own default
	if uri.node != nil {
		text, err := s.text(uri)
		if err != nil {
			return Packing{}, err
		}
		if strings.Contains(text, "://") {
			return Packing{}, uri.errorf("CodeUri: code in a cloud can't be fetched; give a folder or a .zip of the project")
		}
		if folder, err = insideName(text); err != nil {
			return Packing{}, uri.errorf("CodeUri: %v", err)
		}
	}
	if ext := strings.ToLower(path.Ext(folder)); ext == ".zip" || ext == ".jar" {
		return Packing{Artifact: folder}, nil
	}
	// sam build would install what these name; nothing is installed here.
	for _, name := range []string{"requirements.txt", "pom.xml", "build.gradle", "go.mod"} {
		if s.in.src.has(path.Join(folder, name)) {
			s.warnf(r.at, "%s: nothing is built or installed; publish .aws-sam/build after sam build if the function needs it", name)
			break
		}
	}
	p := Packing{Folder: folder, DevDependencies: true}
	for _, pattern := range append(slices.Clone(defaultExcludes), path.Base(s.in.file)) {
		p.Rules = append(p.Rules, Rule{Pattern: pattern})
	}
	return p, nil
}

// evaluate resolves Ref and Sub, in their short and their long form. Other functions of CloudFormation need a
// stack and are errors where a value is really used.
func (s *sam) evaluate(v value) (value, error) {
	node := v.node
	if v.final {
		return v, nil
	}
	switch {
	case node.Tag == "!Ref" && node.Kind == yaml.ScalarNode:
		return s.ref(v, node.Value)
	case node.Tag == "!Sub":
		return s.sub(v, s.untagged(v))
	case strings.HasPrefix(node.Tag, "!") && !strings.HasPrefix(node.Tag, "!!"):
		return value{}, v.errorf("%.40s can't be worked out without a cloud; only Ref and Sub are read", node.Tag)
	case node.Kind == yaml.MappingNode && len(node.Content) == 2:
		key, inner := node.Content[0].Value, v.at(node.Content[1])
		switch {
		case key == "Ref" && inner.node.Kind == yaml.ScalarNode:
			return s.ref(v, inner.node.Value)
		case key == "Fn::Sub":
			return s.sub(v, inner)
		case strings.HasPrefix(key, "Fn::"):
			return value{}, v.errorf("%.40s can't be worked out without a cloud; only Ref and Sub are read", key)
		}
	}
	return v, nil
}

func (s *sam) untagged(v value) value {
	plain := *v.node
	plain.Tag = ""
	return v.at(&plain)
}

func (s *sam) ref(at value, name string) (value, error) {
	if p, ok := s.params[name]; ok {
		if p.isNull() {
			return value{}, at.errorf("parameter %.80q has no Default", name)
		}
		return at.scalar("!!str", p.node.Value), nil
	}
	switch name {
	case "AWS::Partition":
		return at.scalar("!!str", "aws"), nil
	case "AWS::URLSuffix":
		return at.scalar("!!str", "amazonaws.com"), nil
	case "AWS::StackName":
		return at.scalar("!!str", s.in.id.String()+"-"+s.stage), nil
	}
	return value{}, at.errorf("%.80q is no parameter of this template; things in a cloud can't be referred to", name)
}

// sub fills ${Name} into a text; the long form is a list of the text and its own names.
func (s *sam) sub(at, v value) (value, error) {
	if s.depth++; s.depth > maxEvaluate { // an alias can point back
		return value{}, at.errorf("Sub nests deeper than %d", maxEvaluate)
	}
	defer func() { s.depth-- }()
	own := make(map[string]value)
	if v.node.Kind == yaml.SequenceNode {
		if len(v.node.Content) != 2 {
			return value{}, at.errorf("Sub: want a text and its names")
		}
		fields, err := s.fields(v.at(v.node.Content[1]))
		if err != nil {
			return value{}, err
		}
		for _, f := range fields {
			own[f.key] = f.val
		}
		v = v.at(v.node.Content[0])
	}
	if v.node.Kind != yaml.ScalarNode {
		return value{}, at.errorf("Sub: want a text")
	}
	var b strings.Builder
	for rest := v.node.Value; rest != ""; {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return value{}, at.errorf("Sub: a ${ is not closed")
		}
		rest = tail
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			b.WriteString("${" + literal + "}")
			continue
		}
		var text string
		name = strings.TrimSpace(name)
		if f, ok := own[name]; ok {
			inner, err := s.text(f)
			if err != nil {
				return value{}, err
			}
			text = inner
		} else {
			p, err := s.ref(at, name)
			if err != nil {
				return value{}, err
			}
			text = p.node.Value
		}
		if b.Len()+len(text) > maxVariableText {
			return value{}, at.errorf("the text grows beyond %d bytes", maxVariableText)
		}
		b.WriteString(text)
	}
	return at.scalar("!!str", b.String()), nil
}
