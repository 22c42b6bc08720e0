package breaker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writertest"
)

func get(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w
}

// outcomeOf is how a closed breaker counted one call of f.
func outcomeOf(t *testing.T, cfg Config, f http.HandlerFunc, r *http.Request) outcome {
	t.Helper()
	cfg.MinVolume = 100
	b := newBreaker(t, cfg)
	func() {
		defer func() { _ = recover() }()
		b.Handler(f).ServeHTTP(httptest.NewRecorder(), r)
	}()
	switch s := b.State(); {
	case s.Failures == 1 && s.Requests == 1:
		return failed
	case s.Requests == 1:
		return succeeded
	case s.Requests == 0:
		return neutral
	default:
		t.Fatalf("State() = %+v, want at most one verdict", s)
		return 0
	}
}

func TestHandlerJudges(t *testing.T) {
	status := func(codes ...int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, c := range codes {
				w.WriteHeader(c)
			}
		}
	}
	serve := func(e *failure.Error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { failure.Serve(w, r, e, nil) }
	}
	timedOut := failure.New(failure.FirstByteTimeout, nil)
	gone := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.Context().Value(cancelKey{}).(context.CancelFunc)()
			h(w, r)
		}
	}
	tests := []struct {
		name string
		next http.HandlerFunc
		want outcome
	}{
		{"nothing written", status(), succeeded},
		{"200", status(200), succeeded},
		{"404", status(404), succeeded},
		{"429", status(429), succeeded},
		{"500", status(500), failed},
		{"503", status(503), failed},
		{"501", status(501), succeeded},
		{"505", status(505), succeeded},
		{"599", status(599), failed},
		{"the first counts", status(200, 500), succeeded},
		{"hints do not", status(103, 500), failed},
		{"hints do not", status(103, 200), succeeded},
		{"switched", status(101), succeeded},
		{"body without status", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, succeeded},
		{"reported failure", serve(timedOut), failed},
		{"reported, neutral", serve(failure.New(failure.RateLimited, nil)), neutral},
		{"reported, 503 of our own making", serve(failure.New(failure.QueueFull, nil)), neutral},
		{"reported, 503 of an inner breaker", serve(failure.New(failure.BreakerOpen, nil)), neutral},
		{"reported, passed as sent", func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), &failure.Error{Cause: failure.Upstream5xx, Status: 502})
			w.WriteHeader(502)
		}, failed},
		{"reported, answered with a page", func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), timedOut)
			w.WriteHeader(200)
		}, failed},
		{"reported after the headers", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			failure.Report(r.Context(), failure.New(failure.Truncated, io.ErrUnexpectedEOF))
			panic(http.ErrAbortHandler)
		}, failed},
		{"mended by a retry", func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), timedOut)
			failure.Mend(r.Context(), failure.Retried)
			w.WriteHeader(200)
		}, succeeded},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("x") }, failed},
		{"panic after 200", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic("x") }, failed},
		{"panic(nil)", func(http.ResponseWriter, *http.Request) { panic(nil) }, failed},
		{"abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, neutral},
		{"client gone", gone(status()), neutral},
		{"client gone, 502 of a handler that does not look", gone(status(502)), neutral},
		{"client gone after 200", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200); gone(status())(w, r) }, neutral},
		{"client gone after 500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); gone(status())(w, r) }, failed},
		{"client gone after a reported failure", gone(serve(timedOut)), failed},
		{"client gone, reported", gone(serve(failure.New(failure.ClientGone, nil))), neutral},
		{"client gone, panic", gone(func(http.ResponseWriter, *http.Request) { panic("x") }), failed},
	}
	for _, tt := range tests {
		ctx, cancel := context.WithCancel(context.Background())
		r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(context.WithValue(ctx, cancelKey{}, cancel))
		if got := outcomeOf(t, Config{}, tt.next, r); got != tt.want {
			t.Errorf("%s: outcome %v, want %v", tt.name, got, tt.want)
		}
		cancel()
	}

	t.Run("own deadline is not the client", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("fill deadline"))
		r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
		if got := outcomeOf(t, Config{}, status(504), r); got != failed {
			t.Errorf("outcome %v, want failed", got)
		}
	})
	t.Run("failure of before is not this call's", func(t *testing.T) {
		ctx := failure.Track(context.Background())
		failure.Report(ctx, timedOut)
		r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
		if got := outcomeOf(t, Config{}, status(200), r); got != succeeded {
			t.Errorf("outcome %v, want succeeded", got)
		}
	})
	t.Run("IsFailure", func(t *testing.T) {
		cfg := Config{IsFailure: func(_ *failure.Error, status int) bool { return status == 404 }}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if got := outcomeOf(t, cfg, status(404), r); got != failed {
			t.Errorf("404: outcome %v, want failed", got)
		}
		if got := outcomeOf(t, cfg, status(500), r); got != succeeded {
			t.Errorf("500: outcome %v, want succeeded", got)
		}
	})
	t.Run("Goexit", func(t *testing.T) {
		result := make(chan outcome, 1)
		b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: time.Hour})
		go func() {
			defer func() { result <- neutral }()
			get(b.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() })))
		}()
		<-result
		if s := b.State(); s.Requests != 0 {
			t.Errorf("State() = %+v, want nothing counted", s)
		}
	})
}

type cancelKey struct{}

// The value of a panic is the same outside, and its trial is not lost.
func TestHandlerRepanics(t *testing.T) {
	for _, value := range []any{http.ErrAbortHandler, errBoom, "text", &struct{ int }{1}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{MinVolume: 1, Trials: 1})
			trip1(t, b)
			time.Sleep(6 * time.Second)
			h := b.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) }))
			func() {
				defer func() {
					if got := recover(); got != value {
						t.Errorf("recovered %v, want the identical %v", got, value)
					}
				}()
				get(h)
			}()
			want := Open
			if value == any(http.ErrAbortHandler) {
				want = HalfOpen // neutral: the place was given back
			}
			wantPhase(t, b, want)
		})
	}
}

func TestHandlerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called, handled := 0, 0
		next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			called++
			failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
		})
		b := newBreaker(t, Config{MinVolume: 3, OpenFor: 5 * time.Second, Jitter: -1})
		h := b.Handler(next)
		for range 3 {
			if got := get(h).Code; got != http.StatusBadGateway {
				t.Fatalf("status = %d, want 502", got)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r = r.WithContext(failure.Track(r.Context()))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || called != 3 {
			t.Errorf("status = %d with %d calls of next, want 503 and 3", w.Code, called)
		}
		if got := w.Header().Get("Retry-After"); got != "4" { // 3.5 s are left
			t.Errorf("Retry-After = %q, want 4", got)
		}
		if got := w.Header().Get("Proxy-Status"); got != "holdfast; error=destination_unavailable; cause=breaker_open" {
			t.Errorf("Proxy-Status = %q", got)
		}
		if e, ok := failure.From(r.Context()); !ok || e.Cause != failure.BreakerOpen || !errors.Is(e, ErrOpen) || !strings.Contains(e.Detail, "connection_refused") {
			t.Errorf("reported %v, want breaker_open with the last cause", e)
		}

		b2 := newBreaker(t, Config{MinVolume: 1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, ErrOpen) {
				handled++
			}
			w.WriteHeader(http.StatusTeapot)
		}})
		h = b2.Handler(next)
		get(h)
		if got := get(h).Code; got != http.StatusTeapot || handled != 1 {
			t.Errorf("with an ErrorHandler: status = %d, %d handled, want 418 and 1", got, handled)
		}
	})
}

// A trial that was answered is a success, while its body goes on.
func TestTrialIsJudgedAtItsHeaders(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusBadGateway} {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{MinVolume: 1, Trials: 1, TrialTimeout: time.Second})
			trip1(t, b)
			time.Sleep(6 * time.Second)
			answer, end := make(chan struct{}), make(chan struct{})
			h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				<-answer
				w.WriteHeader(status)
				<-end
			}))
			go get(h)
			synctest.Wait()
			wantPhase(t, b, HalfOpen)
			close(answer)
			synctest.Wait()
			want := Closed
			if status >= 500 {
				want = Open
			}
			wantPhase(t, b, want)
			time.Sleep(3 * time.Second) // beyond the trial's time: it has its verdict
			wantPhase(t, b, want)
			close(end)
			synctest.Wait()
			wantPhase(t, b, want)
		})
	}
}

// In closed state: hung is failed at SlowCall, answered is succeeded at SlowCall
// or at the end.
func TestSlowCallInHandler(t *testing.T) {
	tests := []struct {
		name               string
		answerAt, endAfter time.Duration // -1 is never
		slow               time.Duration
		at                 time.Duration
		want               State
	}{
		{"hung", -1, -1, 4 * time.Second, 4*time.Second - 1, State{}},
		{"hung", -1, -1, 4 * time.Second, 4 * time.Second, State{Requests: 1, Failures: 1}},
		{"streaming", time.Second, -1, 4 * time.Second, 4*time.Second - 1, State{}},
		{"streaming", time.Second, -1, 4 * time.Second, 4 * time.Second, State{Requests: 1}},
		{"quick", time.Second, time.Second, 4 * time.Second, 2 * time.Second, State{Requests: 1}},
		{"slow answer, one verdict", 5 * time.Second, 0, 4 * time.Second, 6 * time.Second, State{Requests: 1, Failures: 1}},
		{"by default, slow", 59 * time.Second, 0, 0, 59 * time.Second, State{Requests: 1}},
		{"by default, hung", -1, -1, 0, 60 * time.Second, State{Requests: 1, Failures: 1}},
		{"never", -1, -1, -1, time.Hour, State{}},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{SlowCall: tt.slow})
			stop := make(chan struct{})
			pause := func(d time.Duration) {
				if d < 0 {
					<-stop
					return
				}
				time.Sleep(d)
			}
			go get(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				pause(tt.answerAt)
				w.WriteHeader(http.StatusOK)
				pause(tt.endAfter)
			})))
			time.Sleep(tt.at)
			synctest.Wait()
			if s := b.State(); s.Requests != tt.want.Requests || s.Failures != tt.want.Failures {
				t.Errorf("%s: at %v State() = %+v, want %d of %d failed", tt.name, tt.at, s, tt.want.Failures, tt.want.Requests)
			}
			close(stop)
		})
	}
}

func TestEventContext(t *testing.T) {
	type key struct{}
	var events int
	b := newBreaker(t, Config{MinVolume: 1, OpenFor: time.Hour, Observe: func(ctx context.Context, ev Event) {
		events++
		if ctx.Value(key{}) != "request" {
			t.Errorf("%v came with a context that is not the request's", ev.Kind)
		}
	}})
	h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), key{}, "request")))
	}
	if events != 2 {
		t.Errorf("%d events, want a change and a refusal", events)
	}
}

// A real server, a real client that leaves, and a ReverseProxy that answers
// nobody with 502: none of it is the backend's failure.
func TestClientGoneOnSockets(t *testing.T) {
	arrived := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer origin.Close()
	target, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	b := newBreaker(t, Config{MinVolume: 1})
	done := make(chan struct{}, 1)
	h := b.Handler(proxy)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		done <- struct{}{}
	}))
	defer front.Close()
	for range 5 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-arrived
			cancel()
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := front.Client().Do(req); err == nil {
			resp.Body.Close()
			t.Error("the request was answered, want it cancelled")
		}
		<-done
	}
	if s := b.State(); s.Phase != Closed || s.Requests != 0 {
		t.Errorf("State() = %+v, want nothing counted", s)
	}
}

// A hijacked connection is an answer: a trial that becomes a tunnel closes the
// breaker while the tunnel lives.
func TestTrialIsHijacked(t *testing.T) {
	b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: time.Millisecond})
	release := make(chan struct{})
	front := httptest.NewServer(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		<-release
	})))
	defer front.Close()
	call1(t, b, errBoom)
	for deadline := time.Now().Add(10 * time.Second); b.State().Phase != HalfOpen && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("ReadResponse = %v, %v, want 101", resp, err)
	}
	wantPhase(t, b, Closed)
	close(release)
}

func TestConformance(t *testing.T) {
	// The test's handlers fail and abort on purpose; it is about the writer.
	b := newBreaker(t, Config{IsFailure: func(*failure.Error, int) bool { return false }})
	writertest.Run(t, b.Handler)
}

// While half-open every call is judged at its headers: the other way through
// the writer.
func TestConformanceHalfOpen(t *testing.T) {
	b := newBreaker(t, Config{MinVolume: 1, Trials: 1 << 20, OpenFor: time.Millisecond, IsFailure: func(e *failure.Error, _ int) bool { return e != nil }})
	call1(t, b, errBoom)
	for deadline := time.Now().Add(10 * time.Second); b.State().Phase != HalfOpen && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	writertest.Run(t, b.Handler)
	wantPhase(t, b, HalfOpen)
}
