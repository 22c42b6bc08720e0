package ratelimit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writertest"
)

func newShedder(tb testing.TB, cfg ShedderConfig) *Shedder {
	tb.Helper()
	s, err := NewShedder(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// fixed is a limit that stays.
func fixed(t *testing.T, n int) *Adaptive {
	t.Helper()
	return newAdaptive(t, AdaptiveConfig{Min: n, Max: n})
}

func TestShedderConfig(t *testing.T) {
	_, err := NewShedder(ShedderConfig{Queue: maxAdaptive + 1, QueueWait: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"ShedderConfig.Queue is 1048577: must be at most 1048576",
		"ShedderConfig.QueueWait is -1ns: must be from 1ns to 1m0s, or 0 for 250ms",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	if _, err := NewShedder(ShedderConfig{QueueWait: time.Hour}); err == nil {
		t.Error("an hour in line is no error")
	}
	for _, tt := range []struct {
		cfg   ShedderConfig
		name  string
		queue int
	}{
		{ShedderConfig{}, "adaptive", 1024},
		{ShedderConfig{Name: "shop", Queue: 7}, "shop", 7},
		{ShedderConfig{Limit: newAdaptive(t, AdaptiveConfig{Name: "own", Min: 3, Max: 3}), Queue: -1}, "own", 0},
		{ShedderConfig{Limit: fixed(t, 5000)}, "adaptive", 1024},
	} {
		if st := newShedder(t, tt.cfg).State(); st.Name != tt.name || st.Queue != tt.queue {
			t.Errorf("NewShedder(%+v): name %q, queue %d, want %q, %d", tt.cfg, st.Name, st.Queue, tt.name, tt.queue)
		}
	}
}

// stage has a shedder and requests that hold its slots. It runs in a bubble.
type stage struct {
	s      *Shedder
	h      http.Handler
	events []ShedEvent
	err    *failure.Error // of the last that was shed
	gate   chan struct{}  // lets one of those inside go on
	calls  int
	mu     sync.Mutex // guards what is above
	wg     sync.WaitGroup
}

func newStage(t *testing.T, cfg ShedderConfig) *stage {
	t.Helper()
	g := &stage{gate: make(chan struct{})}
	cfg.Observe = func(_ context.Context, ev ShedEvent) {
		g.s.State() // under no lock
		g.mu.Lock()
		defer g.mu.Unlock()
		if ev.Kind == Shed {
			g.events = append(g.events, ev)
		}
	}
	cfg.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		g.mu.Lock()
		g.err = failure.As(err, failure.Panic)
		g.mu.Unlock()
		failure.WriteError(w, r, err)
	}
	g.s = newShedder(t, cfg)
	g.h = g.s.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		g.calls++
		g.mu.Unlock()
		<-g.gate
		w.WriteHeader(http.StatusNoContent)
	}))
	return g
}

// send has a request made, and returns where its answer will be.
func (g *stage) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	w.Code = 0
	g.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				w.Code = -1
			}
		}()
		g.h.ServeHTTP(w, r)
	})
	synctest.Wait()
	return w
}

func (g *stage) end() {
	close(g.gate)
	g.wg.Wait()
}

func ask(p Priority) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("P", p.String())
	return r
}

func byHeader(r *http.Request) Priority {
	switch r.Header.Get("P") {
	case "critical":
		return Critical
	case "sheddable":
		return Sheddable
	case "strange":
		return 77
	}
	return Normal
}

func TestShedderSheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t, ShedderConfig{Name: "shop", Limit: fixed(t, 1), Queue: 1, QueueWait: 200 * ms, Priority: byHeader})
		holder := g.send(ask(Normal))
		waiting := g.send(ask(Normal))
		time.Sleep(50 * ms)
		began := time.Now()
		full := g.send(ask(Normal))
		if full.Code != http.StatusServiceUnavailable || time.Since(began) != 0 {
			t.Fatalf("with a full line: %d after %v, want 503 at once", full.Code, time.Since(began))
		}
		if ra := full.Header().Get("Retry-After"); ra != "" {
			t.Errorf("Retry-After is %q though nothing is known", ra)
		}
		if got := full.Header().Get("Proxy-Status"); got != "holdfast; error=connection_limit_reached; cause=shed" {
			t.Errorf("Proxy-Status = %q", got)
		}
		if want := `limit "shop": 1 of 1 waiting, 1 of 1 requests in flight, latency not known yet`; g.err.Detail != want || g.err.Cause != failure.Shed {
			t.Errorf("error = %v, %q, want shed, %q", g.err.Cause, g.err.Detail, want)
		}
		if ev := g.events[0]; ev != (ShedEvent{Kind: Shed, Name: "shop", Limit: 1, InFlight: 1}) {
			t.Errorf("event = %+v", ev)
		}
		sheddable := g.send(ask(Sheddable))
		if sheddable.Code != http.StatusServiceUnavailable || g.events[1].Priority != Sheddable {
			t.Errorf("sheddable: %d, %+v, want it shed at once", sheddable.Code, g.events[1])
		}
		critical := g.send(ask(Critical))
		if waiting.Code != http.StatusServiceUnavailable || critical.Code != 0 {
			t.Fatalf("critical: %d, and who waits before it: %d, want it in that one's place", critical.Code, waiting.Code)
		}
		if ev := g.events[2]; ev.Priority != Normal || ev.Waited != 50*ms {
			t.Errorf("event of the displaced = %+v, want normal, 50 ms", ev)
		}
		if g.err.Phases[failure.PhaseQueue] != 50*ms || !strings.Contains(g.err.Detail, "waited 50 ms") {
			t.Errorf("error of the displaced: %v, %q", g.err.Phases, g.err.Detail)
		}
		if again := g.send(ask(Critical)); again.Code != http.StatusServiceUnavailable {
			t.Errorf("another critical one: %d, want it shed", again.Code)
		}
		time.Sleep(201 * ms)
		synctest.Wait()
		if ev := g.events[len(g.events)-1]; critical.Code != http.StatusServiceUnavailable || ev.Waited != 200*ms || ev.Priority != Critical {
			t.Errorf("after its time: %d, %+v, want it shed", critical.Code, ev)
		}
		if holder.Code != 0 || g.calls != 1 {
			t.Errorf("%d calls, want that of the first", g.calls)
		}
		if w := g.send(ask(77)); w.Code != 0 {
			t.Errorf("a strange priority: %d, want it to wait as a normal one", w.Code)
		}
		g.end()
		if holder.Code != http.StatusNoContent {
			t.Errorf("the first: %d", holder.Code)
		}
		if st := g.s.State(); st.InFlight != 0 || st.Waiting != 0 || g.s.criticals.Load() != 0 {
			t.Errorf("in the end: %+v", st)
		}
	})
}

// Without a func of the user's, who has an answer in reserve is sheddable.
func TestShedderReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t, ShedderConfig{Limit: fixed(t, 1)})
		g.send(ask(Normal))
		r := ask(Normal)
		r = r.WithContext(failure.Track(r.Context()))
		if p := ByReserve(r); p != Normal {
			t.Errorf("priority = %v", p)
		}
		failure.Reserve(r.Context())
		if w := g.send(r); w.Code != http.StatusServiceUnavailable || g.events[0].Priority != Sheddable {
			t.Errorf("with a copy in reserve: %d, %+v, want it shed at once", w.Code, g.events)
		}
		if e, _ := failure.From(r.Context()); e == nil || e.Cause != failure.Shed {
			t.Errorf("reported: %v, want shed, so that a cache further out serves its copy", e)
		}
		if w := g.send(ask(Critical)); w.Code != 0 { // a field decides nothing
			t.Errorf("without: %d, want it to wait", w.Code)
		}
		g.end()
	})
}

func TestShedderExempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t, ShedderConfig{
			Limit: fixed(t, 1), Queue: -1,
			Exempt: func(r *http.Request) bool { return r.URL.Path == "/health" },
		})
		g.send(ask(Normal))
		if w := g.send(ask(Normal)); w.Code != http.StatusServiceUnavailable {
			t.Fatalf("no overload: %d", w.Code)
		}
		for range 3 {
			g.send(httptest.NewRequest(http.MethodGet, "/health", nil))
		}
		if st := g.s.State(); g.calls != 4 || st.InFlight != 1 {
			t.Errorf("%d inside, %d slots taken, want 4 and 1", g.calls, st.InFlight)
		}
		g.end()
		if a := g.s.limit.g.w; a.n != 1 {
			t.Errorf("the limit was told of %d, want the one that was not exempt", a.n)
		}
	})
}

func TestShedderClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t, ShedderConfig{Limit: fixed(t, 1), QueueWait: time.Minute})
		g.send(ask(Normal))
		ctx, cancel := context.WithCancel(failure.Track(t.Context()))
		w := g.send(ask(Normal).WithContext(ctx))
		time.Sleep(30 * ms)
		cancel()
		synctest.Wait()
		e, _ := failure.From(ctx)
		if e == nil || e.Cause != failure.ClientGone || e.Phases[failure.PhaseQueue] != 30*ms || w.Code != -1 || w.Body.Len() > 0 {
			t.Errorf("a client that left the line: %v, %d, want client_gone and an abort", e, w.Code)
		}
		if st := g.s.State(); len(g.events) != 0 || st.Waiting != 0 || st.InFlight != 1 {
			t.Errorf("%+v, events %v, want nothing of it", st, g.events)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 40*ms) // not the client's
		defer cancel()
		w = g.send(ask(Normal).WithContext(ctx))
		time.Sleep(41 * ms)
		synctest.Wait()
		if w.Code != http.StatusServiceUnavailable || len(g.events) != 1 || g.events[0].Waited != 40*ms {
			t.Errorf("whose time was over in line: %d, %+v, want it shed after 40 ms", w.Code, g.events)
		}
		g.end()
	})
}

// The value of a panic goes on as it is, and the slot comes back, as it does when
// the goroutine ends.
func TestShedderPanics(t *testing.T) {
	value := &struct{ n int }{1}
	for _, tt := range []struct {
		name   string
		value  any
		headed bool
		told   int
		failed bool
	}{
		{"a value", value, false, 1, true},
		{"after the header", value, true, 1, false},
		{"an abort", http.ErrAbortHandler, false, 0, false},
		{"the end of the goroutine", nil, false, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShedder(t, ShedderConfig{Limit: fixed(t, 1), Queue: -1})
				h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(5 * sec)
					if tt.headed {
						w.WriteHeader(http.StatusOK)
					}
					if tt.value == nil {
						runtime.Goexit()
					}
					panic(tt.value)
				}))
				got := make(chan any, 1)
				go func() {
					defer func() { got <- recover() }()
					h.ServeHTTP(httptest.NewRecorder(), ask(Normal))
				}()
				if p := <-got; p != tt.value {
					t.Errorf("recovered %v, want the identical %v", p, tt.value)
				}
				if n := s.State().InFlight; n != 0 {
					t.Errorf("%d slots are lost", n)
				}
				if n, failed := tally(s); n != tt.told || failed != tt.failed {
					t.Errorf("told of %d, failed %v, want %d, %v", n, failed, tt.told, tt.failed)
				}
			})
		})
	}
}

// What the limit is told of an answer.
func TestJudgeAnswer(t *testing.T) {
	refused := failure.New(failure.ConnectionRefused, nil)
	for _, tt := range []struct {
		name     string
		status   int
		e        *failure.Error
		rung     failure.Rung
		gone     bool
		ok, says bool
	}{
		{"200", 200, nil, 0, false, true, true},
		{"304", 304, nil, 0, false, true, true},
		{"429", 429, nil, 0, false, true, true},
		{"500", 500, nil, 0, false, false, true},
		{"501", 501, nil, 0, false, false, false},
		{"505", 505, nil, 0, false, false, false},
		{"none", 0, nil, 0, false, false, false},
		{"client gone", 200, nil, 0, true, false, false},
		{"502 of a proxy whose client is gone", 502, nil, 0, true, false, false},
		{"a failure", 502, refused, failure.Unmended, false, false, true},
		{"a failure behind a page", 200, refused, failure.Unmended, false, false, true},
		{"a failure, stale content", 200, refused, failure.StaleIfError, false, false, false},
		{"a failure, retried", 200, refused, failure.Retried, false, false, false},
		{"a refusal", 429, failure.New(failure.RateLimited, nil), failure.Unmended, false, false, false},
	} {
		if ok, says := judgeAnswer(tt.status, tt.e, tt.rung, tt.gone); ok != tt.ok || says != tt.says {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, ok, says, tt.ok, tt.says)
		}
	}
}

type hijackable struct{ *httptest.ResponseRecorder }

func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a, b := net.Pipe()
	return a, nil, errors.Join(b.Close(), a.Close())
}

// What may last for hours holds no slot once it began, and its time tells nothing.
func TestShedderLasting(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		answer func(w http.ResponseWriter)
		lasts  bool
	}{
		{"upgrade", http.MethodGet, func(w http.ResponseWriter) { w.WriteHeader(http.StatusSwitchingProtocols) }, true},
		{"hijack", http.MethodGet, func(w http.ResponseWriter) {
			_, _, _ = http.NewResponseController(w).Hijack()
		}, true},
		{"CONNECT", http.MethodConnect, func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, true},
		{"CONNECT refused", http.MethodConnect, func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, false},
		{"events", http.MethodGet, func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "Text/Event-Stream; charset=utf-8")
			w.(http.Flusher).Flush()
		}, true},
		{"events that failed", http.MethodGet, func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusNotFound)
		}, false},
		{"hints", http.MethodGet, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		}, false},
		{"a page", http.MethodGet, func(w http.ResponseWriter) { _, _ = io.WriteString(w, "a page") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShedder(t, ShedderConfig{Limit: fixed(t, 1), Queue: -1})
			during, told := -1, -1
			h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				tt.answer(w)
				during = s.State().InFlight
				told, _ = tally(s)
			}))
			h.ServeHTTP(hijackable{httptest.NewRecorder()}, httptest.NewRequest(tt.method, "http://example.com/", nil))
			want := 1
			if tt.lasts {
				want = 0
			}
			if during != want || told != want {
				t.Errorf("after the header %d slots are taken and %d told, want %d of both", during, told, want)
			}
			if n := s.State().InFlight; n != 0 {
				t.Errorf("%d slots in the end", n)
			}
		})
	}
}

// tally is how many requests the limit was told of, and whether one failed that took
// long.
func tally(s *Shedder) (n int, failed bool) {
	s.limit.mu.Lock()
	defer s.limit.mu.Unlock()
	w := s.limit.g.w
	return w.n + w.slow, w.slow > 0
}

// slowly is a body that takes its time.
type slowly struct{ left int }

func (b *slowly) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	b.left--
	time.Sleep(time.Second)
	p[0] = 'x'
	return 1, nil
}

// A client that sends slowly does not make the backend slow.
func TestShedderUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdaptive(t, AdaptiveConfig{})
		h := newShedder(t, ShedderConfig{Limit: a}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); n != 5 || err != nil {
				t.Errorf("body: %d, %v", n, err)
			}
			time.Sleep(20 * ms)
			w.WriteHeader(http.StatusNoContent)
		}))
		for range 100 {
			do(h, httptest.NewRequest(http.MethodPost, "/", &slowly{5}))
		}
		if st := a.State(); st.AtRest < 15*ms || st.AtRest > 40*ms {
			t.Errorf("latency at rest = %v, want the 20 ms of the backend", st.AtRest)
		}
	})
}

func TestShedderDryRun(t *testing.T) {
	for _, own := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cfg := ShedderConfig{Limit: newAdaptive(t, AdaptiveConfig{Min: 2, Max: 2, DryRun: !own}), DryRun: own, Queue: 1, Priority: byHeader}
			g := newStage(t, cfg)
			for i, tt := range []struct {
				p    Priority
				shed bool
			}{
				{Normal, false},
				{Normal, false},
				{Normal, false}, // would wait
				{Sheddable, true},
				{Normal, true},
				{Critical, false}, // would displace one
				{Critical, false},
				{Critical, false},
				{Critical, true},
			} {
				n := len(g.events)
				x := g.s.Explain(ask(tt.p))
				g.send(ask(tt.p))
				if shed := len(g.events) > n; shed != tt.shed || (x.Action == "shed") != tt.shed || !x.DryRun {
					t.Errorf("%d, %v: shed %v, explained %+v, want %v", i, tt.p, shed, x, tt.shed)
				}
			}
			for _, ev := range g.events {
				if !ev.DryRun || ev.Limit != 2 || ev.InFlight < 3 {
					t.Errorf("event = %+v", ev)
				}
			}
			if g.calls != 9 || g.err != nil {
				t.Errorf("%d of 9 came through, error %v", g.calls, g.err)
			}
			g.end()
			if st := g.s.State(); st.InFlight != 0 || !st.DryRun || g.s.criticals.Load() != 0 {
				t.Errorf("in the end: %+v", st)
			}
		})
	}
}

func TestShedderExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newStage(t, ShedderConfig{
			Name: "shop", Limit: fixed(t, 1), Queue: 1, Priority: byHeader,
			Exempt: func(r *http.Request) bool { return r.Header.Get("P") == "" },
		})
		expect := func(when, normal, critical, sheddable string) {
			t.Helper()
			for p, want := range []string{normal, critical, sheddable} {
				if x := g.s.Explain(ask(Priority(p))); x.Action != want || x.Priority != Priority(p) || x.Exempt {
					t.Errorf("%s, %v: %+v, want %s", when, Priority(p), x, want)
				}
			}
		}
		expect("idle", "pass", "pass", "pass")
		g.send(ask(Normal))
		expect("at the limit", "wait", "wait", "shed")
		g.send(ask(Normal))
		expect("with a full line", "shed", "wait", "shed")
		g.send(ask(Critical))
		expect("with a line of critical ones", "shed", "shed", "shed")
		b, err := json.Marshal(g.s.Explain(ask(Critical)))
		want := `{"name":"shop","action":"shed","priority":"critical","limit":1,"inFlight":1,"queue":1,"waiting":1,"retryAfter":0}`
		if string(b) != want || err != nil {
			t.Errorf("%s, %v, want %s", b, err, want)
		}
		if x := g.s.Explain(httptest.NewRequest(http.MethodGet, "/", nil)); !x.Exempt || x.Action != "pass" {
			t.Errorf("exempt: %+v", x)
		}
		if len(g.events) != 1 || g.calls != 1 {
			t.Errorf("Explain has effects: %d events, %d calls", len(g.events), g.calls)
		}
		g.end()
	})
}

// Everything at once: nothing is lost, and the limit holds.
func TestShedderConcurrently(t *testing.T) {
	s := newShedder(t, ShedderConfig{
		Limit: fixed(t, 3), Queue: 4, QueueWait: ms, Priority: byHeader,
		Observe: func(context.Context, ShedEvent) {},
	})
	var mu sync.Mutex
	inside, most := 0, 0
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		inside--
		mu.Unlock()
		if r.Header.Get("P") == "critical" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusOK)
	}))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 200 {
				func() {
					defer func() { _ = recover() }()
					ctx, cancel := context.WithCancel(t.Context())
					if j%5 == 0 {
						cancel()
					}
					defer cancel()
					h.ServeHTTP(httptest.NewRecorder(), ask(Priority((i+j)%3)).WithContext(ctx))
				}()
				s.Explain(ask(Normal))
			}
		})
	}
	wg.Wait()
	if st := s.State(); st.InFlight != 0 || st.Waiting != 0 || most > 3 {
		t.Errorf("at most %d inside, in the end %+v, want at most 3 and none", most, st)
	}
}

func TestShedderConformance(t *testing.T) {
	t.Run("kept", func(t *testing.T) { writertest.Run(t, newShedder(t, ShedderConfig{}).Handler) })
	t.Run("dry", func(t *testing.T) { writertest.Run(t, newShedder(t, ShedderConfig{DryRun: true}).Handler) })
}

var shedAllocs = []struct {
	name string
	cfg  ShedderConfig
	slot bool // the request has a failure slot
	most float64
}{
	{"alone", ShedderConfig{}, false, 4},
	{"within a stack", ShedderConfig{}, true, 1},
	{"dry run", ShedderConfig{DryRun: true}, true, 1},
}

func shedCall(tb testing.TB, cfg ShedderConfig, slot bool) func() {
	h := newShedder(tb, cfg).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r, w := ask(Normal), httptest.NewRecorder()
	w.WriteHeader(http.StatusOK)
	if slot {
		r = r.WithContext(failure.Track(r.Context()))
	}
	return func() { h.ServeHTTP(w, r) }
}

func TestShedderAllocates(t *testing.T) {
	for _, tt := range shedAllocs {
		f := shedCall(t, tt.cfg, tt.slot)
		if got := testing.AllocsPerRun(1000, f); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.most)
		}
	}
}

func BenchmarkShedder(b *testing.B) {
	for _, tt := range shedAllocs {
		b.Run(tt.name, func(b *testing.B) {
			f := shedCall(b, tt.cfg, tt.slot)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
