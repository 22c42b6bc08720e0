package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Those that wait are served in their order, at the rate, and nobody overtakes.
func TestWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var served []string
		l := newLimiter(t, Config{Rate: 10, Burst: 1, MaxDelay: time.Second, Key: KeyByHeader("Key")})
		h := l.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			served = append(served, r.Header.Get("N"))
			mu.Unlock()
		}))
		start := time.Now()
		var wg sync.WaitGroup
		var refused atomic.Int64
		ask := func(key, n string) {
			wg.Go(func() {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Key", key)
				r.Header.Set("N", n)
				if resp := do(h, r); resp.StatusCode == http.StatusTooManyRequests {
					refused.Add(1)
					if got := resp.Header.Get("Retry-After"); got != "2" { // 1.1 s or more
						t.Errorf("Retry-After = %q, want 2", got)
					}
				}
			})
			synctest.Wait()
		}
		var want []string
		for i := range 11 {
			ask("a", fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
		}
		ask("a", "too late") // the twelfth would wait 1.1 s
		ask("a", "too late")
		if refused.Load() != 2 || time.Since(start) != 0 {
			t.Errorf("%d refused after %v, want 2 at once", refused.Load(), time.Since(start))
		}
		ask("b", "other") // another bucket does not wait
		want = slices.Insert(want, 1, "other")
		time.Sleep(950 * time.Millisecond)
		ask("a", "newcomer") // a permit is due in 50 ms, but it is somebody else's
		want = append(want, "newcomer")
		wg.Wait()
		if !slices.Equal(served, want) {
			t.Errorf("served %q, want %q", served, want)
		}
		if took := time.Since(start); took < 1099*time.Millisecond || took > 1101*time.Millisecond {
			t.Errorf("took %v, want 1.1 s: twelve at 10 per second, one of them at once", took)
		}
		if n := l.lines.waiting.Load(); n != 0 || len(l.lines.byPlace) != 0 {
			t.Errorf("%d waiters and %d lines are left", n, len(l.lines.byPlace))
		}
	})
}

// Who leaves takes nothing, and those behind move up.
func TestLeavingGivesThePlaceBack(t *testing.T) {
	for leaver := range 4 {
		synctest.Test(t, func(t *testing.T) {
			var events []Event
			var mu sync.Mutex
			l := newLimiter(t, Config{Rate: 1, Burst: 1, MaxDelay: 10 * time.Second, Observe: func(_ context.Context, ev Event) {
				mu.Lock()
				events = append(events, ev)
				mu.Unlock()
			}})
			h := l.Handler(pass)
			get(h, "192.0.2.1:1")
			start := time.Now()
			took := make([]time.Duration, 4)
			var wg sync.WaitGroup
			var leave context.CancelFunc
			for i := range took {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				ctx, cancel := context.WithCancel(failure.Track(t.Context()))
				if i == leaver {
					leave = cancel
				} else {
					defer cancel()
				}
				wg.Go(func() {
					defer func() {
						took[i] = time.Since(start)
						if p := recover(); p != nil && (i != leaver || !is(p, http.ErrAbortHandler)) {
							t.Errorf("panic %v", p)
						}
						if e, _ := failure.From(ctx); i == leaver && (e == nil || e.Cause != failure.ClientGone) {
							t.Errorf("reported %v, want client_gone", e)
						}
					}()
					do(h, r.WithContext(ctx))
				})
				synctest.Wait()
			}
			time.Sleep(500 * time.Millisecond)
			leave()
			wg.Wait()
			for i, got := range took {
				want := time.Duration(i+1) * time.Second
				switch {
				case i == leaver:
					want = 500 * time.Millisecond
				case i > leaver:
					want -= time.Second
				}
				if (got - want).Abs() > time.Millisecond {
					t.Errorf("leaver %d: %d took %v, want %v", leaver, i, got, want)
				}
			}
			if n := slices.IndexFunc(events, func(ev Event) bool { return ev.Kind == Left && ev.Waited == 500*time.Millisecond }); n < 0 || len(events) != 5 {
				t.Errorf("events = %+v, want one that left after 500 ms, of 5", events)
			}
			if len(l.lines.byPlace) != 0 || l.lines.waiting.Load() != 0 {
				t.Error("a line is left")
			}
		})
	}
}

// Some other end of the context than the client's is a refusal.
func TestDeadlineWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLimiter(t, Config{Rate: 0.1, Burst: 1, MaxDelay: time.Minute}).Handler(pass)
		get(h, "192.0.2.1:1")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		if resp := do(h, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "9" {
			t.Errorf("%d, %v, want 429 with 9 of 10 s left", resp.StatusCode, resp.Header)
		}
	})
}

// Who is refused at once did not wait, on a clock that goes on.
func TestRefusedAtOnceDidNotWait(t *testing.T) {
	var last Event
	var detail string
	h := newLimiter(t, Config{
		Rate: 1e-6, Burst: 1, MaxDelay: time.Second,
		Observe:      func(_ context.Context, ev Event) { last = ev },
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { detail = err.Error() },
	}).Handler(pass)
	for range 2 {
		get(h, "192.0.2.1:1")
	}
	if last.Kind != Limited || last.Waited != 0 || strings.Contains(detail, "waited") {
		t.Errorf("event = %+v, detail %q, want a refusal without a wait", last, detail)
	}
}

func TestMaxWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Rate: 1, Burst: 1, MaxDelay: time.Minute, MaxWaiting: 3})
		h := l.Handler(pass)
		var wg sync.WaitGroup
		var refused atomic.Int64
		start := time.Now()
		for i := range 100 {
			wg.Go(func() {
				if get(h, fmt.Sprintf("192.0.2.%d:1", i%2)).StatusCode == http.StatusTooManyRequests {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if refused.Load() != 95 || time.Since(start) != 0 {
			t.Errorf("%d refused after %v, want 95 at once: 2 pass, 3 wait", refused.Load(), time.Since(start))
		}
		wg.Wait()
		if refused.Load() != 95 {
			t.Errorf("%d refused, want 95", refused.Load())
		}
	})
}

// With several limits the line is that of the bucket that refuses: who waits for
// a permit of his own stands in nobody's way.
func TestWaitForSeveralLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Limits: []Limit{
			{Name: "client", Rate: 1, Burst: 1}, {Name: "all", Rate: 4, Burst: 3, Key: constant("*")},
		}, MaxDelay: 5 * time.Second})
		h := l.Handler(pass)
		start := time.Now()
		var wg sync.WaitGroup
		took := map[string]time.Duration{}
		var mu sync.Mutex
		ask := func(name, from string) {
			wg.Go(func() {
				status := get(h, from+":1").StatusCode
				mu.Lock()
				defer mu.Unlock()
				took[name] = time.Since(start)
				if status != http.StatusNoContent {
					t.Errorf("%s: %d", name, status)
				}
			})
			synctest.Wait()
		}
		ask("a1", "192.0.2.1")
		ask("a2", "192.0.2.1") // waits for its own, 1 s
		ask("b1", "192.0.2.2") // does not wait behind it
		ask("c1", "192.0.2.3")
		ask("d1", "192.0.2.4") // waits for the limit of all, 250 ms
		ask("e1", "192.0.2.5") // behind it
		if x := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)); x.Waiting != 3 || x.Action != "delay" || x.RetryAfter < 1.9 {
			t.Errorf("Explain = %+v, want a delay of 2 s behind 3", x)
		}
		wg.Wait()
		for name, want := range map[string]time.Duration{
			"a1": 0, "a2": time.Second, "b1": 0, "c1": 0, "d1": 250 * time.Millisecond, "e1": 500 * time.Millisecond,
		} {
			if (took[name] - want).Abs() > time.Millisecond {
				t.Errorf("%s took %v, want %v", name, took[name], want)
			}
		}
		if len(l.lines.byPlace) != 0 || l.lines.waiting.Load() != 0 {
			t.Error("a line is left")
		}
	})
}

// A permit that is given back goes to who waits for it, at once.
func TestGivenBackToWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		limit := guesses(2, 401)
		limit.Rate = 0.5
		l := newLimiter(t, Config{Limits: []Limit{limit}, MaxDelay: 30 * time.Second})
		h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		var wg sync.WaitGroup
		start := time.Now()
		for range 8 {
			wg.Go(func() { get(h, "192.0.2.1:1") })
		}
		synctest.Wait()
		if n := l.lines.waiting.Load(); n != 6 {
			t.Errorf("%d wait, want 6", n)
		}
		for range 8 {
			release <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v, want no time: all were given back", took)
		}
	})
}

// Under load from all sides, no more pass than may, nobody hangs and nothing is
// left.
func TestWaitUnderContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Limits: []Limit{
			{Name: "key", Rate: 50, Burst: 5, Key: KeyByHeader("Key")}, {Name: "all", Rate: 100, Burst: 10, Key: constant("*")},
		}, MaxDelay: 300 * time.Millisecond, MaxWaiting: 40})
		var passed, refused, left atomic.Int64
		h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed.Add(1) }))
		start := time.Now()
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				for i := range 100 {
					r := httptest.NewRequest(http.MethodGet, "/", nil)
					r.Header.Set("Key", fmt.Sprint(g%5))
					ctx, cancel := context.WithCancel(t.Context())
					if (g+i)%3 == 0 {
						context.AfterFunc(ctx, func() {})
						timer := time.AfterFunc(time.Duration(g+i)*time.Millisecond, cancel)
						defer timer.Stop()
					}
					func() {
						defer func() {
							if recover() != nil {
								left.Add(1)
							}
						}()
						if do(h, r.WithContext(ctx)).StatusCode == http.StatusTooManyRequests {
							refused.Add(1)
						}
					}()
					cancel()
					time.Sleep(time.Duration(1+g%7) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		most := 100*time.Since(start).Seconds() + 10
		if got := float64(passed.Load()); got > most*1.01 || got < most*0.9 {
			t.Errorf("%v passed, %d refused, %d left, want about %v", got, refused.Load(), left.Load(), most)
		}
		if refused.Load() == 0 || left.Load() == 0 {
			t.Errorf("refused %d, left %d, want some of each", refused.Load(), left.Load())
		}
		if len(l.lines.byPlace) != 0 || l.lines.waiting.Load() != 0 {
			t.Error("a line is left")
		}
	})
}

// A server that shuts down waits for those in line, who wait MaxDelay at most;
// one that is closed ends them at once.
func TestServerEndsWhileTheyWait(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		delay := 100 * time.Millisecond
		if !graceful {
			delay = time.Minute
		}
		l := newLimiter(t, Config{Rate: 1 / delay.Seconds() * 1.5, Burst: 1, MaxDelay: delay})
		var passed atomic.Int64
		limited := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed.Add(1) }))
		entered := make(chan struct{}, 2)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			limited.ServeHTTP(w, r)
		}))
		var wg sync.WaitGroup
		ask := func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := srv.Client().Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		ask()
		<-entered
		wg.Go(ask)
		<-entered
		if graceful {
			if err := srv.Config.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if passed.Load() != 2 {
				t.Errorf("%d passed, want 2: the one in line was served", passed.Load())
			}
		} else {
			_ = srv.Config.Close()
		}
		wg.Wait()
		srv.Close()
		if !graceful && passed.Load() != 1 {
			t.Errorf("%d passed, want 1", passed.Load())
		}
	}
}
