// Command she is the Smart HAT Engine: the server and the tools beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"she/internal/config"
	"she/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if err := sandbox.LeaveNoCore(); err != nil { // vaults are in this process's memory, and its children hold events
		printf(os.Stderr, "she: %v; if this program crashes, what it knows may be written to the disk\n", err)
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

// run is the whole program but for the process around it.
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
			printf(stderr, "she: %s\n", line)
		}
		return exitFailed
	}
	printf(stderr, "she: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	var usage usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	return exitFailed
}

// rootCommand is she with all its commands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "she",
		Short:         "The Smart HAT Engine: runs other people's algorithms over one person's data, sealed",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringP("output", "o", "text", "how to print results: text or json")
	root.AddCommand(with(creating, serveCommand()), hatCommand(), functionCommand(), runsCommand(), receiptsCommand(), dataCommand(), with(creating, demoCommand()), doctorCommand())
	return root
}

// exactArgs is cobra's, with the exit code of a wrong command line.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s wants %s; see %s --help", cmd.CommandPath(), what, cmd.CommandPath())}
		}
		return nil
	}
}

// A command says what it does to a data directory with this annotation, changing or creating; one without it only reads.
const effectKey, changing, creating = "effect", "changes", "creates"

func with(effect string, c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{effectKey: effect}
	return c
}

// group is a command that only holds others: alone, or with an unknown word, it is a wrong command line.
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
