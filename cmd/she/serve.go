package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"she/internal/config"
)

const defaultListen = "127.0.0.1:7777"

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
			hangUps, stop := catchHangUps()
			defer stop()
			config, err := config.LoadServed(configFile)
			if err != nil {
				return err
			}
			data, listen = cmp.Or(data, config.Data), cmp.Or(listen, config.Listen, defaultListen)
			if data == "" {
				return usageError{errors.New("--data is missing: which data directory?")}
			}
			if data, err = filepath.Abs(data); err != nil {
				return err
			}
			moreProcs()
			limitHeap(config)
			s, err := startServer(cmd.Context(), serverOptions{data: data, listen: listen, config: config, log: os.Stderr})
			if err != nil {
				return err
			}
			printf(cmd.OutOrStdout(), "listening on http://%s\n", s.address)
			return s.untilStopped(cmd.Context(), cmd.ErrOrStderr(), hangUps)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory; made if it isn't there")
	c.Flags().StringVar(&listen, "listen", "", "address to listen on (default "+defaultListen+")")
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
