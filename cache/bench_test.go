package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// sink is the cheapest of writers.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// bare answers as a handler would that has all in memory.
func bare(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "max-age=60")
		h.Set("Content-Type", "text/html")
		h.Set("Etag", `"a"`)
		_, _ = w.Write(body)
	})
}

// serveSink answers r into a fresh header map, as every request has one.
func serveSink(h http.Handler, r *http.Request) {
	h.ServeHTTP(&sink{make(http.Header)}, r)
}

func warm(t testing.TB, c *Cache, h http.Handler, r *http.Request) {
	t.Helper()
	serveSink(h, r)
	settled(t, c)
}

// TestHitAllocations: a hit makes at most two allocations more than a bare
// handler that answers the same.
func TestHitAllocations(t *testing.T) {
	body := make([]byte, 1024)
	for _, vary := range []bool{false, true} {
		t.Run(fmt.Sprint("vary ", vary), func(t *testing.T) {
			c := newCache(t, Config{})
			h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if vary {
					w.Header().Set("Vary", "Accept-Encoding")
				}
				bare(body).ServeHTTP(w, r)
			}))
			r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
			r.Header.Set("Accept-Encoding", "gzip, br")
			warm(t, c, h, r)
			least := testing.AllocsPerRun(2000, func() { serveSink(bare(body), r) })
			got := testing.AllocsPerRun(2000, func() { serveSink(h, r) })
			if got > least+2 {
				t.Errorf("a hit makes %v allocations, a bare handler %v: want at most 2 more", got, least)
			}
		})
	}
}

func BenchmarkBare1kB(b *testing.B) {
	h := bare(make([]byte, 1024))
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

func BenchmarkHit1kB(b *testing.B) {
	c := newCache(b, Config{})
	h := c.Handler(bare(make([]byte, 1024)))
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	warm(b, c, h, r)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

func BenchmarkHitVary1kB(b *testing.B) {
	c := newCache(b, Config{})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Encoding")
		bare(make([]byte, 1024)).ServeHTTP(w, r)
	}))
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	r.Header.Set("Accept-Encoding", "gzip, br")
	warm(b, c, h, r)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

func BenchmarkHitParallel(b *testing.B) {
	c := newCache(b, Config{})
	h := c.Handler(bare(make([]byte, 1024)))
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	warm(b, c, h, r)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			serveSink(h, r)
		}
	})
}

func BenchmarkHitObserved(b *testing.B) {
	c := newCache(b, Config{Observe: func(context.Context, Event) {}})
	h := c.Handler(bare(make([]byte, 1024)))
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	warm(b, c, h, r)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

func BenchmarkMiss1kB(b *testing.B) {
	c := newCache(b, Config{})
	h := c.Handler(bare(make([]byte, 1024)))
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.URL.RawQuery = fmt.Sprint(i)
		serveSink(h, r)
	}
}

func BenchmarkUnstored1kB(b *testing.B) {
	c := newCache(b, Config{})
	body := make([]byte, 1024)
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(body) }))
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

func BenchmarkServer(b *testing.B) {
	body := []byte(strings.Repeat("x", 1024))
	c := newCache(b, Config{})
	for _, bm := range []struct {
		name string
		h    http.Handler
	}{{"bare", bare(body)}, {"hit", c.Handler(bare(body))}} {
		b.Run(bm.name, func(b *testing.B) {
			s := httptest.NewServer(bm.h)
			defer s.Close()
			client := s.Client()
			r, _ := http.NewRequestWithContext(context.Background(), "GET", s.URL, nil)
			b.ReportAllocs()
			for b.Loop() {
				res, err := client.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}
