package main

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"she/internal/config"
	"she/internal/server"
)

func serveCommand() *cobra.Command {
	var data, listen, configFile string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server in the foreground",
		Long: "Serves the HATs of a data directory and runs their functions. Prints where it listens, answers GET /healthz when it is " +
			"ready, and stops cleanly on SIGTERM or Ctrl-C: runs in flight end or are given back, nothing is lost.",
		Example: "  she serve --data /var/lib/she --listen 127.0.0.1:7777 --config she.yaml",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			hangUps, stop := server.CatchHangUps()
			defer stop()
			config, err := config.LoadServed(configFile)
			if err != nil {
				return err
			}
			data, listen = cmp.Or(data, config.Data), cmp.Or(listen, config.Listen, server.DefaultListen)
			if data == "" {
				return usageError{errors.New("--data is missing: which data directory?")}
			}
			if data, err = filepath.Abs(data); err != nil {
				return err
			}
			moreProcs()
			server.LimitHeap(config)
			s, err := server.Start(cmd.Context(), server.Options{Data: data, Listen: listen, Config: config, Log: plainLines{os.Stderr}})
			if err != nil {
				return err
			}
			printf(cmd.OutOrStdout(), "listening on http://%s\n", s.Address)
			return s.UntilStopped(cmd.Context(), lateTo(cmd.ErrOrStderr()), hangUps)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory; made if it isn't there")
	c.Flags().StringVar(&listen, "listen", "", "address to listen on (default "+server.DefaultListen+")")
	c.Flags().StringVar(&configFile, "config", "", "she.yaml: which functions are registered, and limits")
	return c
}

// moreProcs lets more goroutines run at once than there are processors. SQLite waits for the disk in system calls, and
// while one waits Go keeps its share of a processor idle for a while: on two processors thirty-two people who write
// were served at half the rate. GOMAXPROCS in the environment has the last word.
func moreProcs() {
	const waiting = 8 // for the disk, at once
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + waiting)
	}
}

// lateTo tells that stopping takes too long.
func lateTo(w io.Writer) func(string) { return func(text string) { printf(w, "she: %s\n", text) } }
