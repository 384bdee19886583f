package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// A terminal asks once for a password that exists, and twice for a new one.
func TestATerminalAsksForAPassword(t *testing.T) {
	for _, c := range []struct {
		name     string
		ask      func(*cobra.Command, bool) (string, error)
		typed    string
		prompts  string
		password string
		refused  string
	}{
		{"an existing one", readPassword, "tallowfield\n", "Password: \n", "tallowfield", ""},
		{"a new one", choosePassword, "tallowfield\ntallowfield\n", "Password: \nAgain: \n", "tallowfield", ""},
		{"two that differ", choosePassword, "tallowfield\ntallow field\n", "Password: \nAgain: \n", "", "the two passwords differ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keyboard := openTerminal(t)
			var shown bytes.Buffer
			cmd := new(cobra.Command)
			cmd.SetErr(&shown)
			if _, err := keyboard.WriteString(c.typed); err != nil {
				t.Fatal(err)
			}
			got, err := c.ask(cmd, false)
			if shown.String() != c.prompts {
				t.Errorf("asked %q", shown.String())
			}
			switch {
			case c.refused != "":
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v", err)
				}
			case err != nil || got != c.password:
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// openTerminal makes a terminal the standard input, and returns its keyboard.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	former := os.Stdin
	os.Stdin = screen
	t.Cleanup(func() {
		os.Stdin = former
		screen.Close()
	})
	return keyboard
}
