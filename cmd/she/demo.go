package main

import (
	"github.com/spf13/cobra"

	"she/internal/demo"
)

func demoCommand() *cobra.Command {
	var data, functions, listen string
	var once bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole walk: invented data, three functions, what they found",
		Long: "Creates a HAT, starts the server, stores four months of invented data through the HTTP API, switches on the example " +
			"functions, and shows which ran, why, how long each step took, and what they found. Needs root, for the sandboxes.",
		Example: "  she demo --functions functions --once",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Show(cmd.Context(), demo.Options{
				Data: data, Functions: functions, Listen: listen, Once: once, Out: cmd.OutOrStdout(), Progress: cmd.ErrOrStderr(),
			})
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory to make and keep (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&functions, "functions", "functions", "where the example projects are")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on")
	c.Flags().BoolVar(&once, "once", false, "end after showing; exit 0 only if every derived record is right")
	return c
}
