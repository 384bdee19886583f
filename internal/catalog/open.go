package catalog

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"she/internal/hat"
	"she/internal/project"
)

// An opened project is a source, and the parts of it that become packages whatever its project file says.
type opened struct {
	source
	archive string // the name within the source of an archive that is the package of every entry; usually ""
	single  string // the only file of the package
}

// openProject finds the project at path: a directory, a .zip or .jar, or a single file. For an archive
// without a project file it uses the project file beside the archive, and the archive itself is the package.
// The same holds for an archive whose project file does not count. If the path does not exist, the error
// wraps fs.ErrNotExist.
func openProject(name string, bare bool) (o opened, err error) {
	name, err = filepath.Abs(name)
	if err != nil {
		return o, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return o, err
	}
	switch {
	case project.IsArchive(name) && !info.IsDir():
		z, err := openArchive(name)
		if err != nil {
			return o, err
		}
		if !bare && slices.ContainsFunc(project.Names, z.Has) {
			return opened{source: z}, nil
		}
		if err := z.Close(); err != nil {
			return o, err
		}
		o.archive = filepath.Base(name)
	case info.Mode().IsRegular() && bare:
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return o, err
		}
		o.single = filepath.Base(name)
	default:
		o.source, err = openFolder(name)
		return o, err
	}
	if o.source, err = openFolder(filepath.Dir(name)); err == nil && o.single != "" {
		o.source = loneFile{o.source, o.single, info}
	}
	return o, err
}

// A loneFile is one file of a folder. Nothing else in the folder is read, because it may be a home directory.
type loneFile struct {
	source
	name string
	info fs.FileInfo
}

func (l loneFile) files(context.Context, string) ([]file, error) {
	f, ok := l.source.(folder)
	if !ok {
		return nil, errors.New("a lone file is in a folder")
	}
	return []file{{
		name: l.name, mode: l.info.Mode(), size: l.info.Size(),
		open: func() (io.ReadCloser, error) {
			r, _, err := f.open(l.name)
			return r, err
		},
	}}, nil
}

// CodeBare is an operator's fault: a package without a project file, without a description of how to run it.
const CodeBare = "Package.Bare"

// errBare is the error for a single file without a description of how to run it.
var errBare = hat.NewFault(hat.Operator, CodeBare, "a single file needs a runtime and a handler: runtime: python3.12, handler: app.handler")

// read opens a project and reads its description of the function, or of the one entry that o.Key names.
func (r Registered) read(o project.Options) (*project.Project, opened, error) {
	o.Stage, o.Params = r.Stage, r.Params
	bare := r.Bare.There()
	if info, err := os.Stat(r.Package); err == nil && info.Mode().IsRegular() && !project.IsArchive(r.Package) && !bare {
		return nil, opened{}, errBare
	}
	src, err := openProject(r.Package, bare)
	if err != nil {
		return nil, src, openFault(err)
	}
	o.Archive = src.archive
	var p *project.Project
	switch {
	case !bare:
		p, err = project.Read(src, o)
	case src.archive != "":
		p, err = r.Bare.Read(project.Packing{Artifact: src.archive}, o)
	default:
		p, err = r.Bare.Read(project.Whole(".", src.single), o)
	}
	var wrong *project.Error
	if bare && errors.As(err, &wrong) {
		err = hat.NewFault(hat.Operator, CodeBare, wrong.Text)
	}
	if err != nil {
		return nil, opened{}, errors.Join(err, src.Close())
	}
	return p, src, nil
}

// Describe reads a project without storing anything. It returns the keys of its functions, and the entries of
// o.ID or o.Key.
func Describe(r Registered, o project.Options) (*project.Project, error) {
	p, src, err := r.read(o)
	if err != nil {
		return nil, faultOf(err)
	}
	return p, src.Close()
}

// CheckPath checks the path of a package before anything in it is read. It returns an error if nothing is
// there, or nothing that can be opened as a project. A single file counts as a project only if it is
// described how to run it.
func CheckPath(path string, bare bool) error {
	info, err := os.Stat(path)
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("nothing is there")
	case errors.As(err, &at):
		return at.Err
	case err != nil:
		return err
	case info.IsDir() && project.IsArchive(path), !info.IsDir() && !project.IsArchive(path) && !(bare && info.Mode().IsRegular()):
		return errors.New("it is neither a directory nor an archive")
	}
	return nil
}
