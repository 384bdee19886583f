package edge

import (
	"crypto/rand"
	"crypto/rsa"
	"time"

	"she/internal/directory"
	"she/internal/hat"
)

// canary is in what the tests store. It must never be in what the server logs.
const canary = "canary-7f3a91"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Two keys serve all tests: making one takes longer than most tests do.
var (
	key      = must(rsa.GenerateKey(rand.Reader, 2048))
	otherKey = must(rsa.GenerateKey(rand.Reader, 2048))
	morning  = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
)

func bob() directory.HAT {
	return directory.HAT{ID: "bob-id", Domain: must(hat.ParseDomain("bob.test:9000")), Key: key}
}

// oneHAT is a directory of bob's alone.
type oneHAT struct{}

func (oneHAT) ByDomain(hat.Domain) (directory.HAT, error) { return bob(), nil }
func (oneHAT) ByID(hat.ID) (directory.HAT, error)         { return bob(), nil }
func (oneHAT) List() []directory.HAT                      { return []directory.HAT{bob()} }
