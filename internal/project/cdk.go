package project

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A synthesised program of the AWS CDK is a folder, usually cdk.out. Its manifest.json names the templates of
// its stacks and the manifests of its stages. Form: "Cloud assembly", package cloud-assembly-schema.

const (
	cdkFolder    = "cdk.out"
	cdkManifest  = "manifest.json"
	maxStacks    = 64
	maxCDKStages = 8
)

type assembly struct {
	Version   string
	Artifacts map[string]struct {
		Type       string
		Properties struct{ TemplateFile, DirectoryName string }
	}
}

// synthesised reports whether the file is a template of a CDK program.
func (r reader) synthesised() bool { return !slices.Contains(Names, r.file) }

// hashed matches a logical id: a construct's path without separators, followed by eight hexadecimal digits.
var hashed = regexp.MustCompile(`^(.+)[0-9A-F]{8}$`)

// constructOfID returns a construct's name from its logical id, for templates without metadata.
func constructOfID(logical string) string {
	if m := hashed.FindStringSubmatch(logical); m != nil {
		return m[1]
	}
	return ""
}

// assetOf finds the content with this address in a bucket, {S3Bucket, S3Key}, among the assets that the
// program wrote beside the template. Form:
// {"files":{id:{"source":{"path":…},"destinations":{id:{"objectKey":…}}}}}.
func (s *sam) assetOf(content value) (value, bool) {
	if !s.in.synthesised() || content.node.Kind != yaml.MappingNode {
		return value{}, false
	}
	if s.assets == nil {
		s.assets = make(map[string]string)
		var list struct {
			Files map[string]struct {
				Source       struct{ Path string }
				Destinations map[string]struct{ ObjectKey string }
			}
		}
		name := strings.TrimSuffix(s.in.file, ".template.json") + ".assets.json"
		if text, err := s.in.src.Read(name, maxYAML); err == nil && json.Unmarshal(text, &list) == nil {
			for _, f := range list.Files {
				for _, d := range f.Destinations {
					s.assets[d.ObjectKey] = f.Source.Path
				}
			}
		}
	}
	key, err := s.member(content, "S3Key")
	if err != nil || key.node == nil {
		return value{}, false
	}
	text, err := s.text(key)
	at, ok := s.assets[text]
	if err != nil || !ok {
		return value{}, false
	}
	return key.scalar("!!str", at), true
}

// projectFiles lists the files that may describe the project, in order of preference.
func projectFiles(src Files) ([]string, error) {
	if slices.ContainsFunc(Names, src.Has) {
		return Names, nil
	}
	for _, folder := range []string{cdkFolder, "."} {
		stacks, err := cdkStacks(src, folder, 0)
		if err != nil || stacks != nil {
			return stacks, err
		}
	}
	return nil, nil
}

// cdkStacks lists the templates of a cloud assembly. It returns nil if the folder has none.
func cdkStacks(src Files, folder string, depth int) (stacks []string, err error) {
	name := path.Join(folder, cdkManifest)
	text, err := src.Read(name, maxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{name, 0, err.Error()}
	}
	var a assembly
	if json.Unmarshal(text, &a) != nil || a.Version == "" || a.Artifacts == nil {
		if folder == "." {
			return nil, nil // another kind of manifest
		}
		return nil, &Error{name, 0, "it is no manifest of a cloud assembly"}
	}
	if depth > maxCDKStages {
		return nil, &Error{name, 0, "stages nest too deeply"}
	}
	stacks = []string{}
	for _, key := range slices.Sorted(maps.Keys(a.Artifacts)) {
		artifact := a.Artifacts[key]
		switch artifact.Type {
		case "aws:cloudformation:stack":
			template, err := insideName(artifact.Properties.TemplateFile)
			if err != nil {
				return nil, &Error{name, 0, "templateFile: " + err.Error()}
			}
			stacks = append(stacks, path.Join(folder, template))
		case "cdk:cloud-assembly":
			stage, err := insideName(artifact.Properties.DirectoryName)
			if err != nil {
				return nil, &Error{name, 0, "directoryName: " + err.Error()}
			}
			more, err := cdkStacks(src, path.Join(folder, stage), depth+1)
			if err != nil {
				return nil, err
			}
			stacks = append(stacks, more...)
		}
		if len(stacks) > maxStacks {
			return nil, &Error{name, 0, "the assembly has more stacks than are looked at"}
		}
	}
	return stacks, nil
}
