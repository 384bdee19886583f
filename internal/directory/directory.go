// Package directory knows which HATs there are: their domains, their keys, where each vault lies. It also holds the
// data directory itself: one process at a time, one format version.
package directory

import (
	"crypto/rsa"
	"errors"
	"time"

	"she/internal/hat"
)

var (
	ErrNotFound = errors.New("no such HAT")
	ErrExists   = errors.New("a HAT with this domain exists")
	ErrInUse    = errors.New("another process is using the data directory")
	ErrNewer    = errors.New("the data directory was written by a newer version")
)

// A HAT is one entry of the directory.
type HAT struct {
	ID      string // random; names the vault's file; says nothing about the person
	Domain  hat.Domain
	Key     *rsa.PrivateKey
	Created time.Time
}
