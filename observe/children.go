package observe

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// maxChildren bounds the children of one metric. Labels come from configuration
// and fixed sets, so that only a configuration which keeps changing gets there;
// what comes later is counted together, under "other".
const maxChildren = 1000

// children keeps what a label vector would have to look up, hash and lock for,
// by a key that costs nothing to make. Reading takes no lock.
type children[K comparable, V any] struct {
	known atomic.Pointer[map[K]V]
	mu    sync.Mutex // guards writing known
	other K
	make  func(K) V
}

func newChildren[K comparable, V any](other K, create func(K) V) *children[K, V] {
	c := &children[K, V]{other: other, make: create}
	c.known.Store(&map[K]V{})
	return c
}

func (c *children[K, V]) of(k K) V {
	if v, ok := (*c.known.Load())[k]; ok {
		return v
	}
	return c.add(k)
}

func (c *children[K, V]) add(k K) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := *c.known.Load()
	if len(known) >= maxChildren {
		if _, ok := known[k]; !ok {
			k = c.other
		}
	}
	if v, ok := known[k]; ok {
		return v
	}
	next := maps.Clone(known)
	v := c.make(k)
	next[k] = v
	c.known.Store(&next)
	return v
}

// clean makes label values UTF-8, which a configured name need not be: a vector
// panics at others.
func clean(values []string) []string {
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
	return values
}
