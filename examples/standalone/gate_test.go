package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/failure"
)

// A breaker as the gate of a real backend: recovering, forced, in a dry run.
func TestBreakerAsGate(t *testing.T) {
	type answer struct {
		status     int
		retryAfter string
		failure    *failure.Error
	}
	gated := func(t *testing.T, cfg breaker.Config) (b *breaker.Breaker, ask func() answer, ill *atomic.Bool, asked *atomic.Int64) {
		ill, asked = new(atomic.Bool), new(atomic.Int64)
		b, err := breaker.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		site, err := backend.New(backend.Config{
			Gate: b,
			Endpoints: []backend.Endpoint{{Name: "app", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				if ill.Load() {
					w.WriteHeader(http.StatusInternalServerError)
				}
			})}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = site.Shutdown(context.Background()) })
		return b, func() answer {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r = r.WithContext(failure.Track(r.Context()))
			w := httptest.NewRecorder()
			site.ServeHTTP(w, r)
			e, _ := failure.From(r.Context())
			return answer{w.Code, w.Header().Get("Retry-After"), e}
		}, ill, asked
	}

	t.Run("recovering", func(t *testing.T) {
		b, ask, ill, asked := gated(t, breaker.Config{MinVolume: 1, Trials: 1, OpenFor: 50 * time.Millisecond, Ramp: 10 * time.Hour})
		ill.Store(true)
		ask()
		if s := b.State(); s.Phase == breaker.Closed {
			t.Fatalf("State() = %+v, want open", s)
		}
		ill.Store(false)
		eventually(t, "the breaker closes", func() bool {
			ask()
			return b.State().Phase == breaker.Closed
		})
		before, passed := asked.Load(), int64(0)
		var last answer
		for range 500 {
			last = ask()
			if last.status == http.StatusOK {
				passed++
			}
		}
		if n := asked.Load() - before; n != passed || n < 10 || n > 400 {
			t.Errorf("%d reached the backend and %d were answered by it, want a few of 500", n, passed)
		}
		if last.status != http.StatusServiceUnavailable || last.retryAfter != "36000" || last.failure == nil || last.failure.Cause != failure.BreakerOpen ||
			!strings.Contains(last.failure.Detail, "recovering: 0 % admitted") || !strings.Contains(last.failure.Detail, "upstream_5xx") {
			t.Errorf("the last answer is %+v, want 503 with the ramp's rest and the last cause", last)
		}
	})
	t.Run("forced", func(t *testing.T) {
		b, ask, _, asked := gated(t, breaker.Config{})
		b.Force(breaker.ForcedOpen)
		if a := ask(); a.status != http.StatusServiceUnavailable || a.retryAfter != "" || asked.Load() != 0 {
			t.Errorf("forced open: %+v, %d asked", a, asked.Load())
		}
		b.Force(breaker.ForcedClosed)
		if a := ask(); a.status != http.StatusOK {
			t.Errorf("forced closed: %+v", a)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		var refused atomic.Int64
		_, ask, ill, asked := gated(t, breaker.Config{MinVolume: 1, OpenFor: time.Hour, DryRun: true, Observe: func(_ context.Context, ev breaker.Event) {
			if ev.Kind == breaker.Refused && ev.DryRun {
				refused.Add(1)
			}
		}})
		ill.Store(true)
		for range 10 {
			if a := ask(); a.status != http.StatusInternalServerError || a.failure.Cause != failure.Upstream5xx {
				t.Errorf("in a dry run: %+v, want the backend's own answer", a)
			}
		}
		if asked.Load() != 10 || refused.Load() != 9 {
			t.Errorf("%d asked, %d refused in events; want 10 and 9", asked.Load(), refused.Load())
		}
	})
}
