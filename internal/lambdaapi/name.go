package lambdaapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// latest is the only version: the one that the operator registered last.
const latest = "$LATEST"

// account and region of function addresses. They have no meaning here, but some clients need them.
const (
	account = "000000000000"
	region  = "local"
)

// maxName bounds the function name in a path, in bytes, as Lambda does.
const maxName = 170

// namePattern is Lambda's FunctionName: a name, the end of an address or a whole address, each with or
// without a qualifier.
var namePattern = regexp.MustCompile(`^(?:(?:arn:aws[a-zA-Z-]*:lambda:)?(?:[a-z0-9-]+:)?(?:\d{12}:)?function:)?([a-zA-Z0-9-_.]+)(?::(\$LATEST|[a-zA-Z0-9-_]+))?$`)

// parseName reads the name in a path. beside is the separate qualifier, which must not differ from one in the
// name.
func parseName(text, beside string) (name string, _ *failure) {
	m := namePattern.FindStringSubmatch(text)
	if m == nil || len(text) > maxName {
		return "", fail(http.StatusBadRequest, "ValidationException", fmt.Sprintf("1 validation error detected: Value %.170q at 'functionName' failed to satisfy constraint: "+
			"want a function's name, or its address arn:aws:lambda:REGION:ACCOUNT:function:NAME", text))
	}
	qualifier := m[2]
	if beside != "" && qualifier != "" && beside != qualifier {
		return "", fail(http.StatusBadRequest, "InvalidParameterValueException", "The derived qualifier from the function name does not match the specified qualifier.")
	}
	if beside != "" {
		qualifier = beside
	}
	if qualifier != "" && qualifier != latest {
		return "", notFound(arn(m[1]) + ":" + strings.ToValidUTF8(clip(qualifier), ""))
	}
	return m[1], nil
}

func arn(name string) string { return "arn:aws:lambda:" + region + ":" + account + ":function:" + name }

func clip(text string) string { return text[:min(len(text), 128)] }
