package cache

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestPurgeStorm: whatever is purged while requests come and fetches run, a
// request that begins after a purge has returned never gets what was asked of
// the origin before it.
func TestPurgeStorm(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		purge func(h http.Handler, c *Cache, page int) error
	}{
		{"URL", Config{}, func(_ http.Handler, c *Cache, page int) error {
			return c.Purge(Purge{URL: fmt.Sprint("http://example.com/p", page)})
		}},
		{"URL, keys with fields", Config{Key: Key{Headers: []string{"X-Tenant"}}}, func(_ http.Handler, c *Cache, page int) error {
			return c.Purge(Purge{URL: fmt.Sprint("http://example.com/p", page)})
		}},
		{"prefix", Config{}, func(_ http.Handler, c *Cache, page int) error {
			return c.Purge(Purge{Prefix: fmt.Sprint("http://example.com/p", page)})
		}},
		{"tag", Config{}, func(_ http.Handler, c *Cache, page int) error {
			return c.Purge(Purge{Tag: fmt.Sprint("t", page)})
		}},
		{"tag, softly", Config{}, func(_ http.Handler, c *Cache, page int) error {
			return c.Purge(Purge{Tag: fmt.Sprint("t", page), Soft: true})
		}},
		{"URL, softly", Config{}, func(_ http.Handler, c *Cache, page int) error {
			return c.Purge(Purge{URL: fmt.Sprint("http://example.com/p", page), Soft: true})
		}},
		{"all", Config{}, func(_ http.Handler, c *Cache, _ int) error { return c.Purge(Purge{All: true}) }},
		{"unsafe request", Config{}, func(h http.Handler, _ *Cache, page int) error {
			do(h, "POST", fmt.Sprint("/p", page))
			return nil
		}},
		{"group", Config{}, func(h http.Handler, _ *Cache, page int) error {
			do(h, "POST", "/elsewhere", "X-Group: "+strconv.Itoa(page))
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const pages, clients, rounds = 4, 4, 250
			c := newCache(t, tt.cfg)
			var clock atomic.Int64
			var floors [pages]atomic.Int64
			h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := clock.Add(1)
				if r.Method == http.MethodPost {
					if group := r.Header.Get("X-Group"); group != "" {
						w.Header().Set("Cache-Group-Invalidation", `"g`+group+`"`)
					}
					return
				}
				page := strings.TrimPrefix(r.URL.Path, "/p")
				w.Header().Set("Cache-Control", "max-age=60, must-revalidate")
				w.Header().Set("Vary", "X-Variant")
				w.Header().Set("Surrogate-Key", "t"+page)
				w.Header().Set("Cache-Groups", `"g`+page+`"`)
				clock.Add(1) // lets others in
				_, _ = fmt.Fprint(w, n)
				_ = http.NewResponseController(w).Flush()
				_, _ = io.WriteString(w, " done")
			}))
			var wg sync.WaitGroup
			var purgers atomic.Int64
			for range 2 {
				purgers.Add(1)
				wg.Go(func() {
					defer purgers.Add(-1)
					for range rounds {
						page := rand.IntN(pages)
						before := clock.Load()
						if err := tt.purge(h, c, page); err != nil {
							t.Error(err)
						}
						for old := floors[page].Load(); old < before && !floors[page].CompareAndSwap(old, before); old = floors[page].Load() {
						}
					}
				})
			}
			for range clients {
				wg.Go(func() {
					for i := 0; i < rounds || purgers.Load() > 0; i++ {
						page := rand.IntN(pages)
						floor := floors[page].Load()
						a := do(h, "GET", fmt.Sprint("/p", page), fmt.Sprint("X-Variant: ", rand.IntN(2)), fmt.Sprint("X-Tenant: ", rand.IntN(2)))
						text, whole := strings.CutSuffix(a.body, " done")
						n, err := strconv.ParseInt(text, 10, 64)
						if a.err != nil || err != nil || !whole {
							t.Errorf("got %d %q, %v", a.status, a.body, a.err)
							return
						}
						if n <= floor {
							t.Errorf("page %d: content of %d after a purge at %d: %s", page, n, floor, a.cacheStatus())
							return
						}
					}
				})
			}
			wg.Wait()
			settled(t, c)
			for page := range pages { // the storm is over: it caches again
				do(h, "GET", fmt.Sprint("/p", page), "X-Variant: 0", "X-Tenant: 0")
				settled(t, c)
				if a := do(h, "GET", fmt.Sprint("/p", page), "X-Variant: 0", "X-Tenant: 0"); !strings.Contains(a.cacheStatus(), "; hit") {
					t.Errorf("page %d after the storm: %s, want a hit", page, a.cacheStatus())
				}
			}
		})
	}
}

// TestTagPurgeAgainstRunningFill: what a fetch that began before the purge of a
// tag brings is neither shared with those who came after it nor stored, though
// the tag became known only then.
func TestTagPurgeAgainstRunningFill(t *testing.T) {
	for _, soft := range []bool{false, true} {
		t.Run(fmt.Sprint("soft ", soft), func(t *testing.T) {
			c := newCache(t, Config{})
			arrived, release := make(chan struct{}), make(chan struct{})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-release
				page(200, "before", "Cache-Control: max-age=60", "Surrogate-Key: t")(w, r)
			})
			h := c.Handler(o)
			first, second := make(chan answer), make(chan answer)
			go func() { first <- do(h, "GET", "/") }()
			<-arrived
			if err := c.Purge(Purge{Tag: "t", Soft: soft}); err != nil {
				t.Fatal(err)
			}
			o.set(page(200, "after", "Cache-Control: max-age=60", "Surrogate-Key: t"))
			go func() { second <- do(h, "GET", "/") }()
			followers(t, c, 1)
			close(release)
			if a := <-first; a.body != "before" {
				t.Errorf("the fetch itself got %q", a.body)
			}
			if a := <-second; a.body != "after" {
				t.Errorf("a request after the purge got %q: %s", a.body, a.cacheStatus())
			}
			settled(t, c)
			if a := do(h, "GET", "/"); a.body != "after" {
				t.Errorf("then: %q: %s", a.body, a.cacheStatus())
			}
		})
	}
}
