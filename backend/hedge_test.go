package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// hedgePair are two remote endpoints of which the first is asked first, and
// hedged after 20 ms.
func hedgePair(t *testing.T, cfg Config, first, second http.HandlerFunc) (*Backend, map[string]*refusingGate) {
	t.Helper()
	gates := map[string]*refusingGate{"first": {}, "second": {}}
	for i, h := range []http.HandlerFunc{first, second} {
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ErrorLog = quiet
		srv.Start()
		t.Cleanup(srv.Close)
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{Name: []string{"first", "second"}[i], URL: srv.URL})
	}
	cfg.Balance, cfg.Hedge.On = RoundRobin, true
	cfg.NewGate = func(name string) Gate { return gates[name] }
	b := newBackend(t, cfg)
	hedgeAt(b, 20*time.Millisecond)
	return b, gates
}

func hedgeAt(b *Backend, d time.Duration) {
	b.usual.at.Store(1 << 62)
	b.usual.delay.Store(int64(d))
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

func TestHedge(t *testing.T) {
	second := make(chan struct{}, 1) // the second was asked
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	after := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { <-second; h(w, r) }
	}
	asked := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { second <- struct{}{}; h(w, r) }
	}
	// What the other one did is noticed meanwhile: sooner or later.
	var pause time.Duration
	noticed := func() { <-time.After(pause) }
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	unused, good := "failure: permit unused", "<nil>"
	for _, tt := range []struct {
		name          string
		first, second http.HandlerFunc
		body          string
		told          [2]string // what the gates were told, by a part of it
	}{
		{"the first hangs", hang, text("second"), "second", [2]string{unused, good}},
		{"the first breaks meanwhile", after(reset), asked(func(w http.ResponseWriter, _ *http.Request) {
			noticed()
			_, _ = io.WriteString(w, "second")
		}), "second", [2]string{"closed_before_headers", good}},
		{"the second hangs", after(text("first")), asked(hang), "first", [2]string{good, unused}},
		{"the second fails", func(w http.ResponseWriter, r *http.Request) {
			<-second
			noticed()
			_, _ = io.WriteString(w, "first")
		}, asked(fails), "first", [2]string{good, "upstream_5xx"}},
		{"both fail", after(fails), asked(fails), "", [2]string{"upstream_5xx", "upstream_5xx"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen *recorder
			var b *Backend
			var gates map[string]*refusingGate
			told := func(name string) string {
				g := gates[name]
				g.mu.Lock()
				defer g.mu.Unlock()
				return fmt.Sprint(g.results)
			}
			for pause = 20 * time.Millisecond; pause < 10*time.Second; pause *= 4 {
				for len(second) > 0 {
					<-second
				}
				seen = &recorder{}
				b, gates = hedgePair(t, Config{Observe: seen.observe}, tt.first, tt.second)
				srv, client := front(t, b)
				status, _, body := get(t, client, srv.URL)
				if body != tt.body || (status == 200) != (body != "") {
					t.Errorf("answered %d %q, want %q", status, body, tt.body)
				}
				srv.Close()
				if strings.Contains(told("first"), tt.told[0]) && strings.Contains(told("second"), tt.told[1]) {
					break
				}
			}
			for i, name := range []string{"first", "second"} {
				g := gates[name]
				g.mu.Lock()
				if len(g.results) != 1 || !strings.Contains(fmt.Sprint(g.results[0]), tt.told[i]) {
					t.Errorf("the gate of the %s was told %v, want %s", name, g.results, tt.told[i])
				}
				g.mu.Unlock()
				ep := b.now().endpoints[i]
				if n := ep.inFlight.Load(); n != 0 {
					t.Errorf("%s has %d in flight", name, n)
				}
				if tt.told[i] == unused && (ep.live.attempts.Load() != 0 || ep.live.bad.Load() != 0 || ep.load.waiting != 0) {
					t.Errorf("%s: what it lost is held against it", name)
				}
			}
			evs := seen.of(AttemptDone)
			if len(evs) != 2 {
				t.Fatalf("%d events, want 2", len(evs))
			}
			for _, ev := range evs {
				i := slices.Index([]string{"first", "second"}, ev.Endpoint)
				if tt.told[i] == unused && (ev.Failure != nil || !strings.Contains(ev.Detail, "answered first")) {
					t.Errorf("event %+v, want no failure and why it was given up", ev)
				}
			}
		})
	}
}

// What is not hedged.
func TestHedgeNot(t *testing.T) {
	slow := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond)
		_, _ = io.WriteString(w, "slow")
	}
	for _, tt := range []struct {
		name   string
		cfg    Config
		method string
		body   string
		set    func(b *Backend)
	}{
		{name: "POST", method: http.MethodPost},
		{name: "PUT", method: http.MethodPut, body: "x"},
		{name: "GET with a body", method: http.MethodGet, body: "x"},
		{name: "no budget", method: http.MethodGet, cfg: Config{RetryBudget: 1e-9, RetryBudgetMin: -1}},
		{name: "too little is known", method: http.MethodGet, set: func(b *Backend) { b.usual.at.Store(0) }},
		{name: "the other is down", method: http.MethodGet, set: func(b *Backend) { setDown(b.now().endpoints[1]) }},
		{name: "sticky", method: http.MethodGet, cfg: Config{Sticky: Sticky{Cookie: "lb"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, gates := hedgePair(t, tt.cfg, slow, text("second"))
			if tt.set != nil {
				tt.set(b)
			}
			srv, client := front(t, b)
			req, _ := http.NewRequestWithContext(context.Background(), tt.method, srv.URL, strings.NewReader(tt.body))
			if tt.body == "" {
				req.Body, req.ContentLength = nil, 0
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			srv.Close()
			gates["second"].mu.Lock()
			defer gates["second"].mu.Unlock()
			for _, err := range gates["second"].results {
				if !errors.Is(err, failure.ErrUnused) {
					t.Errorf("the second was used: %v", err)
				}
			}
			if string(body) != "slow" || b.now().endpoints[1].inFlight.Load() != 0 {
				t.Errorf("answered %q, %d in flight at the second", body, b.now().endpoints[1].inFlight.Load())
			}
		})
	}
}

// A client that leaves ends both attempts, and a shutdown does.
func TestHedgeCut(t *testing.T) {
	for _, way := range []string{"client gone", "shutdown"} {
		t.Run(way, func(t *testing.T) {
			var in, out atomic.Int64
			hang := func(_ http.ResponseWriter, r *http.Request) {
				in.Add(1)
				defer out.Add(1)
				<-r.Context().Done()
			}
			b, _ := hedgePair(t, Config{}, hang, hang)
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
			}()
			await(t, "both are asked", func() bool { return in.Load() == 2 })
			if way == "shutdown" {
				now, cancel := context.WithCancel(context.Background())
				cancel()
				_ = b.Shutdown(now)
			} else {
				leave()
			}
			<-done
			await(t, "both have ended", func() bool { return out.Load() == 2 })
			for _, ep := range b.now().endpoints {
				if n := ep.inFlight.Load(); n != 0 {
					t.Errorf("%s has %d in flight", ep.name, n)
				}
			}
		})
	}
}

// One endpoint of three answers every twentieth request a second later. The
// slowest hundredth of the requests does not see it, and few are asked twice.
func TestHedgeTail(t *testing.T) {
	var asked, turn atomic.Int64
	var eps []Endpoint
	for i := range 3 {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if i == 0 && turn.Add(1)%20 == 0 {
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
				}
			}
			_, _ = io.WriteString(w, "ok")
		}))
		t.Cleanup(srv.Close)
		eps = append(eps, Endpoint{URL: srv.URL})
	}
	b := newBackend(t, Config{Endpoints: eps, Balance: RoundRobin, Hedge: Hedge{On: true, MinDelay: 200 * time.Millisecond}})
	srv, client := front(t, b)
	const n = 1500
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				began := time.Now()
				if status, _, body := get(t, client, srv.URL); status != 200 || body != "ok" {
					t.Errorf("answered %d %q", status, body)
				}
				took[i] = time.Since(began)
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	if p99 := took[n*99/100]; p99 >= time.Second {
		t.Errorf("p99 = %v, want less than the slow answers' 1s", p99)
	}
	if got := asked.Load(); got <= n || got > n*106/100 {
		t.Errorf("%d requests to endpoints for %d, want some more, at most 6 %%", got, n)
	}
}

func TestHedgeDelay(t *testing.T) {
	b := newBackend(t, Config{Endpoints: handlers(1, 1), Hedge: Hedge{On: true, MinAnswers: 40}})
	s := b.now()
	for _, ep := range s.endpoints {
		for i := range 20 {
			if got := s.hedgeAfter(); got != 0 {
				t.Fatalf("%v after %d answers, want none", got, i)
			}
			b.usual.at.Store(0)
			ep.latency.record(time.Since(b.began), time.Duration(i+1)*100*time.Millisecond)
		}
	}
	if got := s.hedgeAfter(); got < 1700*time.Millisecond || got > 2100*time.Millisecond {
		t.Errorf("%v, want 1.9s within an eighth", got)
	}
	if n := testing.AllocsPerRun(100, func() { b.usual.at.Store(0); _ = s.hedgeAfter() }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// A gate that panics when it is asked about the hedge: the first attempt has
// ended by the time that the panic passes on, and nothing is held.
func TestHedgeGatePanics(t *testing.T) {
	slow := newFaults(t, silentServer)
	var asked atomic.Int32
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: slow.url(), Name: "a"}, {URL: newFaults(t, silentServer).url(), Name: "b"}},
		Hedge:     Hedge{On: true, MinAnswers: 1}, Retries: -1,
		Gate: gateFunc(func() (func(error), error) {
			if asked.Add(1) == 2 {
				panic("boom")
			}
			return func(error) {}, nil
		}),
	})
	now := time.Since(b.began)
	for _, ep := range b.now().endpoints {
		for range 5 {
			ep.latency.record(now, time.Millisecond)
		}
	}
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v, want the gate's panic", v)
			}
		}()
		ask(b, http.MethodGet)
	}()
	for _, ep := range b.now().endpoints {
		if n := ep.inFlight.Load(); n != 0 {
			t.Errorf("%s has %d in flight, want none", ep.name, n)
		}
	}
}
