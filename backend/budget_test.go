package backend

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestBudget(t *testing.T) {
	const second = int64(time.Second)
	cfg := Config{}
	cfg.checkRetries(t.Errorf)
	var b budget
	spend := func(now int64, want int) {
		t.Helper()
		n := 0
		for b.spend(&cfg, now) {
			n++
		}
		if n != want {
			t.Errorf("at %d s: %d retries, want %d", now/second, n, want)
		}
	}
	spend(0, 3) // the minimum
	for range 100 {
		b.request(2 * second)
	}
	spend(2*second, 20)  // of 100
	spend(9*second, 0)   // still in the window
	spend(10*second, 3)  // those of the first second are over
	spend(11*second, 0)  // 20 of 100 and the minimum
	spend(12*second, 0)  // the requests are over, and 3 in the window
	spend(20*second, 3)  // all are over
	spend(900*second, 3) // as long ago as may be
	cfg.RetryBudget = -1
	if n := b.left(&cfg, 900*second); n != math.MaxInt {
		t.Errorf("without a budget %d are left", n)
	}
	off := Config{RetryBudgetMin: -1}
	off.checkRetries(t.Errorf)
	if b.spend(&off, 2000*second) {
		t.Error("a retry without minimum and requests")
	}
}

// A backend that fails all the time gets a fifth more requests, not three times
// as many.
func TestRetryBudgetBoundsRetries(t *testing.T) {
	for _, tt := range []struct {
		budget    float64
		min, most int64
	}{{0, 118, 124}, {-1, 300, 300}} {
		t.Run(fmt.Sprint(tt.budget), func(t *testing.T) {
			t.Parallel()
			var n, spent atomic.Int64
			server := newFaults(t, counted(&n, func(net.Conn) {}))
			b := newBackend(t, Config{
				Endpoints: []Endpoint{{URL: server.url()}}, RetryBudget: tt.budget,
				Observe: func(_ context.Context, ev Event) {
					if ev.Failure != nil && ev.Failure.Noted(failure.RetryBudgetSpent) {
						spent.Add(1)
					}
				},
			})
			for range 100 {
				if v := visitTo(t, b).wait(t); v.err == nil || v.err.Cause != failure.ClosedBeforeHeaders {
					t.Fatalf("failed with %v, want closed_before_headers", v.err)
				}
			}
			// The window is ten seconds long; a machine that takes longer has
			// a little more of it.
			if got := n.Load(); got < tt.min || got > tt.most {
				t.Errorf("100 requests were sent %d times, want %d to %d", got, tt.min, tt.most)
			}
			if (spent.Load() > 0) != (tt.budget >= 0) {
				t.Errorf("%d times noted that the budget was spent", spent.Load())
			}
		})
	}
}

// What was not sent is not a retry that the budget knows: no GET fails for it.
func TestRetryOfWhatWasNotSentIsFree(t *testing.T) {
	good := newFaults(t, say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "http://" + refusing(t)}, {URL: good.url()}}, RetryBudgetMin: -1})
	for range 30 {
		b.now().endpoints[0].heldUntil.Store(0) // so that it is asked
		if v := visitTo(t, b).wait(t); v.err != nil {
			t.Fatalf("failed with %v", v.err)
		}
	}
	if left := b.budget.left(&b.now().cfg, b.clock(time.Now())); left != 6 {
		t.Errorf("%d retries are left, want all 6", left)
	}
}

// busy answers with a status and Retry-After, and counts.
func busy(n *atomic.Int64, status int, after string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Retry-After", after)
		w.WriteHeader(status)
	})
}

func fine(n *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		_, _ = io.WriteString(w, "fine")
	})
}

// Who says when it wants to be asked again is not asked before, as long as
// somebody else is there.
func TestRetryAfterBarsTheEndpoint(t *testing.T) {
	for _, tt := range []struct {
		status int
		passed int // answers of the busy one that went to clients
	}{{503, 0}, {429, 1}} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			var bad, good atomic.Int64
			b := newBackend(t, Config{Endpoints: []Endpoint{
				{Handler: busy(&bad, tt.status, "600"), Name: "busy"}, {Handler: fine(&good), Name: "fine"},
			}, Balance: RoundRobin})
			passed := 0
			for range 20 {
				if v := visitTo(t, b).wait(t); v.rec.Code != 200 {
					passed++
				}
			}
			if bad.Load() != 1 || passed != tt.passed {
				t.Errorf("asked %d times, %d of its answers passed on; want 1 and %d", bad.Load(), passed, tt.passed)
			}
			ep := b.now().endpoints[0]
			if d := ep.barredFor(b); d < maxBar-time.Minute || d > maxBar {
				t.Errorf("barred for %v, want at most %v", d, maxBar)
			}
			if s := b.Endpoints()[0]; s.Reason != failure.HeldDown || !strings.Contains(s.Detail, "Retry-After") {
				t.Errorf("status = %+v, want held_down with the reason", s)
			}
			ep.barredUntil.Store(1) // it is over
			for range 4 {
				visitTo(t, b).wait(t)
			}
			if bad.Load() == 1 {
				t.Error("not asked any more")
			}
		})
	}
}

// Where all are barred they are asked, and their answers go as sent.
func TestAllBarred(t *testing.T) {
	var n atomic.Int64
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: busy(&n, 503, "60"), Name: "a"}, {Handler: busy(&n, 503, "60"), Name: "b"}}})
	for i := range 5 {
		v := visitTo(t, b).wait(t)
		if v.rec.Code != 503 || v.rec.Header().Get("Retry-After") != "60" || v.err == nil || v.err.Cause != failure.Upstream5xx {
			t.Errorf("visit %d: %d %v, %v, want the answer as sent", i, v.rec.Code, v.rec.Header(), v.err)
		}
	}
	if n.Load() != 6 { // the first request asked both
		t.Errorf("asked %d times, want 6", n.Load())
	}
}

// A key makes a POST replayable where the configuration says so.
func TestIdempotencyKey(t *testing.T) {
	for _, tt := range []struct {
		name string
		on   bool
		key  string
		want int64
	}{
		{"on, with a key", true, "k1", 2},
		{"on, without", true, "", 1},
		{"off, with a key", false, "k1", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			bodies := make(chan string, 4)
			die := func(c net.Conn, br *bufio.Reader) {
				if r, err := http.ReadRequest(br); err == nil {
					body, _ := io.ReadAll(r.Body)
					n.Add(1)
					bodies <- string(body) + r.Header.Get("Idempotency-Key")
				}
			}
			first, second := newFaults(t, die), newFaults(t, die)
			b := newBackend(t, Config{
				Endpoints: []Endpoint{{URL: first.url()}, {URL: second.url()}}, ReplayIdempotencyKey: tt.on, Retries: 1,
			})
			rec := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(failure.Track(t.Context()), http.MethodPost, "/", strings.NewReader("order "))
			if tt.key != "" {
				r.Header.Set("Idempotency-Key", tt.key)
			}
			b.ServeHTTP(rec, r)
			e, _ := failure.Outcome(r.Context())
			if got := n.Load(); got != tt.want || e == nil || e.Attempts != int(tt.want) {
				t.Errorf("executed %d times (%v), want %d", got, e, tt.want)
			}
			for range tt.want {
				if body := <-bodies; body != "order "+tt.key {
					t.Errorf("body and key = %q", body)
				}
			}
		})
	}
}

// A thousand clients that leave change nothing, and their requests end with
// them.
func TestClientsThatLeave(t *testing.T) {
	var in, ended atomic.Int64
	var late atomic.Int64
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			return
		}
		in.Add(1)
		<-r.Context().Done()
		ended.Add(1)
		panic(http.ErrAbortHandler) // which the backend may see sooner than that the client left
	})
	remote := httptest.NewServer(slow)
	defer remote.Close()
	for _, one := range []Endpoint{{URL: remote.URL}, {Handler: slow}} {
		in.Store(0)
		ended.Store(0)
		gate := &openGate{}
		var l lessons
		l.limit.Store(1 << 20)
		one.Name = "it"
		b := newBackend(t, Config{Endpoints: []Endpoint{one}, Gate: gate, Limit: &l, MaxInFlight: 50, QueueWait: time.Hour, Queue: 1000})
		var wg sync.WaitGroup
		for g := range 20 {
			wg.Go(func() {
				for i := range 50 {
					ctx, cancel := context.WithCancel(failure.Track(t.Context()))
					if (g+i)%2 == 0 { // whether it is under way or still waits
						time.AfterFunc(time.Duration(i%7)*time.Millisecond, cancel)
					} else {
						cancel()
					}
					began := time.Now()
					func() {
						defer func() { _ = recover() }()
						b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/slow", nil))
					}()
					if time.Since(began) > 5*time.Second {
						late.Add(1)
					}
					if e, _ := failure.Outcome(ctx); e == nil || e.Cause != failure.ClientGone && e.Cause != failure.HandlerAbort {
						t.Errorf("ended with %v, want client_gone", e)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		await(t, "all requests ended", func() bool {
			return ended.Load() == in.Load() && b.Endpoints()[0].InFlight == 0 && b.entrance.slots.Stats().InFlight == 0 && b.entrance.queued() == 0
		})
		if late.Load() > 0 {
			t.Errorf("%d requests outlived their clients", late.Load())
		}
		if s := b.Endpoints()[0]; !s.Healthy || s.Reason != 0 {
			t.Errorf("%+v: want it healthy and used", s)
		}
		if gate.failed.Load() != 0 || gate.open.Load() != 0 {
			t.Errorf("the gate was told of %d failures, %d permits are missing", gate.failed.Load(), gate.open.Load())
		}
		if good, bad := l.count(); good+bad != 0 {
			t.Errorf("the limit was told of %d and %d", good, bad)
		}
		if left := b.budget.left(&b.now().cfg, b.clock(time.Now())); left < 3 {
			t.Errorf("%d retries are left", left)
		}
	}
}

// openGate permits everything and counts.
type openGate struct{ open, failed atomic.Int64 }

func (g *openGate) Allow() (func(error), error) {
	g.open.Add(1)
	return func(err error) {
		g.open.Add(-1)
		if e := failure.As(err, failure.Panic); err != nil && e.Verdict() != failure.Neutral {
			g.failed.Add(1)
		}
	}, nil
}
