package breaker

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

func TestAllocations(t *testing.T) {
	b := newBreaker(t, Config{})
	open := newBreaker(t, Config{MinVolume: 1, OpenFor: 1 << 50})
	call1(t, open, errBoom)
	h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(failure.Track(r.Context()))
	w := httptest.NewRecorder()
	for _, tt := range []struct {
		name string
		max  float64
		f    func()
	}{
		{"Allow and done", 3, func() { done, _ := b.Allow(); done(nil) }},
		{"refusal", 8, func() { _, _ = open.Allow() }},
		{"Handler", 4, func() { h.ServeHTTP(w, r) }},
	} {
		if got := testing.AllocsPerRun(100, tt.f); got > tt.max {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.max)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	br := newBreaker(b, Config{})
	b.ReportAllocs()
	for b.Loop() {
		done, err := br.Allow()
		if err != nil {
			b.Fatal(err)
		}
		done(nil)
	}
}

func BenchmarkAllowParallel(b *testing.B) {
	br := newBreaker(b, Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if done, err := br.Allow(); err == nil {
				done(nil)
			}
		}
	})
}

func BenchmarkRefusal(b *testing.B) {
	br := newBreaker(b, Config{MinVolume: 1, OpenFor: 1 << 50})
	done, err := br.Allow()
	if err != nil {
		b.Fatal(err)
	}
	done(errBoom)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := br.Allow(); err == nil {
			b.Fatal("allowed")
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	br := newBreaker(b, Config{})
	h := br.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(failure.Track(r.Context()))
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
