package breaker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// 64 ask at once while trials are lost, forgotten, given back or taken: never are
// there more than Trials, and the breaker gets out by itself.
func TestHalfOpenCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trials = 3
		b := newBreaker(t, Config{MinVolume: 1, Trials: trials, OpenFor: time.Second, OpenMax: time.Second, TrialTimeout: 5 * time.Second, Ramp: -1})
		call1(t, b, errBoom)
		var under, most, granted atomic.Int64
		healed := time.Now().Add(60 * time.Second)
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				for i := 0; time.Now().Before(healed.Add(30 * time.Second)); i++ {
					if done, err := b.Allow(); err == nil {
						n := under.Add(1)
						for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
						}
						granted.Add(1)
						time.Sleep(time.Millisecond)
						under.Add(-1)
						switch {
						case time.Now().After(healed):
							done(nil)
						case (g+i)%4 == 0:
							done(failure.ErrUnused)
						case (g+i)%4 == 1: // lost
						case (g+i)%4 == 2:
							done(context.Canceled)
						default:
							done(errBoom)
							done(nil)
						}
					}
					time.Sleep(time.Duration(g+1) * time.Millisecond)
				}
			})
		}
		synctest.Wait()
		time.Sleep(59 * time.Second)
		if n := most.Load(); n > trials {
			t.Errorf("%d trials at once, want at most %d", n, trials)
		}
		wg.Wait()
		if s := b.State(); s.Phase != Closed {
			t.Errorf("State() = %+v half a minute after the backend was well, want closed", s)
		}
	})
}

// Values at the edges of what New takes neither panic nor wedge.
func TestExtremeConfigs(t *testing.T) {
	for name, cfg := range map[string]Config{
		"tiny":        {Window: minWindow, MinVolume: 1, FailureRatio: math.SmallestNonzeroFloat64, OpenFor: 1, OpenMax: 1, Trials: 1, Ramp: 1, TrialTimeout: 1, TrialRelease: 1, SlowCall: 1, SlowRatio: math.SmallestNonzeroFloat64, Consecutive: 1, LocalConsecutive: 1},
		"huge":        {Window: maxWindow, MinVolume: math.MaxInt32, FailureRatio: 1, OpenFor: math.MaxInt64, OpenMax: math.MaxInt64, Jitter: math.Nextafter(1, 0), Trials: math.MaxInt32, TrialsNeeded: math.MaxInt32, Ramp: math.MaxInt64, TrialTimeout: math.MaxInt64, TrialRelease: math.MaxInt64, SlowCall: maxWindow/2 - 1, SlowRatio: 1, Consecutive: 1},
		"huge, short": {Consecutive: 1, OpenFor: 1, OpenMax: math.MaxInt64, Trials: math.MaxInt32, TrialsNeeded: 1, Ramp: math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(t, cfg)
				for i := range 200 {
					if done, err := b.Allow(); err == nil {
						if i%3 > 0 {
							done(nil)
						} else {
							done(errBoom)
						}
					} else if e, ok := errors.AsType[*failure.Error](err); !ok || e.RetryAfter < 0 || e.RetryAfterSeconds() < 0 {
						t.Fatalf("refused with %v, Retry-After %v", err, e.RetryAfter)
					}
					if s := b.State(); s.Share < 0 || s.Share > 1 || math.IsNaN(s.FailureRatio) {
						t.Fatalf("State() = %+v", s)
					}
					b.Explain(nil)
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
				b.Force(ForcedOpen)
				b.Force(Automatic)
				if done, err := b.Allow(); err == nil {
					done(nil)
				}
			})
		})
	}
}

// Force in the middle of trials: their verdicts are of the past, and none of them
// keeps a place in what comes after.
func TestForceDuringTrials(t *testing.T) {
	for _, verdict := range []error{nil, errBoom, failure.ErrUnused, context.Canceled} {
		for _, by := range []Forced{ForcedOpen, ForcedClosed} {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(t, Config{MinVolume: 1, Trials: 2, OpenFor: time.Second, OpenMax: time.Second, Ramp: -1, TrialRelease: 100 * time.Millisecond})
				call1(t, b, errBoom)
				time.Sleep(2 * time.Second)
				first, err1 := b.Allow()
				second, err2 := b.Allow()
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				b.Force(by)
				first(verdict)
				if s := b.State(); s.Forced != by || by == ForcedOpen && s.Phase != Open || by == ForcedClosed && s.Phase != Closed {
					t.Errorf("%v after %v: State() = %+v", verdict, by, s)
				}
				b.Force(Automatic)
				second(verdict)
				time.Sleep(200 * time.Millisecond)
				if s := b.State(); s.Phase != Closed || s.Failures != 0 || s.Trials != 0 {
					t.Errorf("%v after automatic: State() = %+v", verdict, s)
				}
				if n := b.released.Load(); n != 0 {
					t.Errorf("%d trials count as released", n)
				}
				// It trips and recovers as ever.
				call1(t, b, errBoom)
				time.Sleep(2 * time.Second)
				for range 2 {
					call1(t, b, nil)
				}
				if s := b.State(); s.Phase != Closed {
					t.Errorf("later: State() = %+v", s)
				}
			})
		}
	}
}

// trickle is a body that never ends.
type trickle struct{ closed chan struct{} }

func (b *trickle) Read([]byte) (int, error) { <-b.closed; return 0, errors.New("closed") }
func (b *trickle) Close() error             { close(b.closed); return nil }

// Bodies that nobody reads or closes: half-open they hold no place, and closed
// they have a verdict at SlowCall.
func TestBodiesNeverClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 2, Trials: 1, OpenFor: time.Second, Ramp: -1, SlowCall: 2 * time.Second})
		status := http.StatusOK
		rt := b.RoundTripper(tripFunc(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: &trickle{make(chan struct{})}, Request: r}, nil
		}))
		ask := func() error {
			resp, err := rt.RoundTrip(httptest.NewRequest(http.MethodGet, "http://x/", nil))
			_ = resp
			return err
		}
		for range 5 {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		if s := b.State(); s.Requests != 5 || s.Failures != 0 {
			t.Errorf("State() = %+v, want 5 successes at SlowCall", s)
		}
		status = http.StatusBadGateway
		for b.State().Phase == Closed {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		status = http.StatusOK
		time.Sleep(2 * time.Second)
		if err := ask(); err != nil || b.State().Phase != Closed {
			t.Errorf("a trial whose body is never closed: %v, %+v; want closed", err, b.State())
		}
	})
}

// A redirect is a call of its own, and each is judged by itself.
func TestRedirects(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "/b", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer s.Close()
	b := newBreaker(t, Config{MinVolume: 100})
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: b.RoundTripper(tr)}
	resp, err := c.Get(s.URL + "/a")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if st := b.State(); st.Requests != 2 || st.Failures != 1 {
		t.Errorf("State() = %+v, want 2 calls of which 1 failed", st)
	}
	b.Force(ForcedOpen)
	body := &closing{Reader: strings.NewReader("x")}
	if _, err := c.Post(s.URL+"/a", "", body); !errors.Is(err, ErrOpen) || !body.closed {
		t.Errorf("refused: %v, body closed: %v", err, body.closed)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// Transports that answer nothing at all, or panic, change nothing of what happens.
func TestOddRoundTrippers(t *testing.T) {
	b := newBreaker(t, Config{MinVolume: 100})
	ask := func(f tripFunc) (got any) {
		defer func() { got = recover() }()
		_, _ = b.RoundTripper(f).RoundTrip(httptest.NewRequest(http.MethodGet, "http://x/", nil))
		return nil
	}
	if p := ask(func(*http.Request) (*http.Response, error) { return nil, nil }); p != nil { //nolint:nilnil // the case
		t.Errorf("no answer and no error: panic %v", p)
	}
	if p := ask(func(*http.Request) (*http.Response, error) { panic("oops") }); p != "oops" {
		t.Errorf("panic %v, want that of the transport", p)
	}
}

// Informational answers pass and are no verdict; nor are those behind them
// confused: an early hint and then a hang is a hang.
func TestInformationalIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Consecutive: 1, SlowCall: time.Second})
		release := make(chan struct{})
		h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			<-release
		}))
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		time.Sleep(1500 * time.Millisecond)
		if s := b.State(); s.Phase != Open {
			t.Errorf("State() = %+v after a hint and a hang, want open", s)
		}
		close(release)
	})
}

// Over HTTP/2 and HTTP/1 alike: panics, aborts and clients that leave in the
// middle of a trial leave its place.
func TestTrialsThatEndBadly(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		var mode atomic.Value
		mode.Store("fail")
		b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: time.Millisecond, OpenMax: time.Millisecond, Ramp: -1, TrialTimeout: time.Hour})
		srv := httptest.NewUnstartedServer(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch mode.Load() {
			case "fail":
				w.WriteHeader(http.StatusInternalServerError)
			case "abort":
				panic(http.ErrAbortHandler)
			case "leave":
				<-r.Context().Done()
			}
		})))
		srv.EnableHTTP2 = h2
		var logged bytes.Buffer
		srv.Config.ErrorLog = log.New(&logged, "", 0)
		srv.StartTLS()
		ask := func(ctx context.Context) int {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(r)
			if err != nil {
				return 0
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
		ask(t.Context())
		for _, m := range []string{"abort", "leave"} {
			for range 5 {
				mode.Store(m)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				ask(ctx)
				cancel()
			}
		}
		mode.Store("well")
		deadline := time.Now().Add(20 * time.Second)
		for ask(t.Context()) != http.StatusOK {
			if time.Now().After(deadline) {
				t.Fatalf("h2 %v: State() = %+v, and no trial is let through", h2, b.State())
			}
		}
		srv.Close()
	}
}
