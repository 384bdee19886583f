package runtimeapi

import (
	"fmt"
	"sync"
)

// HeadTail keeps the first and the last half of limit bytes of what is written to it. Errors stand at the end of a
// log and causes at its beginning; the middle is what can be missed. It may be used concurrently.
type HeadTail struct {
	mu      sync.Mutex
	limit   int
	head    []byte
	tail    []byte // a ring once it is full
	next    int    // where the ring is written next
	dropped int64  // bytes that fell between head and tail
}

// NewHeadTail keeps limit bytes; memory is taken as it is needed.
func NewHeadTail(limit int) *HeadTail { return &HeadTail{limit: limit} }

// Write never fails and never blocks.
func (h *HeadTail) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(p)
	if room := h.limit/2 - len(h.head); room > 0 && h.dropped == 0 && len(h.tail) == 0 {
		take := min(room, len(p))
		h.head = append(h.head, p[:take]...)
		p = p[take:]
	}
	ring := h.limit - h.limit/2
	if over := len(p) - ring; over > 0 { // only its end can stay
		h.dropped += int64(len(h.tail) + over)
		h.tail, h.next = append(h.tail[:0], p[over:]...), 0
		return n, nil
	}
	if grow := min(ring-len(h.tail), len(p)); grow > 0 {
		h.tail = append(h.tail, p[:grow]...)
		p = p[grow:]
	}
	for len(p) > 0 {
		c := copy(h.tail[h.next:], p)
		h.dropped += int64(c)
		h.next = (h.next + c) % ring
		p = p[c:]
	}
	return n, nil
}

// Skip notes that n bytes were left out by the writer, here.
func (h *HeadTail) Skip(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n > 0 {
		h.dropped += n + int64(len(h.tail))
		h.tail, h.next = h.tail[:0], 0
	}
}

// Bytes is what was kept, with a line of ours where something was dropped.
func (h *HeadTail) Bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := append([]byte{}, h.head...)
	if h.dropped > 0 {
		out = fmt.Appendf(out, "\n[%d bytes dropped here]\n", h.dropped)
	}
	return append(out, h.tailBytes()...)
}

// headIsFull says that what comes next is not in the head.
func (h *HeadTail) headIsFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.head) == h.limit/2
}

// tailBytes puts the ring in order: once it is full, its oldest byte is at next.
func (h *HeadTail) tailBytes() []byte {
	return append(append([]byte{}, h.tail[h.next:]...), h.tail[:h.next]...)
}
