package ratelimit

import (
	"math"
	"time"
)

// The law of the adaptive limit.
//
// Latencies are gathered in windows. A window's mean is the latency now; the
// latency at rest follows it down at once, and up only while the limit is not
// half used, so that it is never learnt from a queue that the limit itself
// allows. Where the limit is used it is multiplied by tolerance × rest / now (at
// most 1, at least a half) and given room for a queue, which settles where a
// backend has all hands full and little to wait.
//
// Left alone that has a weakness: a backend whose work has become slower, all
// through the strain, looks like one with a queue, and is throttled for good. A
// queue and slower work differ in this: more in flight do not finish more in the
// one case, and do in the other. So whenever the requests in flight changed much,
// the throughput is compared: by the reduction itself, or by a trial of two fifths
// more for a moment. The limit is never lowered for the sake of measuring.
//
// All of that is for a backend that was overloaded once; cold.go has what is before.
const (
	windowMin   = 100 * time.Millisecond // and never shorter than the latency
	windowRests = 4                      // times the latency at rest that a window need not be longer than
	windowCount = 20                     // samples in a window at least
	firstCount  = 10                     // samples of which the first latency at rest is made
	firstAfter  = 250 * time.Millisecond // not sooner than so long after they began
	calmWindows = 5
	outlier     = 8 // times the latency now, or at rest: what one sample weighs at most

	restDown  = 0.3                   // share by which a lower latency is learnt, per window
	restUp    = 20 * time.Second      // time in which a higher one is
	restLeast = 10 * time.Millisecond // what takes no longer is at rest: noise is all that there would be to see
	restOnce  = 0.3                   // and its share per window at most

	// Under a strain latencies stay below this many times the latency at rest: one
	// that is lower was no good guess.
	lowShare = 3
	lowFor   = 30 * time.Second

	slowFailure   = time.Second // failures that took less are none of load's making, whatever the latency at rest
	failuresShare = 0.2         // of a window's samples, from which they count
)

// bounds are the settings of a gradient.
type bounds struct {
	min, max  float64
	initial   float64 // while the limit is open
	tolerance float64
	allowance float64 // requests that may queue; 0 is the root of the limit
}

// gradient is a limit and what it was made of. Its zero value has to be given
// bounds and a limit.
type gradient struct {
	bounds
	limit float64
	now   time.Duration // latency of late
	rest  time.Duration // and without load; 0: not known yet
	sure  time.Duration // rest, as far as it was found more than once
	clean time.Duration // rest, as far as nothing but light load had a part in it
	low   time.Duration // the lowest mean under strain, of late
	rate  float64       // answers per second of late

	w         window
	first     beginning
	seen      int // windows without strain
	calm      int // windows without strain in a row
	profile   profile
	cold      cold
	doubtful  doubtful
	told      bool          // of requests that begin
	used      time.Duration // when the limit last was
	starting  bool          // has never met a limit
	doubled   bool          // in the window before
	startRate float64
	congested bool

	falling int   // windows in a row that had the limit go down much
	before  point // what that began with
	steady  point // since the limit was last changed much
	level   float64

	trial   point
	trying  uint8 // 1: the trial settles, 2: it is measured
	leavers int   // during the trial
	tryAt   time.Duration
	pause   time.Duration
}

// add takes a sample. It tells whether the limit was looked at anew.
func (g *gradient) add(at, latency time.Duration, ok bool) bool {
	latency = max(latency, time.Microsecond)
	g.reopen(at)
	if !ok {
		if latency <= max(slowFailure, 4*g.rest) {
			return false
		}
		g.w.slow++
		return g.turn(at)
	}
	if g.stale(at, latency) {
		return false
	}
	if g.rest == 0 {
		if g.rest = g.first.add(at, latency); g.rest > 0 {
			g.clean, g.sure = g.rest, g.rest
		}
	}
	if float64(latency) <= g.tolerance*float64(max(g.rest, restLeast)) {
		g.w.quick++
	}
	g.w.n++
	g.w.began += at - latency
	g.w.sum += latency
	g.w.squares += latency.Seconds() * latency.Seconds()
	if g.rest > 0 {
		latency = min(latency, outlier*max(g.rest, g.now))
	}
	g.w.clipped += latency
	return g.turn(at)
}

// full notes that somebody found no slot.
func (g *gradient) full(at time.Duration) { g.w.full, g.used = true, at }

// turn ends the window if it has been long enough.
func (g *gradient) turn(at time.Duration) bool {
	w := g.w
	lasted := at - w.start
	if w.n+w.slow < windowCount || lasted < windowMin || g.rest == 0 && w.n > 0 {
		return false
	}
	p := w.point(at)
	if !g.cold.open && lasted < min(p.mean(), windowRests*g.rest) {
		return false
	}
	g.w = window{start: at}
	g.step(w, p, at)
	return true
}

// step looks at a window that ended.
func (g *gradient) step(w window, p point, at time.Duration) {
	mean := p.mean()
	g.rate = p.rate()
	if g.drains(mean, at) {
		g.now, g.used = mean, at
		return
	}
	inFlight := p.inFlight()
	failing := float64(w.slow) >= failuresShare*float64(w.n+w.slow)
	if w.n > 0 {
		if g.now == 0 {
			g.now = mean
		}
		g.now = (g.now + mean) / 2
		g.learn(mean, p, w.full || inFlight > g.limit/2)
	}
	if g.cold.open && !g.thaw(w, mean, failing, at) {
		return
	}
	used := w.full || inFlight >= coldNear*g.limit
	if used {
		g.used = at
	}
	if !used && !failing {
		g.congested, g.falling, g.before, g.steady, g.trying = false, 0, point{}, point{}, 0
		g.tryAt = at + g.pause
		return
	}
	if !failing && g.doubts(w, p, at) {
		return
	}
	if g.trying > 0 && !failing {
		g.try(p, at)
		return
	}
	ratio := 1.0
	if w.n > 0 {
		ratio = min(1, g.tolerance*float64(max(g.rest, restLeast))/float64(mean))
	}
	if failing {
		ratio = 0.5
	}
	g.follow(max(0.5, ratio), p, at)
}

// learn follows the latency at rest. Windows without strain count from the fifth in a
// row: the first may be the beginning of a strain.
func (g *gradient) learn(mean time.Duration, p point, strained bool) {
	if g.calm++; strained {
		g.calm = 0
	}
	switch {
	case mean < g.rest:
		g.rest -= time.Duration(restDown * float64(g.rest-mean))
		g.clean, g.sure = min(g.clean, g.rest), min(g.sure, g.rest)
	case !strained:
		if g.calm < calmWindows {
			return
		}
		g.seen = min(g.seen+1, 1000)
		share := min(restOnce, max(ratio(p.took, restUp), 1/float64(g.seen+1)))
		g.rest += time.Duration(share * float64(mean-g.rest))
		g.clean, g.sure = g.rest, g.rest
		g.low = mean
	case g.congested && g.falling == 0 && g.trying == 0 && g.steady.n >= 2*windowCount:
		if g.low == 0 || mean < g.low {
			g.low = mean
		}
		g.low += time.Duration(min(1, ratio(p.took, lowFor)) * float64(mean-g.low))
		g.clean = max(g.clean, time.Duration(float64(g.low)/lowShare))
		g.sure = max(g.sure, g.clean)
		g.rest = max(g.rest, g.sure)
	}
}

// follow sets the limit after a window in which it was used.
func (g *gradient) follow(ratio float64, p point, at time.Duration) {
	room := g.allowance
	if room == 0 {
		room = math.Sqrt(g.limit)
	}
	target := g.limit*ratio + room
	if g.congested = ratio < 1; g.congested {
		g.starting = false
	}
	if target >= g.limit {
		g.falling, g.before = 0, point{}
	}
	switch {
	case target < g.limit:
		target = (g.limit + target) / 2
		if g.reduced(p, target < 0.96*g.limit && g.limit > g.min, at) {
			return
		}
	case g.starting:
		target = g.start(p.rate())
	}
	g.set(target)
	g.settle(p, at)
}

// start doubles the limit every other window, as long as that brings something.
func (g *gradient) start(rate float64) float64 {
	if g.doubled = !g.doubled; !g.doubled {
		return g.limit
	}
	g.starting = rate > 1.3*g.startRate
	g.startRate = rate
	if !g.starting {
		return g.limit
	}
	return 2 * g.limit
}

func (g *gradient) set(limit float64) { g.limit = min(g.max, max(g.min, limit)) }

// reduced compares a reduction with what it began with, once it has come far
// enough. The first window of a congestion is mixed: it saw better times.
func (g *gradient) reduced(p point, much bool, at time.Duration) bool {
	if !much {
		g.falling, g.before = 0, point{}
		return false
	}
	g.falling++
	switch {
	case g.falling < 2:
	case g.before.n == 0:
		g.before = p
	case compare(g.before, p) == working:
		g.raise(g.before, p)
		g.set(max(g.limit, g.before.inFlight()))
		g.before = point{}
		g.rearm(at)
		return true
	}
	return false
}
