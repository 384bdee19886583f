package project

import (
	"fmt"
	"slices"
	"strings"

	"she/internal/hat"
)

// A Choice says that a project has several functions, and none was named or none fits.
type Choice struct {
	File  string
	Named string   // what was asked for; "" if nothing was
	Have  []string // without the -bundle and -configuration of each
}

func (c *Choice) Error() string {
	have := strings.Join(c.Have[:min(len(c.Have), 12)], ", ")
	if c.Named != "" {
		return fmt.Sprintf("%s has no function %.80q; there is %s", c.File, c.Named, have)
	}
	return fmt.Sprintf("%s has %d functions: %s", c.File, len(c.Have), have)
}

// Find reads the project file for a function that nobody has registered: the one of that key, or that a name
// with that key at its end belongs to; without a key the only one there is, or the only one with its three
// entries. It may have the process entry alone: the names of the others are empty then. o.ID is of no effect;
// id is the function's key, or zero if that is no id. The error is a *Choice if none or several fit.
func Find(src Files, o Options, key string) (p *Project, id hat.FunctionID, err error) {
	all := lambdas{}
	if p, err = readEach(src, o, all.add); err != nil {
		return nil, id, err
	}
	main, err := all.choose(p.File, key)
	if err != nil {
		return nil, id, err
	}
	for _, one := range []struct {
		suffix string
		into   *Entry
	}{{"", &p.Process}, {"bundle", &p.Bundle}, {"configuration", &p.Configuration}} {
		l := main
		if one.suffix != "" {
			if l = all.beside(main, one.suffix); l == nil {
				continue
			}
		}
		if l.err != nil {
			return nil, id, l.err
		}
		*one.into = *l.entry
		if o.Archive != "" {
			one.into.Packing = Packing{Artifact: o.Archive}
		}
	}
	if parsed, err := hat.ParseFunctionID(main.key); err == nil {
		id = parsed
	}
	return p, id, nil
}

// A lambda is one function of a project file, whatever it is for. err is why it could not be read, which
// matters only if it is used.
type lambda struct {
	key   string
	entry *Entry
	err   error
}

type lambdas []*lambda

func (all *lambdas) add(key string, e Entry, err error) {
	*all = append(*all, &lambda{key, &e, err})
}

// plain is a key as it is compared: logical ids of templates have neither hyphens nor small letters alone,
// and may end in "Function".
func plain(key string) string {
	return strings.TrimSuffix(strings.ReplaceAll(strings.ToLower(key), "-", ""), "function")
}

// beside finds the entry of a function with that suffix; nil if there is none.
func (all lambdas) beside(main *lambda, suffix string) *lambda {
	for _, l := range all {
		if l.key == main.key+"-"+suffix {
			return l
		}
	}
	for _, l := range all {
		if plain(l.key) == plain(main.key)+suffix {
			return l
		}
	}
	return nil
}

// mains are the functions that are no other one's bundle or configuration.
func (all lambdas) mains() (mains lambdas) {
	for _, l := range all {
		entry := slices.ContainsFunc(all, func(other *lambda) bool {
			return all.beside(other, "bundle") == l || all.beside(other, "configuration") == l
		})
		if !entry {
			mains = append(mains, l)
		}
	}
	return mains
}

// choose finds the function of that key. Without one it is the only function, or the only one that has its
// three entries.
func (all lambdas) choose(file, key string) (*lambda, error) {
	mains := all.mains()
	fits := mains
	if key != "" {
		fits = slices.DeleteFunc(slices.Clone(mains), func(l *lambda) bool { return l.key != key })
		if len(fits) == 0 {
			fits = slices.DeleteFunc(slices.Clone(mains), func(l *lambda) bool {
				return plain(l.key) != plain(key) && !strings.HasSuffix(l.key, "-"+key)
			})
		}
	} else if len(mains) > 1 {
		whole := slices.DeleteFunc(slices.Clone(mains), func(l *lambda) bool {
			return all.beside(l, "bundle") == nil || all.beside(l, "configuration") == nil
		})
		if len(whole) > 0 {
			fits = whole
		}
	}
	if len(fits) == 1 {
		return fits[0], nil
	}
	if len(all) == 0 {
		return nil, &Error{file, 0, "there are no functions"}
	}
	choice := &Choice{File: file, Named: key}
	for _, l := range mains {
		choice.Have = append(choice.Have, l.key)
	}
	slices.Sort(choice.Have)
	return nil, choice
}

// tidyName makes a name that Lambda would take of that of a file.
func tidyName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 64)]
}
