package lambdaapi

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"she/internal/durable"
	"she/internal/engine"
	"she/internal/hat"
)

// Bounds on the waiting events of one key. Lambda drops an event after six hours, or after two more tries if
// the function failed.
const (
	mostEvents    = 1000
	mostEventByte = 64 << 20
	mostAge       = 6 * time.Hour
	mostTries     = 3
	eventsAtOnce  = 4
)

// pauses are the pauses before the second and the third try of a failed function, as in Lambda.
var pauses = []time.Duration{time.Minute, 2 * time.Minute}

// elsewhere is the pause before the next try if the function is not the cause.
const elsewhere = 30 * time.Second

// ErrQueueFull is the error if too many events of one key wait.
var ErrQueueFull = errors.New("too many events of this key wait")

// errAltered is that of files that are not what was stored.
var errAltered = errors.New("its files were altered")

// A Queue keeps events that were accepted until their function has been called. Each has a file of its own, encrypted under a
// key of its own, which lies in another folder: once the key is gone, a copy of the file says nothing. What was accepted is
// called at least once, whatever the server dies of.
type Queue struct {
	dir  string
	now  func() time.Time
	log  *slog.Logger
	bell chan struct{}

	mu      sync.Mutex
	all     map[string]*waiting // by id
	count   map[string]int      // by key
	bytes   map[string]int64
	calling map[string]int // by key
}

// A waiting is one event. Its payload is only on the disk.
type waiting struct {
	ID       string    `json:"id"`
	Key      string    `json:"key"` // of the sender
	Function string    `json:"function"`
	Accepted time.Time `json:"accepted"`
	Tries    int       `json:"tries"` // tries in which the function failed
	Due      time.Time `json:"due"`

	size  int64
	under bool // a call is under way
}

// OpenQueue opens the events of a data directory. The caller must hold the directory's lock.
func OpenQueue(dir string, log *slog.Logger, now func() time.Time) (*Queue, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	q := &Queue{
		dir:     filepath.Join(dir, "lambda"),
		now:     now,
		log:     log,
		bell:    make(chan struct{}, 1),
		all:     map[string]*waiting{},
		count:   map[string]int{},
		bytes:   map[string]int64{},
		calling: map[string]int{},
	}
	for _, sub := range []string{"events", "keys"} {
		if err := os.MkdirAll(filepath.Join(q.dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("events: %w", err)
		}
	}
	if err := q.open(); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return q, nil
}

// open takes up what waits, and removes the parts of events that were never accepted, or are done.
func (q *Queue) open() error {
	entries, err := os.ReadDir(filepath.Join(q.dir, "events"))
	if err != nil {
		return err
	}
	stays := map[string]bool{} // by id
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		w, err := q.read(id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // its key or its payload is erased: it was done
		case err != nil:
			q.log.Warn("an event that waits can't be read; its files are left where they are", "event", id, "error", err)
			stays[id] = true
		default:
			stays[id] = true
			q.take(w)
		}
	}
	for _, sub := range []string{"keys", "events"} {
		entries, err := os.ReadDir(filepath.Join(q.dir, sub))
		if err != nil {
			return err
		}
		for _, e := range entries {
			suffix := filepath.Ext(e.Name())
			ours := suffix == ".key" || suffix == ".sealed" || suffix == ".json"
			if strings.Contains(e.Name(), durable.Unfinished) || ours && !stays[strings.TrimSuffix(e.Name(), suffix)] {
				_ = os.Remove(filepath.Join(q.dir, sub, e.Name())) // or at the next start
			}
		}
	}
	return nil
}

func (q *Queue) take(w *waiting) {
	q.all[w.ID] = w
	q.count[w.Key]++
	q.bytes[w.Key] += w.size
}

func (q *Queue) path(id, what string) string {
	if what == "key" {
		return filepath.Join(q.dir, "keys", id+".key")
	}
	return filepath.Join(q.dir, "events", id+"."+what)
}

// Add stores an event for the function with this name. The event is durable when Add returns. ErrQueueFull.
func (q *Queue) Add(key, function, id string, event []byte) error {
	if _, err := uuid.Parse(id); err != nil {
		return fmt.Errorf("an event's id: %w", err)
	}
	w := &waiting{ID: id, Key: key, Function: function, Accepted: q.now().UTC(), size: int64(len(event))}
	w.Due = w.Accepted
	q.mu.Lock()
	if q.count[key] >= mostEvents || q.bytes[key]+w.size > mostEventByte {
		q.mu.Unlock()
		return ErrQueueFull
	}
	w.under = true // no call before the event is durable
	q.take(w)
	q.mu.Unlock()
	if err := q.store(w, event); err != nil {
		q.done(w)
		return err
	}
	q.mu.Lock()
	w.under = false
	q.mu.Unlock()
	q.ring()
	return nil
}

// store writes the key, the payload and then the note. Only the note makes it an event.
func (q *Queue) store(w *waiting, event []byte) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	sealed, err := seal(secret, w.ID, event)
	if err != nil {
		return err
	}
	bytesOf := func(b []byte) func(io.Writer) error {
		return func(to io.Writer) error { _, err := to.Write(b); return err }
	}
	if err := durable.Write(q.path(w.ID, "key"), bytesOf(secret)); err != nil {
		return err
	}
	if err := durable.Write(q.path(w.ID, "sealed"), bytesOf(sealed)); err != nil {
		return err
	}
	return q.note(w)
}

// note writes everything about an event except its payload.
func (q *Queue) note(w *waiting) error {
	return durable.Write(q.path(w.ID, "json"), func(to io.Writer) error { return json.NewEncoder(to).Encode(w) })
}

func (q *Queue) read(id string) (*waiting, error) {
	text, err := os.ReadFile(q.path(id, "json"))
	if err != nil {
		return nil, err
	}
	w := &waiting{}
	if err := json.Unmarshal(text, w); err != nil {
		return nil, err
	}
	if _, err := os.Stat(q.path(id, "key")); err != nil {
		return nil, err
	}
	info, err := os.Stat(q.path(id, "sealed"))
	if err != nil {
		return nil, err
	}
	w.ID, w.size = id, info.Size()
	return w, nil
}

// payload reads and decrypts the payload of a waiting event.
func (q *Queue) payload(w *waiting) ([]byte, error) {
	secret, err := os.ReadFile(q.path(w.ID, "key"))
	if err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(q.path(w.ID, "sealed"))
	if err != nil {
		return nil, err
	}
	event, err := unseal(secret, w.ID, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAltered, err)
	}
	return event, nil
}

// done removes an event, its key first.
func (q *Queue) done(w *waiting) {
	for _, what := range []string{"key", "sealed", "json"} {
		if err := os.Remove(q.path(w.ID, what)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.log.Error("an event that is done can't be erased", "event", w.ID, "error", err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.all, w.ID)
	q.bytes[w.Key] -= w.size
	if q.count[w.Key]--; q.count[w.Key] == 0 {
		delete(q.count, w.Key)
		delete(q.bytes, w.Key)
	}
}

// Waiting returns the number of waiting events.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.all)
}

func (q *Queue) ring() {
	select {
	case q.bell <- struct{}{}:
	default:
	}
}

// next returns an event that is due, or else the time at which one will be due.
func (q *Queue) next() (due *waiting, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now().UTC()
	for _, w := range q.all {
		if w.under {
			continue
		}
		if w.Accepted.After(now) {
			w.Accepted = now // the clock was set back
		}
		if w.Due.Sub(now) > pauses[len(pauses)-1] {
			w.Due = now // so it was
		}
		if w.Due.After(now) {
			if at.IsZero() || w.Due.Before(at) {
				at = w.Due
			}
			continue
		}
		// A key whose events are being called lets others go first.
		if due == nil || cmp.Or(q.calling[w.Key]-q.calling[due.Key], w.Due.Compare(due.Due), strings.Compare(w.ID, due.ID)) < 0 {
			due = w
		}
	}
	if due == nil {
		return nil, at
	}
	due.under = true
	q.calling[due.Key]++
	return due, time.Time{}
}

// Run calls the functions of waiting events until ctx ends.
func (q *Queue) Run(ctx context.Context, functions Functions, keys Keys) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	places := make(chan struct{}, eventsAtOnce)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		w, at := q.next()
		if w != nil {
			calls.Go(func() {
				q.call(ctx, functions, keys, w)
				q.called(w.Key)
				<-places
				q.ring()
			})
			continue
		}
		<-places
		var wake <-chan time.Time
		var timer *time.Timer
		if !at.IsZero() {
			timer = time.NewTimer(min(max(at.Sub(q.now()), 0), time.Minute)) // the clock may be changed
			wake = timer.C
		}
		select {
		case <-q.bell:
		case <-wake:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (q *Queue) called(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.calling[key]--; q.calling[key] == 0 {
		delete(q.calling, key)
	}
}

// call tries one event once.
func (q *Queue) call(ctx context.Context, functions Functions, keys Keys, w *waiting) {
	giveUp := func(why string) {
		q.log.WarnContext(ctx, "an event is given up", "event", w.ID, "function", w.Function, "key", w.Key, "why", why)
		q.done(w)
	}
	key, found := keys.Find(w.Key)
	if !found {
		giveUp("its access key was deleted")
		return
	}
	// The age counts after a try, not before: what was accepted is called once even if the server was down for a day.
	wait := func(why string) {
		if q.now().Sub(w.Accepted)+elsewhere > mostAge {
			giveUp("it has waited for six hours: " + why)
			return
		}
		q.later(w, elsewhere)
	}
	d, missing := find(functions.Functions(), key, "InvokeFunction", w.Function)
	if missing != nil {
		wait("its key reaches no function of that name")
		return
	}
	event, err := q.payload(w)
	switch {
	case errors.Is(err, errAltered), errors.Is(err, fs.ErrNotExist):
		giveUp("it can't be read: " + err.Error())
		return
	case err != nil: // no descriptor, a disk that fails: this may pass
		wait("it can't be read: " + err.Error())
		return
	}
	reply, err := functions.Direct(ctx, engine.Direct{Function: d.function, Entry: d.entry, Caller: w.Key, ID: w.ID, Event: event})
	switch {
	case err != nil: // the server is stopping; the event is called after the next start
		q.mu.Lock()
		w.under = false
		q.mu.Unlock()
	case reply.Fault == nil:
		q.done(w)
	case reply.Fault.Who != hat.Author:
		wait(reply.Fault.Code)
	default:
		if w.Tries++; w.Tries >= mostTries {
			giveUp("the function failed " + fmt.Sprint(mostTries) + " times: " + reply.Fault.Code)
			return
		}
		q.tried(w, pauses[w.Tries-1])
	}
}

// tried stores how often an event was tried and when it is due.
func (q *Queue) tried(w *waiting, pause time.Duration) {
	q.mu.Lock()
	w.Due = q.now().UTC().Add(pause)
	copied := *w
	q.mu.Unlock()
	if err := q.note(&copied); err != nil {
		q.log.Warn("how often an event was tried can't be kept", "event", w.ID, "error", err)
	}
	q.later(w, pause)
}

// later puts an event off. The next life of the server need not know: it tries at once.
func (q *Queue) later(w *waiting, pause time.Duration) {
	q.mu.Lock()
	w.Due, w.under = q.now().UTC().Add(pause), false
	q.mu.Unlock()
	q.ring()
}

// seal encrypts with AES-256-GCM. It authenticates the id too, so that one file can't replace another.
func seal(secret []byte, id string, plain []byte) ([]byte, error) {
	box, err := boxOf(secret)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return box.Seal(nonce, nonce, plain, []byte(id)), nil
}

func unseal(secret []byte, id string, sealed []byte) ([]byte, error) {
	box, err := boxOf(secret)
	if err != nil {
		return nil, err
	}
	if len(sealed) < box.NonceSize() {
		return nil, errors.New("it is cut short")
	}
	return box.Open(nil, sealed[:box.NonceSize()], sealed[box.NonceSize():], []byte(id))
}

func boxOf(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
