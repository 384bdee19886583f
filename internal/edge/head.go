package edge

// HeadHeader carries the head of the HAT's receipts, for callers who may read them. A kept head proves later
// that the entries before it were not rewritten.
const HeadHeader = "She-Receipts"

// TellHead puts the head into the header of an answer that has not begun. It reads the head after the
// answer's content, so that the chain up to the head includes that content. If the head can't be read, the
// answer goes out without it.
func TellHead(w *Recorder, q *Request) {
	if w.Started || !q.held || w.Header().Get(HeadHeader) != "" {
		return
	}
	if head, err := q.Vault.Head(q.Context(), q.Caller); err == nil {
		w.Header().Set(HeadHeader, head.String())
		expose(w.Header(), HeadHeader)
	}
}
