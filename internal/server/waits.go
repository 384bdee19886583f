package server

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"she/internal/durable"
	"she/internal/engine"
	"she/internal/hat"
)

// waitsFile stores the engine's order of waiting HATs over a restart: one line for each HAT,
// "1700000000000000 ID", with the time in microseconds since 1970. It contains no person's data. It is a
// hint, so it is not synced, and unreadable lines are skipped.
type waitsFile string

const (
	agesName     = "waiting"
	maxWaitsFile = 64 << 20
	maxWaitsLine = 128
)

func waitsIn(data string) waitsFile { return waitsFile(filepath.Join(data, agesName)) }

// Waits: see engine.Waits.
func (f waitsFile) Waits() []engine.Wait {
	info, err := os.Stat(string(f))
	if err != nil || info.Size() > maxWaitsFile {
		return nil
	}
	text, err := os.ReadFile(string(f))
	if err != nil {
		return nil
	}
	return parseWaits(text)
}

func parseWaits(text []byte) (all []engine.Wait) {
	for line := range bytes.Lines(text) {
		at, id, found := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		micros, err := strconv.ParseInt(at, 10, 64)
		if !found || err != nil || micros <= 0 || id == "" || len(line) > maxWaitsLine {
			continue
		}
		all = append(all, engine.Wait{HAT: hat.ID(id), Since: time.UnixMicro(micros).UTC()})
	}
	return all
}

// KeepWaits: see engine.Waits. After a crash the file is either the old or the new one.
func (f waitsFile) KeepWaits(all []engine.Wait) error {
	err := durable.Replace(string(f), func(w io.Writer) (err error) {
		for _, a := range all {
			if err == nil {
				_, err = fmt.Fprintf(w, "%d %s\n", a.Since.UnixMicro(), a.HAT)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("store the order of waiting HATs: %w", err)
	}
	return nil
}
