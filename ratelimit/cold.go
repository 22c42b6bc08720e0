package ratelimit

import (
	"math"
	"time"
)

// The cold start.
//
// Until answers took too long for the first time nothing is known of what the
// backend can do, and requests that are merely held (long polls, slow pages) are no
// load: the limit is a generous one, that bounds what a backend without any answer
// is sent. Meanwhile a guess goes through the law as if it were the limit, so that
// the latency at rest is learnt by the same rules.
//
// An overload shows within the first windows, and sets the limit at once: to as
// many as were in flight by what was answered, less the time that they waited. The
// backlog that came before then is worked off, and what its requests took says
// nothing any more.
const (
	guess = 64 // requests that hardly any backend finds too many

	// An unbounded overload has answers take ever longer: what is less is chance.
	coldSlow = 2 // times the latency at rest
	// And it lasts: those that began so much later must have met it too,
	// unless the limit was used up.
	coldSpan = 30 * time.Millisecond

	coldDrain = 5 * time.Second // what takes longer is no backlog of the first windows
)

// cold is the time before the first overload.
type cold struct {
	open  bool
	limit float64 // meanwhile

	congested bool          // the window before was
	since     time.Duration // when its requests began, in the mean

	draining bool          // the backlog is not worked off yet
	set      time.Duration // the limit
	mean     time.Duration // of the window before
}

// allowed is how many may be in flight.
func (g *gradient) allowed() int {
	if g.cold.open {
		return int(max(g.cold.limit, g.limit))
	}
	return int(g.limit)
}

// stale tells whether an answer is to a request of the backlog that the first
// limit found.
func (g *gradient) stale(at, latency time.Duration) bool {
	c := &g.cold
	if !c.draining || at-latency >= c.set {
		return false
	}
	g.w = window{start: at, full: g.w.full}
	return true
}

// drains tells whether a window shows the rest of a backlog, of clients that left
// as well: later requests wait behind it, ever less.
func (g *gradient) drains(mean, at time.Duration) bool {
	c := &g.cold
	if !c.draining {
		return false
	}
	less := mean > 0 && (c.mean == 0 || float64(mean) < 0.9*float64(c.mean))
	c.mean = mean
	c.draining = less && at-c.set < coldDrain
	return c.draining
}

// thaw looks for the first overload in a window. It tells whether the law may be
// applied to it.
func (g *gradient) thaw(w window, p point, failing bool, at time.Duration) bool {
	c := &g.cold
	if failing {
		c.open = false
		return true
	}
	mean := p.mean()
	if mean == 0 {
		return true
	}
	slow := float64(mean) / float64(max(g.rest, restLeast))
	if slow < max(coldSlow, g.tolerance) {
		c.congested = false
		return true
	}
	began := w.began / time.Duration(w.n)
	if !c.congested {
		c.congested, c.since = true, began
	}
	room := g.allowance
	inFlight := p.inFlight() * g.tolerance / slow
	if room == 0 {
		room = math.Sqrt(inFlight)
	}
	if p.inFlight() < max(g.min, inFlight+room) || !w.full && began-c.since < coldSpan {
		return false
	}
	*c = cold{limit: c.limit, draining: true, set: at}
	g.congested, g.starting = true, false
	g.set(min(inFlight+room, max(c.limit, g.limit)))
	g.level, g.steady = g.limit, point{}
	g.rearm(at)
	return false
}
