// Command she is the Smart HAT Engine: the server and the tools beside it.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"she/internal/client"
	"she/internal/config"
	"she/internal/ownapi"
	"she/internal/sandbox"
	"she/internal/server"
	"she/internal/terminal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if err := sandbox.LeaveNoCore(); err != nil { // a core dump would contain data of vaults and events
		terminal.Printf(os.Stderr, "she: %v; if this program crashes, its memory may be written to the disk\n", err)
	}
	code := run(ctx, os.Stdin, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	os.Exit(code)
}

// Exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for could not be done; one line on stderr says why
	exitUsage  = 2 // the command line itself was wrong
)

// usageError marks an error of the command line.
type usageError struct{ error }

// statusError is the exit status of this program when it ran again, for a user without root.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// run is the whole program, without the process around it.
func run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args []string) int {
	root := rootCommand()
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args)

	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var config *config.Error
	if errors.As(err, &config) {
		for line := range strings.SplitSeq(config.Error(), "\n") {
			terminal.Printf(stderr, "she: %s\n", line)
		}
		return exitFailed
	}
	var status statusError
	if errors.As(err, &status) {
		return int(status) // who ended with it has said why
	}
	terminal.Printf(stderr, "she: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	var usage usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	return exitFailed
}

// rootCommand returns the command `she` with all its subcommands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "she",
		Short:         "The Smart HAT Engine: runs other people's algorithms over one person's data, in sandboxes",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringP("output", "o", "text", "how to print results: text or json")
	root.AddCommand(versionCommand(), with(creating, serveCommand()), hatCommand(), functionCommand(), runsCommand(), receiptsCommand(), dataCommand(), accessKeyCommand(), buildCommand(), invokeCommand(), with(creating, demoCommand()), doctorCommand())
	return root
}

// exactArgs is like cobra.ExactArgs, but with the exit code of a wrong command line.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s wants %s; see %s --help", cmd.CommandPath(), what, cmd.CommandPath())}
		}
		return nil
	}
}

// A command declares its effect on a data directory with this annotation: changing or creating. Without it,
// it only reads.
const effectKey, changing, creating = "effect", "changes", "creates"

func with(effect string, c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{effectKey: effect}
	return c
}

// group returns a command that only contains subcommands. Alone, or with an unknown word, it is a wrong
// command line.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("%s wants a subcommand; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
		}
		return usageError{fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath())}
	}}
	c.AddCommand(sub...)
	return c
}

// manage connects to the management API of a data directory.
func manage(ctx context.Context, dir, configFile string, does server.Effect) (*client.Management, error) {
	if dir == "" {
		return nil, usageError{errors.New("--data is missing: the data directory")}
	}
	return client.Reach(ctx, dir, configFile, does)
}

// ask sends one request of a command to the management API of dir; see client.Reach. head is the head of the
// receipts of the HAT in question.
func ask(ctx context.Context, dir, configFile, method, path string, in, out any) (head string, err error) {
	does := server.Changes
	switch {
	case method == http.MethodGet:
		does = server.Reads
	case method == http.MethodPost && path == "/hats":
		does = server.Creates
	}
	m, err := manage(ctx, dir, configFile, does)
	if err != nil {
		return "", err
	}
	defer m.Close()
	err = m.Call(ctx, method, path, in, out)
	return m.Head, err
}

// wantsHAT makes a command without a HAT say that the option is missing, and not that the HAT "" does not
// exist.
func wantsHAT(c *cobra.Command, hatName *string, unless ...*string) {
	do := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if *hatName == "" && !slices.ContainsFunc(unless, func(s *string) bool { return *s != "" }) {
			return usageError{errors.New("--hat is missing: the HAT's domain or name; she hat list shows them")}
		}
		return do(cmd, args)
	}
}

// ofFunction adds the id of an unknown function to the error.
func ofFunction(id string, err error) error {
	if p := (&client.Problem{}); errors.As(err, &p) && p.Title == ownapi.FunctionNotFound {
		return fmt.Errorf("no function %s is installed or was ever enabled; she function list shows the installed ones", id)
	}
	return err
}

func functionPath(hatName, function string) string {
	return client.OwnPath(hatName) + "/functions/" + url.PathEscape(function)
}

// readPassword takes an existing password from the first line of standard input, or asks for it at the
// terminal.
func readPassword(cmd *cobra.Command, fromStdin bool) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usageError{errors.New("there is no terminal to ask for a password: use --password-stdin")}
	}
	return promptPassword(cmd, "Password: ")
}

// choosePassword reads a new password like readPassword. A terminal asks twice, because the input is
// invisible.
func choosePassword(cmd *cobra.Command, fromStdin bool) (string, error) {
	first, err := readPassword(cmd, fromStdin)
	if err != nil || fromStdin {
		return first, err
	}
	second, err := promptPassword(cmd, "Again: ")
	if err == nil && first != second {
		err = errors.New("the two passwords differ")
	}
	return second, err
}

func promptPassword(cmd *cobra.Command, prompt string) (string, error) {
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	return string(b), err
}
