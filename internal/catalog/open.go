package catalog

import (
	"path/filepath"
	"slices"
	"strings"

	"she/internal/hat"
	"she/internal/project"
)

// isArchive says whether a path is read as an archive.
func isArchive(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".zip" || ext == ".jar"
}

// openProject finds the project at path, a directory or a .zip or .jar. An archive without a project file takes the one
// beside it and is itself the package: then archive is its name within the source. A path that does not exist is an
// error that wraps fs.ErrNotExist.
func openProject(name string) (src source, archive string, err error) {
	name, err = filepath.Abs(name)
	if err != nil {
		return nil, "", err
	}
	if !isArchive(name) {
		src, err = openFolder(name)
		return src, "", err
	}
	z, err := openArchive(name)
	if err != nil {
		return nil, "", err
	}
	if slices.ContainsFunc(project.Names, z.Has) {
		return z, "", nil
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	src, err = openFolder(filepath.Dir(name))
	return src, filepath.Base(name), err
}

// readProject reads the project at path for function id.
func readProject(path, stage string, id hat.FunctionID) (*project.Project, source, error) {
	src, archive, err := openProject(path)
	if err != nil {
		return nil, nil, openFault(err)
	}
	p, err := project.Read(src, project.Options{ID: id, Stage: stage, Archive: archive})
	if err != nil {
		_ = src.Close() // only read
		return nil, nil, err
	}
	return p, src, nil
}
