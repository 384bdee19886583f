// Package wasm runs functions compiled to WebAssembly, WASI preview 1 commands: the event is the program's standard
// input, its standard output the answer, its standard error the log. Each event has a process of its own (she-wasm,
// package worker) that has loaded the module, and run it to where it asks for its event, before there is any data; it
// is gone after that one. ADR 0013 says why, package worker what stands between the module and the machine.
//
// On the host an instance is two processes in a cgroup of its own and nothing on disk. Its deadline is a SIGKILL, its
// memory the limit of the module's own, with that of the cgroup behind it. What a module is compiled to is kept on disk,
// known by the module's digest.
package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
	"she/internal/sandbox/cgroup"
)

// Config says where things are. All paths are absolute.
type Config struct {
	Worker     string // she-wasm
	State      string // a directory of our own
	ImageBytes int64  // of all modules kept compiled; 0 means DefaultImageBytes
	Rootless   bool   // as in package gvisor
}

// DefaultImageBytes is enough for some sixty large modules.
const DefaultImageBytes = 1 << 30

// patience bounds ending processes.
const patience = 10 * time.Second

// Mechanism makes instances of WebAssembly modules. It must run as root: it makes cgroups and user namespaces.
type Mechanism struct {
	worker string
	cg     *cgroup.Tree
	images *images
	lock   *os.File
	next   atomic.Uint64
}

var _ sandbox.Mechanism = (*Mechanism)(nil)

// New prepares the directory and takes a lock on it, so that no two servers sweep each other's instances. It starts
// nothing.
func New(c Config) (*Mechanism, error) {
	if os.Geteuid() != 0 && !c.Rootless {
		return nil, errors.New("sandboxes need root: cgroups and namespaces are made for each")
	}
	info, err := os.Stat(c.Worker)
	if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("she-wasm is not at %s; build it with: make build", c.Worker)
	}
	m := &Mechanism{worker: c.Worker}
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return nil, err
	}
	if m.lock, err = os.OpenFile(filepath.Join(c.State, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(m.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another server uses %s", c.State), m.lock.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	hash := sha256.Sum256([]byte(c.State))
	if c.Rootless {
		m.cg = cgroup.Watch(func(name string) string { return name }) // each is started here, and so known
	} else if m.cg, err = cgroup.Open(ctx, "she-"+hex.EncodeToString(hash[:5]), filepath.Join(c.State, "cgroups")); err != nil {
		return nil, errors.Join(err, m.lock.Close())
	}
	if c.ImageBytes <= 0 {
		c.ImageBytes = DefaultImageBytes
	}
	stamp := fmt.Sprintf("%d.%d", info.Size(), info.ModTime().UnixNano())
	if m.images, err = openImages(m, filepath.Join(c.State, "images"), stamp, c.ImageBytes); err != nil {
		return nil, errors.Join(err, m.cg.Close(ctx), m.lock.Close())
	}
	return m, nil
}

// Sweep implements sandbox.Mechanism.
func (m *Mechanism) Sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := errors.Join(m.cg.Sweep(ctx), m.images.sweep()); err != nil {
		return fmt.Errorf("sweep WebAssembly instances: %w", err)
	}
	return m.cg.Forget()
}

// Close implements sandbox.Mechanism. The images stay for another life.
func (m *Mechanism) Close() error {
	m.images.close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(m.cg.Close(ctx), m.lock.Close())
}

func (m *Mechanism) newName() string { return strconv.FormatUint(m.next.Add(1), 36) }
