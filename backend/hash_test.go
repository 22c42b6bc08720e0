package backend

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

func hashBackend(t testing.TB, eps []Endpoint) *state {
	t.Helper()
	return newBackend(t, Config{
		Endpoints: eps, Balance: ConsistentHash, HashKey: func(r *http.Request) string { return r.URL.Query().Get("k") },
	}).now()
}

// owners are the endpoints of n keys.
func owners(t testing.TB, s *state, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		ep, _, err := s.choose(query{hash: hashOf(fmt.Sprint("key", i)), hashed: true})
		if err != nil {
			t.Fatal(err)
		}
		ep.unused()
		all[i] = ep.name
	}
	return all
}

func moved(a, b []string) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// The same in every process and every version, so that several proxies agree.
func TestHashIsStable(t *testing.T) {
	for key, want := range map[string]uint64{"": 0xf52a15e9a9b5e89b, "a": 0x02c0bdbf481420f8, "holdfast": 0x2bd8caf40b4ca189} {
		if got := hashOf(key); got != want {
			t.Errorf("hashOf(%q) = %#x, want %#x", key, got, want)
		}
	}
}

func TestHashShares(t *testing.T) {
	const n = 20000
	count := make(map[string]int)
	for _, name := range owners(t, hashBackend(t, handlers(1, 2, 1)), n) {
		count[name]++
	}
	for i, share := range []float64{0.25, 0.5, 0.25} {
		if got := count[fmt.Sprintf("e%d", i)]; !near(got, n, share) {
			t.Errorf("e%d has %d of %d keys, want %.2f", i, got, n, share)
		}
	}
}

// Only the keys of an endpoint that goes move, and only to one that comes.
func TestHashMovesLittle(t *testing.T) {
	const n = 10000
	five, six := handlers(1, 1, 1, 1, 1), handlers(1, 1, 1, 1, 1, 1)
	before := owners(t, hashBackend(t, five), n)
	after := owners(t, hashBackend(t, six), n)
	for i := range before {
		if before[i] != after[i] && after[i] != "e5" {
			t.Fatalf("key %d moved from %s to %s, neither of which is new", i, before[i], after[i])
		}
	}
	if got := moved(before, after); !near(got, n, 1.0/6) {
		t.Errorf("%d of %d keys moved to the sixth endpoint, want a sixth", got, n)
	}
	s := hashBackend(t, five)
	setDown(s.endpoints[2])
	down := owners(t, s, n)
	for i := range before {
		if (before[i] != down[i]) != (before[i] == "e2") {
			t.Fatalf("key %d went from %s to %s while e2 is down", i, before[i], down[i])
		}
	}
	// The order in which they are named is nothing.
	turned := []Endpoint{five[3], five[0], five[4], five[2], five[1]}
	if got := moved(before, owners(t, hashBackend(t, turned), n)); got != 0 {
		t.Errorf("%d keys moved as the endpoints were named in another order", got)
	}
}

// However hot a key, its endpoint gets no more than its share and a quarter.
func TestHashBoundedLoad(t *testing.T) {
	s := hashBackend(t, handlers(1, 1, 1, 1))
	const n = 400
	q := query{hash: hashOf("hot"), hashed: true}
	own, _, _ := s.choose(q)
	own.unused()
	for i := range int64(n) {
		ep, _, err := s.choose(q)
		if err != nil {
			t.Fatal(err)
		}
		if limit := hashLimit(i, 0.25); ep.inFlight.Load() > limit {
			t.Fatalf("request %d: %s has %d in flight, want at most %d", i, ep.name, ep.inFlight.Load(), limit)
		}
	}
	if got := own.inFlight.Load(); got != n/4*5/4 {
		t.Errorf("the key's own endpoint has %d, want its %d", got, n/4*5/4)
	}
	own.inFlight.Add(3)
	if ep, _, _ := s.choose(q); ep == own {
		t.Error("the endpoint is full and picked all the same")
	}
	for _, ep := range s.endpoints {
		ep.inFlight.Store(0)
	}
	if ep, _, _ := s.choose(q); ep != own {
		t.Errorf("%s, want %s again now that it is free", ep.name, own.name)
	}
}

func TestHashLimit(t *testing.T) {
	for _, tt := range []struct {
		inFlight int64
		share    float64
		want     int64
	}{{0, 1, 2}, {0, 0.25, 1}, {3, 0.25, 2}, {99, 0.25, 32}, {-5, 0.5, 1}} {
		if got := hashLimit(tt.inFlight, tt.share); got != tt.want {
			t.Errorf("hashLimit(%d, %v) = %d, want %d", tt.inFlight, tt.share, got, tt.want)
		}
	}
}

// By the key of the request; one without is balanced.
func TestHashKey(t *testing.T) {
	var eps []Endpoint
	for i := range 4 {
		eps = append(eps, Endpoint{Name: fmt.Sprint(i), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, fmt.Sprint(i))
		})})
	}
	b := newBackend(t, Config{Endpoints: eps, Balance: ConsistentHash, HashKey: func(r *http.Request) string { return r.URL.Query().Get("k") }})
	srv, client := front(t, b)
	seen := make(map[string]bool)
	for i := range 20 {
		_, _, first := get(t, client, fmt.Sprint(srv.URL, "/?k=", i))
		_, _, again := get(t, client, fmt.Sprint(srv.URL, "/other?k=", i))
		if first != again {
			t.Errorf("key %d: %s, then %s", i, first, again)
		}
		seen[first] = true
	}
	if len(seen) < 2 {
		t.Errorf("20 keys went to %v, want several", seen)
	}
	clear(seen)
	for range 100 {
		_, _, body := get(t, client, srv.URL)
		seen[body] = true
	}
	if len(seen) < 2 {
		t.Errorf("requests without a key went to %v, want several", seen)
	}
}
