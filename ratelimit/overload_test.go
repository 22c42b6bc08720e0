package ratelimit

import (
	"math/rand/v2"
	"testing"
	"time"
)

const sec = time.Second

// scene is a world with what must come of it.
type scene struct {
	name  string
	world world
	until time.Duration
	// checks of spans
	checks []check
}

type check struct {
	from, to time.Duration
	capacity float64       // answers per second that are possible
	share    float64       // of which so many are reached within a second
	p99      time.Duration // upstream, at most; 0: whatever
	noShed   bool
}

func (s scene) run(t *testing.T, seed uint64) {
	t.Helper()
	w := s.world
	w.g = newGradient()
	w.wait = 250 * ms
	w.rand = rand.New(rand.NewPCG(seed, 7))
	w.run(s.until)
	for _, c := range s.checks {
		share := w.goodput(c.from, c.to, sec) / c.capacity
		if share < c.share {
			t.Errorf("seed %d, %v to %v: %.0f %% of what is possible, want at least %.0f", seed, c.from, c.to, share*100, c.share*100)
		}
		if p99 := w.p99(c.from, c.to); c.p99 > 0 && p99 > c.p99 {
			t.Errorf("seed %d, %v to %v: p99 upstream is %v, want at most %v", seed, c.from, c.to, p99, c.p99)
		}
		if n := w.shedIn(c.from, c.to); c.noShed && n > 0 {
			t.Errorf("seed %d, %v to %v: %d shed, want none", seed, c.from, c.to, n)
		}
	}
	if t.Failed() {
		t.Logf("latency now %v, at rest %v (sure %v, clean %v), limit %.0f", w.g.now, w.g.rest, w.g.sure, w.g.clean, float64(w.g.allowed()))
	}
}

func (s scene) test(t *testing.T) {
	t.Run(s.name, func(t *testing.T) {
		t.Parallel()
		for seed := range uint64(3) {
			s.run(t, seed)
		}
	})
}

func changing[T any](at time.Duration, before, after T) func(time.Duration) T {
	return func(now time.Duration) T {
		if now < at {
			return before
		}
		return after
	}
}

// Offered three times what it can do, a backend that nobody knows goes on doing it,
// and answers in time: at once after a start in the middle of it, and for as long as
// it lasts. The overload is not learnt as the normal state.
func TestGradientOverload(t *testing.T) {
	for _, s := range []scene{
		{"20 workers of 50 ms", world{workers: always(20), service: steadily(50 * ms), rate: always(1200.)}, 120 * sec, []check{
			{3 * sec, 10 * sec, 400, 0.95, 200 * ms, false},
			{60 * sec, 120 * sec, 400, 0.98, 150 * ms, false},
		}},
		{"10 workers of 100 ms", world{workers: always(10), service: steadily(100 * ms), rate: always(300.)}, 120 * sec, []check{
			{3 * sec, 10 * sec, 100, 0.95, 350 * ms, false},
			{60 * sec, 120 * sec, 100, 0.98, 350 * ms, false},
		}},
		{"whose work takes longer or shorter", world{workers: always(20), service: randomly(50 * ms), rate: always(1200.)}, 120 * sec, []check{
			{3 * sec, 10 * sec, 400, 0.85, 460 * ms, false},
			{60 * sec, 120 * sec, 400, 0.9, 460 * ms, false},
		}},
		{"fast and slow pages", world{workers: always(20), service: mixed(0.5, 2*ms, 200*ms), rate: always(600.)}, 60 * sec, []check{
			{10 * sec, 60 * sec, 198, 0.65, 1500 * ms, false},
		}},
		{"100 workers of 20 ms", world{workers: always(100), service: steadily(20 * ms), rate: always(10000.)}, 20 * sec, []check{
			{3 * sec, 20 * sec, 5000, 0.95, 60 * ms, false},
		}},
		{"4 workers, fewer than the floor", world{workers: always(4), service: steadily(50 * ms), rate: always(240.)}, 30 * sec, []check{
			{4 * sec, 30 * sec, 80, 0.95, 460 * ms, false},
		}},
	} {
		s.test(t)
	}
}

func mixed(share float64, fast, slow time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(r *rand.Rand, _ time.Duration) time.Duration {
		if r.Float64() < share {
			return fast
		}
		return slow
	}
}

// Without a limit the same does not answer anybody in time.
func TestGradientNothing(t *testing.T) {
	w := world{workers: always(20), service: steadily(50 * ms), rate: always(1200.)}
	w.run(10 * sec)
	if got := w.goodput(3*sec, 10*sec, sec); got > 40 {
		t.Errorf("%.0f per second are answered in time without protection: no overload", got)
	}
}

// A backend that is merely far away, or busy without being overloaded, is not
// throttled: not at a start without any traffic before, not when more comes.
func TestGradientDistance(t *testing.T) {
	for _, s := range []scene{
		{"far", world{workers: always(1000), service: steadily(ms), away: 200 * ms, rate: always(250.)}, 30 * sec, []check{
			{sec, 30 * sec, 250, 0.97, 0, false},
			{0, 30 * sec, 250, 0, 0, true},
		}},
		{"very far", world{workers: always(1000), service: randomly(20 * ms), away: 2 * sec / 3, rate: always(80.)}, 30 * sec, []check{
			{2 * sec, 30 * sec, 80, 0.92, 0, false},
			{0, 30 * sec, 80, 0, 0, true},
		}},
		{"far and much", world{workers: always(1000), service: steadily(ms), away: 200 * ms, rate: always(1500.)}, 30 * sec, []check{
			{2 * sec, 30 * sec, 1500, 0.97, 0, true},
		}},
		{"far, and ever more", world{workers: always(1000), service: steadily(ms), away: 200 * ms, rate: func(at time.Duration) float64 {
			return 50 + 30*at.Seconds()
		}}, 30 * sec, []check{{0, 30 * sec, 500, 0.9, 0, true}}},
		{"far with an end", world{workers: always(20), service: randomly(10 * ms), away: 200 * ms, rate: always(5000.)}, 20 * sec, []check{
			{4 * sec, 20 * sec, 2000, 0.9, sec, false},
		}},
		{"nine tenths of what it can do", world{workers: always(20), service: randomly(50 * ms), rate: always(340.)}, 60 * sec, []check{
			{3 * sec, 60 * sec, 340, 0.95, 0, false},
		}},
		{"hardly any traffic", world{workers: always(2), service: randomly(300 * ms), rate: always(2.)}, 600 * sec, []check{
			{0, 600 * sec, 2, 0, 0, true},
		}},
		{"bursts", world{workers: always(50), service: steadily(50 * ms), rate: func(at time.Duration) float64 {
			if at%(5*sec) < 200*ms {
				return 600
			}
			return 1
		}}, 60 * sec, []check{{0, 60 * sec, 24, 0, 0, true}}},
	} {
		s.test(t)
	}
}

// What a backend can do changes, in the middle of an overload: the limit follows
// within seconds, down and up, and whether it lost workers or its work takes longer.
func TestGradientSteps(t *testing.T) {
	down := func(at time.Duration) int {
		if at > 10*sec && at < 20*sec {
			return 5
		}
		return 20
	}
	for _, s := range []scene{
		{"workers", world{workers: down, service: steadily(50 * ms), rate: always(1200.)}, 30 * sec, []check{
			{13 * sec, 20 * sec, 100, 0.95, 300 * ms, false},
			{23 * sec, 30 * sec, 400, 0.95, 200 * ms, false},
		}},
		{"work of twice the time", world{workers: always(20), service: func(_ *rand.Rand, at time.Duration) time.Duration {
			return changing(10*sec, 50*ms, 100*ms)(at)
		}, rate: always(1200.)}, 60 * sec, []check{
			{13 * sec, 60 * sec, 200, 0.85, 460 * ms, false},
		}},
		{"work of four times the time", world{workers: always(20), service: func(_ *rand.Rand, at time.Duration) time.Duration {
			return changing(10*sec, 50*ms, 200*ms)(at)
		}, rate: always(1200.)}, 60 * sec, []check{
			{16 * sec, 60 * sec, 100, 0.85, 700 * ms, false},
		}},
		{"an overload that ends, and comes back", world{workers: always(20), service: steadily(50 * ms), rate: func(at time.Duration) float64 {
			if at%(20*sec) < 10*sec {
				return 1200
			}
			return 50
		}}, 60 * sec, []check{
			{13 * sec, 20 * sec, 50, 0.85, 0, true},
			{43 * sec, 50 * sec, 400, 0.95, 200 * ms, false},
		}},
	} {
		s.test(t)
	}
}

// The limit is not lowered to measure: far from any strain it never is.
func TestGradientNoDips(t *testing.T) {
	w := world{g: newGradient(), workers: always(1000), service: randomly(50 * ms), rate: always(500.), wait: 250 * ms}
	w.run(60 * sec)
	last := 0.0
	for _, l := range w.limits {
		if l.limit < last && l.at > 2*sec {
			t.Fatalf("the limit goes down from %.0f to %.0f at %v", last, l.limit, l.at)
		}
		last = l.limit
	}
}

// Failures: fast ones are none of load's making, many slow ones are.
func TestGradientFailures(t *testing.T) {
	feed := func(g *gradient, n int, at *time.Duration, latency time.Duration, ok func(i int) bool) {
		for i := range n {
			*at += 10 * ms
			g.full(*at)
			if ok(i) {
				g.add(*at, 50*ms, true)
			} else {
				g.add(*at, latency, false)
			}
		}
	}
	for _, tt := range []struct {
		name    string
		latency time.Duration
		every   int // one of so many fails
		lower   bool
	}{
		{"fast", 5 * ms, 2, false},
		{"slow, few", 15 * sec, 20, false},
		{"slow, many", 15 * sec, 2, true},
		{"slow, all", 15 * sec, 1, true},
	} {
		g := newGradient()
		at := 20 * sec
		feed(g, 200, &at, 0, func(int) bool { return true })
		before := g.allowed()
		feed(g, 200, &at, tt.latency, func(i int) bool { return i%tt.every > 0 })
		if lower := g.allowed() < before; lower != tt.lower {
			t.Errorf("%s: limit %d after %d", tt.name, g.allowed(), before)
		}
		if g.rest > 60*ms || g.rest < 40*ms {
			t.Errorf("%s: latency at rest is %v, want that of the answers", tt.name, g.rest)
		}
		if g.limit < g.min || g.limit > g.max {
			t.Errorf("%s: limit is %v", tt.name, g.limit)
		}
	}
}
