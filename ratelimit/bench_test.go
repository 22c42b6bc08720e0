package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

const liveKeys = 100_000

func liveLimiter(tb testing.TB, observe func(context.Context, Event)) (*Limiter, []string) {
	l := newLimiter(tb, Config{Rate: 1e6, Burst: 1e6, MaxKeys: liveKeys, Observe: observe})
	keys := make([]string, liveKeys)
	for i := range keys {
		keys[i] = "192.0." + strconv.Itoa(i)
		l.Allow(keys[i])
	}
	if l.Len() != liveKeys {
		tb.Fatalf("Len = %d, want %d", l.Len(), liveKeys)
	}
	return l, keys
}

// The hit path allocates nothing, granted or refused.
func TestAllowAllocates(t *testing.T) {
	l, keys := liveLimiter(t, func(context.Context, Event) {})
	dry := newLimiter(t, Config{Rate: 1e-9, Burst: 1})
	dry.Allow("k")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r6 := httptest.NewRequest(http.MethodGet, "/", nil)
	r6.RemoteAddr = "[2001:db8:1234:5678:9abc:def0:1234:5678]:12345"
	h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	several := newLimiter(t, Config{
		Limits:   []Limit{{Name: "a", Rate: 1e6}, {Name: "b", Rate: 1e9, Key: KeyByHeader("K")}, {Name: "c", Rate: 1e9, Key: KeyByPath()}},
		MaxDelay: time.Second, Jitter: 0.5, DryRun: true, Deny: prefixes("203.0.113.0/24"), Observe: func(context.Context, Event) {},
	}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	waiting := newLimiter(t, Config{Rate: 1e9, MaxDelay: time.Second}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := httptest.NewRecorder()
	i := 0
	for name, f := range map[string]func(){
		"Allow on a live key":  func() { i++; l.Allow(keys[i%liveKeys]) },
		"Allow on a dry key":   func() { dry.Allow("k") },
		"Handler, IPv4":        func() { h.ServeHTTP(w, r) },
		"Handler, IPv6":        func() { h.ServeHTTP(w, r6) },
		"Handler, all options": func() { several.ServeHTTP(w, r) },
		"Handler, MaxDelay":    func() { waiting.ServeHTTP(w, r6) },
	} {
		for _, procs := range []int{1, 2} {
			old := runtime.GOMAXPROCS(procs)
			got := testing.AllocsPerRun(1000, f)
			runtime.GOMAXPROCS(old)
			if got != 0 {
				t.Errorf("%s at GOMAXPROCS %d: %v allocations, want 0", name, procs, got)
			}
		}
	}
}

// go test -bench Allow -cpu 1,2.
func BenchmarkAllow(b *testing.B) {
	b.Run("one key", func(b *testing.B) {
		l := newLimiter(b, Config{Rate: 1e9})
		b.ReportAllocs()
		for b.Loop() {
			l.Allow("192.0.2.1")
		}
	})
	b.Run("100k keys", func(b *testing.B) {
		l, keys := liveLimiter(b, nil)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			l.Allow(keys[i%liveKeys])
			i += 7919 // not in the order in which they lie in memory
		}
	})
	b.Run("refused", func(b *testing.B) {
		l := newLimiter(b, Config{Rate: 1e-9, Burst: 1})
		l.Allow("k")
		b.ReportAllocs()
		for b.Loop() {
			l.Allow("k")
		}
	})
	b.Run("new keys, full table", func(b *testing.B) {
		l, _ := liveLimiter(b, nil)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			l.Allow("new" + strconv.Itoa(i))
		}
	})
}

func BenchmarkAllowParallel(b *testing.B) {
	for _, n := range []int{1, liveKeys} {
		b.Run(fmt.Sprintf("%d keys", n), func(b *testing.B) {
			l, keys := liveLimiter(b, nil)
			var start atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := int(start.Add(104_729))
				for pb.Next() {
					l.Allow(keys[i%n])
					i += 7919
				}
			})
		})
	}
}

// 100,000 live keys, by how many limits each passes: go test -bench Limits -cpu 1,2.
func BenchmarkLimits(b *testing.B) {
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cfg := Config{MaxKeys: liveKeys}
			for i := range n {
				cfg.Limits = append(cfg.Limits, Limit{Name: fmt.Sprint(i), Rate: 1e6, Burst: 1e6})
			}
			l := newLimiter(b, cfg)
			remote := make([]string, liveKeys)
			for i := range remote {
				remote[i] = fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&0xff, i&0xff)
			}
			h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
			for _, r.RemoteAddr = range remote {
				h.ServeHTTP(w, r)
			}
			if l.Len() != n*liveKeys {
				b.Fatalf("Len = %d, want %d", l.Len(), n*liveKeys)
			}
			var start atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := r.Clone(b.Context())
				i := int(start.Add(104_729))
				for pb.Next() {
					r.RemoteAddr = remote[i%liveKeys]
					h.ServeHTTP(w, r)
					i += 7919
				}
			})
		})
	}
}

func BenchmarkHandlerOptions(b *testing.B) {
	status := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for name, cfg := range map[string]Config{
		"plain":    {Rate: 1e9},
		"MaxDelay": {Rate: 1e9, MaxDelay: time.Second},
		"lists":    {Rate: 1e9, Allow: prefixes("10.0.0.0/8"), Deny: prefixes("203.0.113.0/24", "2001:db8::/32")},
		"DryRun":   {Rate: 1e9, DryRun: true},
		"Headers":  {Rate: 1e9, Headers: true},
		"Count":    {Limits: []Limit{{Rate: 1e9, Count: guesses(1).Count}}},
	} {
		b.Run(name, func(b *testing.B) {
			h := newLimiter(b, cfg).Handler(status)
			r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Header())
				h.ServeHTTP(w, r)
			}
		})
	}
}

func BenchmarkHandler(b *testing.B) {
	l := newLimiter(b, Config{Rate: 1e9})
	h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkHandlerLimited(b *testing.B) {
	l := newLimiter(b, Config{Rate: 1e-9, Burst: 1})
	h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	h.ServeHTTP(httptest.NewRecorder(), r)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
