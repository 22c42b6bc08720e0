package ratelimit

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// table holds a bucket per key, at most max of them. It is cut into shards by a
// seeded hash, so that clients wait for each other rarely and can't choose to.
//
// When it is full, a new key takes the place of one in its shard whose bucket is
// full again: forgetting that one changes nothing. Where the shard has none,
// the new key has no bucket.
type table struct {
	rate   rate.Limit
	burst  int
	max    int64
	count  atomic.Int64 // keys in all shards
	base   time.Time
	seed   maphash.Seed
	shards []shard // a power of two
}

type shard struct {
	mu      sync.Mutex // guards what follows
	clock   clock
	buckets map[string]*rate.Limiter
	queue   []queued // a heap, the smallest due first: one for each of buckets

	_ [64]byte // neighbours share no cache line
}

// queued is a bucket's place in the line for being replaced.
type queued struct {
	// due is when the bucket may be full again, in nanoseconds since
	// table.base. It is the truth of the moment in which it was written. What
	// was taken since only makes it later, so no bucket is full before its due,
	// and hits need not touch the queue.
	due int64
	key string
	lim *rate.Limiter
}

const (
	maxShards    = 32
	keysPerShard = 1024 // below that, a shard more is not worth it

	// maxProbes bounds the work, under the lock, of finding a bucket that is
	// full. Buckets whose due came but which were used since are put back with
	// their new one; the next search goes on behind them.
	maxProbes = 16
)

func newTable(r float64, burst, maxKeys int) *table {
	n := 1
	for n < maxShards && maxKeys/(2*n) >= keysPerShard {
		n *= 2
	}
	t := &table{
		rate: rate.Limit(r), burst: burst, max: int64(maxKeys),
		base: time.Now(), seed: maphash.MakeSeed(), shards: make([]shard, n),
	}
	for i := range t.shards {
		t.shards[i].buckets = make(map[string]*rate.Limiter)
	}
	return t
}

// take asks key's bucket for n permits, 1 to burst. ok is false if key has no
// bucket and there is no room for one.
func (t *table) take(key string, n int) (d decision, ok bool) {
	s := &t.shards[maphash.String(t.seed, key)&uint64(len(t.shards)-1)]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.nowLocked()
	lim := s.buckets[key]
	if lim == nil {
		if lim = t.addLocked(s, key, now, n); lim == nil {
			return decision{}, false
		}
	}
	return takeLocked(lim, now, n), true
}

// addLocked makes a full bucket for key, from which n permits are going to be
// taken, or returns nil. It requires that s.mu is held.
func (t *table) addLocked(s *shard, key string, now time.Time, n int) *rate.Limiter {
	entry := queued{
		due: t.dueAt(now, wait(float64(n), float64(t.rate))),
		// The caller's string may be a small part of a large one. (And it stays
		// on his stack, since it goes nowhere from here.)
		key: strings.Clone(key),
	}
	if t.grow() {
		entry.lim = rate.NewLimiter(t.rate, t.burst)
		s.queue = append(s.queue, entry)
		s.siftUp(len(s.queue) - 1)
	} else {
		if !t.findFullLocked(s, now) {
			return nil
		}
		// A bucket that is full again is as good as a new one.
		entry.lim = s.queue[0].lim
		delete(s.buckets, s.queue[0].key)
		s.queue[0] = entry
		s.siftDown(0)
	}
	s.buckets[entry.key] = entry.lim
	return entry.lim
}

// grow claims room for one more key.
func (t *table) grow() bool {
	for {
		n := t.count.Load()
		if n >= t.max {
			return false
		}
		if t.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// findFullLocked brings a bucket that is full to the head of the queue, if it
// finds one. It requires that s.mu is held.
func (t *table) findFullLocked(s *shard, now time.Time) bool {
	for range maxProbes {
		if len(s.queue) == 0 || s.queue[0].due > t.dueAt(now, 0) {
			return false
		}
		missing := until(s.queue[0].lim, now, t.burst)
		if missing <= 1 { // a nanosecond is the rounding
			return true
		}
		s.queue[0].due = t.dueAt(now, missing)
		s.siftDown(0)
	}
	return false
}

func (t *table) dueAt(now time.Time, in time.Duration) int64 {
	return int64(now.Sub(t.base)) + int64(in)
}

func (s *shard) siftUp(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if s.queue[parent].due <= s.queue[i].due {
			return
		}
		s.queue[parent], s.queue[i] = s.queue[i], s.queue[parent]
		i = parent
	}
}

func (s *shard) siftDown(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.queue); child++ {
			if s.queue[child].due < s.queue[least].due {
				least = child
			}
		}
		if least == i {
			return
		}
		s.queue[i], s.queue[least] = s.queue[least], s.queue[i]
		i = least
	}
}
