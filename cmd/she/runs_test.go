package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// A command about runs that is not told which HAT says so, instead of that there is no HAT "".
func TestRunsWantAHAT(t *testing.T) {
	for _, args := range [][]string{
		{"ls"}, {"show", "r"}, {"why"}, {"replay", "r"}, {"cancel", "r"}, {"skip", "r"},
	} {
		var out, said strings.Builder
		code := run(context.Background(), strings.NewReader(""), &out, &said, append([]string{"runs", "--data", t.TempDir()}, args...))
		if code != exitUsage || !strings.Contains(said.String(), "--hat is missing") {
			t.Errorf("%v: exit %d, %q", args, code, said.String())
		}
	}
}

func TestFewRecordsOfARunAreShown(t *testing.T) {
	for written, lines := range map[int]int{0: 0, 1: 1, shownRecords: shownRecords, shownRecords + 1: shownRecords, 500: shownRecords} {
		r := runView{}
		for i := range written {
			r.Written = append(r.Written, fmt.Sprint("id", i))
		}
		var out strings.Builder
		printRun(&out, r, false)
		if got := strings.Count(out.String(), "\nrecord "); got != lines {
			t.Errorf("of %d records %d are shown, want %d", written, got, lines)
		}
		said := fmt.Sprintf("and %d more", written-shownRecords)
		if strings.Contains(out.String(), said) != (written > shownRecords) {
			t.Errorf("of %d records: %s", written, out.String())
		}
	}
}
