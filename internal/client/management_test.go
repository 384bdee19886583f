package client

import (
	"errors"
	"io"
	"net/http"
	"testing"
)

// An answer that ends half-way is an error of the command and not a panic, as over the socket.
func TestAnAnswerThatIsCutOffInThisProcess(t *testing.T) {
	m := In(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}))
	if err := m.Call(t.Context(), http.MethodGet, "/", nil, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
