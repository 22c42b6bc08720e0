package cache

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// objects is how many responses are really there.
func objects(c *Cache) (n int64) {
	recs, _ := c.store.shelf.records()
	for _, rec := range recs {
		if rec.object != nil {
			n++
		}
	}
	return n
}

// Entries is counted, not looked up: it has to follow whatever happens.
func TestStatsEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{MemoryBytes: 256 << 10})
		h := c.Handler(museum())
		want := func(what string, n int64) {
			t.Helper()
			synctest.Wait()
			if st := c.store.Stats(); st.Entries != n || st.Entries != objects(c) || st.Fills != 0 {
				t.Fatalf("%s: %+v with %d there, want %d", what, st, objects(c), n)
			}
		}
		want("empty", 0)
		for _, v := range tour {
			if v.path != "/big" {
				v.make(h)
			}
		}
		n := int64(len(tour) - 1)
		want("filled", n)
		do(h, "GET", "http://example.com/plain?q=1", "Cache-Control: no-cache")
		want("replaced", n)
		o, _ := c.store.find([]byte("\x00/http\x00/example.com\x00//empty"), nil)
		c.store.shelf.del(&record{key: "\x00/http\x00/example.com\x00//empty"})
		want("another record removed", n)
		c.store.shelf.del(c.store.shelf.get([]byte(o.object.key)))
		want("removed", n-1)

		pages := c.Handler(page(200, strings.Repeat("x", 9000), "Cache-Control: max-age=60"))
		for i := range 100 {
			do(pages, "GET", fmt.Sprint("/", i))
			synctest.Wait()
		}
		st := c.store.Stats()
		want("evicted from", objects(c))
		if st.Evicted+st.Rejected == 0 || st.Expired != 0 || st.Entries >= 100 {
			t.Errorf("%+v after too much was stored", st)
		}
		time.Sleep(72 * time.Hour)
		want("expired", 0)
		if st := c.store.Stats(); st.Expired == 0 || st.Expired > st.Evicted || st.EntryBytes != 0 {
			t.Errorf("%+v after all has expired", st)
		}
	})
}
