package httpapi

import (
	"errors"
	"net/http"
	"time"
)

// A Seal is what a test of the walls found on this machine: each thing hostile code tried, and whether it got through.
type Seal struct {
	Text      string            `json:"text"`            // "63 of 63 probes blocked, 2026-11-23"
	Stale     string            `json:"stale,omitempty"` // why it says nothing about the machine as it is now
	At        time.Time         `json:"at"`
	Blocked   int               `json:"blocked"`
	Provable  int               `json:"provable"`  // those that succeed here without the walls
	Mechanism string            `json:"mechanism"` // those that were tested: "gvisor, wasm"
	Versions  map[string]string `json:"versions"`  // of the kernel, and digests of the programs
	Probes    []SealProbe       `json:"probes"`
}

// A SealProbe is one attempt.
type SealProbe struct {
	Name     string `json:"name"`
	Channel  string `json:"channel"`
	Tries    string `json:"tries"`
	Observer string `json:"observer"`
	Outcome  string `json:"outcome"` // blocked, open, not provable, broken
	Evidence string `json:"evidence,omitempty"`
}

// ErrNoSeal says that the walls were not tested here yet.
var ErrNoSeal = errors.New("the walls were not tested on this machine")

func (s *server) getSeal(w *recorder, _ *request) error {
	if s.Seal == nil {
		return problem(http.StatusNotFound, "Not Tested", ErrNoSeal.Error())
	}
	seal, err := s.Seal()
	if errors.Is(err, ErrNoSeal) {
		return problem(http.StatusNotFound, "Not Tested", "the operator has not run she doctor --seal")
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, seal)
	return nil
}
