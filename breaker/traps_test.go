package breaker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// What gobreaker does to the careless, one test each. Of those that are elsewhere:
// panics that become text (TestHandlerRepanics), one number for trials and for
// successes (TestTrialsNeeded), no way to force it (TestForce), no jitter and no
// growth (TestJitter, TestOpenTimeGrows), no time left (TestCycle), no gradual
// recovery (TestRamp), and that it moves on when told of what it ignores
// (TestLateTrialVerdict). Its one-step and its distributed type are forbidden by
// the test of library uses at the module's root.

// Its callbacks run with its mutex held: asking it anything from one deadlocks.
func TestObserveMayUseTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *Breaker
		changes := 0
		b = newBreaker(t, Config{MinVolume: 1, Trials: 1, Observe: func(_ context.Context, ev Event) {
			if ev.Kind != Changed {
				return
			}
			changes++
			if s := b.State(); changes == 1 && s.Phase != Open {
				t.Errorf("State() in Observe = %+v, want open", s)
			}
			if done, err := b.Allow(); err == nil {
				done(failure.ErrUnused)
			}
			if ev.To == HalfOpen { // changes the phase from within an event of a change
				if done, err := b.Allow(); err == nil {
					done(errBoom)
				}
			}
		}})
		trip1(t, b)
		time.Sleep(6 * time.Second)
		if done, err := b.Allow(); err == nil {
			done(nil)
		}
		synctest.Wait()
		if changes < 3 {
			t.Errorf("%d changes, want at least 3", changes)
		}
	})
}

// A slow callback stalls nobody but its own call.
func TestSlowObserverStallsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var order []Phase
		b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: time.Second, Observe: func(_ context.Context, ev Event) {
			if ev.Kind == Changed {
				order = append(order, ev.To)
				<-release
			}
		}})
		done, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		go done(errBoom)
		synctest.Wait() // it hangs in Observe now
		wantPhase(t, b, Open)
		if _, err := b.Allow(); !errors.Is(err, ErrOpen) {
			t.Errorf("Allow() = %v, want a refusal", err)
		}
		time.Sleep(2 * time.Second)
		call1(t, b, nil) // the trial
		wantPhase(t, b, Closed)
		close(release)
		synctest.Wait()
		// The changes that piled up come in their order, by the one who hung.
		if len(order) != 3 || order[0] != Open || order[1] != HalfOpen || order[2] != Closed {
			t.Errorf("order = %v, want open, half_open, closed", order)
		}
	})
}

// A panic of Observe loses nobody else's events.
func TestPanickingObserver(t *testing.T) {
	var seen []Phase
	b := newBreaker(t, Config{MinVolume: 1, Trials: 1, OpenFor: time.Millisecond, Observe: func(_ context.Context, ev Event) {
		if ev.Kind == Changed {
			seen = append(seen, ev.To)
			if ev.To == Open {
				panic("observer")
			}
		}
	}})
	done, err := b.Allow()
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the observer's panic was swallowed")
			}
		}()
		done(errBoom)
	}()
	for deadline := time.Now().Add(10 * time.Second); b.State().Phase != HalfOpen && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	call1(t, b, nil)
	if len(seen) != 3 || seen[2] != Closed {
		t.Errorf("seen = %v, want open, half_open, closed", seen)
	}
}

// It forgets the results of calls that take longer than its interval, so that a
// backend that is slow to fail never trips it.
func TestCallsLongerThanTheWindowCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{Window: 10 * time.Second, MinVolume: 20})
		for range 20 {
			done, err := b.Allow()
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(35*time.Second, func() { done(failure.New(failure.FirstByteTimeout, nil)) })
		}
		time.Sleep(34 * time.Second)
		wantPhase(t, b, Closed)
		time.Sleep(time.Second)
		synctest.Wait()
		wantPhase(t, b, Open)
	})
}

// Hung calls trip it though none of them has ended.
func TestHungCallsTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 20, SlowCall: 4 * time.Second})
		var hung []func(error)
		for range 20 {
			done, err := b.Allow()
			if err != nil {
				t.Fatal(err)
			}
			hung = append(hung, done)
			time.Sleep(100 * time.Millisecond)
		}
		wantPhase(t, b, Closed)
		time.Sleep(3900 * time.Millisecond)
		synctest.Wait()
		wantPhase(t, b, Open)
		if s := b.State(); s.LastCause != failure.FirstByteTimeout || s.Failures != 20 {
			t.Errorf("State() = %+v, want 20 failures for first_byte_timeout", s)
		}
		for _, done := range hung { // they have had their verdict
			done(nil)
		}
		wantPhase(t, b, Open)
	})
}

// A stream that was answered in time is no hung call, and as a trial it is a
// success at its headers.
func TestAllowCall(t *testing.T) {
	tests := []struct {
		name     string
		cfg      Config
		answered bool
		after    time.Duration
		want     State
	}{
		{"stream at SlowCall", Config{SlowCall: 4 * time.Second}, true, 4 * time.Second, State{Requests: 1}},
		{"stream before SlowCall", Config{SlowCall: 4 * time.Second}, true, 3 * time.Second, State{}},
		{"hung at SlowCall", Config{SlowCall: 4 * time.Second}, false, 4 * time.Second, State{Requests: 1, Failures: 1}},
		{"slow by default", Config{}, false, 59 * time.Second, State{}},
		{"hung by default", Config{}, false, 60 * time.Second, State{Requests: 1, Failures: 1}},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, tt.cfg)
			answered, done, err := b.AllowCall()
			if err != nil {
				t.Fatal(err)
			}
			if tt.answered {
				answered()
			}
			time.Sleep(tt.after)
			synctest.Wait()
			if s := b.State(); s.Requests != tt.want.Requests || s.Failures != tt.want.Failures {
				t.Errorf("%s: State() = %+v, want %d of %d failed", tt.name, s, tt.want.Failures, tt.want.Requests)
			}
			done(nil)
			if s := b.State(); s.Requests != 1 || s.Failures != tt.want.Failures {
				t.Errorf("%s, done: State() = %+v, want one verdict", tt.name, s)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Trials: 1})
		answered, broken, err := b.AllowCall()
		if err != nil {
			t.Fatal(err)
		}
		answered()
		broken(failure.New(failure.Truncated, nil)) // answered, then broken: a failure
		wantPhase(t, b, Open)
		if _, _, err := b.AllowCall(); !errors.Is(err, ErrOpen) {
			t.Errorf("AllowCall() = %v, want a refusal", err)
		}
		time.Sleep(6 * time.Second)
		answered, done, err := b.AllowCall()
		if err != nil {
			t.Fatal(err)
		}
		answered()
		wantPhase(t, b, Closed)
		done(errBoom) // the trial has had its verdict
		wantPhase(t, b, Closed)
		time.Sleep(time.Minute)
		wantPhase(t, b, Closed)
	})
}

// Without a SlowCall a slow answer is no failure.
func TestSlowIsNoFailureByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{{MinVolume: 1}, {MinVolume: 1, SlowCall: -1}} {
			b := newBreaker(t, cfg)
			done, err := b.Allow()
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			wantPhase(t, b, Closed)
			done(nil)
			wantPhase(t, b, Closed)
			if s := b.State(); s.Requests != 1 {
				t.Errorf("State() = %+v, want one success", s)
			}
		}
	})
}

// Counts.Requests contains calls in flight. As a denominator they hide failures,
// as a volume they make a trifle of failures enough.
func TestCallsInFlightAreNoVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 20})
		for range 1000 {
			if _, err := b.Allow(); err != nil {
				t.Fatal(err)
			}
		}
		for range 19 {
			call1(t, b, errBoom)
		}
		wantPhase(t, b, Closed) // too few
		call1(t, b, errBoom)
		wantPhase(t, b, Open) // 20 of 20, not of 1020
	})
}

// A trial whose verdict never comes would keep it half-open for good.
func TestLostTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 1, Trials: 3, OpenFor: 5 * time.Second, TrialTimeout: 10 * time.Second, Jitter: -1})
		trip1(t, b)
		time.Sleep(5*time.Second + 1)
		var lost []func(error)
		for range 3 {
			done, err := b.Allow()
			if err != nil {
				t.Fatal(err)
			}
			lost = append(lost, done)
		}
		time.Sleep(10*time.Second - 1)
		wantPhase(t, b, HalfOpen)
		if _, err := b.Allow(); !errors.Is(err, ErrOpen) {
			t.Errorf("Allow() with lost trials = %v, want a refusal", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantPhase(t, b, Open)
		time.Sleep(5*time.Second + 1)
		for range 3 {
			for _, done := range lost { // too late
				done(errBoom)
			}
			call1(t, b, nil)
		}
		wantPhase(t, b, Closed)
	})
}

// Trials that hang keep nobody from trying again, and count when they end.
func TestTrialRelease(t *testing.T) {
	halfOpen := func(t *testing.T) (b *Breaker, hung []func(error)) {
		b = newBreaker(t, Config{MinVolume: 1, Trials: 3, OpenFor: time.Second, TrialRelease: time.Second, Jitter: -1})
		trip1(t, b)
		time.Sleep(time.Second + 1)
		for range 3 {
			done, err := b.Allow()
			if err != nil {
				t.Fatal(err)
			}
			hung = append(hung, done)
		}
		time.Sleep(time.Second - 1)
		if _, err := b.Allow(); !errors.Is(err, ErrOpen) {
			t.Errorf("Allow() before the release = %v, want a refusal", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		return b, hung
	}
	for name, f := range map[string]func(*testing.T){
		"others succeed": func(t *testing.T) {
			b, hung := halfOpen(t)
			for range 3 {
				call1(t, b, nil)
			}
			wantPhase(t, b, Closed)
			for _, done := range hung {
				done(errBoom)
			}
			wantPhase(t, b, Closed)
			if s := b.State(); s.Failures != 0 {
				t.Errorf("State() = %+v, want nothing of what hung before", s)
			}
		},
		"slow successes": func(t *testing.T) {
			b, hung := halfOpen(t)
			for range 3 { // their places are taken
				if _, err := b.Allow(); err != nil {
					t.Fatal(err)
				}
			}
			for _, done := range hung {
				wantPhase(t, b, HalfOpen)
				done(nil)
			}
			wantPhase(t, b, Closed)
		},
		"slow failure": func(t *testing.T) {
			b, hung := halfOpen(t)
			call1(t, b, nil)
			hung[0](errBoom)
			wantPhase(t, b, Open)
		},
		"unused": func(t *testing.T) {
			b, hung := halfOpen(t)
			for _, done := range hung { // their permits were given back before
				done(failure.ErrUnused)
			}
			for range 3 {
				if _, err := b.Allow(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := b.Allow(); !errors.Is(err, ErrOpen) {
				t.Errorf("a fourth Allow() = %v, want a refusal", err)
			}
		},
		"bound": func(t *testing.T) {
			b, hung := halfOpen(t)
			for range 20 {
				for {
					done, err := b.Allow()
					if err != nil {
						break
					}
					hung = append(hung, done)
				}
				time.Sleep(time.Second)
				synctest.Wait()
			}
			wantPhase(t, b, Open) // the first ones' TrialTimeout
			if n := len(hung); n != maxReleased+3 {
				t.Errorf("%d trials at a time, want %d", n, maxReleased+3)
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
			if n := b.released.Load(); n != 0 {
				t.Errorf("%d are still counted as released, want 0", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
}

// A done that is called twice counts once.
func TestDoneTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 2, Trials: 2})
		done, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			done(errBoom)
		}
		if s := b.State(); s.Failures != 1 {
			t.Fatalf("State() = %+v, want one failure", s)
		}
		call1(t, b, errBoom)
		wantPhase(t, b, Open)
		time.Sleep(6 * time.Second)
		done, err = b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			done(nil)
		}
		wantPhase(t, b, HalfOpen)
	})
}

// A verdict of an earlier time says nothing about this one.
func TestOldVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 2, Trials: 1})
		var old []func(error)
		for range 10 {
			done, err := b.Allow()
			if err != nil {
				t.Fatal(err)
			}
			old = append(old, done)
		}
		trip1(t, b)
		for _, done := range old[:5] {
			done(nil)
		}
		wantPhase(t, b, Open)
		time.Sleep(6 * time.Second)
		old[5](errBoom)
		if b.stage.Load().phase != Open {
			t.Error("an old verdict made the breaker half-open")
		}
		trial, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		old[6](nil)
		wantPhase(t, b, HalfOpen)
		trial(nil)
		wantPhase(t, b, Closed)
		for _, done := range old[7:] {
			done(errBoom)
		}
		if s := b.State(); s.Phase != Closed || s.Requests != 0 {
			t.Errorf("State() = %+v, want nothing of the time before", s)
		}
	})
}

// Between looking at the stage and filing a verdict the breaker may become
// half-open: the verdict must not be a trial's, nor take its place.
func TestVerdictMeetsHalfOpen(t *testing.T) {
	for _, k := range []kind{good, silent} {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{MinVolume: 1, Trials: 1})
			closed := b.stage.Load()
			trip1(t, b)
			time.Sleep(6 * time.Second)
			b.count(closed, k)
			b.count(b.stage.Load(), k) // open, but due
			wantPhase(t, b, HalfOpen)
			if p := b.stage.Load().phase; p != Open {
				t.Errorf("a verdict moved the breaker to %v", p)
			}
			call1(t, b, nil) // the place is free
			wantPhase(t, b, Closed)
		})
	}
}

// State must not move an open breaker to half-open, nor fire an event.
func TestStateHasNoSideEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := 0
		b := newBreaker(t, Config{MinVolume: 1, Observe: func(context.Context, Event) { events++ }})
		trip1(t, b)
		time.Sleep(time.Minute)
		before := b.State()
		time.Sleep(time.Minute)
		if after := b.State(); after != before || events != 1 {
			t.Errorf("State() = %+v, then %+v, with %d events", before, after, events)
		}
	})
}

// However many ask at once, Trials are let through, and a good end closes.
func TestConcurrentTrials(t *testing.T) {
	const trials = 3
	b := newBreaker(t, Config{MinVolume: 1, Trials: trials, OpenFor: 20 * time.Millisecond})
	call1(t, b, errBoom)
	for deadline := time.Now().Add(10 * time.Second); b.State().Phase != HalfOpen && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	var admitted atomic.Int64
	var wg sync.WaitGroup
	verdicts := make(chan func(error), 1000)
	for range 64 {
		wg.Go(func() {
			for range 10 {
				if done, err := b.Allow(); err == nil {
					admitted.Add(1)
					verdicts <- done
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got != trials {
		t.Fatalf("%d trials were let through, want %d", got, trials)
	}
	for range trials {
		(<-verdicts)(nil)
	}
	wantPhase(t, b, Closed)
}

// Everything at once, for the race detector: calls of all results, phases in
// quick change, observers that ask.
func TestStorm(t *testing.T) {
	var b *Breaker
	var last atomic.Int64 // the phase that the changes lead to
	var broken atomic.Int64
	b = newBreaker(t, Config{
		Window: 20 * time.Millisecond, MinVolume: 5, OpenFor: time.Millisecond, Trials: 2, SlowCall: 5 * time.Millisecond, TrialTimeout: 2 * time.Millisecond,
		Observe: func(_ context.Context, ev Event) {
			if ev.Kind == Changed && Phase(last.Swap(int64(ev.To))) != ev.From {
				broken.Add(1)
			}
			b.State()
		},
	})
	results := []error{nil, errBoom, failure.ErrUnused, context.Canceled, nil, errBoom, nil}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 2000 {
				done, err := b.Allow()
				if err != nil {
					continue
				}
				switch (g + i) % 9 {
				case 0: // lost
				case 1:
					wg.Go(func() { done(nil) })
					done(errBoom)
				default:
					done(results[(g*7+i)%len(results)])
				}
			}
		})
	}
	wg.Wait()
	if n := broken.Load(); n != 0 {
		t.Errorf("%d changes came out of order", n)
	}
	for deadline := time.Now().Add(10 * time.Second); b.State().Phase != Closed && time.Now().Before(deadline); {
		if done, err := b.Allow(); err == nil {
			done(nil)
		}
	}
	wantPhase(t, b, Closed)
}
