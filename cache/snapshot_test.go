package cache

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-go/holdfast/failure"
)

func snapshot(t testing.TB, c *Cache) []byte {
	t.Helper()
	settled(t, c)
	var b bytes.Buffer
	if err := c.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t testing.TB, c *Cache, b []byte, want int) {
	t.Helper()
	if n, err := c.Restore(bytes.NewReader(b)); n != want || err != nil {
		t.Fatalf("Restore() = %d, %v, want %d, nil", n, err, want)
	}
}

// entries is how many records the shelf has.
func entries(c *Cache) int {
	recs, _ := c.store.shelf.records()
	return len(recs)
}

// dead is an origin that must not be asked.
func dead(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the origin was asked for %s", r.URL)
		w.WriteHeader(http.StatusBadGateway)
	})
}

// museum is an origin with one of each kind.
func museum() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/plain", page(200, "plain", "Cache-Control: max-age=60", `Etag: "p"`, "X-Two: a", "X-Two: b"))
	mux.Handle("/empty", page(200, "", "Cache-Control: max-age=60"))
	mux.Handle("/missing", page(404, "no", "Cache-Control: max-age=60"))
	mux.Handle("/moved", page(301, "", "Location: /plain", "Cache-Control: max-age=60"))
	mux.Handle("/none", page(204, "", "Cache-Control: max-age=60"))
	mux.Handle("/big", page(200, strings.Repeat("big ", 50_000), "Cache-Control: max-age=60"))
	mux.HandleFunc("/vary", func(w http.ResponseWriter, r *http.Request) {
		page(200, "in "+r.Header.Get("X-Lang"), "Cache-Control: max-age=60", "Vary: X-Lang")(w, r)
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		page(200, "body", "Cache-Control: max-age=60")(w, r)
		w.Header().Set("X-Sum", "4")
	})
	return mux
}

type visit struct{ path, lang string }

var tour = []visit{
	{"/plain?q=1", ""},
	{"/empty", ""},
	{"/missing", ""},
	{"/moved", ""},
	{"/none", ""},
	{"/big", ""},
	{"/trailer", ""},
	{"/vary", "de"},
	{"/vary", "fr"},
	{"/vary", ""},
}

func (v visit) make(h http.Handler) answer {
	if v.lang == "" {
		return do(h, "GET", "http://example.com"+v.path)
	}
	return do(h, "GET", "http://example.com"+v.path, "X-Lang: "+v.lang)
}

func TestSnapshotRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newCache(t, Config{Namespace: "n"}), newCache(t, Config{Namespace: "n"})
		h := one.Handler(museum())
		for _, v := range tour {
			v.make(h)
			synctest.Wait()
		}
		b := snapshot(t, one)
		restore(t, two, b, len(tour))
		synctest.Wait()
		warm := two.Handler(dead(t))
		for _, v := range tour {
			got, want := v.make(warm), v.make(h)
			if diff := cmp.Diff(want.header, got.header); diff != "" || got.status != want.status || got.body != want.body {
				t.Errorf("%v: %d %.20q, want %d %.20q %s", v, got.status, got.body, want.status, want.body, diff)
			}
			if diff := cmp.Diff(want.trailer, got.trailer); diff != "" {
				t.Errorf("%v: trailers %s", v, diff)
			}
		}
		// What was restored can be snapshot again.
		restore(t, newCache(t, Config{Namespace: "n"}), snapshot(t, two), len(tour))
	})
}

func TestSnapshotKeepsAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newCache(t, Config{}), newCache(t, Config{})
		h := one.Handler(page(200, "x", "Cache-Control: max-age=100", "Age: 7"))
		do(h, "GET", "/")
		synctest.Wait()
		time.Sleep(30 * time.Second)
		b := snapshot(t, one)
		time.Sleep(20 * time.Second)
		restore(t, two, b, 1)
		warm := two.Handler(dead(t))
		if a := do(warm, "GET", "/"); a.header.Get("Age") != "57" || a.cacheStatus() != "holdfast; hit; ttl=43" {
			t.Errorf("Age %s, %s; want 57 s old", a.header.Get("Age"), a.cacheStatus())
		}
		time.Sleep(42 * time.Second)
		do(warm, "GET", "/")
		time.Sleep(2 * time.Second)
		stale := two.Handler(failing(failure.New(failure.ConnectionRefused, nil)))
		if a := do(stale, "GET", "/"); a.body != "x" || a.header.Get("Age") != "101" {
			t.Errorf("%q, Age %s, %s; want the stale copy, 101 s old", a.body, a.header.Get("Age"), a.cacheStatus())
		}
	})
}

// A clock that was set back makes nothing younger; one that was wrong by far
// makes nothing crash.
func TestSnapshotClockSetBack(t *testing.T) {
	for _, tt := range []struct {
		ahead time.Duration
		n     int
		age   string
	}{
		{-10 * time.Second, 1, "50"},
		{0, 1, "40"},
		{time.Hour, 1, "40"},
		{200 * 365 * 24 * time.Hour, 1, "40"},
		{-48 * time.Hour, 0, ""}, // beyond all use
		{-200 * 365 * 24 * time.Hour, 0, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, Config{})
			e := snapshotEntry{
				primary: "\x00/http\x00/example.com\x00//", status: 200, initialAge: 30 * time.Second, held: 10 * time.Second,
				header: http.Header{"Cache-Control": {"max-age=60"}},
			}
			restore(t, c, madeSnapshot(time.Now().Add(tt.ahead), e), tt.n)
			if tt.n == 0 {
				return
			}
			if a := do(c.Handler(dead(t)), "GET", "http://example.com/"); a.header.Get("Age") != tt.age {
				t.Errorf("clock %v ahead: Age %s, want %s", tt.ahead, a.header.Get("Age"), tt.age)
			}
		})
	}
}

// madeSnapshot is a snapshot with the entries.
func madeSnapshot(taken time.Time, entries ...snapshotEntry) []byte {
	var b bytes.Buffer
	w := frameWriter{w: &b}
	w.preamble()
	h := snapshotHeader{taken: taken, keys: (&Cache{}).keyForm()}
	w.frame(frameHeader, h.append(nil), nil, 0)
	for _, e := range entries {
		w.frame(frameEntry, e.append(nil), e.body, e.size)
	}
	w.frame(frameEnd, []byte{byte(len(entries))}, nil, 0)
	return b.Bytes()
}

func TestSnapshotLeavesOutTheExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newCache(t, Config{StaleIfError: -1})
		h := one.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page(200, "x", "Cache-Control: "+r.URL.Query().Get("cc"))(w, r)
		}))
		do(h, "GET", "/?cc=max-age=60")
		do(h, "GET", "/?cc=max-age=86400")
		synctest.Wait()
		b := snapshot(t, one)
		time.Sleep(time.Minute + keepUnusable + time.Second)
		two := newCache(t, Config{StaleIfError: -1})
		restore(t, two, b, 1)
		// Being restored again and again is no new lease.
		time.Sleep(10 * time.Hour)
		b = snapshot(t, two)
		time.Sleep(14 * time.Hour)
		restore(t, newCache(t, Config{StaleIfError: -1}), b, 0)
	})
}

// What may be done with content is the restoring Config's to say.
func TestSnapshotUnderAnotherConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newCache(t, Config{StoreSetCookie: true, StaleIfError: -1})
		h := one.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/cookie" {
				w.Header().Set("Set-Cookie", "a=b")
			}
			page(200, "x", "Cache-Control: max-age=60")(w, r)
		}))
		do(h, "GET", "/cookie")
		do(h, "GET", "/plain")
		synctest.Wait()
		b := snapshot(t, one)
		two := newCache(t, Config{StaleIfError: time.Hour})
		restore(t, two, b, 1)
		time.Sleep(2 * time.Minute)
		if a := do(two.Handler(failing(failure.New(failure.ConnectionRefused, nil))), "GET", "/plain"); a.status != 200 {
			t.Errorf("status %d, want the stale copy: %s", a.status, a.cacheStatus())
		}
		restore(t, newCache(t, Config{MaxObjectBytes: 1, StoreSetCookie: true}), b, 2)
		big := newCache(t, Config{})
		do(big.Handler(page(200, "xx", "Cache-Control: max-age=60")), "GET", "/big")
		synctest.Wait()
		restore(t, newCache(t, Config{MaxObjectBytes: 1}), snapshot(t, big), 0)
	})
}

// Of two caches on one store each takes its own.
func TestSnapshotIsOfOneNamespace(t *testing.T) {
	s, err := NewStore(StoreConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, names := range [][2]string{{"a", "b"}, {"", "b"}, {"a", "ab"}} {
		one, two := newCache(t, Config{Store: s, Namespace: names[0]}), newCache(t, Config{Store: s, Namespace: names[1]})
		do(one.Handler(page(200, "one", "Cache-Control: max-age=60")), "GET", "/")
		do(two.Handler(page(200, "two", "Cache-Control: max-age=60")), "GET", "/")
		if b := snapshot(t, one); bytes.Contains(b, []byte("two")) || !bytes.Contains(b, []byte("one")) {
			t.Errorf("the snapshot of %q beside %q is not what is its own", names[0], names[1])
		}
	}
}

// What was invalidated is not written, nor a variant that no request can find.
func TestSnapshotWritesWhatCanBeUsed(t *testing.T) {
	c := newCache(t, Config{})
	h := c.Handler(museum())
	for _, v := range tour {
		v.make(h)
	}
	settled(t, c)
	c.store.purgeURL("\x00/http\x00/example.com\x00//plain?q=1", false)
	index := c.store.shelf.get([]byte("\x00/http\x00/example.com\x00//vary"))
	if index == nil || index.index == nil {
		t.Fatal("no index")
	}
	c.store.shelf.del(index)
	b := snapshot(t, c)
	if bytes.Contains(b, []byte("/plain?q=1")) {
		t.Error("what was invalidated is in the snapshot")
	}
	if bytes.Contains(b, []byte("in de")) {
		t.Error("a variant without its index is in the snapshot")
	}
	restore(t, newCache(t, Config{}), b, len(tour)-4)
}

// What was purged softly stays stale, and tags reach what was restored.
func TestSnapshotKeepsPurges(t *testing.T) {
	one, two := newCache(t, Config{}), newCache(t, Config{})
	tagged := func(w http.ResponseWriter, r *http.Request) {
		page(200, "x", "Cache-Control: max-age=60", "Surrogate-Key: "+r.URL.Path[1:])(w, r)
	}
	for _, path := range []string{"/soft", "/hard", "/later", "/kept"} {
		do(one.Handler(http.HandlerFunc(tagged)), "GET", "http://example.com"+path)
	}
	settled(t, one)
	for _, p := range []Purge{{URL: "http://example.com/soft", Soft: true}, {Tag: "hard"}} {
		if err := one.Purge(p); err != nil {
			t.Fatal(err)
		}
	}
	restore(t, two, snapshot(t, one), 3)
	if err := two.Purge(Purge{Tag: "later"}); err != nil {
		t.Fatal(err)
	}
	down := two.Handler(failing(failure.New(failure.ConnectionRefused, nil)))
	for path, want := range map[string]string{"/soft": "stale", "/hard": "connection_refused", "/later": "connection_refused", "/kept": "hit"} {
		a := do(down, "GET", "http://example.com"+path)
		if !strings.Contains(a.cacheStatus(), want) || (a.status == 200) != (path == "/soft" || path == "/kept") {
			t.Errorf("%s: %d, %s, want %s", path, a.status, a.cacheStatus(), want)
		}
	}
}

// Snapshot and Restore go on beside traffic.
func TestSnapshotBesideTraffic(t *testing.T) {
	one, two := newCache(t, Config{MemoryBytes: 1 << 20}), newCache(t, Config{MemoryBytes: 1 << 20})
	body := func(path string) string { return strings.Repeat(path+";", 500) }
	from := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "0") {
			w.Header().Set("Vary", "X-Lang")
		}
		page(200, body(r.URL.Path), "Cache-Control: max-age=60")(w, r)
	})
	h1, h2 := one.Handler(from), two.Handler(from)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				path := fmt.Sprint("/", (i*7+w)%300)
				for _, h := range []http.Handler{h1, h2} {
					if i%50 == 0 {
						do(h, "POST", path)
					}
					if a := do(h, "GET", path); a.status == 200 && a.body != body(path) {
						t.Errorf("%s: %.40q", path, a.body)
					}
				}
			}
		})
	}
	for range 20 {
		var b bytes.Buffer
		if err := one.Snapshot(&b); err != nil {
			t.Error(err)
		}
		if _, err := two.Restore(&b); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	settled(t, two)
	if st := two.store.Stats(); st.EntryBytes > st.EntryLimit || st.FillBytes != 0 {
		t.Errorf("stats = %+v", st)
	}
}
