package engine

import (
	"fmt"
)

// MaxLog bounds the log kept of one run, in bytes. Of a longer one the head and the tail are kept: the head says what
// the function started with, the tail why it ended.
const MaxLog = 256 << 10

// A transcript is what a function said in one run: what it printed in both calls, and an error it answered with. It
// may hold anything the function was shown, so it goes to the owner's vault and nowhere else.
type transcript struct {
	parts []section
}

type section struct {
	title string
	text  []byte
}

// add keeps one section; an empty one leaves no trace.
func (t *transcript) add(title string, text []byte) {
	if len(text) > 0 {
		t.parts = append(t.parts, section{title, text})
	}
}

// bytes is the log, at most MaxLog bytes. The room is shared so that a chatty bundle entry can't push out what the
// process entry said.
func (t *transcript) bytes() []byte {
	if len(t.parts) == 0 {
		return nil
	}
	const titleRoom = 128
	total := 0
	for _, p := range t.parts {
		total += len(p.text) + titleRoom
	}
	share := MaxLog
	if total > MaxLog {
		share = MaxLog/len(t.parts) - titleRoom
	}
	var log []byte
	for _, p := range t.parts {
		log = fmt.Appendf(log, "--- %s ---\n", p.title)
		log = append(log, middleDropped(p.text, share)...)
		if log[len(log)-1] != '\n' {
			log = append(log, '\n')
		}
	}
	return log
}

// middleDropped is text if it fits into limit bytes, else its head and its tail with a line between that says what is
// missing.
func middleDropped(text []byte, limit int) []byte {
	if len(text) <= limit {
		return text
	}
	const noteRoom = 64
	keep := (limit - noteRoom) / 2
	short := append([]byte(nil), text[:keep]...)
	short = fmt.Appendf(short, "\n--- %d bytes left out ---\n", len(text)-2*keep)
	return append(short, text[len(text)-keep:]...)
}
