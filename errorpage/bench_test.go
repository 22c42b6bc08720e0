package errorpage

import (
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

var hello = []byte("hello")

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(hello) }

// BenchmarkPass is what a request that does not fail pays.
func BenchmarkPass(b *testing.B) {
	p, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct {
		name string
		h    http.Handler
		r    *http.Request
	}{
		{"bare", http.HandlerFunc(ok), get("Accept", browser, "X-Request-Id", "abc")},
		{"page", p.Handler(http.HandlerFunc(ok)), get("Accept", browser, "X-Request-Id", "abc")},
		{"page and id", p.Handler(http.HandlerFunc(ok)), get("Accept", browser)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			w := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				bm.h.ServeHTTP(w, bm.r)
			}
		})
	}
}

func BenchmarkServeError(b *testing.B) {
	p, err := New(Config{Brand: "Acme"})
	if err != nil {
		b.Fatal(err)
	}
	e := failure.New(failure.ConnectionRefused, nil)
	for _, bm := range []struct{ name, accept string }{
		{"html", browser}, {"problem", "application/problem+json"}, {"text", "*/*"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := get("Accept", bm.accept, "X-Request-Id", "abc")
			w := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				p.ServeError(w, r, e)
			}
		})
	}
}

func BenchmarkAccept(b *testing.B) {
	h := get("Accept", browser).Header
	b.ReportAllocs()
	for b.Loop() {
		choose(h)
	}
}

func BenchmarkNewRequestID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewRequestID()
	}
}

func TestAllocs(t *testing.T) {
	h := get("Accept", browser+`, application/json;a="b,c";q=0.5`).Header
	if n := testing.AllocsPerRun(100, func() { choose(h) }); n != 0 {
		t.Errorf("negotiation allocates %v times", n)
	}
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		accept     string
		retryAfter time.Duration
	}{{browser, 0}, {browser, 5 * time.Second}, {browser, 5000 * time.Second}, {"application/problem+json", 5 * time.Second}, {"*/*", 5000 * time.Second}} {
		e := &failure.Error{Cause: failure.BreakerOpen, RetryAfter: tt.retryAfter}
		r := get("Accept", tt.accept, "Accept-Language", "fr-CH, fr;q=0.9, en;q=0.8", "X-Request-Id", "abc")
		w := &discard{http.Header{}}
		if n := testing.AllocsPerRun(100, func() { clear(w.h); p.ServeError(w, r, e) }); n > 4 && !raceEnabled {
			t.Errorf("Accept %s, Retry-After %v: a page allocates %v times, want at most 4", tt.accept, tt.retryAfter, n)
		}
	}
}
