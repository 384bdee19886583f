package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"she/internal/ownapi"
)

// A command about a HAT that is not told which says so, instead of that there is no HAT "": every command with --hat.
func TestCommandsWantAHAT(t *testing.T) {
	tried := 0
	for _, c := range leaves(rootCommand()) {
		for _, line := range c.lines {
			before, after, ok := strings.Cut(line, " --hat alice.localhost:7777")
			if !ok {
				continue
			}
			tried++
			args := exampleOf(before+after, t.TempDir(), "", "f", "01900000-0000-7000-8000-000000000000", "")
			var out, said strings.Builder
			code := run(context.Background(), strings.NewReader(""), &out, &said, args)
			if code != exitUsage || !strings.Contains(said.String(), "--hat is missing: the HAT's domain or name; she hat list shows them") {
				t.Errorf("%v: exit %d, %q", args, code, said.String())
			}
		}
	}
	if tried < 14 {
		t.Errorf("%d command lines were tried", tried)
	}
}

func TestFewRecordsOfARunAreShown(t *testing.T) {
	for written, lines := range map[int]int{0: 0, 1: 1, shownRecords: shownRecords, shownRecords + 1: shownRecords, 500: shownRecords} {
		r := ownapi.Run{}
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
