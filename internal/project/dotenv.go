package project

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
)

// A .env file, as the Serverless Framework reads it with useDotenv, and always from version 4 on: NAME=value in a line,
// quoted or not, "export" before it, a comment behind. ${NAME} and $NAME are what was set above, or in the environment.
// Where there is a .env.<stage>, .env is not read.

var (
	dotenvLine = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*` +
		"('(?:\\\\'|[^'])*'|\"(?:\\\\\"|[^\"])*\"|`(?:\\\\`|[^`])*`|[^#\r\n]*)[ \t]*(?:#[^\r\n]*)?\r?$")
	dotenvReference = regexp.MustCompile(`\\?\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))`)
)

// loadDotenv gives env with what the .env file of the stage sets besides; what env has already stays.
func loadDotenv(src Files, stage string, env map[string]string) (map[string]string, error) {
	name := ".env." + stage
	if clean, err := insideName(name); err != nil || clean != name {
		return env, nil // a stage that names no file
	}
	text, err := src.Read(name, maxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		name = ".env"
		text, err = src.Read(name, maxYAML)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return env, nil
	}
	if err != nil {
		return nil, &Error{name, 0, err.Error()}
	}
	all := mergedEnv(env)
	size := 0
	for _, m := range dotenvLine.FindAllStringSubmatchIndex(string(text), -1) {
		key, val := string(text[m[2]:m[3]]), strings.TrimSpace(string(text[m[4]:m[5]]))
		quote := byte(0)
		if len(val) > 1 && strings.IndexByte("'\"`", val[0]) >= 0 && val[len(val)-1] == val[0] {
			quote, val = val[0], val[1:len(val)-1]
		}
		if quote == '"' {
			val = strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(val)
		}
		if _, given := env[key]; given {
			continue
		}
		val = expandDotenv(val, all)
		if size += len(val); size > maxYAML {
			return nil, &Error{name, 1 + strings.Count(string(text[:m[0]]), "\n"), "the values grow beyond what a project may hold"}
		}
		all[key] = val
	}
	return all, nil
}

func expandDotenv(val string, known map[string]string) string {
	left := maxVariableText // one line may not multiply what the lines above it hold
	return dotenvReference.ReplaceAllStringFunc(val, func(found string) string {
		if found[0] == '\\' {
			return found[1:]
		}
		m := dotenvReference.FindStringSubmatch(found)
		set := known[m[1]+m[3]]
		if set == "" {
			set = m[2]
		}
		if left -= len(set); left < 0 {
			return ""
		}
		return set
	})
}
