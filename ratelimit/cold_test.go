package ratelimit

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Requests that are held are no load: a thousand at once, after nothing or after some
// quick ones.
func TestColdHeld(t *testing.T) {
	for _, s := range []scene{
		{"nothing else", world{workers: always(2000), service: steadily(5 * sec), rate: func(at time.Duration) float64 {
			if at < sec/5 {
				return 4700
			}
			return 0
		}}, 20 * sec, []check{{0, 20 * sec, 47, 0, 0, true}}},
		{"after quick ones", world{workers: always(2000), service: func(_ *rand.Rand, at time.Duration) time.Duration {
			return changing(10*sec, 20*ms, 5*sec)(at)
		}, rate: func(at time.Duration) float64 {
			switch {
			case at < 10*sec:
				return 100
			case at < 10*sec+200*ms:
				return 4700
			}
			return 0
		}}, 30 * sec, []check{{0, 30 * sec, 65, 0, 0, true}}},
	} {
		s.test(t)
	}
}

// An overload is found within a second, whatever it is, and its limit is near what
// it ends up as.
func TestColdFound(t *testing.T) {
	for _, tt := range []struct {
		workers int
		service time.Duration
		rate    float64
	}{
		{20, 50 * ms, 1200}, {10, 100 * ms, 300}, {20, 50 * ms, 4000}, {100, 20 * ms, 10000},
	} {
		w := world{g: newGradient(), workers: always(tt.workers), service: steadily(tt.service), rate: always(tt.rate), wait: 250 * ms}
		w.run(sec)
		if n := w.g.allowed(); n < tt.workers || n > 3*tt.workers {
			t.Errorf("%+v: the limit is %d after a second", tt, n)
		}
	}
}

// A backend that stalls without ever having answered is sent no more than the first
// limit, and what is worked off goes on to be so however slowly.
func TestColdBounds(t *testing.T) {
	a := newAdaptive(t, AdaptiveConfig{})
	if n := a.Limit(); n != defaultInitial {
		t.Errorf("Limit() = %d, want %d", n, defaultInitial)
	}
	synctest.Test(t, func(t *testing.T) {
		a := newAdaptive(t, AdaptiveConfig{})
		atRest(a)
		for i := range 400 { // ten per second, ever later
			time.Sleep(100 * ms)
			a.Done(50*ms+time.Duration(i)*90*ms, true)
			if n := a.Limit(); i > 100 && n > 100 {
				t.Fatalf("Limit() = %d after %d answers", n, i)
			}
		}
	})
}
