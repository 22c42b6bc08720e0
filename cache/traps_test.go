package cache

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What ristretto does to the careless has a number, under which the tests that
// keep us from it are found: TestTrap1 to TestTrap10, here and in
// shelf_test.go.
//
//	 1  a Set after a Set of a new key can be lost to it
//	 2  a Get right after a Set of a new key misses
//	 3  keys are compared by their hashes only
//	 4  updates ignore the limit, and what is too large is stored as nothing
//	 5  very fast Sets are dropped
//	 6  a lone hot key is not admitted for long if Gets are counted in large batches
//	 7  a time to live of 0 is for ever, a negative one is none
//	 8  callbacks hold up everything, have nil values, and readers hold on to what
//	    is gone
//	 9  Get, Set and Del panic beside Close; iterating holds locks
//	10  costs are not what was said, and the counters miss some

// within fails the test if f takes so long that it must have locked up.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s does not end", what)
	}
}

// The seeds are ours, and no two shelves have the same: keys can't be chosen so
// that they collide. A conflict hash of 0 would not be compared.
func TestTrap3HashesAreSeeded(t *testing.T) {
	one, two := hashing(), hashing()
	same := 0
	for i := range 200 {
		key := fmt.Append(nil, i)
		h1, c1 := one(key)
		h2, c2 := two(key)
		if c1 == 0 || c2 == 0 {
			t.Errorf("the conflict hash of %s is 0", key)
		}
		if h1 == h2 || h1 == c1 {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d of 200 keys have a hash that can be foretold", same)
	}
}

// More at once than ristretto's buffer holds.
func TestTrap5DropsNothingInABurst(t *testing.T) {
	s := newTestShelf(t, 64<<20)
	const n = 100_000
	recs := make([]*record, n)
	for i := range recs {
		recs[i] = rec(fmt.Sprint("k", i), 1, 400)
	}
	lost := 0
	for _, r := range s.put(hour(recs...)) {
		if r != putStored {
			lost++
		}
	}
	if lost > 0 || s.rejected.Load() != 0 {
		t.Errorf("%d of %d were dropped", lost, n)
	}
}

// Callbacks only count: all that waits for ristretto goes on while it evicts.
func TestTrap8CallbacksDoNotHoldUp(t *testing.T) {
	s := newTestShelf(t, 100_000)
	within(t, "putting far more than fits", func() {
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 2000 {
				s.put(hour(&record{key: fmt.Sprint(i), version: 1, cost: 1000, object: &object{}}))
			}
		})
		wg.Go(func() {
			for i := range 2000 {
				s.get(fmt.Append(nil, i))
				s.used()
				s.records()
			}
		})
		wg.Wait()
	})
	recs, _ := s.records()
	if s.evicted.Load()+s.rejected.Load() < 1000 || s.objects.Load() != int64(len(recs)) {
		t.Errorf("%d evicted, %d rejected, %d counted, %d there", s.evicted.Load(), s.rejected.Load(), s.objects.Load(), len(recs))
	}
}

// Callbacks get nil for what was not there.
func TestTrap8NilValues(t *testing.T) {
	s := newTestShelf(t, 100_000)
	s.cache.Del([]byte("absent"))
	s.cache.Set([]byte("nil"), nil, 400)
	s.cache.Wait()
	if got := s.get([]byte("nil")); got != nil || s.objects.Load() != 0 {
		t.Errorf("get = %v, %d counted", got, s.objects.Load())
	}
	s.cache.Del([]byte("nil"))
	s.cache.Wait()
	if recs, _ := s.records(); len(recs) != 0 || s.objects.Load() != 0 {
		t.Errorf("%d records, %d counted, want none", len(recs), s.objects.Load())
	}
}

// What a reader has stays as it is, whatever becomes of the entry.
func TestTrap8ReadersKeepWhatIsGone(t *testing.T) {
	c := newCache(t, Config{MemoryBytes: minMemory})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page(200, strings.Repeat(r.URL.Path[1:2], 3000), "Cache-Control: max-age=60")(w, r)
	}))
	do(h, "GET", "/0")
	settled(t, c)
	at, _ := c.store.find([]byte("\x00/http\x00/example.com\x00//0"), nil)
	if at.object == nil {
		t.Fatal("not stored")
	}
	for i := range 100 {
		do(h, "GET", fmt.Sprint("/x", i))
		settled(t, c)
	}
	if rec := c.store.shelf.get([]byte(at.object.key)); rec != nil {
		c.store.shelf.del(rec)
	}
	for _, chunk := range at.object.body {
		for _, b := range chunk {
			if b != '0' {
				t.Fatal("the body changed under its reader")
			}
		}
	}
	if len(at.object.values("Cache-Control")) != 1 || at.object.size != 3000 {
		t.Errorf("the object changed under its reader: %+v", at.object.fields)
	}
}

// Iterating holds the lock of a shard: what is done with a record comes after.
func TestTrap9RecordsHoldNoLock(t *testing.T) {
	s := newTestShelf(t, 10<<20)
	for i := range 1000 {
		s.put(hour(rec(fmt.Sprint(i), 1, 400)))
	}
	within(t, "removing what was listed", func() {
		recs, ok := s.records()
		if len(recs) != 1000 || !ok {
			t.Errorf("%d records, want 1000", len(recs))
		}
		for _, r := range recs {
			s.del(r)
		}
	})
	if got := s.used(); got != 0 {
		t.Errorf("entries cost %d after all were removed", got)
	}
	s.close()
	if recs, ok := s.records(); ok || recs != nil {
		t.Errorf("records of a closed shelf = %d, %t", len(recs), ok)
	}
}

// Costs are what we say: ristretto would add its own idea of an item's size.
func TestTrap10CostsAreOurs(t *testing.T) {
	s := newTestShelf(t, 1<<20)
	sum := int64(0)
	for i := range 500 {
		cost := int64(300 + i)
		sum += cost
		s.put(hour(rec(fmt.Sprint(i), 1, cost)))
	}
	if got := s.used(); got != sum {
		t.Errorf("entries cost %d, want %d", got, sum)
	}
}

// Its counters miss what was refused for its size or with the buffer full: ours
// add up.
func TestTrap10CountersAddUp(t *testing.T) {
	s := newTestShelf(t, 100_000)
	results := make(map[putResult]uint64)
	const n = 2000
	for i := range n {
		r := rec(fmt.Sprint(i), 1, 400)
		r.object = &object{}
		results[s.put(hour(r))[0]]++
	}
	recs, _ := s.records()
	if results[putStored]+results[putRejected] != n || results[putRejected] != s.rejected.Load() ||
		results[putStored]-s.evicted.Load() != uint64(len(recs)) || s.objects.Load() != int64(len(recs)) {
		t.Errorf("%v, %d rejected, %d evicted, %d there, %d counted", results, s.rejected.Load(), s.evicted.Load(), len(recs), s.objects.Load())
	}
}
