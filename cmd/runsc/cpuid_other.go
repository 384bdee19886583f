//go:build !amd64

package main

// Only amd64's instruction for it stops a virtual machine.

func features() []string { return nil }

func takeFeatures(args []string) ([]string, error) { return args, nil }
