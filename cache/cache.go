package cache

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// Cache is a shared HTTP cache. Make one with [New]; the zero Cache is not
// usable. It must be shut down.
type Cache struct {
	cfg       Config
	store     *Store
	ownStore  bool
	options   semantics.Options
	maxObject int64
	normal    *semantics.Normaliser // nil = nothing is normalised

	keyer keyer

	compressor *compressor // nil = no compression

	failures *memory[lastFailure]
	sites    sites
	markers  *memory[string] // URLs that are not collapsed, and why
	ranges   *memory[rangesSeen]
	wholes   atomic.Int32 // fetches that wholeBehind began and that run

	idPrefix string
	ids      atomic.Uint64
	keys     sync.Pool // of *[]byte, for keys

	closing atomic.Bool // written under mu

	mu    sync.Mutex         // guards what follows
	fills map[*fill]struct{} // running
	idle  chan struct{}      // closed when closing and no fill runs
}

// New returns a Cache with the content of its Store, or with an empty store of
// its own.
func New(cfg Config) (*Cache, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	c := &Cache{
		cfg:   cfg,
		store: cfg.Store,
		options: semantics.Options{
			StoreSetCookie:       cfg.StoreSetCookie,
			StaleWhileRevalidate: cfg.StaleWhileRevalidate,
			StaleIfError:         cfg.StaleIfError,
			Targets:              canonicalNames(cfg.Targets),
			Self:                 cfg.Name,
			StatusTTL:            cfg.StatusTTL,
		},
		keyer:    newKeyer(&cfg),
		failures: newMemory[lastFailure](),
		markers:  newMemory[string](),
		sites:    sites{items: make(map[string]*site)},
		ranges:   newMemory[rangesSeen](),
		fills:    make(map[*fill]struct{}),
		idle:     make(chan struct{}),
	}
	if c.store == nil {
		c.ownStore = true
		if c.store, err = NewStore(StoreConfig{MemoryBytes: cfg.MemoryBytes}); err != nil {
			return nil, err
		}
	}
	c.normal, _ = semantics.NewNormaliser(cfg.Normalize.Encodings, cfg.Normalize.Languages, cfg.Normalize.Types) // it was checked
	c.maxObject = min(cfg.MaxObjectBytes, c.store.budget.limit)
	if cfg.Compress {
		c.compressor = newCompressor(c.store)
	}
	c.keys.New = func() any { b := make([]byte, 0, 256); return &b }
	var id [4]byte
	_, _ = rand.Read(id[:]) // it never fails; the id tells processes apart, no more
	c.idPrefix = hex.EncodeToString(id[:]) + "-"
	return c, nil
}

// Handler wraps next. It may be called more than once: all handlers share the
// content, so what stands behind them must answer alike.
//
// A request that is answered without next costs next nothing; whatever counts
// or limits what reaches the backend belongs inside.
func (c *Cache) Handler(next http.Handler) http.Handler {
	return &handler{c: c, next: next}
}

// Stats returns the counters of the cache's Store as they are now.
func (c *Cache) Stats() StoreStats { return c.store.Stats() }

// Shutdown ends the cache: it waits for the fills in flight, ends the publisher
// and closes the store, if that is the cache's own. Requests that come later
// pass through to next, uncached. When ctx ends first, the fills that are left
// are cancelled, and Shutdown returns ctx's error; their goroutines end when
// next returns.
//
// It does not wait for requests that are answered from memory; end the server
// first.
func (c *Cache) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	if c.closing.CompareAndSwap(false, true) {
		if len(c.fills) == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()

	var err error
	select {
	case <-c.idle:
	case <-ctx.Done():
		err = ctx.Err()
		c.mu.Lock()
		left := slices.Collect(maps.Keys(c.fills))
		c.mu.Unlock()
		for _, f := range left {
			f.expire(errShutdown)
		}
	}
	if c.compressor != nil {
		c.compressor.close()
	}
	if c.ownStore {
		c.store.Close()
	}
	return err
}

// running counts f among the fills that Shutdown waits for. It is false if that
// has begun.
func (c *Cache) running(f *fill) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() {
		return false
	}
	c.fills[f] = struct{}{}
	return true
}

func (c *Cache) ended(f *fill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fills, f)
	if c.closing.Load() && len(c.fills) == 0 {
		close(c.idle)
	}
}

func (c *Cache) newFillID() string {
	return c.idPrefix + strconv.FormatUint(c.ids.Add(1), 36)
}

// mark is the one value that a fill's context has: it names the fill, and
// tells the Cache that Config.Refresh leads to that it is to fill, not to
// serve.
type mark struct {
	f       *fill
	refresh atomic.Pointer[refresh] // taken by the Cache that it is meant for
}

type markKey struct{}

func markOf(ctx context.Context) *mark {
	m, _ := ctx.Value(markKey{}).(*mark)
	return m
}

// FillID names the fetch that ctx belongs to, for correlation with [Event];
// "" outside of one.
func FillID(ctx context.Context) string {
	if m := markOf(ctx); m != nil {
		return m.f.id
	}
	return ""
}
