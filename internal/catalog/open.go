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

// An opened project is where it is, and what of it makes packages whatever its project file says.
type opened struct {
	source
	archive string // the name within the source of an archive that is the package of every entry; usually ""
	single  string // the name of the one file that is the package
}

// openProject finds the project at path: a directory, a .zip or .jar, or a single file. An archive without a project
// file takes the one beside it and is itself the package, as is an archive whose project file does not count. A path that
// does not exist is an error that wraps fs.ErrNotExist.
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

// A loneFile is one file of a folder, of which nothing else is looked at: it may be somebody's home.
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

// CodeBare is of the operator: a package without a project file, of which is not said how it is run.
const CodeBare = "Package.Bare"

// errBare stands for a single file that nothing was said of.
var errBare = hat.NewFault(hat.Operator, CodeBare, "a single file needs a runtime and a handler: runtime: python3.12, handler: app.handler")

// read opens a project and reads what it says of the function, or of the one entry that o.Key names.
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

// Describe reads a project without storing anything: its functions' keys, and of o.ID or o.Key the entries.
func Describe(r Registered, o project.Options) (*project.Project, error) {
	p, src, err := r.read(o)
	if err != nil {
		return nil, faultOf(err)
	}
	return p, src.Close()
}

// CheckPath says what is wrong with the path of a package before anything of it is read: nothing is there, or nothing that
// can be opened as a project. A single file is one only if it is said how it is run.
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
