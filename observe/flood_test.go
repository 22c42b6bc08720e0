package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/ratelimit"
)

const (
	someLeftOut = "lines left out"
	overLeftOut = "no more lines left out"
)

// failing is a handler that fails the way that the path says: /CAUSE/ENDPOINT.
func failing(w http.ResponseWriter, r *http.Request) {
	e := &failure.Error{Cause: failure.ConnectionRefused, Backend: "shop", Endpoint: strings.TrimPrefix(r.URL.Path, "/")}
	failure.Serve(w, r, e, nil)
}

// flood lets n requests fail at even distances within d.
func flood(h http.Handler, path string, n int, d time.Duration) {
	for range n {
		serve(h, get(path))
		time.Sleep(d / time.Duration(n))
	}
}

func skipAll(*http.Request) bool { return true }

// shown adds up what the lines of a log account for: those that are there, and
// those that the last one of every flood tells of.
func shown(t *testing.T, log *lines, endpoint string) (full, told int) {
	t.Helper()
	for _, l := range log.all(t, "") {
		if l["endpoint"] != endpoint {
			continue
		}
		switch l["msg"] {
		case "request failed":
			full++
		case overLeftOut:
			told += int(l["left_out"].(float64))
		}
	}
	return full, told
}

func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := newObserver(t, Config{SkipAccess: skipAll})
		h := o.Handler(http.HandlerFunc(failing))
		began := time.Now()
		flood(h, "/a", 10000, 10*time.Second)
		serve(h, get("/b")) // another kind, in the middle of it
		if n := len(log.all(t, "request failed")); n < 20+100 || n > 20+100+2 {
			t.Errorf("%d lines in full, want a burst of 20 and 10 per second", n)
		}
		if b, _ := shown(t, log, "b"); b != 1 {
			t.Errorf("%d lines of another endpoint, want 1", b)
		}
		// The end is told although nothing happens any more.
		time.Sleep(5 * time.Second)
		synctest.Wait()
		full, told := shown(t, log, "a")
		if full+told != 10000 {
			t.Errorf("%d in full and %d told, want 10000 in all", full, told)
		}
		over := log.one(t, overLeftOut)
		since, err := time.Parse(time.RFC3339, over["since"].(string))
		if err != nil || since.Before(began) || since.Sub(began) > time.Second {
			t.Errorf("since = %v (%v), want when it began, %v", over["since"], err, began)
		}
		for key, want := range map[string]any{"level": "ERROR", "of": "request failed", "cause": "connection_refused", "backend": "shop", "endpoint": "a"} {
			if over[key] != want {
				t.Errorf("%s = %v, want %v", key, over[key], want)
			}
		}
		notes := log.all(t, someLeftOut)
		if len(notes) < 9 || len(notes) > 11 {
			t.Errorf("%d lines tell of the flood while it lasts, want one per second", len(notes))
		}
		var last time.Time
		before := 0.
		for _, n := range notes {
			at, _ := time.Parse(time.RFC3339, n["time"].(string))
			if at.Sub(last) < tellEvery || n["left_out"].(float64) <= before {
				t.Errorf("%v after %v and %v", n, last, before)
			}
			last, before = at, n["left_out"].(float64)
		}
		wantSamples(t, scrape(t, o),
			`holdfast_failures_total{cause="connection_refused",rung="unmended"} 10001`,
			fmt.Sprintf(`holdfast_log_lines_left_out_total{message="request failed"} %d`, told))
		if o.floods.timer != nil || len(o.floods.owing) != 0 {
			t.Error("there is a timer, and nothing to tell")
		}
		// Calm: all is as it was.
		was := len(log.all(t, "request failed"))
		flood(h, "/a", 20, time.Millisecond)
		if n := len(log.all(t, "request failed")); n != was+20 {
			t.Errorf("%d lines of 20 after calm", n-was)
		}
	})
}

// Under the rate every line is there, for ever.
func TestNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := newObserver(t, Config{SkipAccess: skipAll})
		flood(o.Handler(http.HandlerFunc(failing)), "/a", 900, 100*time.Second)
		if n := len(log.all(t, "")); n != 900 {
			t.Errorf("%d lines, want all 900 and no others", n)
		}
	})
}

func TestEveryLine(t *testing.T) {
	for _, cfg := range []Config{{LogRate: -1}, {LogBurst: -1}} {
		cfg.SkipAccess = skipAll
		o, log := newObserver(t, cfg)
		h := o.Handler(http.HandlerFunc(failing))
		for range 500 {
			serve(h, get("/a"))
		}
		if n := len(log.all(t, "")); n != 500 {
			t.Errorf("%d lines, want 500", n)
		}
	}
}

// However low the rate, the first line after calm is there.
func TestFirstLineAfterCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := newObserver(t, Config{SkipAccess: skipAll, LogRate: 1e-9, LogBurst: 1})
		h := o.Handler(http.HandlerFunc(failing))
		for i := range 3 {
			flood(h, "/a", 50, time.Second)
			time.Sleep(calmAfter)
			synctest.Wait()
			if full, told := shown(t, log, "a"); full != i+1 || full+told != 50*(i+1) {
				t.Errorf("%d in full and %d told after %d floods of 50, want the first line of each", full, told, i+1)
			}
		}
	})
}

// What is owed is told at the end, and from then on everything is logged.
func TestShutdownTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := newObserver(t, Config{SkipAccess: skipAll})
		h := o.Handler(http.HandlerFunc(failing))
		for range 100 {
			serve(h, get("/a"))
			serve(h, get("/b"))
		}
		for range 2 {
			if err := o.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for _, ep := range []string{"a", "b"} {
			if full, told := shown(t, log, ep); full != 20 || told != 80 {
				t.Errorf("%d in full and %d told, want 20 and 80", full, told)
			}
		}
		for range 50 {
			serve(h, get("/a"))
		}
		if full, _ := shown(t, log, "a"); full != 70 {
			t.Errorf("%d lines after the shutdown, want all 50", full-20)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(log.all(t, overLeftOut)); n != 2 {
			t.Errorf("%d ends were told, want 2", n)
		}
	})
}

// holding is a log whose lines about what was left out wait for release.
type holding struct {
	slog.Handler
	entered chan struct{}
	release chan struct{}
	written atomic.Int32
}

func (h *holding) Handle(_ context.Context, r slog.Record) error {
	if r.Message == someLeftOut {
		close(h.entered)
		<-h.release
	}
	if r.Message != "request failed" {
		h.written.Add(1)
	}
	return nil
}

// A log that takes no more lines holds up neither requests nor, beyond its time,
// the shutdown.
func TestShutdownWhileTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &holding{Handler: slog.NewTextHandler(sink{}, nil), entered: make(chan struct{}), release: make(chan struct{})}
		o, err := New(Config{Logger: slog.New(slow), SkipAccess: skipAll})
		if err != nil {
			t.Fatal(err)
		}
		h := o.Handler(http.HandlerFunc(failing))
		flood(h, "/a", 100, 100*time.Millisecond)
		<-slow.entered
		flood(h, "/a", 100, 100*time.Millisecond) // no lock is held
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want its deadline", err)
		}
		if slow.written.Load() != 1 {
			t.Errorf("%d notices, want the last one", slow.written.Load())
		}
		close(slow.release)
		synctest.Wait()
		if slow.written.Load() != 2 || o.floods.timer != nil {
			t.Errorf("%d notices and timer %v, want both and none", slow.written.Load(), o.floods.timer)
		}
	})
}

// Changes of state are never left out.
func TestChangesAreNotLeftOut(t *testing.T) {
	o, log := newObserver(t, Config{})
	for i := range 300 {
		ctx := t.Context()
		o.Breaker(ctx, breaker.Event{Kind: breaker.Changed, Name: "a", To: breaker.Open})
		o.Backend(ctx, backend.Event{Kind: backend.EndpointEjected, Endpoint: "a"})
		o.Backend(ctx, backend.Event{Kind: backend.HealthChanged, Endpoint: "a", Healthy: i%2 == 0})
	}
	if n := len(log.all(t, "")); n != 900 {
		t.Errorf("%d lines, want 900", n)
	}
}

func TestKinds(t *testing.T) {
	o, log := newObserver(t, Config{SkipAccess: skipAll, LogBurst: 1, LogRate: 1e-9})
	refuse := func(limiter, limit string) {
		serve(o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.RateLimit(r.Context(), ratelimit.Event{Kind: ratelimit.Limited, Name: limiter, Limit: limit})
			failure.Serve(w, r, &failure.Error{Cause: failure.RateLimited, Detail: r.RemoteAddr}, nil)
		})), get("/"))
	}
	shed := func(name string) {
		serve(o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.Shed(r.Context(), ratelimit.ShedEvent{Kind: ratelimit.Shed, Name: name})
			failure.Serve(w, r, &failure.Error{Cause: failure.Shed}, nil)
		})), get("/"))
	}
	open := func(name string) {
		serve(o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.Breaker(r.Context(), breaker.Event{Kind: breaker.Refused, Name: name})
			failure.Serve(w, r, &failure.Error{Cause: failure.BreakerOpen}, nil)
		})), get("/"))
	}
	for range 3 {
		refuse("client", "second")
		refuse("client", "hour")
		refuse("login", "hour")
		shed("site")
		shed("shop")
		open("x")
		open("y")
		for _, name := range []string{"c", "d"} {
			o.RateLimit(t.Context(), ratelimit.Event{Kind: ratelimit.Limited, Name: name, DryRun: true})
		}
	}
	var got []string
	for _, l := range log.all(t, "") {
		got = append(got, fmt.Sprint(l["msg"], l["breaker"], l["limiter"], l["limit"]))
	}
	if len(got) != 9 {
		t.Errorf("%d lines, want one of each kind: %q", len(got), got)
	}
	if err := o.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, l := range log.all(t, overLeftOut) {
		if l["left_out"] != 2. {
			t.Errorf("%v, want 2", l)
		}
	}
}

// Names that somebody makes up fill the table, and no more; what they lose is
// told under one name, and what has fallen calm makes room.
func TestKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := newObserver(t, Config{SkipAccess: skipAll})
		h := o.Handler(http.HandlerFunc(failing))
		const n = 3 * maxKinds
		for i := range n {
			serve(h, get(fmt.Sprintf("/%d", i)))
		}
		if got := len(o.floods.flows); got > maxKinds+1 {
			t.Errorf("%d kinds, want at most %d", got, maxKinds+1)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		over := log.one(t, overLeftOut)
		full := len(log.all(t, "request failed"))
		if over["backend"] != other || full+int(over["left_out"].(float64)) != n {
			t.Errorf("%d in full, and %v", full, over)
		}
		time.Sleep(calmAfter)
		serve(h, get("/new"))
		if got := len(o.floods.flows); got != 1 {
			t.Errorf("%d kinds after calm, want 1", got)
		}
	})
}

// The key of a kind does not keep a whole stack in memory.
func TestKindsAreOwned(t *testing.T) {
	o, _ := newObserver(t, Config{})
	stack := stackOf(panicHere)
	origin := panicOrigin(stack)
	o.floods.pass(kind{message: "request failed", origin: origin})
	for k := range o.floods.flows {
		if k.origin != origin || unsafe.StringData(k.origin) == unsafe.StringData(origin) {
			t.Errorf("origin %q is a part of the stack that it was found in", k.origin)
		}
	}
}

//go:noinline
func panicHere() { panic("boom") }

//go:noinline
func panicThere(m map[string]int) { m["x"] = 1 }

func stackOf(f func()) (stack string) {
	defer func() {
		_ = recover()
		stack = string(debug.Stack())
	}()
	f()
	return ""
}

func TestPanicOrigin(t *testing.T) {
	again := func() {
		defer func() { panic(recover()) }()
		panicHere()
	}
	here, there, twice := panicOrigin(stackOf(panicHere)), panicOrigin(stackOf(func() { panicThere(nil) })), panicOrigin(stackOf(again))
	for _, o := range []string{here, there} {
		if _, line, ok := strings.Cut(o, "flood_test.go:"); !ok || strings.ContainsAny(line, " \n") {
			t.Errorf("origin = %q, want a line of this file", o)
		}
	}
	if here == there || here != twice {
		t.Errorf("origins %q, %q, %q: want the first and the last one equal", here, there, twice)
	}
	var nothing *Observer
	if o := panicOrigin(stackOf(func() { _ = nothing.cfg })); !strings.Contains(o, "flood_test.go:") {
		t.Errorf("origin of a nil dereference = %q", o)
	}
	for _, s := range []string{"", "\npanic(", "\npanic(\n", "goroutine 1:\npanic({0x1})\n\tpanic.go:1 +0x1\n", "\npanic(0)\nx\nruntime.goexit()\n"} {
		if o := panicOrigin(s); o != "" {
			t.Errorf("origin of %q = %q", s, o)
		}
	}
}

// Panics of one origin are bounded, and hide no others.
func TestPanicsByOrigin(t *testing.T) {
	o, log := newObserver(t, Config{SkipAccess: skipAll})
	stacks := []string{stackOf(panicHere), stackOf(func() { panicThere(nil) })}
	h := o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := len(r.URL.Path) - 1
		failure.Serve(w, r, failure.Recovered("boom", []byte(stacks[i])), nil)
	}))
	for range 1000 {
		serve(h, get("/"))
	}
	serve(h, get("/x"))
	var here, there int
	for _, l := range log.all(t, "request failed") {
		if strings.Contains(l["detail"].(string), "panicThere") {
			there++
		} else {
			here++
		}
	}
	if here < 20 || here > 900 || there != 1 {
		t.Errorf("%d and %d lines, want about 20, and 1", here, there)
	}
}

func TestFloodConcurrently(t *testing.T) {
	o, log := newObserver(t, Config{SkipAccess: skipAll})
	h := o.Handler(http.HandlerFunc(failing))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				serve(h, get(fmt.Sprintf("/%d", i%2)))
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			o.floods.tell()
		}
	})
	wg.Wait()
	if err := o.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, ep := range []string{"0", "1"} {
		if full, told := shown(t, log, ep); full+told != 2000 || full < 20 {
			t.Errorf("%d in full and %d told, want 2000 in all", full, told)
		}
	}
}

func TestLogRateIsChecked(t *testing.T) {
	for _, rate := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := New(Config{LogRate: rate}); err == nil || !strings.Contains(err.Error(), "LogRate") {
			t.Errorf("New with a rate of %v: %v", rate, err)
		}
	}
}

// What a line costs that is left out, and one that is written.
func BenchmarkFailureLine(b *testing.B) {
	e := &failure.Error{Cause: failure.ConnectionRefused, Backend: "shop", Endpoint: "10.0.0.7:8080", Detail: "connect: connection refused", Attempts: 1}
	for _, bm := range []struct {
		name string
		cfg  Config
	}{
		{"left out", Config{LogRate: 1e-9, LogBurst: 1}},
		{"logged", Config{LogRate: -1}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			bm.cfg.Logger = slog.New(slog.NewTextHandler(sink{}, nil))
			o, err := New(bm.cfg)
			if err != nil {
				b.Fatal(err)
			}
			rec := &record{id: "0123456789abcdef"}
			b.ReportAllocs()
			for b.Loop() {
				o.logFailures(context.Background(), rec, summary{status: 502}, story{}, e, failure.Unmended)
			}
			b.StopTimer()
			_ = o.Shutdown(context.Background())
		})
	}
}

func TestLeftOutAllocs(t *testing.T) {
	o, err := New(Config{LogRate: 1e-9, LogBurst: 1, Logger: slog.New(slog.NewTextHandler(sink{}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	rec := &record{id: "0123456789abcdef"}
	panicked := failure.Recovered("boom", []byte(stackOf(panicHere)))
	for _, e := range []*failure.Error{{Cause: failure.ConnectionRefused, Backend: "shop"}, panicked} {
		line := func() {
			o.logFailures(context.Background(), rec, summary{status: 502}, story{}, e, failure.Unmended)
		}
		line()
		line() // starts the timer
		if n := testing.AllocsPerRun(200, line); n != 0 {
			t.Errorf("%v: a line that is left out allocates %v times", e.Cause, n)
		}
	}
	if err := o.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
