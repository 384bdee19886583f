package runtimes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The directories of the C library's locales, and of localedef's sources for them. The sources are seldom
// installed.
const (
	locales       = "/usr/lib/locale"
	localeSources = "/usr/share/i18n/locales"
)

// locale returns what gives functions the locale en_US.UTF-8, which is LANG on Lambda. If this host lacks
// it, it is created once: from the host's own sources if they are installed, else from C.UTF-8, which has
// the character classes, and the words for numbers, money and time in this package. In the second case text
// is sorted as in C.UTF-8. If the host has neither, functions get C.UTF-8.
func (f Finder) locale() (paths [][2]string, env []string) {
	const lang = "LANG=en_US.UTF-8"
	if out, err := f.Run("locale", "-a"); err == nil && slices.Contains(strings.Fields(out), "en_US.utf8") {
		return nil, []string{lang}
	}
	letters := locales + "/C.utf8"
	localedef, err := f.Look("localedef")
	if err != nil || !f.Exist(letters+"/LC_CTYPE") {
		return nil, nil
	}
	whole := f.Exist(localeSources + "/en_US")
	by := fmt.Sprintf("%s %t %s", stamp("localedef", localedef), whole, stamp("letters", letters+"/LC_CTYPE"))
	dir, err := f.compiled("locale", ".src", by, func(src string, _ []string, out string) error {
		to := filepath.Join(out, "en_US.utf8")
		if whole {
			_, err := f.Run(localedef, "--no-archive", "-i", "en_US", "-f", "UTF-8", to)
			return err
		}
		if err := os.CopyFS(to, os.DirFS(letters)); err != nil {
			return err
		}
		charmap := filepath.Join(filepath.Dir(src), "UTF-8")
		if err := os.WriteFile(charmap, ascii(), 0o600); err != nil {
			return err
		}
		// localedef reports the categories that are missing in this source, with status 1, and makes them
		// empty.
		made := filepath.Join(filepath.Dir(src), "en_US.utf8")
		_, complaint := f.Run(localedef, "--quiet", "-c", "--no-archive", "-i", filepath.Join(src, "en_US"), "-f", charmap, made)
		for _, category := range []string{"LC_NUMERIC", "LC_MONETARY", "LC_TIME"} {
			b, err := os.ReadFile(filepath.Join(made, category))
			if err != nil {
				return fmt.Errorf("%w: %w", err, complaint)
			}
			if err := os.WriteFile(filepath.Join(to, category), b, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil
	}
	return [][2]string{{dir, Lang + "/locale"}}, []string{lang, "LOCPATH=" + Lang + "/locale"}
}

// ascii returns the part of a charmap that this package's words need, under the name of the whole charmap.
func ascii() []byte {
	var b bytes.Buffer
	b.WriteString("<code_set_name> UTF-8\n<comment_char> %\n<escape_char> /\n<mb_cur_min> 1\n<mb_cur_max> 6\nCHARMAP\n")
	for c := range 128 {
		fmt.Fprintf(&b, "<U%04X> /x%02x\n", c, c)
	}
	b.WriteString("END CHARMAP\n")
	return b.Bytes()
}
