package breaker

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// A backend that stalls is noticed after Silence, before any of its calls fails;
// one that is slow, streams, or answers only some is not.
func TestSilence(t *testing.T) {
	const silence = 5 * time.Second
	for _, tt := range []struct {
		name   string
		warm   bool
		origin func(n int, since time.Duration) time.Duration // until the answer of call n
		opens  bool
	}{
		{"stalls", true, func(int, time.Duration) time.Duration { return time.Hour }, true},
		{"stalls at first", false, func(int, time.Duration) time.Duration { return time.Hour }, false},
		{"pauses", true, func(_ int, since time.Duration) time.Duration { return max(0, 4*time.Second-since) }, false},
		{"every page takes 4 s", true, func(int, time.Duration) time.Duration { return 4 * time.Second }, false},
		{"one of ten is answered", true, func(n int, _ time.Duration) time.Duration {
			if n%10 == 0 {
				return time.Second
			}
			return time.Hour
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(t, Config{Silence: silence})
				h := func(wait time.Duration) {
					b.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
						select {
						case <-time.After(wait):
						case <-t.Context().Done():
						}
					})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				}
				if tt.warm {
					for range 30 {
						h(time.Millisecond)
					}
				}
				began := time.Now()
				for n := range 80 {
					go h(tt.origin(n, time.Since(began)))
					time.Sleep(100 * time.Millisecond)
					if b.State().Phase == Open {
						break
					}
				}
				took := time.Since(began)
				if s := b.State(); (s.Phase == Open) != tt.opens {
					t.Errorf("after %v State() = %+v, want open: %v", took, s, tt.opens)
				}
				if tt.opens && (took < silence || took > silence+2500*time.Millisecond) {
					t.Errorf("opened after %v, want after Silence and the time of 20 calls", took)
				}
				if s := b.State(); tt.opens && s.LastCause != failure.FirstByteTimeout {
					t.Errorf("State() = %+v", s)
				}
			})
		})
	}
}

// A crowd that asks a site of slow pages for nothing else, when it was quick until
// then, opens the breaker at most once; then it is known to be slow.
func TestSilenceOfSlowPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		b := newBreaker(t, Config{Silence: 5 * time.Second, OpenFor: time.Second, TrialRelease: time.Second})
		page := func(takes time.Duration) {
			answered, done, err := b.AllowCall()
			if err != nil {
				return
			}
			time.Sleep(takes)
			answered()
			done(nil)
		}
		page(time.Millisecond)
		for range 5 {
			for range 50 {
				go page(8 * time.Second)
			}
			time.Sleep(7 * time.Second)
			if b.State().Phase != Closed {
				opened++
			}
			time.Sleep(time.Minute)
			for range 20 {
				page(time.Millisecond)
			}
			time.Sleep(time.Minute)
			if s := b.State(); s.Phase != Closed {
				t.Fatalf("State() = %+v after the crowd", s)
			}
		}
		if opened != 1 {
			t.Errorf("opened for %d of 5 crowds, want the first only", opened)
		}
	})
}

// One slow page is enough to know, and an answer that streams is one.
func TestSilenceKnowsAnswers(t *testing.T) {
	for name, end := range map[string]func(answered func(), done func(error)){
		"a slow page": func(answered func(), done func(error)) { time.Sleep(6 * time.Second); answered(); done(nil) },
		"streams": func(answered func(), _ func(error)) {
			for range 4 { // others begin meanwhile
				answered()
				time.Sleep(2 * time.Second)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{Silence: 5 * time.Second})
			answered, done, err := b.AllowCall()
			if err != nil {
				t.Fatal(err)
			}
			answered()
			done(nil)
			if answered, done, err = b.AllowCall(); err != nil {
				t.Fatal(err)
			}
			if name == "a slow page" {
				end(answered, done)
			}
			for range 30 {
				if _, _, err := b.AllowCall(); err != nil {
					t.Fatal(err)
				}
			}
			if name == "streams" {
				end(answered, done)
			} else {
				time.Sleep(8 * time.Second)
			}
			if s := b.State(); s.Phase != Closed {
				t.Errorf("%s: State() = %+v, want closed", name, s)
			}
		})
	}
}

func TestSilenceValidates(t *testing.T) {
	for _, cfg := range []Config{{Silence: -1}, {Silence: time.Nanosecond}, {Silence: time.Minute}, {Silence: time.Second, SlowCall: time.Second}, {Silence: time.Second, SlowCall: -1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%v, %v) found nothing wrong", cfg.Silence, cfg.SlowCall)
		}
	}
}
