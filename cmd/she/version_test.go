package main

import (
	"bytes"
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionOf(t *testing.T) {
	got := versionOf(&debug.BuildInfo{GoVersion: "go1.26.1", Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-03-04T09:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}})
	if got.Version != "(devel)" || got.Commit != "abc" || !got.Modified || got.Go != "1.26.1" || got.Time == "" {
		t.Errorf("%+v", got)
	}
}

// It needs no data directory, no server and no rights.
func TestVersionCommand(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), strings.NewReader(""), &out, &errs, []string{"version", "-o", "json"}); code != exitOK {
		t.Fatalf("%d: %s", code, &errs)
	}
	var v version
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Version == "" || v.Go == "" || !strings.Contains(v.Platform, "/") {
		t.Errorf("%s, %v", &out, err)
	}
}
