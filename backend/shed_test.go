package backend

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// teller is a limit with everything that a limit may have.
type teller struct {
	n, full, refused, ahead atomic.Int64
	dry                     bool
	rehearsed               atomic.Int64
}

func (l *teller) Limit() int {
	if l.dry {
		return 1 << 30
	}
	return int(l.n.Load())
}
func (l *teller) Done(time.Duration, bool) {}
func (l *teller) Full()                    { l.full.Add(1) }
func (l *teller) Rehearsing() bool         { return l.dry }

func (l *teller) Rehearse(_ context.Context, inFlight int) { l.rehearsed.Store(int64(inFlight)) }

func (l *teller) Refuse(ahead int) (string, time.Duration) {
	l.refused.Add(1)
	l.ahead.Store(int64(ahead))
	return "latency 180 ms now, 50 ms at rest", 3 * time.Second
}

// A request that finds no slot under a limit that changes is shed, and told what the
// limit knows; under a fixed one, be it beside, it is as ever.
func TestShedCause(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    func(h http.Handler, l *teller) Config
		cause  failure.Cause
		detail string
		ahead  int64
	}{
		{"no queue", func(h http.Handler, l *teller) Config {
			return Config{Endpoints: []Endpoint{{Handler: h}}, Limit: l, Queue: -1}
		}, failure.Shed, "2 of 2 requests in flight, latency 180 ms now, 50 ms at rest", 2},
		{"waited in vain", func(h http.Handler, l *teller) Config {
			return Config{Endpoints: []Endpoint{{Handler: h}}, Limit: l, QueueWait: 50 * time.Millisecond}
		}, failure.Shed, " ms, 2 of 2 requests in flight, latency 180 ms now, 50 ms at rest", 2},
		{"per endpoint, no queue", func(h http.Handler, l *teller) Config {
			return Config{Endpoints: []Endpoint{{Handler: h}}, NewLimit: func(string) Limit { return l }, Queue: -1}
		}, failure.Shed, "2 of 2 requests in flight, latency 180 ms now, 50 ms at rest", 2},
		{"per endpoint, waited in vain", func(h http.Handler, l *teller) Config {
			return Config{Endpoints: []Endpoint{{Handler: h}}, NewLimit: func(string) Limit { return l }, QueueWait: 50 * time.Millisecond}
		}, failure.Shed, " ms, 2 of 2 requests in flight, latency 180 ms now, 50 ms at rest", 2},
		{"a fixed one is lower", func(h http.Handler, l *teller) Config {
			l.n.Store(50)
			return Config{Endpoints: []Endpoint{{Handler: h}}, Limit: l, MaxInFlight: 2, Queue: -1}
		}, failure.ConnectionLimit, "2 of 2 requests in flight", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, l := newRoom(), new(teller)
			l.n.Store(2)
			b := newBackend(t, tt.cfg(h, l))
			t.Cleanup(func() { close(h.out) })
			for range 2 {
				visitTo(t, b)
			}
			await(t, "two are in", func() bool { return h.in.Load() == 2 })
			v := visitTo(t, b).wait(t)
			if v.err == nil || v.err.Cause != tt.cause || !strings.HasSuffix(v.err.Detail, tt.detail) {
				t.Fatalf("failed with %v, want %v: %s", v.err, tt.cause, tt.detail)
			}
			if v.rec.Code != http.StatusServiceUnavailable {
				t.Errorf("status = %d, want 503", v.rec.Code)
			}
			shed := tt.cause == failure.Shed
			if got := v.rec.Header().Get("Retry-After"); (got == "3") != shed {
				t.Errorf("Retry-After = %q, want it if it was shed: %v", got, shed)
			}
			if n := l.full.Load(); (n > 0) != shed {
				t.Errorf("the limit was told %d times that it is full", n)
			}
			if n := l.ahead.Load(); n < tt.ahead || n > tt.ahead+1 {
				t.Errorf("%d ahead, want %d", n, tt.ahead)
			}
		})
	}
}

// A request that has an answer in reserve gives its place in line to one that has
// none.
func TestReservedGoesLast(t *testing.T) {
	h, l := newRoom(), new(teller)
	l.n.Store(1)
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: h}}, Limit: l, Queue: 1, QueueWait: 20 * time.Second})
	t.Cleanup(func() { close(h.out) })
	visitTo(t, b)
	await(t, "one is in", func() bool { return h.in.Load() == 1 })
	refresh := visitTo(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failure.Reserve(r.Context())
		b.ServeHTTP(w, r)
	}))
	await(t, "the refresh waits", func() bool { return b.entrance.queued() == 1 })
	visitor := visitTo(t, b)
	refresh.wait(t)
	if refresh.err == nil || refresh.err.Cause != failure.Shed {
		t.Errorf("the refresh failed with %v, want it shed", refresh.err)
	}
	h.out <- struct{}{}
	await(t, "the visitor is in", func() bool { return h.served.Load() == 1 && h.in.Load() == 1 })
	h.out <- struct{}{}
	if visitor.wait(t); visitor.rec.Body.String() != "served" {
		t.Errorf("the visitor got %d, %v", visitor.rec.Code, visitor.err)
	}
}

func TestRehearsal(t *testing.T) {
	h, l := newRoom(), &teller{dry: true}
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: h}}, Limit: l})
	t.Cleanup(func() { close(h.out) })
	for range 5 {
		visitTo(t, b)
	}
	await(t, "all are in", func() bool { return h.in.Load() == 5 })
	if n := l.rehearsed.Load(); n != 5 || l.refused.Load() != 0 {
		t.Errorf("told of %d in flight and %d refusals, want 5 and 0", n, l.refused.Load())
	}
}
