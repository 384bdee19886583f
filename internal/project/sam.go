package project

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SAM templates: AWS::Serverless::Function with Globals, Parameters (their defaults), Mappings and
// Conditions; and AWS::Lambda::Function, as the AWS CDK writes it. Form: "AWS SAM template anatomy" and the
// resource references of the two types.

const (
	samFunction   = "AWS::Serverless::Function"
	plainFunction = "AWS::Lambda::Function"
	samLayer      = "AWS::Serverless::LayerVersion"
	plainLayer    = "AWS::Lambda::LayerVersion"
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
	loops   bool // Fn::ForEach creates resources, which are not read
	globals map[string]value
	layers  map[string]samResource // by logical id
	assets  map[string]string      // of a CDK program, by their key in a bucket; nil before they are read
}

func readSAM(in reader) (*Project, error) {
	root, err := parseYAML(in.file, in.text)
	if err != nil {
		return nil, err
	}
	s := &sam{in: in, stage: in.Stage}
	if s.stage == "" {
		s.stage = "dev"
	}
	s.cloud = newCloudFormation(&s.document, in.stackName()+"-"+s.stage)
	s.eval, s.dialect, s.cloud.given = s.cloud.evaluate, samText, in.Params
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
	if err := s.cloud.readParameters(top["Parameters"], in.Stage); err != nil {
		return nil, err
	}
	s.cloud.mappings = top["Mappings"]
	if err := s.cloud.readConditions(top["Conditions"]); err != nil {
		return nil, err
	}
	if err := s.readGlobals(top["Globals"]); err != nil {
		return nil, err
	}
	p := in.project()
	p.Stage = s.stage
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
	construct  string // its name in a CDK program, "" if there is none
	plain      bool   // AWS::Lambda::Function or LayerVersion
	name       string // FunctionName, "" if not given
	at         value
	properties value
	asset      value // where the AWS CDK has put its code
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
	s.layers = make(map[string]samResource)
	for _, f := range all {
		s.cloud.resources[f.key] = ""
	}
	var functions []samResource
	named := make(map[string]string)
	for _, f := range all {
		r, ok, err := s.resource(f)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if other, twice := named[r.name]; twice && r.name != "" {
			return f.at.errorf("functions %.80q and %.80q are both named %.80q", other, f.key, r.name)
		}
		named[r.name] = f.key
		functions = append(functions, r)
		p.Keys = append(p.Keys, r.key())
		s.cloud.resources[f.key] = cmp.Or(r.name, f.key)
	}
	if !s.isSAM && !slices.ContainsFunc(functions, func(r samResource) bool { return r.plain }) {
		return &missingError{err: root.problem("this is not a SAM template: want Transform: %s", samTransform), empty: true}
	}
	if s.in.each != nil {
		for _, r := range functions {
			var e Entry
			err := s.readFunction(r, &e)
			s.in.each(r.key(), e, err)
		}
		return nil
	}
	for i, key := range s.in.wanted() {
		r, err := s.entryFor(v, key, functions)
		if err != nil {
			return err
		}
		if err := s.readFunction(r, p.Entries()[i]); err != nil {
			return err
		}
	}
	return p.checkNames()
}

// key returns the name that people use for the function.
func (r samResource) key() string { return cmp.Or(r.name, r.construct, r.logical) }

// resource reads what identifies the function of a resource; ok is false if it is not a function.
func (s *sam) resource(f field) (r samResource, ok bool, err error) {
	r = samResource{logical: f.key, at: f.at}
	if strings.HasPrefix(f.key, forEach) {
		s.loops = true
		s.warnf(f.at, "%.80s is not read: functions that it creates are ignored", f.key)
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
				if r.asset, err = s.member(g.val, "aws:asset:path"); err != nil {
					return r, false, err
				}
				if r.construct, err = s.constructOf(g.val); err != nil {
					return r, false, err
				}
			}
		}
	}
	r.plain = kind == plainFunction || kind == plainLayer
	if r.construct == "" && s.in.synthesised() {
		r.construct = constructOfID(f.key)
	}
	if kind == samLayer || kind == plainLayer {
		s.layers[f.key] = r
		return r, false, nil
	}
	if kind != samFunction && !r.plain {
		s.warnf(f.at, "%.80s is not a function: nothing is created in a cloud", f.key)
		return r, false, nil
	}
	if r.properties.node == nil {
		return r, false, f.at.errorf("function %.80q has no Properties", f.key)
	}
	if r.condition.node != nil {
		// A condition that can't be evaluated matters only if the function is used.
		if name, err := s.text(r.condition); err == nil {
			if exists, err := s.cloud.condition(r.condition, name); err == nil && !exists {
				s.warnf(f.at, "function %.80s is ignored: its condition %.80s is false", f.key, name)
				return r, false, nil
			}
		}
	}
	// Read the names first: another function may use what is not supported.
	r.name, err = s.functionName(r.properties)
	return r, err == nil, err
}

// constructOf returns a resource's name in the CDK program that wrote the template:
// "Stack/BusyHours/Resource" is BusyHours.
func (s *sam) constructOf(metadata value) (string, error) {
	v, err := s.member(metadata, "aws:cdk:path")
	if err != nil || v.node == nil {
		return "", err
	}
	at, err := s.text(v)
	if err != nil {
		return "", err
	}
	return path.Base(strings.TrimSuffix(at, "/Resource")), nil
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

// entryFor finds the function of a key as Read describes. Two matches are an error.
func (s *sam) entryFor(at value, key string, functions []samResource) (samResource, error) {
	fits := []func(samResource) bool{
		func(r samResource) bool { return r.name == key || key == r.logical },
		func(r samResource) bool { return strings.HasSuffix(r.name, "-"+key) },
		func(r samResource) bool {
			plain := strings.ToLower(strings.ReplaceAll(key, "-", ""))
			for _, own := range []string{r.logical, r.construct} {
				if own = strings.ToLower(strings.ReplaceAll(own, "-", "")); own == plain || own == plain+"function" {
					return true
				}
			}
			return false
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
		err.err.Text += "; what " + forEach + " makes is not read: write that function out"
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
	for _, v := range []value{globals["Layers"], own["Layers"]} { // SAM joins the two lists
		if err := s.useLayers(e, v); err != nil {
			return err
		}
	}
	if err := s.warnOfEvents(own["Events"]); err != nil {
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
	if !s.in.synthesised() {
		s.warnOfPackages(s.in.src, e)
	}
	return s.checkEntry(e, r.at, get("MemorySize"), get("Timeout"))
}

// useLayers adds the layers that a function names. It refuses a layer in a cloud, because it can't be
// fetched.
func (s *sam) useLayers(e *Entry, v value) error {
	if v.node == nil {
		return nil
	}
	items, err := s.items(v)
	if err != nil {
		return err
	}
	for _, item := range items {
		ref := ""
		if name, argument := call(item); name == "Ref" {
			ref, err = s.text(argument)
		} else if item, err = s.resolved(item); err == nil && !item.isNoValue() {
			ref, err = s.text(item)
		}
		if err != nil {
			return err
		}
		if ref == "" {
			continue
		}
		r, ok := s.layers[ref]
		if !ok {
			return item.errorf("layer %.120q is not in this template, and nothing is fetched from a cloud: unpack it into a folder, "+
				"and name that as the ContentUri of an %s", ref, samLayer)
		}
		if len(e.Layers) == maxLayers {
			return item.errorf("a function has at most %d layers", maxLayers)
		}
		packing, err := s.layerPacking(r)
		if err != nil {
			return err
		}
		e.Layers = append(e.Layers, Layer{Name: ref, Packing: packing, at: item})
	}
	return nil
}

func (s *sam) layerPacking(r samResource) (Packing, error) {
	key := "ContentUri"
	if r.plain {
		key = "Content"
	}
	content := r.asset
	if content.node == nil {
		var err error
		if content, err = s.member(r.properties, key); err != nil {
			return Packing{}, err
		}
	}
	if content.node == nil {
		return Packing{}, r.at.errorf("layer %.80q has no %s", r.logical, key)
	}
	v, err := s.resolved(content)
	if err != nil {
		return Packing{}, err
	}
	if asset, ok := s.assetOf(v); ok {
		v = asset
	}
	if v.node.Kind != yaml.ScalarNode {
		return Packing{}, content.errorf("%s: what lies in a bucket can't be fetched; give a folder or a .zip of the project", key)
	}
	return s.place(v, key)
}

func (s *sam) warnOfEvents(events value) error {
	if events.node == nil {
		return nil
	}
	all, err := s.fields(events)
	if err != nil {
		return err
	}
	for _, event := range all {
		kind, err := s.member(event.val, "Type")
		if err != nil || kind.node == nil {
			return err
		}
		switch text, err := s.text(kind); {
		case err != nil:
		case text == "Schedule" || text == "ScheduleV2":
			s.warnf(event.at, "%s", ignoredSchedule)
		default:
			s.warnf(event.at, "event %.40s is ignored: %s", text, ignoredEvent)
		}
	}
	return nil
}

// plainCode returns where the code of an AWS::Lambda::Function is: the folder that the AWS CDK names in the
// metadata, or a path in place of the bucket, as before "aws cloudformation package".
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
	if asset, ok := s.assetOf(v); ok {
		return asset, nil
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
	p := s.folder(path.Dir(s.in.file)) // SAM's own default
	if uri.node != nil {
		var err error
		if p, err = s.place(uri, "CodeUri"); err != nil || p.Artifact != "" {
			return p, err
		}
	}
	if !s.in.synthesised() { // a CDK program's assets are built
		// sam build would install what these files name; this reader installs nothing.
		for _, name := range []string{"pom.xml", "build.gradle", "go.mod"} {
			if s.in.src.Has(path.Join(p.Folder, name)) {
				s.warnf(r.at, "%s: nothing is built or installed; publish what she build makes", name)
				break
			}
		}
	}
	return p, nil
}

// place returns a folder or an archive of the project. Its name is relative to the template.
func (s *sam) place(at value, key string) (Packing, error) {
	text, err := s.text(at)
	if err != nil {
		return Packing{}, err
	}
	if strings.Contains(text, "://") {
		return Packing{}, at.errorf("%s: code in a cloud can't be fetched; give a folder or a .zip of the project", key)
	}
	name := text
	if !path.IsAbs(name) { // a stage of a CDK program has its assets beside it
		name = path.Join(path.Dir(s.in.file), name)
	}
	if name, err = insideName(name); err != nil {
		return Packing{}, at.errorf("%s: %v", key, err)
	}
	if ext := strings.ToLower(path.Ext(name)); ext == ".zip" || ext == ".jar" {
		return Packing{Artifact: name}, nil
	}
	return s.folder(name), nil
}

// folder packs all of a folder except what tools leave behind.
func (s *sam) folder(name string) Packing {
	p := Packing{Folder: name, DevDependencies: true}
	for _, pattern := range append(slices.Clone(defaultExcludes), path.Base(s.in.file)) {
		p.Rules = append(p.Rules, Rule{Pattern: pattern})
	}
	return p
}
