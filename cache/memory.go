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
	markerLife    = 30 * time.Second
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

// lastFailure is what a refresh failed with, when, and how often in a row it
// did. told: the failure itself says until when.
type lastFailure struct {
	err   *failure.Error
	at    time.Time
	times int
	told  bool
}

// noteFailure makes stale content answer without another attempt for a while:
// RetryStale doubling with every failure, or what the failure says. What was
// refused without an attempt costs nothing to ask for again, and what was the
// request's own failure says nothing of the next one.
func (c *Cache) noteFailure(key string, e *failure.Error, now time.Time) {
	if c.cfg.RetryStale == 0 || !attempted(e) || !e.Cause.Row().Share {
		return
	}
	last, _ := c.failures.get(key, now)
	times := min(last.times+1, 16)
	pause := min(c.cfg.RetryStale<<(times-1), max(maxRetryStale, c.cfg.RetryStale))
	if e.RetryAfter > 0 {
		pause = min(e.RetryAfter, maxRetryAfter)
	}
	c.failures.put(key, lastFailure{e, now, times, e.RetryAfter > 0}, now, now.Add(pause))
}

// noteSuccess is told of every fetch that succeeded, with the time at which it
// was sent.
func (c *Cache) noteSuccess(key string, sent time.Time) {
	c.failures.forget(key)
	if n := sent.UnixNano(); c.answered.Load() < n {
		c.answered.Store(n) // two at once may leave the lesser: it is evidence all the same
	}
}

// recentFailure is what keeps a refresh from being attempted now. If the origin
// has answered any other fetch that was sent after the failure, it is worth
// asking again: then the pause is RetryStale and no more, so that all pages heal
// soon after the first one.
func (c *Cache) recentFailure(key string, now time.Time) *failure.Error {
	last, current := c.failures.get(key, now)
	if !current {
		return nil
	}
	healed := c.answered.Load() > last.at.UnixNano()
	if healed && !last.told && now.Sub(last.at) >= c.cfg.RetryStale {
		return nil
	}
	return last.err
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
