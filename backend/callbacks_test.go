package backend

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// limitFunc is a Limit of funcs.
type limitFunc struct {
	limit func() int
	done  func()
}

func (l limitFunc) Limit() int               { return l.limit() }
func (l limitFunc) Done(time.Duration, bool) { l.done() }

// Whatever is called back may call the Backend: it holds no lock meanwhile.
func TestCallbacksCallBack(t *testing.T) {
	var b atomic.Pointer[Backend]
	var busy atomic.Bool
	var cfg Config
	again := func() {
		b := b.Load()
		if b == nil || !busy.CompareAndSwap(false, true) {
			return // by New, or by what follows
		}
		defer busy.Store(false)
		b.Status()
		b.Endpoints()
		b.Available()
		for _, s := range []Steering{ForceDown, Automatic} {
			if err := b.Steer("b", s); err != nil {
				t.Error(err)
			}
		}
		if err := b.Update(cfg); err != nil {
			t.Error(err)
		}
	}
	limit := limitFunc{func() int { again(); return 3 }, again}
	gate := gateFunc(func() (func(error), error) { again(); return func(error) { again() }, nil })
	answer := new(switched)
	cfg = Config{
		Endpoints: []Endpoint{{Handler: answer, Name: "a"}, {Handler: answer, Name: "b"}},
		Limit:     limit, NewLimit: func(string) Limit { again(); return limit },
		NewGate: func(string) Gate { again(); return gate },
		Observe: func(context.Context, Event) { again() },
		Timeouts: func(*http.Request) Timeouts {
			again()
			return Timeouts{}
		},
		Balance: ConsistentHash, HashKey: func(*http.Request) string { again(); return "k" },
		DeadlineHeader: "X-Left", TrustDeadline: func(*http.Request) bool { again(); return true },
	}
	made, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Store(made)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				r := httptest.NewRequestWithContext(t.Context(), "GET", "/", http.NoBody)
				r.Header.Set("X-Left", "10000")
				w := httptest.NewRecorder()
				made.ServeHTTP(w, r)
				if w.Code != 200 && w.Code != 500 && w.Code != 503 { // while the set changes under it
					t.Errorf("answered %d", w.Code)
				}
			})
			answer.status.Store(int32(200 + 300*(i%2)))
		}
		wg.Wait()
		_ = made.Steer("a", Drain)
		if err := made.Update(cfg); err != nil {
			t.Error(err)
		}
		if err := made.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("something waits for itself")
	}
}

// A callback that panics ends its request, and holds nothing of it.
func TestCallbacksPanic(t *testing.T) {
	var on atomic.Bool
	boom := func() {
		if on.Load() {
			panic("boom")
		}
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	origin := newFaults(t, say(okHello))
	for _, endpoint := range []Endpoint{{Handler: answer}, {URL: origin.url()}} {
		for name, cfg := range map[string]Config{
			"Timeouts":       {Timeouts: func(*http.Request) Timeouts { boom(); return Timeouts{} }},
			"TrustDeadline":  {DeadlineHeader: "X-Left", TrustDeadline: func(*http.Request) bool { boom(); return false }},
			"TrustForwarded": {TrustForwarded: func(*http.Request) bool { boom(); return false }},
			"HashKey":        {Balance: ConsistentHash, HashKey: func(*http.Request) string { boom(); return "" }},
			"Gate":           {Gate: gateFunc(func() (func(error), error) { boom(); return func(error) {}, nil })},
			"Limit":          {Limit: limitFunc{func() int { boom(); return 1 }, func() {}}},
			"Limit of one":   {NewLimit: func(string) Limit { return limitFunc{func() int { boom(); return 1 }, func() {}} }},
			"Done":           {Limit: limitFunc{func() int { return 1 }, boom}},
			"Observe":        {Observe: func(context.Context, Event) { boom() }},
		} {
			t.Run(name, func(t *testing.T) {
				cfg.Endpoints, cfg.MaxInFlight, cfg.QueueWait = []Endpoint{endpoint}, 1, 10*time.Second
				cfg.Endpoints[0].MaxInFlight = 1
				b := newBackend(t, cfg)
				visit := func() (code int) {
					defer func() {
						if recover() != nil {
							code = 0
						}
					}()
					r := httptest.NewRequestWithContext(t.Context(), "GET", "/", http.NoBody)
					r.Header.Set("X-Left", "10000")
					w := httptest.NewRecorder()
					b.ServeHTTP(w, r)
					return w.Code
				}
				for range 3 {
					on.Store(true)
					visit()
					on.Store(false)
					if code := visit(); code != 200 && code != 204 {
						t.Errorf("the next request was answered %d", code)
					}
				}
				if n := b.now().endpoints[0].inFlight.Load(); n != 0 {
					t.Errorf("%d slots of the endpoint are lost", n)
				}
				if n := b.entrance.slots.Stats().InFlight; n != 0 {
					t.Errorf("%d slots of the backend are lost", n)
				}
			})
		}
	}
}

// An upgrade whose time is over by the time that an endpoint was picked gives
// back what it was given.
func TestUpgradeOutOfTime(t *testing.T) {
	origin := newFaults(t, sayThenHang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"))
	gate := new(countingGate)
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: origin.url(), MaxInFlight: 2}, {Handler: http.NotFoundHandler(), Backup: true}}, Gate: gate,
		DeadlineHeader: "X-Left", TrustDeadline: func(*http.Request) bool { return true },
	})
	for range 3 {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", http.NoBody)
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}, "X-Left": {"0"}}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != http.StatusGatewayTimeout {
			t.Errorf("answered %d, want 504 for %v", w.Code, failure.TotalDeadline)
		}
	}
	if n := b.now().endpoints[0].inFlight.Load(); n != 0 {
		t.Errorf("%d slots are lost", n)
	}
	if gate.allowed != 3 || gate.done != 3 {
		t.Errorf("the gate allowed %d, and was told of %d", gate.allowed, gate.done)
	}
}
