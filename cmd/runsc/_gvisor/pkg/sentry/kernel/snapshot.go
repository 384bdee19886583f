package kernel

import (
	"gvisor.dev/gvisor/pkg/sentry/mm"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
)

// shareSnapshot has restored memory start from a snapshot that others have too, if there is one. What of it is needed besides
// is read then.
//
// Preconditions: The kernel must be paused, and no page have been read.
func (k *Kernel) shareSnapshot() {
	if !mm.HasSnapshot() {
		return
	}
	defer pgalloc.ReadPages()
	shared := map[*mm.MemoryManager]bool{}
	k.tasks.mu.RLock()
	defer k.tasks.mu.RUnlock()
	for t := range k.tasks.Root.tids {
		if m := t.image.MemoryManager; m != nil && !shared[m] {
			m.ShareSnapshot()
			shared[m] = true
		}
	}
}
