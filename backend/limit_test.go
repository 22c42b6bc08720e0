package backend

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// room is a handler whose requests stay until they are let out, one by one or
// all.
type room struct {
	in, most atomic.Int64
	served   atomic.Int64
	out      chan struct{}
}

func newRoom() *room { return &room{out: make(chan struct{})} }

func (r *room) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	n := r.in.Add(1)
	defer r.in.Add(-1)
	for m := r.most.Load(); n > m && !r.most.CompareAndSwap(m, n); m = r.most.Load() {
	}
	select {
	case <-r.out:
		r.served.Add(1)
		_, _ = io.WriteString(w, "served")
	case <-req.Context().Done():
		if req.Header.Get("Stubborn") != "" {
			<-r.out
		}
	}
}

// visit is a request whose outcome can be waited for.
type visit struct {
	rec    *httptest.ResponseRecorder
	cancel context.CancelFunc
	err    *failure.Error
	done   chan struct{}
}

func (v *visit) wait(t *testing.T) *visit {
	t.Helper()
	select {
	case <-v.done:
	case <-time.After(10 * time.Second):
		t.Fatal("no outcome in 10 s")
	}
	return v
}

// visitTo has a request answered without a socket.
func visitTo(t *testing.T, h http.Handler, header ...string) *visit {
	t.Helper()
	ctx, cancel := context.WithCancel(failure.Track(t.Context()))
	t.Cleanup(cancel)
	v := &visit{rec: httptest.NewRecorder(), cancel: cancel, done: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/page", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(v.done)
		defer func() {
			_ = recover() // what ends the connection of a client that left
			if e, rung := failure.Outcome(ctx); rung == failure.Unmended {
				v.err = e
			}
		}()
		h.ServeHTTP(v.rec, r)
	}()
	return v
}

// limitedWays are the two places where a limit can stand.
func limitedWays(h http.Handler, n int) map[string]Config {
	return map[string]Config{
		"backend":  {Endpoints: []Endpoint{{Handler: h}}, MaxInFlight: n},
		"endpoint": {Endpoints: []Endpoint{{Handler: h, MaxInFlight: n}}},
	}
}

func TestLimitCauses(t *testing.T) {
	for _, way := range []string{"backend", "endpoint"} {
		for _, tt := range []struct {
			name      string
			queue     int
			wait      time.Duration
			ahead     int // requests that wait already
			cause     failure.Cause
			detail    string
			hasQueued bool
		}{
			{"no queue", -1, 0, 0, failure.ConnectionLimit, "2 of 2 requests in flight", false},
			{"queue full", 1, 20 * time.Second, 1, failure.QueueFull, "1 of 1 waiting, 2 of 2 requests in flight", false},
			{"queue of the default full", 0, 20 * time.Second, 2, failure.QueueFull, "2 of 2 waiting, 2 of 2 requests in flight", false},
			{"waited in vain", 1, 60 * time.Millisecond, 0, failure.QueueTimeout, " ms, 2 of 2 requests in flight", true},
			{"waited in vain behind", 2, 60 * time.Millisecond, 1, failure.QueueTimeout, " ms, 2 of 2 requests in flight", true},
		} {
			t.Run(way+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				h := newRoom()
				var rec recorder
				cfg := limitedWays(h, 2)[way]
				cfg.Queue, cfg.QueueWait, cfg.Observe = tt.queue, tt.wait, rec.observe
				b := newBackend(t, cfg)
				t.Cleanup(func() { close(h.out) })
				for range 2 {
					visitTo(t, b)
				}
				await(t, "two are in", func() bool { return h.in.Load() == 2 })
				for range tt.ahead {
					visitTo(t, b)
				}
				if tt.wait > time.Second {
					await(t, "they wait", func() bool { return b.entrance.queued() == tt.ahead })
				}
				v := visitTo(t, b).wait(t)
				if v.err == nil || v.err.Cause != tt.cause || !strings.HasSuffix(v.err.Detail, tt.detail) {
					t.Fatalf("failed with %v, want %v: %s", v.err, tt.cause, tt.detail)
				}
				if v.rec.Code != http.StatusServiceUnavailable {
					t.Errorf("status = %d, want 503", v.rec.Code)
				}
				if q := v.err.Phases[failure.PhaseQueue]; tt.hasQueued != (q >= tt.wait && q > 0) {
					t.Errorf("in the queue for %v, want that: %v", q, tt.hasQueued)
				}
				if tt.hasQueued && !strings.HasPrefix(v.err.Detail, "waited ") {
					t.Errorf("detail = %q, want how long it waited", v.err.Detail)
				}
				if len(rec.of(AttemptDone)) == 0 {
					t.Error("no event of it")
				}
			})
		}
	}
}

// Who waits is served, in order, and the event tells of the wait.
func TestQueueServes(t *testing.T) {
	for way := range limitedWays(nil, 1) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h := newRoom()
			var rec recorder
			cfg := limitedWays(h, 1)[way]
			cfg.Queue, cfg.QueueWait, cfg.Observe = 8, 20*time.Second, rec.observe
			b := newBackend(t, cfg)
			var all []*visit
			for i := range 4 {
				all = append(all, visitTo(t, b))
				await(t, "it is in, or waits", func() bool {
					return h.in.Load() == 1 && b.entrance.queued() == i
				})
			}
			for i, v := range all {
				h.out <- struct{}{}
				v.wait(t)
				if v.rec.Body.String() != "served" {
					t.Errorf("visit %d: %d %q, %v", i, v.rec.Code, v.rec.Body, v.err)
				}
			}
			if m := h.most.Load(); m != 1 {
				t.Errorf("%d at once, want 1", m)
			}
			events := rec.of(AttemptDone)
			if len(events) != 4 || events[0].Phases[failure.PhaseQueue] != 0 || events[3].Phases[failure.PhaseQueue] == 0 {
				t.Errorf("events %+v: want 4, the last of which waited", events)
			}
			if n := b.Endpoints()[0].InFlight; n != 0 || b.entrance.slots.Stats().InFlight != 0 {
				t.Errorf("%d in flight at the end", n)
			}
		})
	}
}

// An endpoint at its limit is skipped; only when all are does a request wait.
func TestFullEndpointIsSkipped(t *testing.T) {
	small, large := newRoom(), newRoom()
	b := newBackend(t, Config{
		Endpoints: []Endpoint{
			{Handler: small, Name: "small", MaxInFlight: 1},
			{Handler: large, Name: "large", MaxInFlight: 3},
		}, QueueWait: 20 * time.Second,
	})
	var all []*visit
	for range 4 {
		all = append(all, visitTo(t, b))
	}
	await(t, "all are in", func() bool { return small.in.Load() == 1 && large.in.Load() == 3 })
	all = append(all, visitTo(t, b))
	await(t, "one waits", func() bool { return b.entrance.queued() == 1 })
	large.out <- struct{}{}
	await(t, "it went where there was room", func() bool { return large.in.Load() == 3 && large.served.Load() == 1 })
	close(small.out)
	close(large.out)
	for _, v := range all {
		if v.wait(t); v.err != nil {
			t.Errorf("failed with %v", v.err)
		}
	}
}

func TestAllEndpointsFull(t *testing.T) {
	h := newRoom()
	b := newBackend(t, Config{Endpoints: []Endpoint{
		{Handler: h, Name: "a", MaxInFlight: 1}, {Handler: h, Name: "b", MaxInFlight: 1},
	}, Queue: -1})
	t.Cleanup(func() { close(h.out) })
	visitTo(t, b)
	visitTo(t, b)
	await(t, "both are full", func() bool { return h.in.Load() == 2 })
	v := visitTo(t, b).wait(t)
	if v.err == nil || v.err.Cause != failure.ConnectionLimit ||
		v.err.Detail != "a: connection_limit (1 of 1 requests in flight); b: connection_limit (1 of 1 requests in flight)" {
		t.Errorf("failed with %v, want connection_limit with both endpoints' reasons", v.err)
	}
}

// A handler that was given up holds its slots until it returns.
func TestSlotIsHeldUntilTheHandlerReturns(t *testing.T) {
	for way := range limitedWays(nil, 1) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h := newRoom()
			cfg := limitedWays(h, 1)[way]
			cfg.Queue = -1
			b := newBackend(t, cfg)
			v := visitTo(t, b, "Stubborn", "yes")
			await(t, "it is in", func() bool { return h.in.Load() == 1 })
			v.cancel()
			v.wait(t)
			if v := visitTo(t, b).wait(t); v.err == nil || v.err.Cause != failure.ConnectionLimit {
				t.Errorf("failed with %v, want connection_limit: the handler is still at work", v.err)
			}
			close(h.out)
			await(t, "it returned", func() bool { return b.Endpoints()[0].InFlight == 0 })
			if v := visitTo(t, b).wait(t); v.err != nil {
				t.Errorf("failed with %v, want none", v.err)
			}
		})
	}
}

// Who waits is told at once that there is no use in it.
func TestQueueIsEmptied(t *testing.T) {
	for way := range limitedWays(nil, 1) {
		for _, tt := range []struct {
			name  string
			end   func(b *Backend)
			cause failure.Cause
		}{
			{"down", func(b *Backend) {
				// Live traffic agrees: the check is not the one that is wrong.
				b.now().endpoints[0].live.settled(&outcome{failure: &failure.Error{Cause: failure.FirstByteTimeout}}, b.clock(time.Now()))
				for range 9 {
					b.recordHealth(b.now().endpoints[0], Probe{Detail: "GET /: 500"})
				}
			}, failure.EndpointDown},
			{"shutdown", func(b *Backend) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_ = b.Shutdown(ctx)
			}, failure.Draining},
		} {
			t.Run(way+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				h := newRoom()
				cfg := limitedWays(h, 1)[way]
				cfg.Queue, cfg.QueueWait, cfg.UntilHeaders, cfg.FirstByte = 8, time.Hour, -1, -1
				b := newBackend(t, cfg)
				t.Cleanup(func() { close(h.out) })
				visitTo(t, b)
				await(t, "one is in", func() bool { return h.in.Load() == 1 })
				var all []*visit
				for i := range 3 {
					all = append(all, visitTo(t, b))
					await(t, "it waits", func() bool { return b.entrance.queued() == i+1 })
				}
				tt.end(b)
				for _, v := range all {
					if v.wait(t); v.err == nil || v.err.Cause != tt.cause {
						t.Errorf("failed with %v, want %v", v.err, tt.cause)
					}
				}
			})
		}
	}
}

// Time in the queue is time of the request.
func TestQueueAndTotalDeadline(t *testing.T) {
	for way := range limitedWays(nil, 1) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h := newRoom()
			cfg := limitedWays(h, 1)[way]
			cfg.QueueWait, cfg.UntilHeaders = time.Hour, 150*time.Millisecond
			b := newBackend(t, cfg)
			t.Cleanup(func() { close(h.out) })
			visitTo(t, b, "Stubborn", "yes")
			await(t, "one is in", func() bool { return h.in.Load() == 1 })
			v := visitTo(t, b).wait(t)
			if v.err == nil || v.err.Cause != failure.TotalDeadline || v.err.Phases[failure.PhaseQueue] == 0 {
				t.Errorf("failed with %v (%v), want total_deadline spent in the queue", v.err, v.err.Phases)
			}
		})
	}
}

// lessons is a limit that keeps what it is told.
type lessons struct {
	limit atomic.Int64
	mu    sync.Mutex // guards what follows
	good  []time.Duration
	bad   []time.Duration
}

func (l *lessons) Limit() int { return int(l.limit.Load()) }

func (l *lessons) Done(latency time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		l.good = append(l.good, latency)
	} else {
		l.bad = append(l.bad, latency)
	}
}

func (l *lessons) count() (good, bad int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.good), len(l.bad)
}

func TestLimitIsTold(t *testing.T) {
	var own, whole lessons
	own.limit.Store(5)
	whole.limit.Store(5)
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Header.Get("Do") {
			case "fail":
				w.WriteHeader(500)
			case "throttle":
				w.WriteHeader(429)
			case "wait":
				<-r.Context().Done()
			}
		})}},
		Limit: &whole, NewLimit: func(name string) Limit {
			if name != "handler" {
				t.Errorf("a limit for %q", name)
			}
			return &own
		},
	})
	for _, do := range []string{"", "fail", "throttle", ""} {
		visitTo(t, b, "Do", do).wait(t)
	}
	v := visitTo(t, b, "Do", "wait")
	await(t, "it is in", func() bool { return b.Endpoints()[0].InFlight == 1 })
	v.cancel()
	v.wait(t)
	for name, l := range map[string]*lessons{"own": &own, "whole": &whole} {
		if good, bad := l.count(); good != 2 || bad != 1 {
			t.Errorf("%s: told %d good and %d bad, want 2 and 1", name, good, bad)
		}
	}
}

// The lower one of both limits holds, at every moment.
func TestLimitThatChanges(t *testing.T) {
	h := newRoom()
	var l lessons
	l.limit.Store(1)
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: h, MaxInFlight: 2}}, NewLimit: func(string) Limit { return &l },
		QueueWait: 20 * time.Second, Queue: 5,
	})
	for range 4 {
		visitTo(t, b)
	}
	await(t, "three wait", func() bool { return h.in.Load() == 1 && b.entrance.queued() == 3 })
	l.limit.Store(9)
	await(t, "there is room for two", func() bool { return h.in.Load() == 2 && b.entrance.queued() == 2 })
	close(h.out)
	await(t, "all are out", func() bool { return h.served.Load() == 4 })
	if m := h.most.Load(); m != 2 {
		t.Errorf("%d at once, want 2", m)
	}
}

// Upgrades are in flight as long as they are open, and teach the limit nothing.
func TestUpgradeHoldsItsSlot(t *testing.T) {
	var l lessons
	l.limit.Store(1)
	server := newFaults(t, sayThenHang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, Limit: &l, Queue: -1})
	srv, client := front(t, b)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "chat")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if v := visitTo(t, b).wait(t); v.err == nil || v.err.Cause != failure.Shed {
		t.Errorf("beside a tunnel: %v, want shed", v.err)
	}
	res.Body.Close()
	await(t, "the slot came back", func() bool {
		return b.entrance.slots.Stats().InFlight == 0 && b.Endpoints()[0].InFlight == 0
	})
	if good, bad := l.count(); good+bad != 0 {
		t.Errorf("told of %d and %d, want nothing", good, bad)
	}
}

// Whatever races, no more are in than may be, and all slots come back.
func TestLimitUnderRaces(t *testing.T) {
	for way := range limitedWays(nil, 3) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var in, most atomic.Int64
			cfg := limitedWays(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n := in.Add(1)
				defer in.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				_, _ = io.WriteString(w, "x")
			}), 3)[way]
			cfg.Queue, cfg.QueueWait = 6, 5*time.Millisecond
			b := newBackend(t, cfg)
			var wg sync.WaitGroup
			var wrong atomic.Int64
			for g := range 12 {
				wg.Go(func() {
					for i := range 60 {
						ctx, cancel := context.WithCancel(failure.Track(t.Context()))
						if (g+i)%4 == 0 {
							go cancel()
						}
						func() {
							defer func() { _ = recover() }() // a client that left in the middle
							b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
						}()
						if e, _ := failure.Outcome(ctx); e != nil {
							switch e.Cause {
							case failure.QueueFull, failure.QueueTimeout, failure.ClientGone:
							default:
								wrong.Add(1)
								t.Errorf("failed with %v", e)
							}
						}
						cancel()
					}
				})
			}
			wg.Wait()
			await(t, "all slots came back", func() bool {
				return b.entrance.slots.Stats().InFlight == 0 && b.Endpoints()[0].InFlight == 0 && b.entrance.queued() == 0
			})
			if m := most.Load(); m > 3 {
				t.Errorf("%d at once, want at most 3", m)
			}
		})
	}
}

func TestLimitConfig(t *testing.T) {
	_, err := New(Config{Endpoints: []Endpoint{{URL: "http://a"}}, MaxInFlight: -1, QueueWait: -time.Second})
	for _, want := range []string{"Config.MaxInFlight is -1", "Config.QueueWait is -1s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %q in it", err, want)
		}
	}
}

// A limit that Update raises is felt at once by those who wait.
func TestUpdateRaisesTheLimit(t *testing.T) {
	for way := range limitedWays(nil, 1) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h := newRoom()
			cfg := limitedWays(h, 1)[way]
			cfg.Queue, cfg.QueueWait = 4, time.Minute
			b := newBackend(t, cfg)
			for range 3 {
				visitTo(t, b)
			}
			await(t, "two wait", func() bool { return h.in.Load() == 1 && b.entrance.queued() == 2 })
			cfg = limitedWays(h, 3)[way]
			cfg.Queue, cfg.QueueWait = 4, time.Minute
			if err := b.Update(cfg); err != nil {
				t.Fatal(err)
			}
			await(t, "all are in", func() bool { return h.in.Load() == 3 && b.entrance.queued() == 0 })
			close(h.out)
			await(t, "all are out", func() bool { return h.served.Load() == 3 })
		})
	}
}
