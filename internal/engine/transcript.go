package engine

import (
	"fmt"
)

// MaxLog bounds the log of one run, in bytes. Of a longer one the head and the tail are kept: the head says
// what the function started with, the tail why it ended.
const MaxLog = 256 << 10

// A transcript is what a function printed in one run, in both calls, and an error it answered. It may contain
// everything the function was shown, so it goes to the owner's vault and nowhere else.
type transcript struct {
	parts []section
}

type section struct {
	title string
	text  []byte
}

// add adds a section, unless it is empty.
func (t *transcript) add(title string, text []byte) {
	if len(text) > 0 {
		t.parts = append(t.parts, section{title, text})
	}
}

// bytes returns the log, at most MaxLog bytes. The sections share the room, so that a bundle entry that
// prints a lot can't push out the output of the process entry.
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

// middleDropped returns text if it fits into limit bytes, else its head and its tail with a line between them
// that says how much is missing.
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
