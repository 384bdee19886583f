package main

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"she/internal/config"
	"she/internal/server"
	"she/internal/terminal"
)

func serveCommand() *cobra.Command {
	var data, listen, configFile string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server in the foreground",
		Long: "Serves the HATs of a data directory and runs their functions. Prints the address it listens on, and " +
			"answers GET /healthz when it is ready. Stops cleanly on SIGTERM or Ctrl-C: runs in flight end or are " +
			"given back, and nothing is lost.",
		Example: "  she serve --data /var/lib/she --listen 127.0.0.1:7777 --config she.yaml",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			hangUps, stop := server.CatchHangUps()
			defer stop()
			config, err := config.LoadServed(cmd.Context(), configFile)
			if err != nil {
				return err
			}
			data, listen = cmp.Or(data, config.Data), cmp.Or(listen, config.Listen, server.DefaultListen)
			if data == "" {
				return usageError{errors.New("--data is missing: the data directory")}
			}
			if data, err = filepath.Abs(data); err != nil {
				return err
			}
			server.MoreProcs()
			server.LimitHeap(config)
			s, err := server.Start(cmd.Context(), server.Options{
				Data:   data,
				Listen: listen,
				Config: config,
				Log:    terminal.Lines{To: os.Stderr},
			})
			if err != nil {
				return err
			}
			terminal.Printf(cmd.OutOrStdout(), "listening on http://%s\n", s.Address)
			return s.UntilStopped(cmd.Context(), lateTo(cmd.ErrOrStderr()), hangUps)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory; created if it does not exist")
	c.Flags().StringVar(&listen, "listen", "", "address to listen on (default "+server.DefaultListen+")")
	c.Flags().StringVar(&configFile, "config", "", "she.yaml, with the registered functions and limits")
	return c
}

// lateTo returns a function that reports that stopping takes too long.
func lateTo(w io.Writer) func(string) {
	return func(text string) { terminal.Printf(w, "she: %s\n", text) }
}
