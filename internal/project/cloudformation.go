package project

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Functions of CloudFormation in the short form (!Join) and the long one (Fn::Join) are evaluated if
// everything they need is in the file. What only a cloud knows (attributes of resources, exports, zones) is
// an error where a value is really used. Form: "Intrinsic function reference", "Condition functions" and
// "Pseudo parameters reference" of the CloudFormation user guide.

// pseudoParameters are values that a run has here too: its region, and the account in its ARN.
var pseudoParameters = map[string]string{
	"AWS::Partition": "aws",
	"AWS::URLSuffix": "amazonaws.com",
	"AWS::Region":    "eu-west-1",
	"AWS::AccountId": "000000000000",
}

const noValue = "AWS::NoValue"

// isNoValue reports whether v is the result of !Ref AWS::NoValue, so that its property counts as missing.
func (v value) isNoValue() bool { return v.final && v.isNull() && v.node.Value == noValue }

type cloudFormation struct {
	doc        *document
	stackName  string
	params     map[string]value // by name: the default, or a null
	mappings   value
	conditions map[string]value
	resources  map[string]string // by logical id: the name of a function, or ""
	given      map[string]string // parameters given beside the file
	stored     map[string]bool   // parameters whose value is in a parameter store
	decided    map[string]bool   // conditions worked out
	deciding   map[string]bool   // conditions being worked out: meeting one again is a cycle
	depth      int
}

func newCloudFormation(doc *document, stackName string) *cloudFormation {
	return &cloudFormation{
		doc: doc, stackName: stackName, params: make(map[string]value), conditions: make(map[string]value),
		decided: make(map[string]bool), deciding: make(map[string]bool), resources: make(map[string]string),
		stored: make(map[string]bool),
	}
}

// readParameters keeps the defaults. A parameter named Stage has the chosen stage, if one was chosen.
func (c *cloudFormation) readParameters(v value, stage string) error {
	if v.node == nil {
		return nil
	}
	all, err := c.doc.fields(v)
	if err != nil {
		return err
	}
	for _, p := range all {
		fields, err := c.doc.fields(p.val)
		if err != nil {
			return err
		}
		c.params[p.key] = p.at.scalar("!!null", "")
		kind := ""
		for _, f := range fields {
			if f.key == "Type" {
				if kind, err = c.doc.text(f.val); err != nil {
					return err
				}
			}
		}
		for _, f := range fields {
			// The default of a parameter in the parameter store is the name it has there, not its value.
			if f.key == "Default" && !strings.HasPrefix(kind, "AWS::SSM::Parameter::Value") {
				text, err := c.doc.text(f.val)
				if err != nil {
					return err
				}
				c.params[p.key] = f.val.scalar("!!str", text)
				if kind == "CommaDelimitedList" || strings.HasPrefix(kind, "List<") {
					c.params[p.key] = f.val.sequence(commaDelimited(text))
				}
			}
		}
		text, given := c.given[p.key]
		if !given && strings.EqualFold(p.key, "Stage") && stage != "" {
			text, given = stage, true
		}
		if given {
			c.params[p.key] = p.at.scalar("!!str", text)
			if kind == "CommaDelimitedList" || strings.HasPrefix(kind, "List<") {
				c.params[p.key] = p.at.sequence(commaDelimited(text))
			}
			if err := c.checkAllowed(p.val, p.key, text); err != nil {
				return err
			}
		} else if c.params[p.key].isNull() && strings.HasPrefix(kind, "AWS::SSM::Parameter::Value") {
			c.stored[p.key] = true
		}
	}
	return nil
}

// checkAllowed compares a given value with the parameter's AllowedValues.
func (c *cloudFormation) checkAllowed(parameter value, name, given string) error {
	allowed, err := c.doc.member(parameter, "AllowedValues")
	if err != nil || allowed.node == nil {
		return err
	}
	texts, _, err := c.doc.texts(allowed)
	if err != nil {
		return err
	}
	if !slices.Contains(texts, given) {
		return allowed.errorf("parameter %.80s is given a value that is not among its AllowedValues", name)
	}
	return nil
}

func commaDelimited(text string) []string {
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func (c *cloudFormation) readConditions(v value) error {
	if v.node == nil {
		return nil
	}
	fields, err := c.doc.fields(v)
	if err != nil {
		return err
	}
	for _, f := range fields {
		c.conditions[f.key] = f.val
	}
	return nil
}

// readResources takes Parameters, Mappings and Conditions from a template in another file. Unreadable parts
// are ignored: most describe a cloud, and a value that needs one reports it.
func (c *cloudFormation) readResources(v value) {
	if v, err := c.doc.resolved(v); err != nil || v.node == nil || v.node.Kind != yaml.MappingNode {
		return
	}
	if parameters, err := c.doc.member(v, "Parameters"); err == nil {
		_ = c.readParameters(parameters, "")
	}
	if mappings, err := c.doc.member(v, "Mappings"); err == nil {
		c.mappings = mappings
	}
	if conditions, err := c.doc.member(v, "Conditions"); err == nil {
		_ = c.readConditions(conditions)
	}
	if resources, err := c.doc.member(v, "Resources"); err == nil {
		if all, err := c.doc.fields(resources); err == nil {
			for _, f := range all {
				c.resources[f.key] = ""
			}
		}
	}
}

// call splits a node into the function that it calls and its arguments; name is "" if it calls none.
func call(v value) (name string, arguments value) {
	node := v.node
	if tag, ok := strings.CutPrefix(node.Tag, "!"); ok && !strings.HasPrefix(tag, "!") {
		plain := *node
		plain.Tag = ""
		if name = tag; name != "Ref" && name != "Condition" {
			name = "Fn::" + tag
		}
		return name, value{node: &plain, file: v.file}
	}
	if node.Kind == yaml.MappingNode && len(node.Content) == 2 {
		if key := node.Content[0].Value; key == "Ref" || strings.HasPrefix(key, "Fn::") {
			return key, v.at(node.Content[1])
		}
	}
	return "", value{}
}

// evaluate evaluates the function that v calls. Anything else is its own value.
func (c *cloudFormation) evaluate(v value) (value, error) {
	if v.final {
		return v, nil
	}
	name, arguments := call(v)
	if name == "" {
		return v, nil
	}
	if c.depth++; c.depth > maxEvaluate { // an alias can point back
		return value{}, v.errorf("functions nest deeper than %d", maxEvaluate)
	}
	defer func() { c.depth-- }()
	switch name {
	case "Ref":
		referred, err := c.doc.text(arguments)
		if err != nil {
			return value{}, err
		}
		return c.ref(v, referred)
	case "Fn::Sub":
		return c.sub(v, arguments)
	case "Fn::FindInMap":
		return c.findInMap(v, arguments)
	case "Fn::If":
		return c.choose(v, arguments)
	case "Fn::Join":
		return c.join(v, arguments)
	case "Fn::Split":
		return c.split(v, arguments)
	case "Fn::Select":
		return c.selectItem(v, arguments)
	case "Fn::Base64":
		text, err := c.doc.text(arguments)
		if err != nil {
			return value{}, err
		}
		return v.scalar("!!str", base64.StdEncoding.EncodeToString([]byte(text))), nil
	case "Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not":
		holds, err := c.holds(v)
		if err != nil {
			return value{}, err
		}
		return v.scalar("!!bool", strconv.FormatBool(holds)), nil
	case "Fn::GetAtt":
		return c.getAtt(v, arguments)
	case "Fn::ImportValue", "Fn::GetAZs", "Fn::Transform", "Fn::GetStackOutput":
		return value{}, v.cloudf("%.40s needs a value that only a cloud has: write the value", name)
	}
	return value{}, v.errorf("%.40s is not evaluated here: write the value", name)
}

// arguments lists what a function is called with.
func (c *cloudFormation) arguments(at, v value, name string, least, most int) ([]value, error) {
	v, err := c.doc.resolved(v)
	if err != nil {
		return nil, err
	}
	if v.isNull() || v.node.Kind != yaml.SequenceNode || len(v.node.Content) < least || len(v.node.Content) > most {
		return nil, at.errorf("%s: want a list of %s values", name, counted(least, most))
	}
	return c.doc.items(v)
}

func counted(least, most int) string {
	if least == most {
		return strconv.Itoa(least)
	}
	return strconv.Itoa(least) + " to " + strconv.Itoa(most)
}

func (c *cloudFormation) ref(at value, name string) (value, error) {
	if p, ok := c.params[name]; ok {
		if c.stored[name] {
			return value{}, at.cloudf("parameter %.80q is in a parameter store, which is only in a cloud", name)
		}
		if p.isNull() {
			return value{}, at.errorf("parameter %.80q has no Default and was not given", name)
		}
		if p.node.Kind == yaml.SequenceNode {
			return p, nil
		}
		return at.scalar("!!str", p.node.Value), nil
	}
	if text, ok := pseudoParameters[name]; ok {
		return at.scalar("!!str", text), nil
	}
	switch name {
	case "AWS::StackName":
		return at.scalar("!!str", c.stackName), nil
	case noValue:
		return at.scalar("!!null", noValue), nil
	}
	if function, ok := c.resources[name]; ok {
		if function == "" {
			c.doc.warnf(at, "%.80s is only in a cloud: its logical id stands for it", name)
		}
		return at.scalar("!!str", cmp.Or(function, name)), nil
	}
	return value{}, at.errorf("%.80q is not a parameter or resource of this template", name)
}

// getAtt returns the only attribute that a run has here too: the ARN of a function.
func (c *cloudFormation) getAtt(at, v value) (value, error) {
	v, err := c.doc.resolved(v)
	if err != nil {
		return value{}, err
	}
	var steps []string
	if !v.isNull() && v.node.Kind == yaml.SequenceNode {
		if steps, _, err = c.doc.texts(v); err != nil {
			return value{}, err
		}
	} else if text, err := c.doc.text(v); err == nil {
		steps = strings.SplitN(text, ".", 2)
	}
	if len(steps) != 2 {
		return value{}, at.errorf("GetAtt: want a resource and an attribute")
	}
	return c.attribute(at, steps[0], steps[1])
}

func (c *cloudFormation) attribute(at value, resource, name string) (value, error) {
	function, ok := c.resources[resource]
	switch {
	case !ok:
		return value{}, at.errorf("%.80q is no resource of this template", resource)
	case function != "" && name == "Arn":
		return at.scalar("!!str", "arn:aws:lambda:"+pseudoParameters["AWS::Region"]+":"+pseudoParameters["AWS::AccountId"]+":function:"+function), nil
	}
	return value{}, at.cloudf("%.80s.%.80s is only in a cloud: write the value", resource, name)
}

// findInMap looks up Mappings: the map, the key, the key within, and perhaps {DefaultValue: …}.
func (c *cloudFormation) findInMap(at, v value) (value, error) {
	arguments, err := c.arguments(at, v, "FindInMap", 3, 4)
	if err != nil {
		return value{}, err
	}
	found := c.mappings
	for _, argument := range arguments[:3] {
		key, err := c.doc.text(argument)
		if err != nil {
			return value{}, err
		}
		found, err = c.doc.member(found, key)
		if err != nil {
			return value{}, err
		}
		if found.node != nil {
			continue
		}
		if len(arguments) == 4 {
			fallback, err := c.doc.member(arguments[3], "DefaultValue")
			if err != nil || fallback.node != nil {
				return c.resolved(fallback, err)
			}
		}
		return value{}, argument.errorf("FindInMap: Mappings has no %.80q there", key)
	}
	return c.resolved(found, nil)
}

func (c *cloudFormation) resolved(v value, err error) (value, error) {
	if err != nil {
		return value{}, err
	}
	return c.doc.resolved(v)
}

// choose is If: a condition and the two values.
func (c *cloudFormation) choose(at, v value) (value, error) {
	arguments, err := c.arguments(at, v, "If", 3, 3)
	if err != nil {
		return value{}, err
	}
	holds, err := c.holdsNamed(arguments[0])
	if err != nil {
		return value{}, err
	}
	if holds {
		return c.doc.resolved(arguments[1])
	}
	return c.doc.resolved(arguments[2])
}

func (c *cloudFormation) holdsNamed(v value) (bool, error) {
	name, err := c.doc.text(v)
	if err != nil {
		return false, err
	}
	return c.condition(v, name)
}

// condition evaluates a condition of the template, once.
func (c *cloudFormation) condition(at value, name string) (bool, error) {
	if holds, ok := c.decided[name]; ok {
		return holds, nil
	}
	v, ok := c.conditions[name]
	switch {
	case !ok:
		return false, at.errorf("%.80q is not a condition of this template", name)
	case c.deciding[name]:
		return false, at.errorf("condition %.80q depends on itself", name)
	}
	c.deciding[name] = true
	defer delete(c.deciding, name)
	holds, err := c.holds(v)
	if err == nil {
		c.decided[name] = holds
	}
	return holds, err
}

// holds evaluates one of the condition functions.
func (c *cloudFormation) holds(v value) (bool, error) {
	if c.doc.steps++; c.doc.steps > maxSteps {
		return false, v.errorf("the project is too complicated: more than %d values", maxSteps)
	}
	if c.depth++; c.depth > maxEvaluate {
		return false, v.errorf("conditions nest deeper than %d", maxEvaluate)
	}
	defer func() { c.depth-- }()
	if v.node.Kind == yaml.AliasNode {
		v.node = v.node.Alias
	}
	name, inner := call(v)
	if name == "" && v.node.Kind == yaml.MappingNode && len(v.node.Content) == 2 && v.node.Content[0].Value == "Condition" {
		name, inner = "Condition", v.at(v.node.Content[1])
	}
	switch name {
	case "Condition":
		return c.holdsNamed(inner)
	case "Fn::Equals":
		arguments, err := c.arguments(v, inner, "Equals", 2, 2)
		if err != nil {
			return false, err
		}
		var texts [2]string
		for i, argument := range arguments {
			if texts[i], err = c.doc.text(argument); err != nil {
				return false, err
			}
		}
		return texts[0] == texts[1], nil
	case "Fn::Not":
		arguments, err := c.arguments(v, inner, "Not", 1, 1)
		if err != nil {
			return false, err
		}
		holds, err := c.holds(arguments[0])
		return !holds, err
	case "Fn::And", "Fn::Or":
		arguments, err := c.arguments(v, inner, strings.TrimPrefix(name, "Fn::"), 2, 10)
		if err != nil {
			return false, err
		}
		for _, argument := range arguments {
			holds, err := c.holds(argument)
			if err != nil {
				return false, err
			}
			if holds != (name == "Fn::And") {
				return holds, nil
			}
		}
		return name == "Fn::And", nil
	}
	return false, v.errorf("want a condition here: Equals, And, Or, Not or Condition")
}

// list returns a list argument, written out or returned by a function.
func (c *cloudFormation) list(at, v value, name string) ([]value, error) {
	v, err := c.doc.resolved(v)
	if err != nil {
		return nil, err
	}
	if v.isNull() || v.node.Kind != yaml.SequenceNode {
		return nil, at.errorf("%s: want a list here", name)
	}
	return c.doc.items(v)
}

func (c *cloudFormation) join(at, v value) (value, error) {
	arguments, err := c.arguments(at, v, "Join", 2, 2)
	if err != nil {
		return value{}, err
	}
	delimiter, err := c.doc.text(arguments[0])
	if err != nil {
		return value{}, err
	}
	items, err := c.list(at, arguments[1], "Join")
	if err != nil {
		return value{}, err
	}
	var b strings.Builder
	first := true
	for _, item := range items {
		if item, err = c.doc.resolved(item); err != nil {
			return value{}, err
		}
		if item.isNoValue() {
			continue
		}
		text, err := c.doc.text(item)
		if err != nil {
			return value{}, err
		}
		if !first {
			b.WriteString(delimiter)
		}
		first = false
		if b.Len()+len(text) > maxVariableText {
			return value{}, at.errorf("the text grows beyond %d bytes", maxVariableText)
		}
		b.WriteString(text)
	}
	return at.scalar("!!str", b.String()), nil
}

func (c *cloudFormation) split(at, v value) (value, error) {
	arguments, err := c.arguments(at, v, "Split", 2, 2)
	if err != nil {
		return value{}, err
	}
	delimiter, err := c.doc.text(arguments[0])
	if err != nil {
		return value{}, err
	}
	if delimiter == "" {
		return value{}, at.errorf("Split: the delimiter is empty")
	}
	text, err := c.doc.text(arguments[1])
	if err != nil {
		return value{}, err
	}
	return at.sequence(strings.Split(text, delimiter)), nil
}

func (c *cloudFormation) selectItem(at, v value) (value, error) {
	arguments, err := c.arguments(at, v, "Select", 2, 2)
	if err != nil {
		return value{}, err
	}
	i, err := c.doc.integer(arguments[0])
	if err != nil {
		return value{}, err
	}
	items, err := c.list(at, arguments[1], "Select")
	if err != nil {
		return value{}, err
	}
	if i < 0 || i >= len(items) {
		return value{}, at.errorf("Select: the list has no item %d", i)
	}
	return c.doc.resolved(items[i])
}

// sub fills ${Name} into a text; the long form is a list of the text and its own names.
func (c *cloudFormation) sub(at, v value) (value, error) {
	own := make(map[string]value)
	if v.node.Kind == yaml.SequenceNode {
		arguments, err := c.arguments(at, v, "Sub", 2, 2)
		if err != nil {
			return value{}, err
		}
		fields, err := c.doc.fields(arguments[1])
		if err != nil {
			return value{}, err
		}
		for _, f := range fields {
			own[f.key] = f.val
		}
		v = arguments[0]
	}
	template, err := c.doc.text(v)
	if err != nil {
		return value{}, at.errorf("Sub: want a text")
	}
	var b strings.Builder
	for rest := template; rest != ""; {
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
		name = strings.TrimSpace(name)
		f, ok := own[name]
		if !ok {
			if resource, attribute, dotted := strings.Cut(name, "."); dotted {
				f, err = c.attribute(at, resource, attribute)
			} else {
				f, err = c.ref(at, name)
			}
			if err != nil {
				return value{}, err
			}
		}
		text, err := c.doc.text(f)
		if err != nil {
			return value{}, err
		}
		if b.Len()+len(text) > maxVariableText {
			return value{}, at.errorf("the text grows beyond %d bytes", maxVariableText)
		}
		b.WriteString(text)
	}
	return at.scalar("!!str", b.String()), nil
}
