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
		Short: "Run a demo: invented data, three functions and their results",
		Long: "Creates a HAT, starts the server, stores four months of invented data through the HTTP API and enables " +
			"the example functions. Then shows which functions ran, why, how long each step took, and what they " +
			"found. Needs root for the sandboxes.",
		Example: "  she demo --functions functions --once",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Show(cmd.Context(), demo.Options{
				Data: data, Functions: functions, Listen: listen, Once: once, Out: cmd.OutOrStdout(), Progress: cmd.ErrOrStderr(),
			})
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory to create and keep (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&functions, "functions", "functions", "directory of the example projects")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on")
	c.Flags().BoolVar(&once, "once", false, "exit after the results, with 0 only if every derived record is right")
	return c
}
