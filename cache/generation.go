package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// maxInvalidations bounds the table of invalidated keys.
const maxInvalidations = 1 << 16

// generations tells which content is older than its invalidation. There is one
// sequence; every invalidation advances it and notes the new value beside the
// key. Content that was asked for at a smaller value is invalid.
//
// The table is two maps: when the newer one is full it becomes the older one,
// and what that had is forgotten by raising the floor to the highest value in
// it: all content from before is invalid then. At the bound too much is
// invalidated, never too little.
//
// The keys are there as seeded hashes, since a key is as long as a client makes
// it. Of two that collide both are invalidated: too much again.
type generations struct {
	seq atomic.Uint64 // the value of the last invalidation; written under mu

	mu         sync.RWMutex // guards what follows
	size       int          // of both maps together
	seed       maphash.Seed
	newer      map[uint64]uint64
	older      map[uint64]uint64
	olderFloor uint64 // the highest value in older
	floor      uint64
}

func (g *generations) init(size int) {
	g.size = max(size, 2)
	g.seed = maphash.MakeSeed()
	g.newer = make(map[uint64]uint64)
}

// invalidate makes all content of the key that was asked for until now invalid.
//
// The value is in the table before the sequence has it, so a reader that saw
// the sequence sees the table. Content is born with the value of the sequence:
// what begins while this runs is born with the smaller one and is invalid.
func (g *generations) invalidate(key string) {
	id := maphash.String(g.seed, key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.newer) >= g.size/2 {
		g.floor = max(g.floor, g.olderFloor)
		g.older, g.olderFloor = g.newer, g.seq.Load()
		g.newer = make(map[uint64]uint64)
	}
	n := g.seq.Load() + 1
	g.newer[id] = n
	g.seq.Store(n)
}

// invalidated tells whether content of the key that was born at the given
// value is invalid.
func (g *generations) invalidated(key string, born uint64) bool {
	id := maphash.String(g.seed, key)
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.floor > born || g.newer[id] > born || g.older[id] > born
}
