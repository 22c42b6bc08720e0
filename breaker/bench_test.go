package breaker

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestAllocations(t *testing.T) {
	b := newBreaker(t, Config{})
	open := newBreaker(t, Config{MinVolume: 1, OpenFor: 1 << 50})
	call1(t, open, errBoom)
	forced := newBreaker(t, Config{})
	forced.Force(ForcedClosed)
	recovered := recoveredBreaker(t)
	all := newBreaker(t, Config{SlowCall: time.Second, SlowRatio: 0.5, Consecutive: 5, LocalConsecutive: 3})
	resp := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	rt := b.RoundTripper(tripFunc(func(*http.Request) (*http.Response, error) { return resp, nil }))
	h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(failure.Track(r.Context()))
	w := httptest.NewRecorder()
	for _, tt := range []struct {
		name string
		max  float64
		f    func()
	}{
		{"Allow and done", 2, func() { done, _ := b.Allow(); done(nil) }},
		{"Allow and done, recovered", 2, func() { done, _ := recovered.Allow(); done(nil) }},
		{"Allow and done, forced", 2, func() { done, _ := forced.Allow(); done(nil) }},
		{"Allow and done, with all rules", 5, func() { done, _ := all.Allow(); done(nil) }}, // two for the timer
		{"refusal", 3, func() { _, _ = open.Allow() }},
		{"Handler", 3, func() { h.ServeHTTP(w, r) }},
		{"RoundTripper", 3, func() { _, _ = rt.RoundTrip(r) }},
	} {
		if got := testing.AllocsPerRun(100, tt.f); got > tt.max {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.max)
		}
	}
}

// recoveredBreaker is closed again, and its ramp is over.
func recoveredBreaker(t testing.TB) *Breaker {
	t.Helper()
	b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: 1, Ramp: 1})
	for _, err := range []error{errBoom, nil, nil} {
		for {
			if done, refused := b.Allow(); refused == nil {
				done(err)
				break
			}
		}
	}
	if st := b.stage.Load(); st.phase != Closed || !st.ramp.over.Load() {
		t.Fatalf("State() = %+v, want closed, recovered", b.State())
	}
	return b
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

// What the backend asks of its gates, with and without Silence.
func BenchmarkAllowCall(b *testing.B) {
	for name, cfg := range map[string]Config{"plain": {}, "Silence": {Silence: 5 * time.Second}} {
		b.Run(name, func(b *testing.B) {
			br := newBreaker(b, cfg)
			b.ReportAllocs()
			for b.Loop() {
				answered, done, err := br.AllowCall()
				if err != nil {
					b.Fatal(err)
				}
				answered()
				done(nil)
			}
		})
	}
}

// The ways of a closed breaker with something switched on.
func BenchmarkClosed(b *testing.B) {
	forced := newBreaker(b, Config{})
	forced.Force(ForcedClosed)
	for _, bb := range []struct {
		name string
		br   *Breaker
	}{
		{"Recovered", recoveredBreaker(b)},
		{"Recovering", closedAt(b, Config{MinVolume: 1, Ramp: 1 << 60})},
		{"Forced", forced},
		{"DryRun", newBreaker(b, Config{DryRun: true})},
		{"SlowRatio", newBreaker(b, Config{SlowCall: time.Second, SlowRatio: 0.5})},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if done, err := bb.br.Allow(); err == nil {
						done(nil)
					}
				}
			})
		})
	}
}

// closedAt has just closed after an outage.
func closedAt(b *testing.B, cfg Config) *Breaker {
	b.Helper()
	cfg.OpenFor, cfg.Trials = 1, 1
	br := newBreaker(b, cfg)
	for _, err := range []error{errBoom, nil} {
		for {
			if done, refused := br.Allow(); refused == nil {
				done(err)
				break
			}
		}
	}
	return br
}
