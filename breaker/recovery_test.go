package breaker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
)

func TestOpenTime(t *testing.T) {
	const s = time.Second
	tests := []struct {
		cfg    Config
		lasted time.Duration
		random float64
		want   time.Duration
	}{
		{Config{}, 0, 0.5, 5 * s},
		{Config{}, 0, 0, 4 * s},
		{Config{}, 0, 1, 6 * s},
		{Config{Jitter: 0.5}, 0, 0, 2500 * time.Millisecond},
		{Config{Jitter: -1}, 0, 0, 5 * s},
		{Config{Jitter: -1}, 50 * s, 0, 5 * s}, // a short outage is not made longer
		{Config{Jitter: -1}, 100 * s, 0, 10 * s},
		{Config{Jitter: -1}, 24 * time.Hour, 0, 60 * s},
		{Config{Jitter: -1, OpenFor: 20 * s}, 24 * time.Hour, 0, 200 * s},
		{Config{Jitter: -1, OpenMax: 7 * s}, 24 * time.Hour, 0, 7 * s},
		{Config{Jitter: -1, OpenMax: 5 * s}, 24 * time.Hour, 0, 5 * s}, // no growth
		{Config{OpenFor: math.MaxInt64}, 0, 0.999, math.MaxInt64},
		{Config{OpenFor: 1}, 0, 0, 1},
	}
	for _, tt := range tests {
		cfg, err := tt.cfg.normalize()
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.openTime(tt.lasted, tt.random); got != tt.want {
			t.Errorf("openTime(%+v, %v, %v) = %v, want %v", tt.cfg, tt.lasted, tt.random, got, tt.want)
		}
	}
}

// Open times differ, stay within their share, and are told as they are.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 50 {
			b := newBreaker(t, Config{MinVolume: 1, OpenFor: 10 * time.Second})
			call1(t, b, errBoom)
			open := time.Until(b.State().Next)
			seen[open] = true
			if open < 8*time.Second || open > 12*time.Second {
				t.Errorf("open for %v, want 8s to 12s", open)
			}
			time.Sleep(open - time.Millisecond)
			if _, err := b.Allow(); failure.As(err, 0).RetryAfter != time.Millisecond {
				t.Errorf("a millisecond before: %v", err)
			}
			time.Sleep(time.Millisecond + 1)
			call1(t, b, nil)
		}
		if len(seen) < 40 {
			t.Errorf("%d different times of 50", len(seen))
		}
	})
}

// The open time grows while the outage goes on, over a short recovery, too, and
// starts again after a long one.
func TestOpenTimeGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: time.Second, Jitter: -1, Ramp: -1})
		open := func() time.Duration { return time.Until(b.State().Next) }
		began := time.Now()
		call1(t, b, errBoom)
		var times []time.Duration
		for time.Since(began) < 20*time.Minute {
			times = append(times, open())
			time.Sleep(open() + 1)
			call1(t, b, errBoom)
		}
		last := time.Duration(0)
		for _, d := range times {
			if d < last || d > last+last/10+time.Second {
				t.Errorf("open for %v after %v, want slow growth", d, last)
			}
			last = d
		}
		if times[0] != time.Second || times[5] != time.Second || last != 60*time.Second {
			t.Errorf("open times from %v, %v to %v, want 1s, 1s to 60s", times[0], times[5], last)
		}
		if n := len(times); n > 70 {
			t.Errorf("%d trials in 20 minutes", n)
		}
		// A moment of health is no end of the outage.
		time.Sleep(open() + 1)
		call1(t, b, nil)
		wantPhase(t, b, Closed)
		time.Sleep(30 * time.Second)
		call1(t, b, errBoom)
		if open() != 60*time.Second {
			t.Errorf("after a moment of health: open for %v, want 60s", open())
		}
		time.Sleep(open() + 1)
		call1(t, b, nil)
		time.Sleep(time.Minute)
		call1(t, b, errBoom)
		if open() != time.Second {
			t.Errorf("after a minute of health: open for %v, want 1s", open())
		}
	})
}

// A verdict that a trial of before brings late must not move an open breaker: to
// gobreaker, whose time may be over by then, hearing of it is enough.
func TestLateTrialVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Trials: 2, OpenFor: time.Second, TrialTimeout: time.Hour, Jitter: -1})
		trip1(t, b)
		time.Sleep(100 * time.Second) // it has grown to 10 s by now
		late, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		call1(t, b, errBoom)
		time.Sleep(5 * time.Second)
		late(errBoom)
		if st := b.stage.Load(); st.phase != Open {
			t.Errorf("phase %v after a late verdict, want open", st.phase)
		}
		if _, err := b.Allow(); failure.As(err, 0).RetryAfter != 5*time.Second {
			t.Errorf("Allow() = %v, want 5s left", err)
		}
	})
}

// Trials at once and successes needed are two numbers, though to gobreaker they
// are one.
func TestTrialsNeeded(t *testing.T) {
	tests := []struct {
		atOnce, needed int
		first          int // how many are let through before one is done
		total          int // how many are let through if each ends before the next
	}{
		{1, 1, 1, 1},
		{1, 5, 1, 5},
		{2, 5, 2, 5},
		{5, 2, 5, 2},
		{3, 0, 3, 3},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			cfg := Config{MinVolume: 1, Trials: tt.atOnce, TrialsNeeded: tt.needed, Jitter: -1}
			all := func(b *Breaker) (done []func(error)) {
				for {
					d, err := b.Allow()
					if err != nil {
						return done
					}
					done = append(done, d)
				}
			}
			open := func() *Breaker {
				b := newBreaker(t, cfg)
				trip1(t, b)
				time.Sleep(5*time.Second + 1)
				return b
			}
			b := open()
			under := all(b)
			if len(under) != tt.first {
				t.Errorf("%d at once, %d needed: %d let through at once, want %d", tt.atOnce, tt.needed, len(under), tt.first)
			}
			if s := b.State(); s.Trials != tt.first {
				t.Errorf("State() = %+v, want %d trials", s, tt.first)
			}
			for i := 0; b.State().Phase == HalfOpen; i++ { // in their order, with new ones beside them
				if now := len(under) - i; now > tt.first {
					t.Fatalf("%d under way, want at most %d", now, tt.first)
				}
				under[i](nil)
				if b.State().Phase == HalfOpen {
					under = append(under, all(b)...)
				}
			}
			if want := max(tt.atOnce, tt.total); len(under) != want {
				t.Errorf("%d at once, %d needed: %d let through, want %d", tt.atOnce, tt.needed, len(under), want)
			}

			b = open()
			n := 0
			for ; b.State().Phase == HalfOpen; n++ {
				call1(t, b, nil)
			}
			if n != tt.total {
				t.Errorf("%d at once, %d needed: %d one by one closed it, want %d", tt.atOnce, tt.needed, n, tt.total)
			}

			b = open() // one failure among them opens
			for range tt.total - 1 {
				call1(t, b, nil)
			}
			call1(t, b, errBoom)
			wantPhase(t, b, Open)
		})
	}
}

// However many ask at once while failures come in, no more than Trials reach a
// dead backend each time.
func TestFailedTrialsMakeNoRoom(t *testing.T) {
	b := newBreaker(t, Config{MinVolume: 1, Trials: 2, TrialsNeeded: 4, OpenFor: time.Millisecond, OpenMax: time.Millisecond, LocalConsecutive: -1})
	call1(t, b, errBoom)
	var underWay, most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20000 {
				done, err := b.Allow()
				if err != nil {
					continue
				}
				if n := underWay.Add(1); n > most.Load() {
					most.Store(n)
				}
				underWay.Add(-1)
				done(errBoom)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 2 {
		t.Errorf("%d trials at once, want at most 2", n)
	}
}

// The share is kept at every moment, not on the average of chance.
func TestQuota(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		var q quota
		for n := 1; n <= 300; n++ {
			q, _ = q.next(share, 0)
			if short := float64(n)*share - float64(q.admitted); short < -1e-6 || short > 1+1e-6 {
				t.Fatalf("share %v: %d of %d admitted", share, q.admitted, n)
			}
		}
	})
	var q quota
	var pattern strings.Builder
	for range 10 {
		next, ok := q.next(0.4, 0)
		q = next
		fmt.Fprint(&pattern, map[bool]string{true: "x", false: "."}[ok])
	}
	if got := pattern.String(); got != "..x.x..x.x" {
		t.Errorf("at 40 %%: %s", got)
	}
}

// closeUp brings a new breaker to the beginning of its ramp.
func closeUp(t *testing.T, b *Breaker) {
	t.Helper()
	trip1(t, b)
	time.Sleep(time.Until(b.State().Next) + 1)
	for b.State().Phase == HalfOpen {
		call1(t, b, nil)
	}
	wantPhase(t, b, Closed)
}

// No thundering on recovery: of a thousand calls a second a share passes that
// grows in a straight line, evenly spread; the others are told when it is over.
func TestRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Ramp: 10 * time.Second})
		closeUp(t, b)
		for second := range 10 {
			admitted, gap := 0, 0
			for i := range 1000 {
				done, err := b.Allow()
				if err == nil {
					done(nil)
					admitted++
					gap = 0
				} else {
					gap++
					e := failure.As(err, 0)
					if left := 10*time.Second - time.Duration(second*1000+i)*time.Millisecond; e.RetryAfter != left-1 && e.RetryAfter != left {
						t.Fatalf("RetryAfter = %v, want %v", e.RetryAfter, left)
					}
					if !errors.Is(err, ErrOpen) || e.Cause != failure.BreakerOpen || !strings.Contains(e.Detail, fmt.Sprintf("recovering: %d %% admitted", (second*1000+i)/100)) || !strings.Contains(e.Detail, "last cause boom") {
						t.Fatalf("err = %v", err)
					}
				}
				if second > 0 && gap > 10/second+2 {
					t.Fatalf("second %d: %d refused in a row", second, gap)
				}
				time.Sleep(time.Millisecond)
			}
			if want := 1000*second/10 + 50; admitted < want-25 || admitted > want+25 {
				t.Errorf("second %d: %d of 1000 admitted, want about %d", second, admitted, want)
			}
			if s := b.State(); math.Abs(s.Share-float64(second+1)/10) > 0.01 {
				t.Errorf("second %d: Share = %v", second, s.Share)
			}
		}
		for range 1000 {
			call1(t, b, nil)
		}
	})
}

// Little traffic notices nothing of a ramp, not even a page with its parts.
func TestRampFloor(t *testing.T) {
	for _, every := range []time.Duration{110 * time.Millisecond, time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{MinVolume: 1, Ramp: 60 * time.Second})
			closeUp(t, b)
			for range floorBurst {
				call1(t, b, nil)
			}
			time.Sleep(every)
			for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(every) {
				call1(t, b, nil)
			}
		})
	}
}

// A permit that was not used gives its place on the ramp back.
func TestRampUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Ramp: time.Minute})
		closeUp(t, b)
		for range 100 {
			call1(t, b, failure.ErrUnused)
		}
		for range floorBurst {
			call1(t, b, nil)
		}
		if _, err := b.Allow(); !errors.Is(err, ErrOpen) {
			t.Errorf("Allow() beyond the floor = %v, want a refusal", err)
		}
	})
}

// A burst of failures while recovering opens at once, not at MinVolume; after the
// ramp it is MinVolume again.
func TestRampReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 100, Ramp: 10 * time.Second, Consecutive: -1})
		closeUp(t, b)
		for range 4 {
			call1(t, b, errBoom)
			wantPhase(t, b, Closed)
		}
		call1(t, b, errBoom)
		wantPhase(t, b, Open)
		if s := b.State(); !strings.Contains(s.Reason, "while recovering") {
			t.Errorf("State() = %+v", s)
		}

		b = newBreaker(t, Config{MinVolume: 100, Ramp: 10 * time.Second, Consecutive: -1})
		closeUp(t, b)
		time.Sleep(10*time.Second + 1)
		for range 99 {
			call1(t, b, errBoom)
		}
		wantPhase(t, b, Closed)
	})
}

// The way back in events and State.
func TestRampEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Event
		b := newBreaker(t, Config{MinVolume: 1, Ramp: 10 * time.Second, Observe: func(_ context.Context, ev Event) { last = ev }})
		closeUp(t, b)
		if last.Kind != Changed || last.To != Closed || last.Share != 0 || last.RetryAfter != 10*time.Second {
			t.Errorf("event %+v, want closed with a share of 0", last)
		}
		time.Sleep(5 * time.Second)
		for last.Kind == Changed {
			_, _ = b.Allow()
		}
		if last.Kind != Refused || last.From != Closed || last.Share != 0.5 || last.RetryAfter != 5*time.Second {
			t.Errorf("event %+v, want a refusal at a share of 0.5", last)
		}
		if s := b.State(); s.Share != 0.5 || s.Phase != Closed {
			t.Errorf("State() = %+v", s)
		}
	})
}
