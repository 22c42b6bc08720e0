package cache

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

var someSets = Normalize{Encodings: []string{"br", "gzip"}, Languages: []string{"en", "de"}, Types: []string{"text/html", "application/json"}}

// negotiated answers what it was asked for.
func negotiated(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("Vary", "Accept, Accept-Encoding, Accept-Language")
	_, _ = fmt.Fprint(w, asked(r))
}

func asked(r *http.Request) string {
	return fmt.Sprint(r.Header["Accept"], r.Header["Accept-Encoding"], r.Header["Accept-Language"])
}

// TestNormalize: requests that come to the same get the same response, which is
// the answer to what the origin was asked.
func TestNormalize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{Normalize: someSets})
		o := newOrigin(negotiated)
		h := c.Handler(o)
		for i, tt := range []struct {
			headers []string
			body    string
			calls   int64
		}{
			{[]string{"Accept: text/html,*/*;q=0.8", "Accept-Encoding: gzip, deflate, br", "Accept-Language: de-AT,de;q=0.9"}, "[text/html] [br] [de]", 1},
			{[]string{"Accept: */*", "Accept-Encoding: br", "Accept-Language: DE-ch"}, "[text/html] [br] [de]", 1},
			{[]string{"Accept: */*", "Accept-Encoding: gzip;q=0", "Accept-Language: fr"}, "[text/html] [identity] []", 2},
			{[]string{"Accept: text/html", "Accept-Language: *;q=0"}, "[text/html] [identity] []", 2},
			{nil, "[] [identity] []", 3},
			{[]string{"Accept: image/png", "Accept-Encoding: zstd", "Accept-Language: xx"}, "[] [identity] []", 3},
			{[]string{"Accept: application/json", "Accept-Encoding: x-gzip", "Accept-Language: en;q=0.1"}, "[application/json] [gzip] [en]", 4},
		} {
			r := httptest.NewRequest("GET", "/", nil)
			for _, line := range tt.headers {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Add(name, value)
			}
			before, same := r.Header.Clone(), r.Header
			a := doRequest(h, r)
			settled(t, c)
			if a.body != tt.body || o.calls.Load() != tt.calls {
				t.Errorf("%d: %q got %q after %d fetches, want %q after %d", i, tt.headers, a.body, o.calls.Load(), tt.body, tt.calls)
			}
			same["X-Probe"] = nil
			if _, ok := r.Header["X-Probe"]; !ok || len(r.Header) != len(before)+1 {
				t.Errorf("%d: the client's request has another header now", i)
			}
			for name, lines := range before {
				if !slices.Equal(r.Header[name], lines) {
					t.Errorf("%d: %s became %q", i, name, r.Header[name])
				}
			}
		}
		if a := do(h, "GET", "/", "Accept: */*", "Accept-Encoding: br", "Accept-Language: de"); a.cacheStatus() != "holdfast; hit; ttl=60" {
			t.Errorf("Cache-Status = %q, want a hit", a.cacheStatus())
		}
		do(h, "POST", "/")
		if a := do(h, "GET", "/", "Accept: */*", "Accept-Encoding: br", "Accept-Language: de"); strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("Cache-Status = %q after an invalidation, want no hit", a.cacheStatus())
		}
	})
}

// TestNormalizeForwarded: what may be stored or compared with what is stored is
// normalised, what bypasses the cache is not.
func TestNormalizeForwarded(t *testing.T) {
	c := newCache(t, Config{Normalize: someSets})
	var mu sync.Mutex
	got := ""
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = asked(r)
		w.Header().Set("Cache-Control", "no-store")
	}))
	const raw, reduced = "[*/*] [gzip;q=0.5] [de-AT]", "[text/html] [gzip] [de]"
	for _, tt := range []struct {
		method  string
		headers []string
		want    string
	}{
		{"GET", nil, reduced},
		{"HEAD", nil, reduced},
		{"GET", []string{"Range: bytes=0-1"}, reduced},
		{"GET", []string{`If-Match: "a"`}, reduced},
		{"POST", nil, raw},
		{"OPTIONS", nil, raw},
		{"GET", []string{"Connection: Upgrade", "Upgrade: websocket"}, raw},
	} {
		headers := append([]string{"Accept: */*", "Accept-Encoding: gzip;q=0.5", "Accept-Language: de-AT"}, tt.headers...)
		do(h, tt.method, "/", headers...)
		mu.Lock()
		if got != tt.want {
			t.Errorf("%s %q: the origin got %q, want %q", tt.method, tt.headers, got, tt.want)
		}
		mu.Unlock()
	}
}

// TestNormalizeErrors: who answers failures sees what the client asked for.
func TestNormalizeErrors(t *testing.T) {
	got := ""
	c := newCache(t, Config{Normalize: someSets, ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
		got = asked(r)
		w.WriteHeader(http.StatusGatewayTimeout)
	}})
	h := c.Handler(page(200, "x"))
	do(h, "GET", "/", "Cache-Control: only-if-cached", "Accept: a/b", "Accept-Encoding: c", "Accept-Language: fr")
	if want := "[a/b] [c] [fr]"; got != want {
		t.Errorf("the error handler got %q, want %q", got, want)
	}
}

// TestNormalizeHerd: followers of one variant share, also of the first fetch.
func TestNormalizeHerd(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprint("known ", known), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{Normalize: someSets})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					negotiated(w, r)
				})
				h := c.Handler(o)
				if known {
					do(h, "GET", "/")
					settled(t, c)
				}
				o.calls.Store(0)
				for i, a := range herd(40, func(i int) answer {
					return do(h, "GET", "/", fmt.Sprintf("Accept-Language: de-A%c, en;q=0.%d", 'A'+i%20, i%9), fmt.Sprintf("Accept-Encoding: x%d, gzip", i))
				}) {
					if want := "[] [gzip] [de]"; a.body != want {
						t.Errorf("%d got %q, want %q", i, a.body, want)
					}
				}
				if n := o.calls.Load(); n != 1 {
					t.Errorf("%d fetches, want 1", n)
				}
			})
		})
	}
}

// TestNormalizeRefresh: a refresh asks for what it refreshes.
func TestNormalizeRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{Normalize: someSets, StaleWhileRevalidate: time.Hour})
		o := newOrigin(negotiated)
		h := c.Handler(o)
		do(h, "GET", "/", "Accept-Language: de-AT")
		time.Sleep(2 * time.Minute)
		if a := do(h, "GET", "/", "Accept-Language: de-CH"); a.body != "[] [identity] [de]" || !strings.Contains(a.cacheStatus(), "refreshing") {
			t.Errorf("got %q, %q", a.body, a.cacheStatus())
		}
		synctest.Wait()
		if a := do(h, "GET", "/", "Accept-Language: de"); a.cacheStatus() != "holdfast; hit; ttl=60" || o.calls.Load() != 2 {
			t.Errorf("got %q after %d fetches, want a hit after 2", a.cacheStatus(), o.calls.Load())
		}
	})
}

func TestNormalizeFailureIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{Normalize: someSets})
		o := newOrigin(negotiated)
		h := c.Handler(o)
		do(h, "GET", "/", "Accept-Language: de-AT")
		time.Sleep(2 * time.Minute)
		o.set(failing(failure.New(failure.ConnectionRefused, io.EOF)))
		if a := do(h, "GET", "/", "Accept-Language: de-CH"); a.status != 200 || a.body != "[] [identity] [de]" {
			t.Errorf("got %d %q, want the stale copy", a.status, a.body)
		}
		if a := do(h, "GET", "/", "Accept-Language: en"); a.status == 200 {
			t.Errorf("got %d %q, want no other variant's copy", a.status, a.body)
		}
	})
}

func normalizedHit(t testing.TB) (http.Handler, *http.Request) {
	c := newCache(t, Config{Normalize: someSets})
	body := make([]byte, 1024)
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Encoding, Accept-Language")
		bare(body).ServeHTTP(w, r)
	}))
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	r.Header.Set("Accept-Language", "de-AT,de;q=0.9,en;q=0.8")
	warm(t, c, h, r)
	return h, r
}

func TestNormalizedHitAllocations(t *testing.T) {
	h, r := normalizedHit(t)
	least := testing.AllocsPerRun(2000, func() { serveSink(bare(make([]byte, 0)), r) })
	if got := testing.AllocsPerRun(2000, func() { serveSink(h, r) }); got > least+2 {
		t.Errorf("a hit makes %v allocations, a bare handler %v: want at most 2 more", got, least)
	}
}

func BenchmarkHitNormalized1kB(b *testing.B) {
	h, r := normalizedHit(b)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

// TestNormalizeBeforeKey: a field that is part of the key counts as it is
// normalised, and Explain knows.
func TestNormalizeBeforeKey(t *testing.T) {
	c := newCache(t, Config{Normalize: someSets, Key: Key{Headers: []string{"accept-language"}}})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = fmt.Fprint(w, asked(r))
	})
	h := c.Handler(o)
	for _, lang := range []string{"de-AT", "DE", "en;q=0.1, de"} {
		if a := do(h, "GET", "http://example.com/", "Accept-Language: "+lang); a.body != "[] [identity] [de]" {
			t.Errorf("%s got %q", lang, a.body)
		}
		settled(t, c)
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		r.Header.Set("Accept-Language", lang)
		if e := c.Explain(r); e.Action != "hit" || r.Header.Get("Accept-Language") != lang {
			t.Errorf("%s: Explain() = %+v, want a hit", lang, e)
		}
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	do(h, "POST", "http://example.com/", "Accept-Language: fr")
	if a := do(h, "GET", "http://example.com/", "Accept-Language: de"); strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("Cache-Status = %q after an invalidation, want no hit", a.cacheStatus())
	}
}
