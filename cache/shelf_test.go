package cache

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newTestShelf(t testing.TB, limit int64) *shelf {
	t.Helper()
	s, err := newShelf(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func rec(key string, version uint64, cost int64) *record {
	return &record{key: key, version: version, cost: cost}
}

func hour(recs ...*record) []entry {
	entries := make([]entry, len(recs))
	for i, r := range recs {
		entries[i] = entry{r, time.Hour}
	}
	return entries
}

// Two quick Sets of one key make ristretto answer with the older value.
func TestTrap1ServesTheLatest(t *testing.T) {
	s := newTestShelf(t, 1<<20)
	for i := range 500 {
		key := fmt.Sprint("k", i)
		older, newer := rec(key, 1, 400), rec(key, 2, 400)
		s.put(hour(older))
		s.put(hour(newer))
		if got := s.get([]byte(key)); got != newer {
			t.Fatalf("get(%s) = version %d, want 2", key, got.version)
		}
	}
}

// A Get right after a Set of a new key misses in ristretto.
func TestTrap2PutIsVisible(t *testing.T) {
	s := newTestShelf(t, 1<<20)
	for i := range 500 {
		r := rec(fmt.Sprint("k", i), 1, 400)
		if got := s.put(hour(r)); got[0] != putStored || s.get([]byte(r.key)) != r {
			t.Fatalf("%d: put = %v, get = %v", i, got, s.get([]byte(r.key)))
		}
	}
}

func TestShelfSupersedes(t *testing.T) {
	s := newTestShelf(t, 1<<20)
	newer := rec("k", 7, 400)
	s.put(hour(newer))
	if got := s.put(hour(rec("k", 6, 400))); got[0] != putSuperseded || s.get([]byte("k")) != newer {
		t.Errorf("put of an older version = %v, want superseded", got)
	}
}

// ristretto never compares the full key.
func TestTrap3ComparesKeys(t *testing.T) {
	s := newTestShelf(t, 1<<20)
	s.cache.Set([]byte("a"), rec("b", 1, 400), 400)
	s.cache.Wait()
	if got := s.get([]byte("a")); got != nil {
		t.Errorf("get(a) = the record of %q, want none", got.key)
	}
}

// An update in place ignores the limit.
func TestTrap4GrowthStaysWithinLimit(t *testing.T) {
	const limit, n = 100_000, 20
	s := newTestShelf(t, limit)
	for round := range 50 {
		for i := range n {
			key := fmt.Sprint("k", i)
			s.put(hour(rec(key, uint64(round+1), int64(1000+round*400))))
			s.get([]byte(key))
			if got := s.used(); got > limit {
				t.Fatalf("round %d: entries cost %d, want at most %d", round, got, limit)
			}
		}
	}
	// Shrinking again needs neither room nor admission.
	s.put(hour(rec("k0", 100, 20000)))
	if s.get([]byte("k0")) != nil {
		small := rec("k0", 101, 500)
		if got := s.put(hour(small)); got[0] != putStored || s.get([]byte("k0")) != small {
			t.Errorf("put of a smaller one = %v, want stored", got)
		}
	}
}

// An oversize Set is said to have been successful.
func TestTrap4RefusesTheOversize(t *testing.T) {
	s := newTestShelf(t, 100_000)
	if got := s.put(hour(rec("k", 1, 25_001))); got[0] != putTooLarge {
		t.Errorf("put = %v, want too large", got)
	}
}

// 0 would be for ever, and a negative time to live is dropped in silence.
func TestTrap7TTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := newShelf(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		for _, ttl := range []time.Duration{0, -1} {
			if got := s.put([]entry{{rec("k", 1, 400), ttl}}); got[0] != putExpired || s.get([]byte("k")) != nil {
				t.Errorf("put for %v = %v, want expired", ttl, got)
			}
		}
		s.put([]entry{{rec("k", 1, 400), time.Minute}, {rec("long", 1, 400), 1<<63 - 1}})
		time.Sleep(time.Minute - time.Second)
		if s.get([]byte("k")) == nil {
			t.Error("gone before its time")
		}
		time.Sleep(2 * time.Second)
		if s.get([]byte("k")) != nil {
			t.Error("there after its time")
		}
		if s.get([]byte("long")) == nil {
			t.Error("a very long time to live overflowed")
		}
		time.Sleep(time.Minute)
		if got := s.used(); got != 400 {
			t.Errorf("entries cost %d after the cleaning, want 400", got)
		}
	})
}

// Very fast Sets are dropped.
func TestTrap5DropsNothingWhenPaced(t *testing.T) {
	s := newTestShelf(t, 64<<20)
	const batch, rounds = maxBatch, 400
	for i := range rounds {
		recs := make([]*record, batch)
		for j := range recs {
			recs[j] = rec(fmt.Sprint(i, "/", j), 1, 400)
		}
		for _, r := range s.put(hour(recs...)) {
			if r != putStored {
				t.Fatalf("batch %d: put = %v, want stored", i, r)
			}
		}
	}
}

// A lone hot key must get into a full store.
func TestTrap6AdmitsTheHot(t *testing.T) {
	if getBuffer > 8 { // what follows is too lenient to tell, as the race detector loses counts
		t.Errorf("Gets are counted %d at a time, want at most 8", getBuffer)
	}
	s := newTestShelf(t, 100_000)
	for i := range 400 {
		r := rec(fmt.Sprint("k", i), 1, 500)
		s.put(hour(r))
		for range 3 {
			s.get([]byte(r.key))
		}
	}
	for tries := 1; ; tries++ {
		s.get([]byte("hot"))
		if s.put(hour(rec("hot", uint64(tries), 500)))[0] == putStored {
			return
		}
		if tries == 64 {
			t.Fatal("not admitted after 64 tries")
		}
	}
}

// Get and Set that race with Close make ristretto panic.
func TestTrap9Close(t *testing.T) {
	for range 20 {
		s := newTestShelf(t, 1<<20)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 200 {
					r := rec(fmt.Sprint(i, "/", j), 1, 400)
					s.put(hour(r))
					s.get([]byte(r.key))
					s.del(r)
					s.used()
				}
			})
		}
		s.close()
		wg.Wait()
		s.close()
	}
}

func TestShelfDel(t *testing.T) {
	s := newTestShelf(t, 1<<20)
	one, two := rec("k", 1, 400), rec("k", 2, 400)
	s.put(hour(one))
	s.put(hour(two))
	s.del(one)
	if s.get([]byte("k")) != two {
		t.Error("del of a record that was replaced removed its successor")
	}
	s.del(two)
	s.put(hour(rec("k", 3, 400)))
	if got := s.get([]byte("k")); got == nil || got.version != 3 {
		t.Error("a put after a del was undone by it")
	}
}

// What the store is charged is about what it takes.
func TestStoreLimit(t *testing.T) {
	c := newCache(t, Config{MemoryBytes: 2 << 20})
	h := c.Handler(page(200, strings.Repeat("x", 50_000), "Cache-Control: max-age=60"))
	for i := range 200 {
		do(h, "GET", fmt.Sprint("/", i))
	}
	settled(t, c)
	st := c.store.Stats()
	if st.EntryBytes > st.EntryLimit || st.EntryBytes < st.EntryLimit/2 || st.Evicted+st.Rejected == 0 || st.FillBytes != 0 {
		t.Errorf("stats = %+v", st)
	}
}
