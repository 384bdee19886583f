package project

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Other keys of real serverless.yml files. "" means no warning; other texts are given once as a warning.
var (
	ignoredTop = map[string]string{
		"frameworkVersion": "", "configValidationMode": "", "org": "", "app": "", "tenant": "", "console": "",
		"disabledDeprecations": "", "deprecationNotificationMode": "", "variablesResolutionMode": "",
		"unresolvedVariablesNotificationMode": "", "enableLocalInstallationFallback": "", "outputs": "",
		"custom": "", "params": "", "stages": "", "licenseKey": "",
		"resources":  "nothing is created in a cloud",
		"build":      "nothing is built; give the built files",
		"constructs": "nothing is created in a cloud",
	}
	ignoredProvider = map[string]string{
		"stage": "", "region": "", "stackName": "", "stackTags": "", "tags": "", "versionFunctions": "", "profile": "",
		"logRetentionInDays": "", "logDataProtectionPolicy": "", "endpointType": "", "apiGateway": "", "httpApi": "",
		"tracing": "there is no tracing service", "deploymentBucket": "", "deploymentPrefix": "", "deploymentMethod": "", "lambdaHashingVersion": "",
		"logs": "", "apiName": "", "apiKeys": "", "usagePlan": "", "cfLogs": "", "notificationArns": "",
		"rollbackConfiguration": "", "disableRollback": "", "resourcePolicy": "", "stackPolicy": "", "stackParameters": "",
		"websocketsApiName": "", "websocketsApiRouteSelectionExpression": "", "eventBridge": "", "ecr": "", "s3": "",
		"alb": "", "kmsKeyArn": "", "kinesis": "", "cloudFront": "", "architecture": "", "disableDefaultOutputExportNames": "",
		"snapStart": "", "reservedConcurrency": "the engine decides how many instances run", "provisionedConcurrency": "the engine decides how many instances wait", "runtimeManagement": "",
		"vpc":                     "a function has no network",
		"iam":                     "a function has no rights in a cloud",
		"iamRoleStatements":       "a function has no rights in a cloud",
		"iamManagedPolicies":      "a function has no rights in a cloud",
		"role":                    "a function has no rights in a cloud",
		"rolePermissionsBoundary": "a function has no rights in a cloud",
		"cfnRole":                 "a function has no rights in a cloud",
	}
	ignoredFunction = map[string]string{
		"description": "", "tags": "", "versionFunction": "", "logRetentionInDays": "", "tracing": "there is no tracing service",
		"reservedConcurrency": "the engine decides how many instances run", "provisionedConcurrency": "the engine decides how many instances wait", "awsKmsKeyArn": "", "kmsKeyArn": "", "architecture": "",
		"snapStart": "", "disableLogs": "what a function prints is kept with its run, for the owner", "logs": "", "maximumRetryAttempts": "the engine retries a failed run by rules of its own", "maximumEventAge": "data waits until the function has run", "url": "a function has no address of its own",
		"dependsOn": "", "condition": "nothing is created in a cloud", "regions": "", "runtimeManagement": "", "ephemeralStorageSize": "", "warmup": "",
		"vpc":                       "a function has no network",
		"role":                      "a function has no rights in a cloud",
		"iamRoleStatements":         "a function has no rights in a cloud",
		"iamRoleStatementsName":     "",
		"iamRoleStatementsInherit":  "",
		"onError":                   "failed runs are kept and shown by the engine",
		"destinations":              "output goes to the registered endpoint only",
		"fileSystemConfig":          "a function has no shared disk",
		"disableVersionedReference": "",
	}
)

type serverless struct {
	document
	in      reader
	cloud   *cloudFormation
	service string
	stage   string
	pack    packageConfig
	base    map[string]value // provider
	env     map[string]string

	layers       map[string]declaredLayer // by the name in a Ref
	layerFolders []string
	dotenv       bool // .env files are read, and no part of a package
}

// packageConfig is a `package` section.
type packageConfig struct {
	artifact              string
	exclude, include      []string
	individually, devDeps bool
	at                    value
}

func readServerless(in reader) (*Project, error) {
	root, err := parseYAML(in.file, in.text)
	if err != nil {
		return nil, err
	}
	s := &serverless{in: in, stage: in.Stage}
	vars := &variables{
		doc: &s.document, root: root, stage: "dev", opt: map[string]string{}, env: in.Env,
		read:  func(name string) ([]byte, error) { return in.src.Read(name, maxYAML) },
		files: make(map[string]value), busy: make(map[*yaml.Node]bool),
	}
	cloud := newCloudFormation(&s.document, "")
	s.dialect = frameworkText
	s.eval = func(v value) (value, error) {
		v, err := vars.eval(v)
		if err != nil {
			return value{}, err
		}
		return cloud.evaluate(v)
	}
	vars.params = in.Params
	if in.Stage != "" {
		vars.opt["stage"], vars.stage = in.Stage, in.Stage
	}
	fields, err := s.fields(root)
	if err != nil {
		return nil, err
	}
	if vars.env, err = s.environmentOfMachine(root, fields); err != nil {
		return nil, err
	}
	for _, f := range fields {
		if f.key == "plugins" {
			if err := s.readPlugins(f.val); err != nil {
				return nil, err
			}
		}
	}
	top, err := s.checkKeys(in.file, fields, []string{"service", "provider", "functions", "package", "plugins", "layers", "useDotenv"}, ignoredTop)
	if err != nil {
		return nil, err
	}
	if err := s.readProvider(root, top["provider"]); err != nil {
		return nil, err
	}
	vars.stage = s.stage
	if s.service, err = s.readService(root, top["service"]); err != nil {
		return nil, err
	}
	cloud.stackName, cloud.given = s.service+"-"+s.stage, in.Params
	s.cloud = cloud
	for _, f := range fields {
		if f.key == "resources" {
			cloud.readResources(f.val)
		}
	}
	if s.env = mergedEnv(nil); s.base["environment"].node != nil {
		if err := s.environment(s.env, s.base["environment"]); err != nil {
			return nil, err
		}
	}
	if s.pack, err = s.readPackage(top["package"]); err != nil {
		return nil, err
	}
	if err := s.readLayers(top["layers"]); err != nil {
		return nil, err
	}
	p := in.project()
	p.Service, p.Stage = s.service, s.stage
	if err := s.readFunctions(root, top["functions"], p); err != nil {
		return nil, err
	}
	for _, e := range p.Entries() {
		if !slices.Contains(s.plugins, "serverless-python-requirements") {
			s.warnOfPackages(in.src, e)
		}
	}
	p.Warnings = s.warnings
	return p, nil
}

// environmentOfMachine returns what ${env:…} sees: the given environment, and a .env file if the project
// enables it.
func (s *serverless) environmentOfMachine(root value, fields []field) (map[string]string, error) {
	asks := false
	stage := s.in.Stage
	for _, f := range fields {
		switch f.key {
		case "useDotenv":
			on, err := s.boolean(f.val)
			if err != nil {
				return nil, err
			}
			asks = asks || on
		case "frameworkVersion":
			text, err := s.text(f.val)
			asks = asks || err == nil && strings.HasPrefix(strings.TrimLeft(text, "^~>=v "), "4")
		case "provider":
			if v, err := s.member(f.val, "stage"); err == nil && v.node != nil && stage == "" {
				if text, err := s.text(v); err == nil { // else the stage needs the environment itself
					stage = text
				}
			}
		}
	}
	s.dotenv = asks
	if !asks {
		return s.in.Env, nil
	}
	return loadDotenv(s.in.src, cmp.Or(stage, "dev"), s.in.Env)
}

func (s *serverless) readService(root, v value) (string, error) {
	if v.node == nil {
		return "", root.errorf("service is missing")
	}
	v, err := s.resolved(v)
	if err != nil {
		return "", err
	}
	if v.node.Kind == yaml.MappingNode {
		fields, err := s.fields(v)
		if err != nil {
			return "", err
		}
		got, err := s.checkKeys("service", fields, []string{"name"}, map[string]string{"awsKmsKeyArn": ""})
		if err != nil {
			return "", err
		}
		if got["name"].node == nil {
			return "", v.errorf("service has no name")
		}
		v = got["name"]
	}
	return s.text(v)
}

func (s *serverless) readProvider(root, v value) error {
	if v.node == nil {
		return root.errorf("provider is missing")
	}
	v, err := s.resolved(v)
	if err != nil {
		return err
	}
	name := v
	if v.node.Kind == yaml.MappingNode {
		fields, err := s.fields(v)
		if err != nil {
			return err
		}
		read := []string{"name", "runtime", "memorySize", "timeout", "environment", "layers"}
		if s.base, err = s.checkKeys("provider", fields, read, ignoredProvider); err != nil {
			return err
		}
		if s.stage == "" {
			for _, f := range fields {
				if f.key == "stage" {
					if s.stage, err = s.text(f.val); err != nil {
						return err
					}
				}
			}
		}
		name = s.base["name"]
	}
	if s.stage == "" {
		s.stage = "dev"
	}
	if name.node == nil {
		return v.errorf("provider has no name")
	}
	if text, err := s.text(name); err != nil {
		return err
	} else if text != "aws" {
		return name.errorf("provider %.40q: only functions written for aws can run", text)
	}
	return nil
}

// A declaredLayer is one of the project's own layers; it is read where a function uses it.
type declaredLayer struct {
	field
	folder string // "" if it can't be known without reading the layer
}

// readLayers lists the layers of the project, by their names in a Ref.
func (s *serverless) readLayers(v value) error {
	s.layers = make(map[string]declaredLayer)
	parts, err := s.items(v)
	if err != nil || v.node == nil {
		return err
	}
	for _, part := range parts {
		fields, err := s.fields(part)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if f.key == "" {
				return f.at.errorf("a layer has no name")
			}
			l := declaredLayer{field: f}
			if at, err := s.member(f.val, "path"); err == nil && at.node != nil {
				if name, err := s.text(at); err == nil {
					l.folder, _ = insideName(name)
				}
			}
			s.layers[layerReference(f.key)] = l
			s.layerFolders = append(s.layerFolders, l.folder)
		}
	}
	return nil
}

// layerReference is the name that the framework gives a layer in its CloudFormation template.
func layerReference(name string) string {
	name = strings.NewReplacer("-", "Dash", "_", "Underscore").Replace(name)
	return strings.ToUpper(name[:1]) + name[1:] + "LambdaLayer"
}

// useLayers reads the layers that a function names. It refuses a layer in a cloud, because it can't be
// fetched.
func (s *serverless) useLayers(v value) ([]Layer, error) {
	if v.node == nil {
		return nil, nil
	}
	if v.node.Kind == yaml.MappingNode { // a single {Ref: …}
		v = value{node: &yaml.Node{Kind: yaml.SequenceNode, Line: v.node.Line, Content: []*yaml.Node{v.node}}, file: v.file}
	}
	items, err := s.items(v)
	if err != nil {
		return nil, err
	}
	if len(items) > maxLayers {
		return nil, v.errorf("a function has at most %d layers", maxLayers)
	}
	var all []Layer
	for _, item := range items {
		name, argument := call(item)
		var ref string
		if name == "Ref" {
			ref, err = s.text(argument)
		} else if item, err = s.resolved(item); err == nil && item.node.Kind == yaml.ScalarNode {
			ref, err = s.text(item)
		}
		if err != nil {
			return nil, err
		}
		declared, ok := s.layers[ref]
		if !ok {
			return nil, item.errorf("layer %.120q is not in this project, and nothing is fetched from a cloud: "+
				"unpack it into a folder, and name that under layers", ref)
		}
		layer, err := s.readLayer(declared)
		if err != nil {
			return nil, err
		}
		layer.at = item
		all = append(all, layer)
	}
	return all, nil
}

func (s *serverless) readLayer(d declaredLayer) (Layer, error) {
	fields, err := s.fields(d.val)
	if err != nil {
		return Layer{}, err
	}
	got, err := s.checkKeys("layer "+d.key, fields, []string{"path", "package"}, map[string]string{
		"name": "", "description": "", "compatibleRuntimes": "", "compatibleArchitectures": "", "licenseInfo": "",
		"allowedAccounts": "", "retain": "",
	})
	if err != nil {
		return Layer{}, err
	}
	own, err := s.readPackage(got["package"])
	if err != nil {
		return Layer{}, err
	}
	if own.artifact != "" {
		return Layer{Name: d.key, Packing: Packing{Artifact: own.artifact}}, nil
	}
	if got["path"].node == nil {
		return Layer{}, d.at.errorf("layer %.80q has no path", d.key)
	}
	folder, err := s.text(got["path"])
	if err != nil {
		return Layer{}, err
	}
	if folder, err = insideName(folder); err != nil {
		return Layer{}, got["path"].errorf("path: %v", err)
	}
	p := s.rules(Packing{Folder: folder, DevDependencies: true},
		slices.Concat(s.pack.exclude, own.exclude), slices.Concat(s.pack.include, own.include))
	return Layer{Name: d.key, Packing: p}, nil
}

// readPackage reads a package section; the framework applies exclude first, then include and patterns.
func (s *serverless) readPackage(v value) (c packageConfig, err error) {
	c.at = v
	if v.node == nil {
		return c, nil
	}
	fields, err := s.fields(v)
	if err != nil {
		return c, err
	}
	read := []string{"artifact", "exclude", "include", "patterns", "individually", "excludeDevDependencies"}
	got, err := s.checkKeys("package", fields, read, map[string]string{"path": "", "disable": ""})
	if err != nil {
		return c, err
	}
	if a := got["artifact"]; a.node != nil {
		if c.artifact, err = s.text(a); err != nil {
			return c, err
		}
		if c.artifact, err = insideName(c.artifact); err != nil {
			return c, a.errorf("artifact: %v", err)
		}
	}
	for _, list := range []struct {
		key  string
		into *[]string
	}{{"exclude", &c.exclude}, {"include", &c.include}, {"patterns", &c.include}} {
		if got[list.key].node == nil {
			continue
		}
		patterns, at, err := s.texts(got[list.key])
		if err != nil {
			return c, err
		}
		for i, p := range patterns {
			if _, err := CompileGlob(strings.TrimPrefix(p, "!")); err != nil {
				return c, at[i].errorf("%v", err)
			}
			if strings.HasSuffix(p, "/") {
				s.warnf(at[i], "a pattern that ends in / matches no file; write %.80q", p+"**")
			}
		}
		*list.into = append(*list.into, patterns...)
	}
	for _, flag := range []struct {
		key  string
		into *bool
	}{{"individually", &c.individually}, {"excludeDevDependencies", &c.devDeps}} {
		if got[flag.key].node == nil {
			continue
		}
		if *flag.into, err = s.boolean(got[flag.key]); err != nil {
			return c, err
		}
	}
	c.devDeps = got["excludeDevDependencies"].node != nil && !c.devDeps
	return c, nil
}

// Plugins that are not needed here.
var harmlessPlugins = []string{
	"serverless-plugin-select", // emulated: functions.*.stages
	"serverless-offline", "serverless-prune-plugin", "serverless-apigw-binary", "serverless-apigwy-binary",
	"serverless-domain-manager", "serverless-deployment-bucket", "serverless-plugin-log-retention",
	"serverless-iam-roles-per-function", "serverless-pseudo-parameters", "serverless-plugin-warmup",
	"serverless-plugin-aws-alerts", "serverless-plugin-split-stacks", "serverless-latest-layer-version",
}

func (s *serverless) readPlugins(v value) error {
	if v.node == nil {
		return nil
	}
	v, err := s.resolved(v)
	if err != nil {
		return err
	}
	if v.node.Kind == yaml.MappingNode {
		fields, err := s.fields(v)
		if err != nil {
			return err
		}
		got, err := s.checkKeys("plugins", fields, []string{"modules"}, map[string]string{"localPath": ""})
		if err != nil || got["modules"].node == nil {
			return err
		}
		v = got["modules"]
	}
	names, at, err := s.texts(v)
	if err != nil {
		return err
	}
	s.plugins = names
	for i, name := range names {
		switch {
		case slices.Contains(harmlessPlugins, name):
		case name == "serverless-python-requirements":
			if lacksRequirement(s.in.src, ".") > 0 {
				s.warnf(at[i], "nothing is installed from requirements.txt: vendor it into the project (pip install -r requirements.txt -t .) or give a built package.artifact")
			}
		default:
			s.warnf(at[i], "plugin %.80s is not run; if it builds the package, give what it built as package.artifact", name)
		}
	}
	return nil
}

// readFunctions finds the three entries. functions is a mapping or a list of mappings, from one file or
// several.
func (s *serverless) readFunctions(root, v value, p *Project) error {
	if v.node == nil {
		return root.errorf("functions is missing")
	}
	parts, err := s.items(v)
	if err != nil {
		return err
	}
	found := make(map[string]field)
	var have []string
	for _, part := range parts {
		fields, err := s.fields(part)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if _, twice := found[f.key]; twice {
				return f.at.errorf("function %.80q is given twice", f.key)
			}
			found[f.key] = f
			have = append(have, f.key)
		}
	}
	p.Keys = have
	if err := s.nameFunctions(found, have); err != nil {
		return err
	}
	if s.in.each != nil {
		for _, key := range have {
			var e Entry
			err := s.readFunction(found[key], &e)
			s.in.each(key, e, err)
		}
		return nil
	}
	for i, key := range s.in.wanted() {
		f, ok := found[key]
		if !ok {
			return missing(v, key, slices.Clone(have))
		}
		if err := s.readFunction(f, p.Entries()[i]); err != nil {
			return err
		}
	}
	return p.checkNames()
}

// nameFunctions finds what Ref and GetAtt return for each function, and refuses two functions with one name.
// If a name can't be evaluated, that is an error only when the function is used.
func (s *serverless) nameFunctions(found map[string]field, keys []string) error {
	named := make(map[string]string)
	for _, key := range keys {
		name := fmt.Sprintf("%s-%s-%s", s.service, s.stage, key)
		if v, err := s.member(found[key].val, "name"); err == nil && v.node != nil {
			if name, err = s.text(v); err != nil {
				continue
			}
		}
		if other, twice := named[name]; twice {
			return found[key].at.errorf("functions %.80q and %.80q are both named %.80q", other, key, name)
		}
		named[name] = key
		if key != "" {
			s.cloud.resources[strings.TrimSuffix(layerReference(key), "LambdaLayer")+"LambdaFunction"] = name
		}
	}
	return nil
}

func (s *serverless) readFunction(f field, e *Entry) error {
	fields, err := s.fields(f.val)
	if err != nil {
		return err
	}
	read := []string{"handler", "runtime", "memorySize", "timeout", "environment", "package", "stages", "layers", "name", "image", "events"}
	got, err := s.checkKeys("function "+f.key, fields, read, ignoredFunction)
	if err != nil {
		return err
	}
	if got["image"].node != nil {
		return got["image"].errorf("container images can't be run; give the files as a package")
	}
	if got["stages"].node != nil {
		stages, _, err := s.texts(got["stages"])
		if err != nil {
			return err
		}
		if len(stages) > 0 && !slices.Contains(stages, s.stage) {
			return got["stages"].errorf("function %s is not for stage %s", f.key, s.stage)
		}
	}
	if e.Layers, err = s.useLayers(s.inherited(got, "layers")); err != nil {
		return err
	}
	if err := s.warnOfEvents(got["events"]); err != nil {
		return err
	}
	e.at = f.at
	e.Name = fmt.Sprintf("%s-%s-%s", s.service, s.stage, f.key)
	name := f.at
	if got["name"].node != nil {
		name = got["name"]
		if e.Name, err = s.text(name); err != nil {
			return err
		}
	}
	if e.Handler, err = s.own(got, "handler"); err != nil {
		return err
	}
	if e.Runtime, err = s.own(got, "runtime"); err != nil {
		return err
	}
	e.Env = mergedEnv(s.env)
	if got["environment"].node != nil {
		if err := s.environment(e.Env, got["environment"]); err != nil {
			return err
		}
	}
	if e.Packing, err = s.packing(got["package"]); err != nil {
		return err
	}
	return s.checkEntry(e, name, s.inherited(got, "memorySize"), s.inherited(got, "timeout"))
}

// ignoredSchedule is the warning about an author's own schedule.
const ignoredSchedule = "schedule is ignored: the trigger in the function's configuration says when it runs"

const ignoredEvent = "a function here is called by its trigger alone"

// warnOfEvents warns of events that would call the function elsewhere. Functions here run only by their
// trigger.
func (s *serverless) warnOfEvents(events value) error {
	if events.node == nil {
		return nil
	}
	items, err := s.items(events)
	if err != nil {
		return err
	}
	for _, item := range items {
		if item, err = s.resolved(item); err != nil {
			return err
		}
		if item.isNull() {
			continue
		}
		if item.node.Kind != yaml.MappingNode { // "- sns"
			if text, err := s.text(item); err == nil {
				s.warnf(item, "event %.40s is ignored: %s", text, ignoredEvent)
			}
			continue
		}
		fields, err := s.fields(item)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if f.key == "schedule" {
				s.warnf(f.at, "%s", ignoredSchedule)
			} else {
				s.warnf(f.at, "event %.40s is ignored: %s", f.key, ignoredEvent)
			}
		}
	}
	return nil
}

func (s *serverless) inherited(got map[string]value, key string) value {
	if v := got[key]; v.node != nil {
		return v
	}
	return s.base[key]
}

func (s *serverless) own(got map[string]value, key string) (string, error) {
	v := s.inherited(got, key)
	if v.node == nil {
		return "", nil
	}
	return s.text(v)
}

// Files that the framework leaves out, and files that the tools of SAM, npm and Python leave behind. Running
// a test must not change a package.
var defaultExcludes = []string{
	".git/**", ".gitignore", ".DS_Store", "npm-debug.log", "yarn-*.log", ".serverless/**", ".serverless_plugins/**",
	".aws-sam/**", ".she/**", ".she-build", "node_modules/.cache/**", "**/__pycache__/**",
}

// packing finds a function's package as the framework does: the function's own artifact, else the service's
// artifact unless the function is packed individually, else files. The function's own patterns count only if
// it is packed individually.
func (s *serverless) packing(v value) (Packing, error) {
	own, err := s.readPackage(v)
	if err != nil {
		return Packing{}, err
	}
	switch {
	case own.artifact != "":
		return Packing{Artifact: own.artifact}, nil
	case s.pack.artifact != "" && !own.individually:
		return Packing{Artifact: s.pack.artifact}, nil
	}
	exclude, include := s.pack.exclude, s.pack.include
	switch {
	case own.individually || s.pack.individually:
		exclude = append(slices.Clip(exclude), own.exclude...)
		include = append(slices.Clip(include), own.include...)
	case len(own.exclude)+len(own.include) > 0:
		s.warnf(own.at, "patterns of one function count only with package.individually")
	}
	// The folders of layers are not part of a function's package.
	var layers []string
	for _, folder := range s.layerFolders {
		if folder != "" && folder != "." {
			layers = append(layers, quoteGlob(folder)+"/**")
		}
	}
	return s.rules(Packing{Folder: ".", DevDependencies: s.pack.devDeps}, append(slices.Clip(s.pack.exclude), slices.Concat(layers, exclude[len(s.pack.exclude):])...), include), nil
}

// rules adds the rules of a packing: default excludes first, then exclude, then include.
func (s *serverless) rules(p Packing, exclude, include []string) Packing {
	for _, pattern := range append(slices.Clone(defaultExcludes), path.Base(s.in.file)) {
		p.Rules = append(p.Rules, Rule{Pattern: pattern})
	}
	if s.dotenv {
		exclude = append(slices.Clip(exclude), ".env*")
	}
	for _, pattern := range exclude {
		rest, again := strings.CutPrefix(pattern, "!")
		p.Rules = append(p.Rules, Rule{Include: again, Pattern: rest})
	}
	for _, pattern := range include {
		rest, out := strings.CutPrefix(pattern, "!")
		p.Rules = append(p.Rules, Rule{Include: !out, Pattern: rest})
	}
	return p
}
