package cache

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// The bounds of what is remembered about URLs that are not stored. What is
// lost at the bound is an attempt too many, or a request that waits until
// another one's headers are known.
const (
	maxRemembered = 8192
)

// memory remembers something about keys for a while. The zero memory is
// unusable; see newMemory. It has the keys' seeded hashes, since a key is as long
// as a client makes it; what two keys that collide cost is what a lost one does.
type memory[V any] struct {
	seed  maphash.Seed
	mu    sync.Mutex // guards items
	items map[uint64]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newMemory[V any]() *memory[V] {
	return &memory[V]{seed: maphash.MakeSeed(), items: make(map[uint64]remembered[V])}
}

// get returns what was remembered, also for a while after it lapsed, and
// whether it has not.
func (m *memory[V]) get(key string, now time.Time) (v V, current bool) {
	id := maphash.String(m.seed, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[id]
	return it.value, now.Before(it.until)
}

// look is get for those who want to know until when.
func (m *memory[V]) look(key string) (v V, until time.Time) {
	id := maphash.String(m.seed, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[id]
	return it.value, it.until
}

func (m *memory[V]) put(key string, v V, now, until time.Time) {
	id := maphash.String(m.seed, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.items[id]; !ok && len(m.items) >= maxRemembered {
		m.makeRoom(now)
	}
	m.items[id] = remembered[V]{v, until}
}

// makeRoom drops what lapsed or, if nothing did, any eighth. m.mu is held.
func (m *memory[V]) makeRoom(now time.Time) {
	for id, it := range m.items {
		if !now.Before(it.until) {
			delete(m.items, id)
		}
	}
	for id := range m.items {
		if len(m.items) < maxRemembered*7/8 {
			break
		}
		delete(m.items, id)
	}
}

func (m *memory[V]) forget(key string) {
	id := maphash.String(m.seed, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.items, id)
}

// putMarker notes that the URL's responses are of no use to those who wait.
func (c *Cache) putMarker(primary, reason string) {
	if c.cfg.HitForMiss > 0 {
		now := time.Now()
		c.markers.put(primary, reason, now, now.Add(c.cfg.HitForMiss))
	}
}

// lastFailure is what a refresh failed with, when, and how often in a row it
// did. until is from when on the page may be tried again whatever is known; told:
// the failure itself says so. slow: it took longer than anybody is to wait.
type lastFailure struct {
	err   *failure.Error
	begun time.Time
	at    time.Time
	until time.Time
	times int
	told  bool
	slow  bool
}

// pauseFactor times RetryStale is the pause after a page's first failure.
const pauseFactor = 8

// noteFailure makes the stale copy of a page answer for a while without another
// attempt, unless the page is elected to ask for all of its origin: the pause is
// what the failure says, or a multiple of RetryStale, doubling. What was refused
// without an attempt costs nothing to ask for again, and what was a visitor's own
// failure says nothing of the next one.
func (c *Cache) noteFailure(f *fill, e *failure.Error, now time.Time) {
	if c.cfg.RetryStale == 0 || !attempted(e) || !e.Cause.Row().Share && !f.detached {
		return
	}
	last, _ := c.failures.get(f.primary, now)
	times := min(last.times+1, 16)
	pause := min(pauseFactor*c.cfg.RetryStale<<(times-1), max(maxRetryStale, c.cfg.RetryStale))
	if e.RetryAfter > 0 {
		pause = min(e.RetryAfter, maxRetryAfter)
	}
	slow := c.cfg.StaleIfSlow
	c.failures.put(f.primary, lastFailure{
		err: e, begun: f.begun, at: now, until: now.Add(pause), times: times, told: e.RetryAfter > 0,
		slow: slow > 0 && now.Sub(f.begun) >= slow,
	}, now, now.Add(pause+maxRetryStale))
}

// noteSuccess is told of every fetch that succeeded, with the time at which it
// was sent: evidence for all pages of its origin.
func (c *Cache) noteSuccess(f *fill, sent, now time.Time) {
	c.failures.forget(f.primary)
	f.site.answer(sent, now)
}

// attempted tells a failure of an attempt from a refusal to make one. The
// answers of our own that say 503 or 429 are the refusals: a breaker, a full
// queue, no endpoint, a rate.
func attempted(e *failure.Error) bool {
	switch e.Cause.Row().Status {
	case 503, 429:
		return false
	}
	return true
}

// staleMayAnswer tells whether a stale copy may stand in for the failure.
func staleMayAnswer(e *failure.Error) bool {
	switch e.Cause.Row().Stale {
	case failure.StaleYes, failure.StaleByPosition: // what reports maintenance here stands inside the cache
		return true
	default:
		return false
	}
}
