//go:build edited

package main

import (
	"gvisor.dev/gvisor/pkg/sentry/mm"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
)

// sharing says that a sandbox's kernel can have pages of a snapshot in common with others: gVisor was edited for it.
const sharing = true

// useSnapshot has the kernel of this process restore memory by mapping a snapshot's pages, copied when written.
func useSnapshot(fd int) error {
	if err := mm.UseSnapshot(fd); err != nil {
		return err
	}
	pgalloc.HoldPages()
	return nil
}
