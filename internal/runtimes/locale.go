package runtimes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Where a C library keeps its locales, and what localedef makes them of; the latter is seldom installed.
const (
	locales       = "/usr/lib/locale"
	localeSources = "/usr/share/i18n/locales"
)

// locale gives functions en_US.UTF-8, which is LANG on Lambda. Where this host lacks it, it is made here, once: of the
// host's own sources if it has them, and else of C.UTF-8, which has the letters, and of our words for numbers, money and
// time; then text is sorted as in C.UTF-8. A host with none of these gives functions C.UTF-8.
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
		// It complains about the categories that are not in our source, with status 1, and makes them empty.
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

// ascii is as much of a charmap as our words need, under the name of the whole.
func ascii() []byte {
	var b bytes.Buffer
	b.WriteString("<code_set_name> UTF-8\n<comment_char> %\n<escape_char> /\n<mb_cur_min> 1\n<mb_cur_max> 6\nCHARMAP\n")
	for c := range 128 {
		fmt.Fprintf(&b, "<U%04X> /x%02x\n", c, c)
	}
	b.WriteString("END CHARMAP\n")
	return b.Bytes()
}
