package httpapi

import (
	"errors"
	"net/http"
	"strconv"

	"she/internal/receipt"
	"she/internal/vault"
)

// HeadHeader has the head of the HAT's receipts, for who may read them. Kept, it proves later that nothing of before was
// written anew.
const HeadHeader = "She-Receipts"

// tellHead puts the head into an answer that has not begun. It is read after what the answer says, so that this lies in the
// chain up to it. An answer without it is as good: nobody is left without what they asked for.
func tellHead(w *recorder, q *request) {
	if w.started || !q.held || w.Header().Get(HeadHeader) != "" {
		return
	}
	if head, err := q.vault.Head(q.Context(), q.caller); err == nil {
		w.Header().Set(HeadHeader, head.String())
		expose(w.Header(), HeadHeader)
	}
}

// exportReceipts: GET /receipts?after=0. JSON lines, the last a signed checkpoint; with broken=true, of a chain that is not whole
// what comes before the break, without one. With head it is holdsHead.
func (s *server) exportReceipts(w *recorder, q *request) error {
	values, err := q.query()
	if err != nil {
		return err
	}
	if values.Has("head") {
		if values.Has("after") {
			return problem(http.StatusBadRequest, "Bad Request", "head and after don't go together")
		}
		return s.holdsHead(w, q, values.Get("head"))
	}
	var after int64
	if text, found := first(values, "after"); found {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return problem(http.StatusBadRequest, "Bad Request", "after must be the number of an entry, or 0")
		}
	}
	text, _ := first(values, "broken")
	asIs := text == "true"
	tellHead(w, q) // before there is a snapshot: so the export holds it
	lines := &lineSpool{w: w}
	if err := q.memory.Grow(q.Context(), 2*spoolSize); err != nil {
		return err
	}
	_, err = vault.ExportReceipts(q.Context(), q.vault, q.caller, q.hat.Key, q.now, after, lines)
	var broken *receipt.BrokenError
	switch {
	case errors.As(err, &broken) && asIs:
		// What comes before it, without a checkpoint: to be compared, not to be believed.
	case errors.As(err, &broken):
		return problem(http.StatusInternalServerError, "Receipts Broken", broken.Error())
	case err != nil:
		return err
	}
	return lines.flush()
}

// holdsHead: GET /receipts?head=12:9f86…: whether a head that the owner kept lies in the chain, and the head of now, to be
// kept in its place.
func (s *server) holdsHead(w *recorder, q *request, text string) error {
	kept, err := receipt.ParseHead(text)
	if err != nil {
		return problem(http.StatusBadRequest, "Bad Request", err.Error())
	}
	now, broken, err := vault.HoldsHead(q.Context(), q.vault, q.caller, kept)
	if err != nil {
		return err
	}
	view := HeldHead{Holds: broken == nil, Head: now.String()}
	if broken != nil {
		view.Broken = &Broken{broken.Number, broken.What}
	}
	writeJSON(w, http.StatusOK, view)
	return nil
}

// A Proof says whether a HAT's chain of receipts is whole, and its records what the chain says.
type Proof struct {
	Whole      bool                `json:"whole"`
	Broken     *Broken             `json:"broken,omitempty"`
	Records    *receipt.Comparison `json:"records,omitempty"`
	Checkpoint *receipt.Checkpoint `json:"checkpoint,omitempty"`
}

// A HeldHead says whether a head that somebody kept lies in the chain, and what the head is now.
type HeldHead struct {
	Holds  bool    `json:"holds"`
	Head   string  `json:"head"`
	Broken *Broken `json:"broken,omitempty"`
}

// A Broken is the first entry of a chain that is not what it was.
type Broken struct {
	Number int64  `json:"number"`
	What   string `json:"what"`
}

// A lineSpool keeps a vault's snapshot from waiting for a client, as spool does.
type lineSpool struct {
	w   *recorder
	buf []byte
}

func (l *lineSpool) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	if len(l.buf) < spoolSize {
		return len(b), nil
	}
	return len(b), l.flush()
}

func (l *lineSpool) flush() error {
	if !l.w.started {
		if err := l.w.still(); err != nil {
			return err
		}
		jsonHeaders(l.w.Header())
		l.w.Header().Set("Content-Type", "application/jsonl")
	}
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// verifyReceipts: POST /receipts/verify. That the chain is broken, or that records are not what it says, is an answer, not
// an error.
func (s *server) verifyReceipts(w *recorder, q *request) error {
	last, compared, err := vault.VerifyReceipts(q.Context(), q.vault, q.caller, q.hat.Key, q.now, q.grow)
	var broken *receipt.BrokenError
	switch {
	case errors.As(err, &broken):
		writeJSON(w, http.StatusOK, Proof{Broken: &Broken{broken.Number, broken.What}})
	case err != nil:
		return err
	default:
		writeJSON(w, http.StatusOK, Proof{Whole: compared.Whole(), Records: &compared, Checkpoint: &last})
	}
	return nil
}
