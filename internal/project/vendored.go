package project

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Packages that a language's package list requires and the package does not contain. Reading a project
// installs nothing.

// otherModules are modules whose name differs from the name of their package.
var otherModules = map[string]string{
	"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "beautifulsoup4": "bs4", "python-dateutil": "dateutil",
	"opencv-python": "cv2", "opencv-python-headless": "cv2", "attrs": "attr", "protobuf": "google/protobuf",
	"pyjwt": "jwt", "python-dotenv": "dotenv", "pycryptodome": "Crypto", "scikit-image": "skimage",
}

var requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:===?\s*([A-Za-z0-9.!+]+))?`)

// lacksRequirement returns the first line of requirements.txt whose package is not in the folder; 0 if there
// is none. It compares only names.
func lacksRequirement(src Files, folder string) int {
	text, err := src.Read(path.Join(folder, "requirements.txt"), maxYAML)
	if err != nil {
		return 0
	}
	line := 0
	for row := range bytes.Lines(text) {
		line++
		m := requirement.FindStringSubmatch(strings.TrimSpace(string(row)))
		if line > maxSteps || m == nil {
			continue
		}
		if !hasRequirement(src, folder, m[1], m[2]) {
			return line
		}
	}
	return 0
}

func hasRequirement(src Files, folder, name, version string) bool {
	lower := strings.ToLower(name)
	under := strings.NewReplacer("-", "_", ".", "_").Replace(name)
	if other := otherModules[lower]; other != "" && src.Has(path.Join(folder, other, "__init__.py")) {
		return true
	}
	for _, module := range []string{name, lower, under, strings.ToLower(under), strings.ReplaceAll(lower, ".", "/")} {
		for _, file := range []string{module + "/__init__.py", module + ".py", module + "-" + version + ".dist-info/METADATA"} {
			if src.Has(path.Join(folder, file)) {
				return true
			}
		}
	}
	return false
}

// lacksDependency returns the first production dependency in package.json that node_modules does not contain,
// with its line; "" if there is none.
func lacksDependency(src Files, folder string) (name string, line int) {
	text, err := src.Read(path.Join(folder, "package.json"), maxYAML)
	if err != nil {
		return "", 0
	}
	var list struct{ Dependencies map[string]string }
	if json.Unmarshal(text, &list) != nil {
		return "", 0
	}
	for _, name := range slices.Sorted(maps.Keys(list.Dependencies)) {
		if _, err := insideName(name); err != nil || src.Has(path.Join(folder, "node_modules", name, "package.json")) {
			continue
		}
		at := bytes.Index(text, []byte(`"`+name+`"`))
		return name, 1 + bytes.Count(text[:max(at, 0)], []byte("\n"))
	}
	return "", 0
}

// warnOfPackages warns of packages that were never installed into the folder of a function's package.
func (d *document) warnOfPackages(src Files, e *Entry) {
	if e.Packing.Artifact != "" {
		return
	}
	folder := e.Packing.Folder
	warn := func(file string, line int, text string) {
		d.warnf(value{file: path.Join(folder, file), line: line}, "%s", text)
	}
	switch {
	case strings.HasPrefix(e.Runtime, "python"):
		if line := lacksRequirement(src, folder); line > 0 {
			warn("requirements.txt", line, "nothing is installed from requirements.txt: vendor it into the project "+
				"(pip install -r requirements.txt -t .), or publish what she build makes")
		}
	case strings.HasPrefix(e.Runtime, "nodejs"):
		if name, line := lacksDependency(src, folder); name != "" {
			warn("package.json", line, "nothing is installed from package.json, and node_modules has no "+name+
				": run npm ci --omit=dev, or publish what she build makes")
		}
	}
}
