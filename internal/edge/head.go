package edge

// HeadHeader has the head of the HAT's receipts, for who may read them. Kept, it proves later that nothing of before was
// written anew.
const HeadHeader = "She-Receipts"

// TellHead puts the head into an answer that has not begun. It is read after what the answer says, so that this lies in the
// chain up to it. An answer without it is as good: nobody is left without what they asked for.
func TellHead(w *Recorder, q *Request) {
	if w.Started || !q.held || w.Header().Get(HeadHeader) != "" {
		return
	}
	if head, err := q.Vault.Head(q.Context(), q.Caller); err == nil {
		w.Header().Set(HeadHeader, head.String())
		expose(w.Header(), HeadHeader)
	}
}
