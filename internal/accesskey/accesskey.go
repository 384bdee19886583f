// Package accesskey keeps the keys with which programs call functions through AWS Lambda's API. A key has an
// id, which is public, and a secret, which signs requests. A key reaches the functions it names, and no HAT.
//
// The package knows neither HTTP nor signatures; package lambdaapi does.
package accesskey

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"she/internal/durable"
	"she/internal/hat"
)

// Errors callers may branch on.
var (
	ErrNotFound = errors.New("there is no such access key")
	ErrTooMany  = fmt.Errorf("there are %d access keys already; delete one first", mostKeys)
)

const (
	mostKeys      = 1000
	mostFunctions = 1000
	mostNote      = 200       // bytes
	maxFile       = 256 << 20 // more than so many keys of so many functions take
)

// A Key is one access key.
type Key struct {
	ID        string           `json:"id"` // 20 upper-case letters and digits, as at AWS
	Secret    string           `json:"secret"`
	Functions []hat.FunctionID `json:"functions"` // by id; nil: all, also those registered later
	Note      string           `json:"note,omitempty"`
	Created   time.Time        `json:"created"`
}

// Reaches reports whether the key may call the function, through all its entries.
func (k Key) Reaches(f hat.FunctionID) bool {
	return k.Functions == nil || slices.Contains(k.Functions, f)
}

// Keys holds the keys of one data directory. Its methods are safe for concurrent use.
type Keys struct {
	path string
	mu   sync.RWMutex
	all  map[string]Key
}

// idPattern matches what AWS's clients accept as the id of a key.
var idPattern = regexp.MustCompile(`^[A-Z0-9]{16,128}$`)

// Open reads the keys of a data directory, which may have none. Only the holder of the directory's lock may
// change keys.
func Open(dir string) (*Keys, error) {
	k := &Keys{path: filepath.Join(dir, "access-keys.json"), all: map[string]Key{}}
	f, err := os.Open(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	} else if err != nil {
		return nil, fmt.Errorf("access keys: %w", err)
	}
	defer f.Close()
	var list []Key
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&list); err != nil {
		return nil, fmt.Errorf("access keys: %s can't be read: %w; put a backup of it in its place, or remove it and create the keys anew", k.path, err)
	}
	for _, key := range list {
		if !idPattern.MatchString(key.ID) || key.Secret == "" {
			return nil, fmt.Errorf("access keys: %s holds a key without an id or a secret; put a backup of it in its place", k.path)
		}
		k.all[key.ID] = key
	}
	return k, nil
}

// Create makes a key for these functions, or for all if functions is nil. The key is durable when Create
// returns. Nothing shows the secret again later.
func (k *Keys) Create(functions []hat.FunctionID, note string, now time.Time) (Key, error) {
	if len(functions) > mostFunctions {
		return Key{}, fmt.Errorf("an access key names at most %d functions", mostFunctions)
	}
	if len(note) > mostNote {
		return Key{}, fmt.Errorf("a note has at most %d bytes", mostNote)
	}
	key := Key{
		ID: "SHE" + rand.Text()[:17], Secret: strings.ToLower(rand.Text() + rand.Text()[:14]),
		Functions: functions, Note: note, Created: now.UTC().Truncate(time.Second),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) >= mostKeys {
		return Key{}, ErrTooMany
	}
	return key, k.changeLocked(func(all map[string]Key) { all[key.ID] = key })
}

// Delete removes a key. From then on, requests that it signed are refused. ErrNotFound.
func (k *Keys) Delete(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := k.all[id]; !there {
		return fmt.Errorf("%w: %.40q", ErrNotFound, id)
	}
	return k.changeLocked(func(all map[string]Key) { delete(all, id) })
}

// Find returns the key with this id.
func (k *Keys) Find(id string) (Key, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, found := k.all[id]
	return key, found
}

// List returns all keys without their secrets, the oldest first.
func (k *Keys) List() []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	list := inOrder(k.all)
	for i := range list {
		list[i].Secret = ""
	}
	return list
}

// changeLocked applies change and stores the keys. If they can't be stored, it makes no change.
func (k *Keys) changeLocked(change func(map[string]Key)) error {
	changed := maps.Clone(k.all)
	change(changed)
	k.sweep()
	err := durable.Write(k.path, func(w io.Writer) error { return json.NewEncoder(w).Encode(inOrder(changed)) })
	if err != nil {
		return fmt.Errorf("access keys: %w", err)
	}
	k.all = changed
	return nil
}

// sweep removes what a crash left of an earlier change: it holds secrets, perhaps of keys that were deleted since.
func (k *Keys) sweep() {
	dir := filepath.Dir(k.path)
	entries, _ := os.ReadDir(dir) // what can't be listed is swept with the next change
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(k.path)+durable.Unfinished) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func inOrder(all map[string]Key) []Key {
	list := make([]Key, 0, len(all))
	for _, key := range all {
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b Key) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}
