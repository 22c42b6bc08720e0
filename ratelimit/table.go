package ratelimit

import (
	"hash/maphash"
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
	buckets map[string]*bucket
	queue   []queued // a heap, the smallest due first: one for each of buckets

	_ [64]byte // neighbours share no cache line
}

type bucket struct {
	lim *rate.Limiter
	key string
	pos int // in the queue
}

// queued is a bucket's place in the line for being replaced.
type queued struct {
	// due is when the bucket may be full again, in nanoseconds since
	// table.base. It is the truth of the moment in which it was written. What
	// was taken since only makes it later, so no bucket is full before its due,
	// and hits need not touch the queue. Who gives permits back corrects it.
	due    int64
	bucket *bucket
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
		t.shards[i].buckets = make(map[string]*bucket)
	}
	return t
}

func (t *table) shard(key []byte) *shard {
	return &t.shards[maphash.Bytes(t.seed, key)&uint64(len(t.shards)-1)]
}

// addLocked makes a full bucket for key, from which n permits are going to be
// taken, or returns nil if there is no room for one. It requires that s.mu is
// held.
func (t *table) addLocked(s *shard, key []byte, now time.Time, n int) *bucket {
	due := t.dueAt(now, wait(float64(n), float64(t.rate)))
	var b *bucket
	if t.grow() {
		b = &bucket{lim: rate.NewLimiter(t.rate, t.burst), key: string(key), pos: len(s.queue)}
		s.queue = append(s.queue, queued{due, b})
		s.siftUp(b.pos)
	} else {
		if !t.findFullLocked(s, now) {
			return nil
		}
		// A bucket that is full again is as good as a new one.
		b = s.queue[0].bucket
		delete(s.buckets, b.key)
		b.key = string(key)
		s.queue[0].due = due
		s.siftDown(0)
	}
	s.buckets[b.key] = b
	return b
}

// roomLocked tells whether addLocked would find room, as far as can be told
// without work. It requires that s.mu is held.
func (t *table) roomLocked(s *shard, now time.Time) bool {
	return t.count.Load() < t.max || len(s.queue) > 0 && s.queue[0].due <= t.dueAt(now, 0)
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
		missing := until(s.queue[0].bucket.lim, now, t.burst)
		if missing <= 1 { // a nanosecond is the rounding
			return true
		}
		s.queue[0].due = t.dueAt(now, missing)
		s.siftDown(0)
	}
	return false
}

// refilledLocked corrects b's place after permits were given back, or were not
// taken after all. It requires that s.mu is held.
func (t *table) refilledLocked(s *shard, b *bucket, now time.Time) {
	due := t.dueAt(now, until(b.lim, now, t.burst))
	if due < s.queue[b.pos].due {
		s.queue[b.pos].due = due
		s.siftUp(b.pos)
	}
}

func (t *table) dueAt(now time.Time, in time.Duration) int64 {
	return int64(now.Sub(t.base)) + int64(in)
}

func (s *shard) swap(i, j int) {
	s.queue[i], s.queue[j] = s.queue[j], s.queue[i]
	s.queue[i].bucket.pos, s.queue[j].bucket.pos = i, j
}

func (s *shard) siftUp(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if s.queue[parent].due <= s.queue[i].due {
			return
		}
		s.swap(parent, i)
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
		s.swap(i, least)
		i = least
	}
}
