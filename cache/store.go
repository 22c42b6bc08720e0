package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// StoreConfig is the size of a [Store].
type StoreConfig struct {
	// MemoryBytes is the size in bytes: 7/8 for entries, 1/8 for fills in
	// flight. 0 = 64 MiB; less than 64 KiB is an error.
	MemoryBytes int64
}

// Store holds the content of one or several caches, and what belongs to the
// content: what is being fetched, and what was invalidated when. It outlives a
// [Cache] that it was given to, so that a change of policy keeps the content.
// It must be closed.
type Store struct {
	shelf   *shelf
	budget  budget
	gen     generations
	flights flights
	// unlisted has the URLs of which something is stored, or was, under another key
	// than their own.
	unlisted unlisted

	// sends numbers the fetches in the order in which they were sent: the
	// version of what they bring.
	sends atomic.Uint64

	// restoring counts the Restores that run.
	restoring atomic.Int32

	publisher publisher
	closeOnce sync.Once
}

// StoreStats is a snapshot of a store's counters.
type StoreStats struct {
	// Entries is the number of stored responses, each variant of a URL counted.
	Entries int64
	// EntryBytes is what the entries cost now, EntryLimit what they may.
	EntryBytes, EntryLimit int64
	// FillBytes is what fills in flight hold now, FillLimit what they may.
	FillBytes, FillLimit int64
	// Fills is the number of fetches in flight, those included whose response is
	// about to become visible.
	Fills int
	// Evicted counts the entries that made room for others or expired, Expired
	// those that expired. The index of a URL whose responses vary is an entry,
	// too, here and in EntryBytes.
	Evicted, Expired uint64
	// Rejected counts the responses that were not admitted: what was there is
	// asked for more often.
	Rejected uint64
}

// NewStore returns a store with its publisher running.
func NewStore(cfg StoreConfig) (*Store, error) {
	if err := checkMemory("StoreConfig", cfg.MemoryBytes); err != nil {
		return nil, err
	}
	memory := orDefault(cfg.MemoryBytes, defaultMemory)
	fills := memory / 8
	shelf, err := newShelf(memory - fills)
	if err != nil {
		return nil, fmt.Errorf("cache: StoreConfig.MemoryBytes is %d: %w", memory, err)
	}
	s := &Store{shelf: shelf, budget: budget{limit: fills}}
	s.gen.init(maxInvalidations)
	s.flights.rows = make(map[string]*row)
	s.publisher.init(s)
	return s, nil
}

// Close ends the publisher after what it was handed, and gives the memory
// back. A cache on a closed store goes on without storing.
func (s *Store) Close() {
	s.closeOnce.Do(func() {
		s.publisher.close()
		s.shelf.close()
	})
}

// Stats returns the counters as they are now.
func (s *Store) Stats() StoreStats {
	return StoreStats{
		Entries:    max(s.shelf.objects.Load(), 0),
		EntryBytes: s.shelf.used(),
		EntryLimit: s.shelf.limit,
		FillBytes:  s.budget.used.Load(),
		FillLimit:  s.budget.limit,
		Fills:      s.flights.count(),
		Evicted:    s.shelf.evicted.Load(),
		Expired:    s.shelf.expired.Load(),
		Rejected:   s.shelf.rejected.Load(),
	}
}

// standing tells what purges have made of o since its request was sent. It is
// one comparison where nothing was purged since it was last asked.
func (s *Store) standing(o *object) standing {
	seq, checked := s.gen.seq.Load(), o.checked.Load()
	if checked>>1 == seq {
		return standing(checked & 1)
	}
	m := s.gen.marksOf(o.primary)
	if o.tags != nil {
		m.tags = o.tags.ids
	}
	st := s.gen.standing(&m, o.born)
	if st == purged {
		return purged
	}
	st = max(st, standing(checked&1))
	o.checked.Store(seq<<1 | uint64(st))
	return st
}

// valid tells whether o was not purged, unless softly.
func (s *Store) valid(o *object) bool { return s.standing(o) != purged }

// purgeURL makes all that is stored or being fetched for a URL, whose part of
// the key is given, purged or stale (RFC 9111 section 4.4), whatever becomes of
// the fetches in flight.
//
// Where nothing is stored nor in flight nothing is recorded, so that requests
// to many URLs can't fill the table. The order makes that safe:
//
//  1. A fill joins its row before it takes the sequence and before it sends.
//  2. It leaves its row after what it stored can be seen.
//  3. Here the rows are looked at first, the shelf second. A fill that is in no
//     row at the first look either can be seen at the second, or had not begun:
//     then its request is sent after the response that invalidates.
//
// What a Restore is about to store is in no row: while one runs all is recorded.
//
// What is stored under other keys than the URL's own can't be looked for there;
// that there may be some, unlisted knows.
func (s *Store) purgeURL(url string, soft bool) {
	id := s.gen.id(markURL, semantics.PurgeForm(url))
	if s.mayHave(url, id, nil) {
		s.gen.purge(soft, id)
		return
	}
	s.gen.miss(id)
}

// mayHave tells whether anything is stored or in flight for a URL, whose mark is
// id, beside but.
func (s *Store) mayHave(url string, id uint64, but *fill) bool {
	form := semantics.PurgeForm(url)
	return s.restoring.Load() > 0 || s.flights.hasBut(url, but) || s.flights.hasBut(form, but) || s.flights.hasUnlisted(id) ||
		s.shelf.has(url) || s.shelf.has(form) || s.shelf.has(partialKey(url)) || s.shelf.has(partialKey(form)) || s.unlisted.has(id, time.Now())
}

// budget is a semaphore in bytes. It never waits: without memory a response
// streams through unstored.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }
