package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// record is one entry of the shelf: a response, the index of a URL whose
// responses vary, or what there is of a URL in parts.
type record struct {
	key     string
	version uint64 // of two records of one key the higher one stays
	cost    int64
	object  *object
	index   *varyIndex
	// partials are of different variants, the one stored last at the end.
	partials []*object
}

// recordOverhead is what an entry costs beside its bytes: the library's and
// our own structures, as measured. An object's own are objectOverhead.
const (
	recordOverhead = 350
	objectOverhead = 190
)

// shelf is what the cache keeps of ristretto: {get, put, del}. ristretto
// is advisory. It may forget, refuse or be late with anything, but here it
// never answers with another key's entry, nor with an older one after a newer.
//
// Only the publisher calls put and del, which makes them one sequence.
type shelf struct {
	limit    int64 // of all entries' costs
	maxEntry int64 // of one entry's cost

	evicted, expired, rejected atomic.Uint64
	objects                    atomic.Int64 // the records that have one

	// gate keeps calls away from a cache that is being closed: ristretto panics
	// when Get or Set race with Close.
	gate   sync.RWMutex
	closed bool
	cache  *ristretto.Cache[[]byte, *record]
}

// getBuffer is how many Gets are counted at once. Larger buffers lose counts
// of a lone hot key, which then is not admitted to a full cache for long.
const getBuffer = 8

func newShelf(limit int64) (*shelf, error) {
	s := &shelf{limit: limit, maxEntry: limit / 4}
	c, err := ristretto.NewCache(&ristretto.Config[[]byte, *record]{
		NumCounters:        min(max(limit/256, 1024), 1<<28),
		MaxCost:            limit,
		BufferItems:        getBuffer,
		IgnoreInternalCost: true, // recordOverhead has it
		KeyToHash:          hashing(),
		// On ristretto's goroutine, where waiting for it would deadlock: count only.
		// A value may be nil where there was none.
		OnEvict: func(it *ristretto.Item[*record]) {
			if it.Value == nil {
				return
			}
			s.evicted.Add(1)
			if !it.Expiration.IsZero() { // known only where that is why
				s.expired.Add(1)
			}
		},
		OnExit: func(rec *record) { s.count(rec, -1) },
	})
	if err != nil {
		return nil, err
	}
	s.cache = c
	return s, nil
}

// count notes that rec was handed to ristretto, or given back by it: replaced,
// removed, evicted or not admitted.
func (s *shelf) count(rec *record, n int64) {
	if rec != nil && rec.object != nil {
		s.objects.Add(n)
	}
}

// hashing makes the hash function of one shelf. It is seeded, so that nobody can
// choose keys that collide.
func hashing() func(key []byte) (hash, conflict uint64) {
	one, two := maphash.MakeSeed(), maphash.MakeSeed()
	return func(key []byte) (hash, conflict uint64) {
		return maphash.Bytes(one, key), maphash.Bytes(two, key) | 1 // a conflict hash of 0 is not compared
	}
}

// get returns the record with exactly this key. It does not keep key.
func (s *shelf) get(key []byte) *record {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return nil
	}
	rec, ok := s.cache.Get(key)
	if !ok || rec == nil || rec.key != string(key) {
		return nil
	}
	return rec
}

func (s *shelf) has(key string) bool { return s.get([]byte(key)) != nil }

// entry is a record that is to be put for a time to live.
type entry struct {
	rec *record
	ttl time.Duration
}

// putResult says what became of an entry.
type putResult uint8

const (
	putStored     putResult = iota
	putRejected             // not admitted, dropped, or the shelf is closed
	putSuperseded           // a later version is there
	putTooLarge
	putExpired // no time to live
)

// maxTTL bounds a time to live: far beyond any use, far from an overflow.
const maxTTL = 366 * 24 * time.Hour

// put stores the entries in order and returns when get sees them, with one
// result for each. The keys must differ.
func (s *shelf) put(entries []entry) []putResult {
	s.gate.RLock()
	defer s.gate.RUnlock()
	results := make([]putResult, len(entries))
	for i, e := range entries {
		results[i] = s.set(e)
	}
	if s.closed {
		return results
	}
	s.cache.Wait()
	for i, e := range entries {
		if results[i] != putStored {
			continue
		}
		// Set claims success for what is refused later.
		if got, ok := s.cache.Get([]byte(e.rec.key)); !ok || got != e.rec {
			results[i] = putRejected
			s.rejected.Add(1)
		}
	}
	return results
}

func (s *shelf) set(e entry) putResult {
	switch {
	case s.closed:
		return putRejected
	case e.rec.cost > s.maxEntry:
		return putTooLarge // ristretto would say yes and store nothing
	case e.ttl <= 0:
		return putExpired // to ristretto 0 is for ever
	}
	key, ttl := []byte(e.rec.key), min(e.ttl, maxTTL)
	if old, ok := s.cache.Get(key); ok && old != nil && old.key == e.rec.key {
		if old.version > e.rec.version {
			return putSuperseded
		}
		// An update in place asks neither for room nor for admission, so it may
		// not grow beyond the room that is left. And it is visible at once.
		if grown := e.rec.cost - old.cost; grown > 0 && grown > s.cache.RemainingCost() {
			s.cache.Del(key)
			s.cache.Wait()
		}
	}
	s.count(e.rec, 1)
	if s.cache.SetWithTTL(key, e.rec, e.rec.cost, ttl) {
		return putStored
	}
	// Dropped because its buffer is full: empty it and try once more.
	s.cache.Wait()
	if s.cache.SetWithTTL(key, e.rec, e.rec.cost, ttl) {
		return putStored
	}
	s.count(e.rec, -1)
	s.rejected.Add(1)
	return putRejected
}

// del removes rec if it is what its key has now.
func (s *shelf) del(rec *record) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return
	}
	key := []byte(rec.key)
	if got, ok := s.cache.Get(key); ok && got == rec {
		s.cache.Del(key)
		s.cache.Wait() // or a Set that follows would be applied before it
	}
}

// records are all records, in no order. ok is false if the shelf is closed.
//
// ristretto calls back with the lock of a shard held: they are only noted there.
// What has expired it leaves out.
func (s *shelf) records() (recs []*record, ok bool) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return nil, false
	}
	s.cache.IterValues(func(rec *record) (stop bool) {
		if rec != nil {
			recs = append(recs, rec)
		}
		return false
	})
	return recs, true
}

func (s *shelf) used() int64 {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return 0
	}
	return s.limit - s.cache.RemainingCost()
}

func (s *shelf) isClosed() bool {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.closed
}

func (s *shelf) close() {
	s.gate.Lock()
	defer s.gate.Unlock()
	if !s.closed {
		s.closed = true
		s.cache.Close()
	}
}
