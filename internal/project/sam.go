package project

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SAM templates: AWS::Serverless::Function with Globals, Parameters (their defaults), Mappings and Conditions; and
// AWS::Lambda::Function, as the AWS CDK writes it. Form: "AWS SAM template anatomy" and the resource references of the
// two types.

const (
	samFunction   = "AWS::Serverless::Function"
	plainFunction = "AWS::Lambda::Function"
	samTransform  = "AWS::Serverless-2016-10-31"
	forEach       = "Fn::ForEach"
)

var (
	ignoredTemplate = map[string]string{
		"AWSTemplateFormatVersion": "", "Description": "", "Metadata": "", "Outputs": "", "Rules": "", "Hooks": "",
	}
	ignoredGlobals = map[string]string{
		"Api": "", "HttpApi": "", "SimpleTable": "", "StateMachine": "", "LayerVersion": "", "CapacityProvider": "", "WebSocketApi": "",
	}
	ignoredProperties = map[string]string{
		"Description": "", "Tags": "", "Tracing": "", "AutoPublishAlias": "", "AutoPublishAliasAllProperties": "",
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
		"InlineCode", "ImageUri", "ImageConfig", "Events",
	}
	readPlainProperties = []string{
		"FunctionName", "Code", "Handler", "Runtime", "MemorySize", "Timeout", "Environment", "Layers", "PackageType",
		"ImageConfig",
	}
)

type sam struct {
	document
	in      reader
	stage   string
	cloud   *cloudFormation
	isSAM   bool
	loops   bool // Fn::ForEach makes resources, which are not read
	globals map[string]value
}

func readSAM(in reader) (*Project, error) {
	root, err := parseYAML(in.file, in.text)
	if err != nil {
		return nil, err
	}
	s := &sam{in: in, stage: in.stage}
	if s.stage == "" {
		s.stage = "dev"
	}
	s.cloud = newCloudFormation(&s.document, in.id.String()+"-"+s.stage)
	s.eval, s.dialect = s.cloud.evaluate, samText
	fields, err := s.fields(root)
	if err != nil {
		return nil, err
	}
	top, err := s.checkKeys("the template", fields, []string{"Transform", "Globals", "Parameters", "Mappings", "Conditions", "Resources"}, ignoredTemplate)
	if err != nil {
		return nil, err
	}
	if err := s.readTransform(top["Transform"]); err != nil {
		return nil, err
	}
	if err := s.cloud.readParameters(top["Parameters"], in.stage); err != nil {
		return nil, err
	}
	s.cloud.mappings = top["Mappings"]
	if err := s.cloud.readConditions(top["Conditions"]); err != nil {
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

func (s *sam) readTransform(v value) error {
	if v.node == nil {
		return nil
	}
	names, _, err := s.texts(v)
	s.isSAM = slices.Contains(names, samTransform)
	return err
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

// samResource is one function of the template.
type samResource struct {
	logical    string
	plain      bool   // AWS::Lambda::Function
	name       string // FunctionName, "" if not given
	at         value
	properties value
	asset      value // where the AWS CDK put its code
	condition  value // under which it exists; no node: always
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
		r, ok, err := s.resource(f)
		if err != nil {
			return err
		}
		if ok {
			functions = append(functions, r)
		}
	}
	if !s.isSAM && !slices.ContainsFunc(functions, func(r samResource) bool { return r.plain }) {
		return root.errorf("this is no SAM template: want Transform: %s", samTransform)
	}
	if s.in.each != nil {
		for _, r := range functions {
			var e Entry
			err := s.readFunction(r, &e)
			s.in.each(cmp.Or(r.name, r.logical), e, err)
		}
		return nil
	}
	for i, key := range entryKeys(s.in.id) {
		r, err := s.entryFor(v, key, functions)
		if err != nil {
			return err
		}
		if err := s.readFunction(r, p.Entries()[i]); err != nil {
			return err
		}
	}
	return nil
}

// resource reads what is needed to know which function a resource is; ok is false if it is none.
func (s *sam) resource(f field) (r samResource, ok bool, err error) {
	r = samResource{logical: f.key, at: f.at}
	if strings.HasPrefix(f.key, forEach) {
		s.loops = true
		s.warnf(f.at, "%.80s is not read: functions that it makes are passed over", f.key)
		return r, false, nil
	}
	node := f.val.node
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	kind := ""
	if name, _ := call(f.val.at(node)); name == "" && node.Kind == yaml.MappingNode {
		fields, err := s.fields(f.val)
		if err != nil {
			return r, false, err
		}
		for _, g := range fields {
			switch g.key {
			case "Type":
				if kind, err = s.text(g.val); err != nil {
					return r, false, err
				}
			case "Properties":
				r.properties = g.val
			case "Condition":
				r.condition = g.val
			case "Metadata":
				if r.asset, err = s.cloud.member(g.val, "aws:asset:path"); err != nil {
					return r, false, err
				}
			}
		}
	}
	if r.plain = kind == plainFunction; kind != samFunction && !r.plain {
		s.warnf(f.at, "%.80s is not a function: nothing is created in a cloud", f.key)
		return r, false, nil
	}
	if r.properties.node == nil {
		return r, false, f.at.errorf("function %.80q has no Properties", f.key)
	}
	if r.condition.node != nil {
		// What can't be worked out is left to the moment the function is used.
		if name, err := s.text(r.condition); err == nil {
			if exists, err := s.cloud.condition(r.condition, name); err == nil && !exists {
				s.warnf(f.at, "function %.80s is passed over: its condition %.80s is false", f.key, name)
				return r, false, nil
			}
		}
	}
	// The names first: a function that is not ours may use what we don't understand.
	r.name, err = s.functionName(r.properties)
	return r, err == nil, err
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

// entryFor finds the function of a key by the mapping that Read describes. Two that fit are an error.
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
		name := r.logical
		if r.name != "" {
			name += " (" + r.name + ")"
		}
		have = append(have, name)
	}
	err := missing(at, key, have)
	if s.loops {
		err.Text += "; what " + forEach + " makes is not read: write that function out"
	}
	return samResource{}, err
}

func (s *sam) readFunction(r samResource, e *Entry) error {
	fields, err := s.fields(r.properties)
	if err != nil {
		return err
	}
	if r.condition.node != nil {
		if _, err := s.cloud.holdsNamed(r.condition); err != nil {
			return err
		}
	}
	read, globals := readProperties, s.globals
	if r.plain {
		read, globals = readPlainProperties, nil
	}
	own, err := s.checkKeys("function "+r.logical, fields, read, ignoredProperties)
	if err != nil {
		return err
	}
	get := func(key string) value {
		if v := own[key]; v.node != nil {
			return v
		}
		return globals[key]
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
	for _, v := range []value{own["Layers"], globals["Layers"]} { // SAM joins the two lists
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
	if err := s.warnOfSchedules(own["Events"]); err != nil {
		return err
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
	for _, v := range []value{globals["Environment"], own["Environment"]} {
		if err := s.readEnvironment(e.Env, v); err != nil {
			return err
		}
	}
	code := get("CodeUri")
	if r.plain {
		if code, err = s.plainCode(r, own["Code"]); err != nil {
			return err
		}
	}
	if e.Packing, err = s.packing(r, code); err != nil {
		return err
	}
	return s.checkEntry(e, r.at, get("MemorySize"), get("Timeout"))
}

func (s *sam) warnOfSchedules(events value) error {
	if events.node == nil {
		return nil
	}
	all, err := s.fields(events)
	if err != nil {
		return err
	}
	for _, event := range all {
		kind, err := s.cloud.member(event.val, "Type")
		if err != nil || kind.node == nil {
			return err
		}
		if text, err := s.text(kind); err == nil && (text == "Schedule" || text == "ScheduleV2") {
			s.warnf(event.at, "%s", ignoredSchedule)
		}
	}
	return nil
}

// plainCode is where the code of an AWS::Lambda::Function is: the folder that the AWS CDK names in the metadata, or a
// path in place of the bucket, as before "aws cloudformation package".
func (s *sam) plainCode(r samResource, code value) (value, error) {
	if r.asset.node != nil {
		return r.asset, nil
	}
	if code.node == nil {
		return value{}, r.at.errorf("function %.80q has no Code", r.logical)
	}
	v, err := s.resolved(code)
	if err != nil {
		return value{}, err
	}
	if v.node.Kind != yaml.ScalarNode {
		return value{}, code.errorf("Code: code in a bucket, an image or the template can't be fetched; give the folder as Code: ./folder, "+
			"or write an %s with CodeUri", samFunction)
	}
	return v, nil
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
		if s.in.src.Has(path.Join(folder, name)) {
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
