package ownapi

import (
	"errors"
	"net/http"
	"strconv"

	"she/internal/edge"
	"she/internal/receipt"
	"she/internal/vault"
)

// exportReceipts: GET /receipts?after=0. It sends JSON lines, the last of which is a signed checkpoint. With
// broken=true it exports a broken chain up to the break, without a checkpoint. With head it does what
// holdsHead does.
func (s *API) exportReceipts(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	if values.Has("head") {
		if values.Has("after") {
			return problem(http.StatusBadRequest, "Bad Request", "give head or after, not both")
		}
		return s.holdsHead(w, q, values.Get("head"))
	}
	var after int64
	if text, found := edge.First(values, "after"); found {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return problem(http.StatusBadRequest, "Bad Request", "after must be the number of an entry, or 0")
		}
	}
	text, _ := edge.First(values, "broken")
	asIs := text == "true"
	edge.TellHead(w, q) // before the snapshot begins, so that the export contains it
	lines := &lineSpool{w: w}
	if err := q.Memory.Grow(q.Context(), 2*edge.SpoolSize); err != nil {
		return err
	}
	_, err = vault.ExportReceipts(q.Context(), receiptsOf(q), q.Caller, q.HAT.Key, q.Now, after, lines)
	var broken *receipt.BrokenError
	switch {
	case errors.As(err, &broken) && asIs:
		// The entries before the break, without a checkpoint, for comparison only.
	case errors.As(err, &broken):
		return problem(http.StatusInternalServerError, "Receipts Broken", broken.Error())
	case err != nil:
		return err
	}
	return lines.flush()
}

// holdsHead: GET /receipts?head=12:9f86…. It says whether a kept head is in the chain, and returns the
// present head, to keep in its place.
func (s *API) holdsHead(w *edge.Recorder, q *edge.Request, text string) error {
	kept, err := receipt.ParseHead(text)
	if err != nil {
		return problem(http.StatusBadRequest, "Bad Request", err.Error())
	}
	now, broken, err := vault.HoldsHead(q.Context(), receiptsOf(q), q.Caller, kept)
	if err != nil {
		return err
	}
	view := HeldHead{Holds: broken == nil, Head: now.String()}
	if broken != nil {
		view.Broken = &Broken{broken.Number, broken.What}
	}
	edge.WriteJSON(w, http.StatusOK, view)
	return nil
}

// A Proof says whether a HAT's chain of receipts is complete and unchanged, and whether its records match the
// chain.
type Proof struct {
	Whole      bool                `json:"whole"`
	Broken     *Broken             `json:"broken,omitempty"`
	Records    *receipt.Comparison `json:"records,omitempty"`
	Checkpoint *receipt.Checkpoint `json:"checkpoint,omitempty"`
}

// A HeldHead says whether a kept head is in the chain, and what the present head is.
type HeldHead struct {
	Holds  bool    `json:"holds"`
	Head   string  `json:"head"`
	Broken *Broken `json:"broken,omitempty"`
}

// A Broken names the first changed entry of a chain.
type Broken struct {
	Number int64  `json:"number"`
	What   string `json:"what"`
}

// A lineSpool, like edge.Spool, keeps a slow client from holding the vault's snapshot open.
type lineSpool struct {
	w   *edge.Recorder
	buf []byte
}

func (l *lineSpool) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	if len(l.buf) < edge.SpoolSize {
		return len(b), nil
	}
	return len(b), l.flush()
}

func (l *lineSpool) flush() error {
	if !l.w.Started {
		if err := l.w.Still(); err != nil {
			return err
		}
		edge.JSONHeaders(l.w.Header())
		l.w.Header().Set("Content-Type", "application/jsonl")
	}
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// verifyReceipts: POST /receipts/verify. A broken chain, or records that differ from it, is a result and not
// an error.
func (s *API) verifyReceipts(w *edge.Recorder, q *edge.Request) error {
	last, compared, err := vault.VerifyReceipts(q.Context(), receiptsOf(q), q.Caller, q.HAT.Key, q.Now, q.Grow)
	var broken *receipt.BrokenError
	switch {
	case errors.As(err, &broken):
		edge.WriteJSON(w, http.StatusOK, Proof{Broken: &Broken{broken.Number, broken.What}})
	case err != nil:
		return err
	default:
		edge.WriteJSON(w, http.StatusOK, Proof{Whole: compared.Whole(), Records: &compared, Checkpoint: &last})
	}
	return nil
}
