package backend

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestHandlerFaults(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name    string
		cfg     Config
		h       http.HandlerFunc
		method  string
		cause   failure.Cause
		status  int
		after   bool // the header section went out
		verdict failure.Verdict
	}{
		{name: "panic", h: func(http.ResponseWriter, *http.Request) { panic("boom") }, cause: failure.Panic, status: 500, verdict: failure.BackendFailure},
		{name: "panic with an error", h: func(http.ResponseWriter, *http.Request) { panic(boom) }, cause: failure.Panic, status: 500, verdict: failure.BackendFailure},
		{name: "abort", h: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, cause: failure.HandlerAbort, status: 502, verdict: failure.Neutral},
		{name: "goexit", h: func(http.ResponseWriter, *http.Request) { runtime.Goexit() }, cause: failure.Panic, status: 500, verdict: failure.BackendFailure},
		{name: "impossible status", h: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(7) }, cause: failure.Panic, status: 500, verdict: failure.BackendFailure},
		{name: "panic after a few bytes", h: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "unsent")
			panic("boom")
		}, cause: failure.Panic, status: 500, verdict: failure.BackendFailure},
		{name: "panic after a flush", h: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "sent")
			w.(http.Flusher).Flush()
			panic("boom")
		}, cause: failure.Panic, status: 200, after: true, verdict: failure.BackendFailure},
		{name: "abort after a flush", h: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "sent")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, cause: failure.HandlerAbort, status: 200, after: true, verdict: failure.Neutral},
		{name: "short of its length", h: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
		}, cause: failure.Truncated, status: 200, after: true, verdict: failure.BackendFailure},
		{
			name: "no answer", cfg: Config{FirstByte: brief}, h: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			cause: failure.FirstByteTimeout, status: 504, verdict: failure.BackendFailure,
		},
		{
			name: "budget spent", cfg: Config{UntilHeaders: brief}, h: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			cause: failure.TotalDeadline, status: 504, verdict: failure.BackendFailure,
		},
		{
			name: "body unread", cfg: Config{FirstByte: brief}, method: "POST", h: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			cause: failure.FirstByteTimeout, status: 504, verdict: failure.BackendFailure,
		},
		{name: "stall in the body", cfg: Config{BetweenBytes: brief}, h: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "sent")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, cause: failure.BodyStall, status: 200, after: true, verdict: failure.BackendFailure},
		{
			name: "500", h: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, method: "POST",
			cause: failure.Upstream5xx, status: 500, verdict: failure.BackendFailure,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := tt.cfg
			cfg.Endpoints, cfg.Retries = []Endpoint{{Handler: tt.h}}, -1
			gate := &countingGate{}
			cfg.Gate = gate
			var got *failure.Error
			srv, client := front(t, tracked(newBackend(t, cfg), func(e *failure.Error, _ failure.Rung) { got = e }))
			method := tt.method
			if method == "" {
				method = "GET"
			}
			req, _ := http.NewRequestWithContext(t.Context(), method, srv.URL, strings.NewReader(strings.Repeat("u", len(tt.method))))
			res, err := client.Do(req)
			if err == nil {
				if _, err = io.Copy(io.Discard, res.Body); res.StatusCode != tt.status {
					t.Errorf("status = %d, want %d", res.StatusCode, tt.status)
				}
				res.Body.Close()
			}
			if tt.after != (err != nil) {
				t.Errorf("reading the response: %v, want an error: %v", err, tt.after)
			}
			srv.Close()
			if got == nil || got.Cause != tt.cause || got.Noted(failure.AfterHeaders) != tt.after || got.Verdict() != tt.verdict {
				t.Fatalf("reported %v, want %v, after headers %v, verdict %v", got, tt.cause, tt.after, tt.verdict)
			}
			if tt.name == "panic with an error" && !errors.Is(got, boom) {
				t.Errorf("%v does not wrap the panic's value", got)
			}
			gate.check(t, 1)
		})
	}
}

// A handler that is given up keeps its place, can't write any more, and its
// files are removed.
func TestAbandonedHandler(t *testing.T) {
	release := make(chan struct{})
	results := make(chan error, 1)
	files := make(chan string, 1)
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Errorf("ParseMultipartForm: %v", err)
		}
		f, err := r.MultipartForm.File["f"][0].Open()
		if err != nil {
			t.Errorf("Open: %v", err)
		} else {
			if file, ok := f.(*os.File); ok {
				files <- file.Name()
			}
			f.Close()
		}
		<-release // does not care for its context
		_, err = io.WriteString(w, strings.Repeat("late", 2000))
		results <- err
	})
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: origin}}, FirstByte: brief})
	srv, client := front(t, b)
	const form = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n0123456789\r\n--b--\r\n"
	req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, strings.NewReader(form))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 504 {
		t.Errorf("status = %d, want 504", res.StatusCode)
	}
	if n := b.Endpoints()[0].InFlight; n != 1 {
		t.Errorf("in flight = %d, want 1: the handler is still at work", n)
	}
	close(release)
	if err := <-results; err == nil {
		t.Error("the abandoned handler's write succeeded")
	}
	await(t, "its place is free", func() bool { return b.Endpoints()[0].InFlight == 0 })
	name := <-files
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v, want it removed", filepath.Base(name), err)
	}
}

// The handler's request is its own: what it does to it is not seen outside.
func TestHandlerRequestIsACopy(t *testing.T) {
	origin := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Changed", "1")
		r.URL.Path = "/changed"
	})
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: origin}}})
	r := httptest.NewRequest("GET", "/path", nil)
	b.ServeHTTP(httptest.NewRecorder(), r)
	if r.URL.Path != "/path" || r.Header.Get("X-Changed") != "" {
		t.Errorf("request changed: %v %v", r.URL, r.Header)
	}
}

// A panic of an upgrade's handler passes as it is.
func TestUpgradePanicPasses(t *testing.T) {
	value := errors.New("identical")
	gate := &countingGate{}
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) })}}, Gate: gate,
	})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	defer func() {
		if v := recover(); v != value { //nolint:errorlint // the identical value
			t.Errorf("recovered %v, want the identical value", v)
		}
		gate.check(t, 1)
	}()
	b.ServeHTTP(httptest.NewRecorder(), r)
}

func TestShutdown(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 2)
	origin := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		cfg.Endpoints = []Endpoint{ep}
		cfg.Health = Health{Path: "/h", Timeout: time.Millisecond, Interval: time.Hour}
		if ep.Handler == nil {
			cfg.Health = Health{}
		}
		b := newBackend(t, cfg)
		var got atomic.Pointer[failure.Error]
		srv, client := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) { got.Store(e) }))
		statuses := make(chan int, 1)
		go func() {
			res, err := client.Get(srv.URL)
			if err != nil {
				statuses <- 0
				return
			}
			res.Body.Close()
			statuses <- res.StatusCode
		}()
		<-arrived
		if ep.Handler != nil {
			<-arrived // the check, too
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want a deadline", err)
		}
		if status := <-statuses; status != 503 {
			t.Errorf("the request that was cut off: status %d, want 503", status)
		}
		if e := got.Load(); e == nil || e.Cause != failure.Draining {
			t.Errorf("reported %v, want draining", e)
		}
		if b.Available() {
			t.Error("available after Shutdown")
		}
		res, err := client.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 503 || !strings.Contains(res.Header.Get("Proxy-Status"), "cause=draining") {
			t.Errorf("afterwards: %d, %q, want 503 draining", res.StatusCode, res.Header.Get("Proxy-Status"))
		}
	})
}

func TestShutdownWaits(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{})
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	})}}})
	rec := httptest.NewRecorder()
	served := make(chan struct{})
	go func() {
		defer close(served)
		b.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	}()
	<-arrived
	down := make(chan error, 1)
	go func() { down <- b.Shutdown(t.Context()) }()
	await(t, "shutting down", func() bool { return !b.Available() })
	close(release)
	if err := <-down; err != nil {
		t.Errorf("Shutdown = %v, want nil", err)
	}
	<-served
	if rec.Body.String() != "done" {
		t.Errorf("body = %q, want done", rec.Body)
	}
}

// watchedFuncs is an attempt to a watch.
type watchedFuncs struct {
	limitOf func(phase) time.Duration
	fire    func(*timeoutError)
}

func (f watchedFuncs) limit(p phase) time.Duration { return f.limitOf(p) }
func (f watchedFuncs) timedOut(e *timeoutError)    { f.fire(e) }

func TestWatch(t *testing.T) {
	limits := func(p phase) time.Duration {
		return map[phase]time.Duration{phaseConnect: time.Second, phaseFirstByte: 3 * time.Second, phaseBody: 2 * time.Second}[p]
	}
	for _, tt := range []struct {
		name  string
		total time.Duration
		run   func(w *watch)
		after time.Duration // when it fires; 0: never
		phase phase
		spent bool
	}{
		{"one phase", 0, func(w *watch) { w.enter(phaseConnect) }, time.Second, phaseConnect, false},
		{"left in time", 0, func(w *watch) {
			w.enter(phaseConnect)
			time.Sleep(999 * time.Millisecond)
			w.enter(phaseOff)
		}, 0, 0, false},
		{"each phase anew", 0, func(w *watch) {
			w.enter(phaseConnect)
			time.Sleep(900 * time.Millisecond)
			w.enter(phaseFirstByte)
		}, 3900 * time.Millisecond, phaseFirstByte, false},
		{"a shorter one after a longer one", 0, func(w *watch) {
			w.enter(phaseFirstByte)
			time.Sleep(500 * time.Millisecond)
			w.enter(phaseConnect)
		}, 1500 * time.Millisecond, phaseConnect, false},
		{"many reads", 0, func(w *watch) {
			for range 10 {
				w.enter(phaseBody)
				time.Sleep(1900 * time.Millisecond)
				w.enter(phaseOff)
				time.Sleep(10 * time.Second)
			}
			w.enter(phaseBody)
		}, 121 * time.Second, phaseBody, false},
		{"the budget first", 2 * time.Second, func(w *watch) { w.enter(phaseFirstByte) }, 2 * time.Second, phaseFirstByte, true},
		{"the budget alone", 2 * time.Second, func(w *watch) { w.enter(phaseHeaders) }, 2 * time.Second, phaseHeaders, true},
		{"no budget for uploads", 2 * time.Second, func(w *watch) {
			w.pause()
			w.enter(phaseUpload)
			time.Sleep(10 * time.Second)
			w.resume()
			w.shift(phaseFirstByte)
		}, 12 * time.Second, phaseFirstByte, true},
		{"no budget spent while an upload is under way", 2 * time.Second, func(w *watch) {
			w.pause()
			w.enter(phaseUpload)
			time.Sleep(10 * time.Second)
			w.enter(phaseHeaders)
		}, 12 * time.Second, phaseHeaders, true},
		{"back to the writer", 2 * time.Second, func(w *watch) {
			w.enter(phaseHeaders)
			w.shift(phaseFirstByte) // written meanwhile
			w.back()
		}, 2 * time.Second, phaseFirstByte, true},
		{"no budget for bodies", time.Second, func(w *watch) { w.enter(phaseBody) }, 2 * time.Second, phaseBody, false},
		{"shift leaves the others alone", 0, func(w *watch) {
			w.enter(phaseFirstByte)
			w.shift(phaseConnect)
		}, 3 * time.Second, phaseFirstByte, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w watch
				var fired *timeoutError
				start := time.Now()
				var at time.Duration
				w.begin(start, watchedFuncs{limits, func(e *timeoutError) { fired, at = e, time.Since(start) }})
				w.until(tt.total, tt.total)
				tt.run(&w)
				time.Sleep(time.Minute)
				synctest.Wait()
				switch {
				case tt.after == 0 && fired != nil:
					t.Fatalf("fired %v at %v", fired, at)
				case tt.after == 0:
					if !w.end() {
						t.Error("end reports a timer that fired")
					}
					return
				case fired == nil:
					t.Fatal("did not fire")
				}
				if d := at - tt.after; d < -time.Millisecond || d > time.Millisecond || fired.phase != tt.phase || fired.total != tt.spent {
					t.Errorf("fired %+v after %v, want %v after %v", fired, at, tt.phase, tt.after)
				}
				if w.enter(phaseBody) || w.end() {
					t.Error("goes on after it fired")
				}
			})
		})
	}
}

// One clock serves watch after watch: what it was set for by an earlier one
// neither fires a later one nor keeps it from firing in time.
func TestWatchSharedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		defer c.timer.Stop()
		limits := map[phase]time.Duration{phaseConnect: time.Second, phaseFirstByte: 3 * time.Second, phaseBody: 2 * time.Second}
		type firing struct {
			phase phase
			after time.Duration
		}
		var fired []firing
		begin := func() *watch {
			w, start := new(watch), time.Now()
			w.begin(start, watchedFuncs{
				func(p phase) time.Duration { return limits[p] },
				func(e *timeoutError) { fired = append(fired, firing{e.phase, time.Since(start)}) },
			})
			w.attach(c)
			return w
		}
		for i := range 20 { // left in time, each after another while
			w := begin()
			w.enter(phaseFirstByte)
			time.Sleep(time.Duration(i) * 150 * time.Millisecond)
			w.enter(phaseConnect)
			time.Sleep(time.Duration(i) * 50 * time.Millisecond)
			if !w.end() {
				t.Fatal("end reports a timer that fired")
			}
			time.Sleep(time.Duration(i) * 300 * time.Millisecond)
		}
		for _, p := range []phase{phaseBody, phaseConnect, phaseFirstByte} {
			before := begin()
			before.enter(phaseConnect)
			time.Sleep(700 * time.Millisecond)
			before.end()
			w := begin()
			w.enter(p)
			time.Sleep(time.Minute)
			synctest.Wait()
			want := firing{p, limits[p]}
			if len(fired) != 1 || fired[0].phase != p || (fired[0].after-want.after).Abs() > time.Millisecond {
				t.Errorf("fired %+v, want %+v alone", fired, want)
			}
			if w.end() {
				t.Error("end reports a timer that did not fire")
			}
			fired = nil
		}
	})
}

// A timer that fires and a phase that ends at the same moment: exactly one of
// them wins.
func TestWatchRace(t *testing.T) {
	shared := newClock()
	defer shared.timer.Stop()
	for i := range 400 {
		var w watch
		fired := make(chan *timeoutError, 1)
		w.begin(time.Now(), watchedFuncs{func(phase) time.Duration { return 50 * time.Microsecond }, func(e *timeoutError) { fired <- e }})
		if i%2 == 1 {
			w.attach(shared)
		}
		w.enter(phaseConnect)
		time.Sleep(50 * time.Microsecond)
		if w.enter(phaseOff) {
			w.clock.timer.Stop()
			select {
			case e := <-fired:
				t.Fatalf("fired %v after the phase was left", e)
			default:
			}
		} else {
			if e := <-fired; e == nil {
				t.Fatal("fired for nothing")
			}
		}
		w.end()
	}
}

// The files of a form that was parsed further out are not the handler's: whoever
// parsed it has them still, and so has another attempt.
func TestParsedFormStays(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, _, err := r.FormFile("f")
		if err != nil {
			t.Errorf("FormFile in the handler: %v", err)
			return
		}
		_, _ = io.Copy(w, f)
		f.Close()
	})
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: origin}}})
	srv, client := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Errorf("ParseMultipartForm: %v", err)
		}
		r.Body, r.ContentLength = http.NoBody, 0
		for range 2 {
			b.ServeHTTP(w, r)
		}
	}))
	var form bytes.Buffer
	mw := multipart.NewWriter(&form)
	part, _ := mw.CreateFormFile("f", "name")
	_, _ = part.Write(bytes.Repeat([]byte("x"), 1000))
	mw.Close()
	res, err := client.Post(srv.URL, mw.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || len(body) != 2000 {
		t.Errorf("%d bytes, %v, want 2000", len(body), err)
	}
}
