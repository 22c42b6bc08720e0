package ratelimit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// guesses is a limit on answers with one of the statuses.
func guesses(burst int, statuses ...int) Limit {
	return Limit{Name: "guesses", Rate: 1.0 / 60, Burst: burst, Count: func(status int, _ *failure.Error) bool {
		return slices.Contains(statuses, status)
	}}
}

// byPath answers with the status that the path says.
var byPath = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	var status int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d", &status); err == nil {
		w.WriteHeader(status)
	}
})

func TestCountByOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLimiter(t, Config{Limits: []Limit{guesses(3, 401, 404)}}).Handler(byPath)
		ask := func(path string, want int) {
			t.Helper()
			if got := do(h, httptest.NewRequest(http.MethodGet, path, nil)).StatusCode; got != want {
				t.Errorf("%s = %d, want %d", path, got, want)
			}
		}
		for range 100 {
			ask("/200", 200)
			ask("/", 200) // without a status of its own
			ask("/500", 500)
		}
		ask("/401", 401)
		ask("/404", 404)
		ask("/200", 200)
		ask("/401", 401)
		ask("/401", 429)
		ask("/200", 429) // a guesser is not told which guess was right
		time.Sleep(time.Minute)
		ask("/200", 200)
		ask("/401", 401)
		ask("/401", 429)
		time.Sleep(time.Hour)
		for range 3 {
			ask("/401", 401)
		}
		ask("/401", 429)
	})
}

// However many guesses are in flight at once, no more get through than the
// bucket holds.
func TestGuessesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst = 5
		var reached, refused atomic.Int64
		answer := make(chan int)
		h := newLimiter(t, Config{Limits: []Limit{guesses(burst, 401)}}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reached.Add(1)
			w.WriteHeader(<-answer)
		}))
		var wg sync.WaitGroup
		flood := func() {
			for range 200 {
				wg.Go(func() {
					if get(h, "192.0.2.1:1").StatusCode == http.StatusTooManyRequests {
						refused.Add(1)
					}
				})
			}
			synctest.Wait()
		}
		flood()
		if reached.Load() != burst || refused.Load() != 195 {
			t.Errorf("%d of 200 reached the handler and %d were refused, want %d and 195", reached.Load(), refused.Load(), burst)
		}
		for range burst - 1 {
			answer <- 200
		}
		answer <- 401
		wg.Wait()
		reached.Store(0)
		flood()
		if reached.Load() != burst-1 {
			t.Errorf("after one wrong guess %d reached the handler, want %d", reached.Load(), burst-1)
		}
		for range burst - 1 {
			answer <- 200
		}
		wg.Wait()
	})
}

// What ends a request without an answer: nothing leaks, nothing is charged
// twice.
func TestOutcomesWithoutAnswer(t *testing.T) {
	boom := errors.New("boom")
	aborted := failure.New(failure.Truncated, nil)
	tests := []struct {
		name    string
		handler func(http.ResponseWriter, *http.Request, context.CancelCauseFunc)
		status  int
		cause   failure.Cause
	}{
		{"panic", func(http.ResponseWriter, *http.Request, context.CancelCauseFunc) { panic(boom) }, 500, failure.Panic},
		{"abort", func(http.ResponseWriter, *http.Request, context.CancelCauseFunc) { panic(http.ErrAbortHandler) }, 502, failure.HandlerAbort},
		{"abort with a report", func(_ http.ResponseWriter, r *http.Request, _ context.CancelCauseFunc) {
			failure.Report(r.Context(), aborted)
			panic(http.ErrAbortHandler)
		}, 502, failure.Truncated},
		{"client gone", func(_ http.ResponseWriter, _ *http.Request, leave context.CancelCauseFunc) { leave(nil) }, 499, failure.ClientGone},
		{"client gone, abort", func(_ http.ResponseWriter, _ *http.Request, leave context.CancelCauseFunc) {
			leave(nil)
			panic(http.ErrAbortHandler)
		}, 499, failure.ClientGone},
		{"client gone after a guess", func(w http.ResponseWriter, _ *http.Request, leave context.CancelCauseFunc) {
			leave(nil)
			w.WriteHeader(401)
		}, 401, 0},
		{"panic after the headers", func(w http.ResponseWriter, _ *http.Request, _ context.CancelCauseFunc) {
			w.WriteHeader(401)
			panic(boom)
		}, 401, 0},
		{"a report", func(w http.ResponseWriter, r *http.Request, _ context.CancelCauseFunc) {
			failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
		}, 502, failure.ConnectionRefused},
		{"a mended report", func(w http.ResponseWriter, r *http.Request, _ context.CancelCauseFunc) {
			failure.Report(r.Context(), failure.New(failure.ConnectionRefused, nil))
			failure.Mend(r.Context(), failure.StaleIfError)
			w.WriteHeader(200)
		}, 200, 0},
		{"nothing", func(http.ResponseWriter, *http.Request, context.CancelCauseFunc) {}, 200, 0},
		{"two statuses", func(w http.ResponseWriter, _ *http.Request, _ context.CancelCauseFunc) {
			w.WriteHeader(404)
			w.WriteHeader(401)
		}, 404, 0},
	}
	for _, tt := range tests {
		for _, counts := range []bool{true, false} {
			for _, tracked := range []bool{true, false} {
				asked := 0
				l := newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 3, Count: func(status int, e *failure.Error) bool {
					asked++
					cause := failure.Cause(0)
					if e != nil {
						cause = e.Cause
					}
					if status != tt.status || cause != tt.cause {
						t.Errorf("%s: Count(%d, %v), want (%d, %v)", tt.name, status, e, tt.status, tt.cause)
					}
					return counts
				}}}})
				h := l.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					tt.handler(w, r, r.Context().Value(leaveKey{}).(context.CancelCauseFunc))
				}))
				ctx, leave := context.WithCancelCause(t.Context())
				ctx = context.WithValue(ctx, leaveKey{}, leave)
				if tracked {
					ctx = failure.Track(ctx)
					failure.Report(ctx, failure.New(failure.Shed, nil)) // of before
				}
				func() {
					defer func() {
						if p := recover(); p != nil && !is(p, boom) && !is(p, http.ErrAbortHandler) {
							t.Errorf("%s: panic %v, want the handler's", tt.name, p)
						}
					}()
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
				}()
				leave(nil)
				want := 3
				if counts {
					want = 2
				}
				x := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil))
				if asked != 1 || x.Limits[0].Remaining != want {
					t.Errorf("%s, counts %t: Count was asked %d times, %d permits left, want once, %d", tt.name, counts, asked, x.Limits[0].Remaining, want)
				}
			}
		}
	}
}

type leaveKey struct{}

// is tells whether a recovered value is err.
func is(p any, err error) bool {
	got, ok := p.(error)
	return ok && errors.Is(got, err)
}

// runtime.Goexit, and a Count that panics: the permit is not lost in the first
// case, and stays taken in the second.
func TestOutcomeOfEndedGoroutine(t *testing.T) {
	l := newLimiter(t, Config{Limits: []Limit{guesses(2, 401)}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() })).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	<-done
	if left := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)).Limits[0].Remaining; left != 2 {
		t.Errorf("%d permits left after Goexit, want 2", left)
	}
	l = newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 2, Count: func(int, *failure.Error) bool { panic("count") }}}})
	func() {
		defer func() {
			if p := recover(); p != "count" {
				t.Errorf("recovered %v, want the func's own panic", p)
			}
		}()
		get(l.Handler(pass), "192.0.2.1:1")
	}()
	if left := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)).Limits[0].Remaining; left != 1 {
		t.Errorf("%d permits left after a panic in Count, want 1", left)
	}
}

// A bucket that was replaced between taking and giving back was full: the next
// owner of its place gains nothing, and the key no more than a burst.
func TestGivingBackToAReplacedBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Limits: []Limit{{Rate: 1, Burst: 2, Count: func(int, *failure.Error) bool { return false }}}, MaxKeys: 1})
		inside, goOn := make(chan struct{}), make(chan struct{})
		h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			inside <- struct{}{}
			<-goOn
		}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			get(h, "192.0.2.1:1")
		}()
		<-inside
		time.Sleep(time.Minute) // its bucket is full again
		if ok, _ := l.AllowN("other", 2); !ok {
			t.Fatal("no room for another key")
		}
		goOn <- struct{}{}
		<-done
		if ok, _ := l.Allow("other"); ok {
			t.Error("the other key got the permit that was given back")
		}
		time.Sleep(time.Minute)
		if ok, _ := l.AllowN("192.0.2.1", 2); !ok {
			t.Fatal("no full bucket for the first key")
		}
		l.GiveBack(2, "192.0.2.1")
		l.GiveBack(2, "192.0.2.1")
		l.GiveBack(0, "192.0.2.1")
		l.GiveBack(1<<40, "192.0.2.1")
		if ok, _ := l.AllowN("192.0.2.1", 2); !ok {
			t.Error("what was given back is not there")
		}
		if ok, _ := l.Allow("192.0.2.1"); ok {
			t.Error("more than a burst was given back")
		}
		checkQueues(t, l)
	})
}

// What was given back makes room in a full table at once: honest visitors of a
// slow limit don't fill it.
func TestGivingBackMakesRoom(t *testing.T) {
	var overflowed bool
	l := newLimiter(t, Config{
		Limits: []Limit{guesses(3, 401)}, MaxKeys: 10,
		Observe: func(_ context.Context, ev Event) { overflowed = overflowed || ev.Overflow },
	})
	h := l.Handler(byPath)
	for i := range 1000 {
		r := httptest.NewRequest(http.MethodGet, "/200", nil)
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)
		do(h, r)
		checkQueues(t, l)
	}
	if overflowed {
		t.Error("the table was full of visitors who owe nothing")
	}
}

// Another limit's refusal leaves no trace in a limit that is asked with it.
func TestRefusalMakesRoom(t *testing.T) {
	l := newLimiter(t, Config{Limits: []Limit{
		{Name: "slow", Rate: 1e-6, Burst: 1, Key: KeyByHeader("Key")}, {Name: "all", Rate: 1e-6, Burst: 1, Key: constant("*")},
	}, MaxKeys: 10})
	h := l.Handler(pass)
	for i := range 1000 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Key", fmt.Sprint(i))
		do(h, r)
	}
	checkQueues(t, l)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Key", "new")
	if x := l.Explain(r); x.Limits[0].Bucket != "a client" || x.Limits[0].Remaining != 1 {
		t.Errorf("Explain = %+v, want a bucket of its own for the newcomer", x.Limits[0])
	}
}

// Over real connections: an upgrade, hints before the status, and a stream are
// charged at their header.
func TestOutcomesOnTheWire(t *testing.T) {
	var statuses sync.Map
	l := newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 100, Count: func(status int, _ *failure.Error) bool {
		statuses.Store(status, true)
		return false
	}}}, Headers: true})
	goOn := make(chan struct{})
	srv := httptest.NewServer(l.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hijack":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("Hijack: %v", err)
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
			_ = rw.Flush()
			<-goOn
		case "/stream":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
			_ = http.NewResponseController(w).Flush()
			<-goOn
			_, _ = io.WriteString(w, "end")
		}
	})))
	defer srv.Close()
	for _, tt := range []struct {
		path   string
		status int
		fields bool
	}{{"/hijack", 101, false}, {"/stream", 202, true}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.status == 101 {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "test")
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tt.status {
			t.Errorf("%s = %d, want %d", tt.path, resp.StatusCode, tt.status)
		}
		if got := resp.Header.Get("RateLimit"); (got != "") != tt.fields {
			t.Errorf("%s: RateLimit = %q", tt.path, got)
		}
		goOn <- struct{}{}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if _, ok := statuses.Load(tt.status); !ok {
			t.Errorf("%s was not judged as %d", tt.path, tt.status)
		}
	}
	if left := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)).Limits[0].Remaining; left != 100 {
		t.Errorf("%d of 100 permits left: some leaked", left)
	}
}

// An upgrade is judged when the connection is handed over, not at its end.
func TestUpgradeIsJudgedAtOnce(t *testing.T) {
	judged := 0
	l := newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 1, Count: func(status int, _ *failure.Error) bool {
		judged = status
		return false
	}}}})
	srv := httptest.NewServer(l.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%d", judged)
		_ = rw.Flush()
	})))
	defer srv.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, _ := bufio.NewReader(resp.Body).ReadString('\n'); !strings.HasPrefix(line, "101") {
		t.Errorf("judged as %q while the connection was open, want 101", line)
	}
}

func TestDryRunCounts(t *testing.T) {
	var refused int
	l := newLimiter(t, Config{Limits: []Limit{guesses(2, 404)}, DryRun: true, Headers: true, Observe: func(_ context.Context, ev Event) {
		if ev.Kind == Limited && ev.DryRun {
			refused++
		}
	}})
	h := l.Handler(byPath)
	for range 5 {
		for _, path := range []string{"/200", "/404"} {
			resp := do(h, httptest.NewRequest(http.MethodGet, path, nil))
			if "/"+fmt.Sprint(resp.StatusCode) != path || len(resp.Header) != 0 {
				t.Errorf("%s = %d, %v", path, resp.StatusCode, resp.Header)
			}
		}
	}
	if refused != 6 { // from the third 200 on
		t.Errorf("%d would have been refused, want 6", refused)
	}
}
