package ratelimit

import (
	"math"
	"time"
)

// The open limit.
//
// Until requests were seen to wait for each other nothing is known of what the
// backend can do, and those that are merely held (long polls, slow pages) are no
// load: the limit is a generous one, that bounds what a backend without any answer
// is sent. It doubles where it is used up. The latency at rest is learnt by the same
// rules as later, as if a guess were the limit.
//
// An overload shows in the profile, or in that nearly all requests take very long. It
// sets the limit at once: to as many as are answered in the latency at rest, or as took
// hardly longer than fewer. The backlog that came before then is worked off, and what
// its requests took says nothing any more.
//
// A limit that nobody came near for a while says nothing about what comes next: it
// is open again.
const (
	guess = 64 // requests that hardly any backend finds too many

	coldDrain  = 5 * time.Second // what takes longer is no backlog of the first windows
	coldAfter  = 5 * time.Second // without use of the limit
	coldNear   = 0.7             // of the limit in flight is use
	coldSlow   = 2               // times the latency at rest, where beginnings are not told
	coldGrowth = 200 * time.Millisecond

	swampSpan  = 250 * time.Millisecond
	swampLeast = 500 * time.Millisecond
	swampSlow  = 3               // times the latency at rest
	swampHeld  = 5 * time.Second // who took longer was held
	swampShare = 20              // that are slow, for one that is not

	// A limit is in doubt where requests are slow, but half of them are as at rest.
	doubtSlow     = 3 // times the latency at rest, in the mean
	doubtPause    = 2 * time.Second
	doubtPauseMax = time.Minute // it doubles where the doubt was wrong
)

// cold is the time before an overload.
type cold struct {
	open  bool
	limit float64 // meanwhile

	full bool          // the window before met the limit
	grew time.Duration // when the limit last did
	slow int           // windows in a row that were

	counted           time.Duration // since when
	late, left, quick int

	draining bool          // the backlog is not worked off yet
	set      time.Duration // the limit
	mean     time.Duration // of the window before
}

// allowed is how many may be in flight.
func (g *gradient) allowed() int {
	if g.cold.open {
		return int(g.cold.limit)
	}
	return int(g.limit)
}

// began notes that a request begins. It tells whether the limit is another one.
func (g *gradient) began(at time.Duration) (m mark, turned bool) {
	g.told = true
	turned = g.reopen(at)
	m = g.profile.began(at)
	if float64(g.profile.inFlight) >= coldNear*g.limit {
		g.used = at
	}
	return m, turned
}

// ended notes that it ended, with an answer or a failure after so long, if it says
// anything. It tells whether the limit was looked at.
func (g *gradient) ended(at time.Duration, m mark, latency time.Duration, says, ok bool) bool {
	if says && !ok && latency <= max(slowFailure, 4*g.rest) {
		says = false
		latency = 0 // and is no bound of anything
	}
	n, look := g.profile.ended(m, latency, says)
	slow, deserted := g.swamped(at, latency, says)
	switch {
	case !g.cold.open:
		if deserted && at-g.cold.set > coldDrain { // what was taken for rest is a queue
			g.rest /= 2
			g.clean, g.sure = min(g.clean, g.rest), min(g.sure, g.rest)
			g.set(g.limit / 2)
			g.cold.set = at
			return true
		}
		if !says && g.trying > 0 && latency > g.now && g.left() {
			g.end(queueing, at)
			return true
		}
	case look && 2*float64(n) > g.min && g.profile.overloaded(n, g.w.full && g.cold.full, at):
		g.freeze(at, g.profile.knee())
		return true
	case slow:
		g.freeze(at, 0)
		return true
	}
	return says && g.add(at, latency, ok)
}

// swamped counts the ends of requests by what they took. It tells whether nearly all
// took longer than anybody likes to wait, and much longer than at rest, whether or not
// they were answered: where the machine is busy and clients leave soon, the profile
// never sees a line grow. What took very long was held.
func (g *gradient) swamped(at, latency time.Duration, says bool) (slow, deserted bool) {
	c := &g.cold
	switch {
	case latency > swampHeld:
	case latency > swampLeast && (!says || g.rest > 0 && latency > swampSlow*g.rest):
		if c.late++; !says {
			c.left++
		}
	case says:
		c.quick++
	}
	if at-c.counted < swampSpan || float64(c.late+c.quick) < 2*max(levelCount, g.min) {
		return false, false
	}
	slow, deserted = c.late > swampShare*c.quick, c.left > swampShare*(c.late-c.left+c.quick)
	c.counted, c.late, c.left, c.quick = at, 0, 0, 0
	return slow, deserted
}

// reopen forgets a limit that is not used.
func (g *gradient) reopen(at time.Duration) bool {
	if g.cold.open || at-g.used < coldAfter {
		return false
	}
	g.open()
	return true
}

func (g *gradient) open() {
	g.cold = cold{open: true, limit: g.initial}
	g.congested, g.falling, g.before, g.steady, g.trying = false, 0, point{}, point{}, 0
}

// doubts tells whether the limit may be one of requests that are merely held, for
// long enough: then it is open again. Where that was wrong, it takes longer the next
// time.
func (g *gradient) doubts(w window, p point, at time.Duration) bool {
	d := &g.doubtful
	if !w.full || 2*w.quick < w.n || float64(p.sum) < doubtSlow*float64(g.rest)*float64(p.n) {
		d.since = at
		return false
	}
	if at-d.since < max(d.pause, doubtPause) {
		return false
	}
	if at-d.last > 2*doubtPauseMax {
		d.pause = 0
	}
	d.pause = min(doubtPauseMax, max(doubtPause, 2*d.pause))
	d.since, d.last = at, at
	g.open()
	return true
}

// doubtful is the doubt in a limit.
type doubtful struct {
	since, last time.Duration
	pause       time.Duration
}

// stale tells whether an answer is to a request of the backlog that the first
// limit found.
func (g *gradient) stale(at, latency time.Duration) bool {
	c := &g.cold
	if !c.draining || at-latency >= c.set {
		return false
	}
	g.w, g.used = window{start: at, full: g.w.full}, at
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

// thaw looks at a window under the open limit. It tells whether the law has to be
// applied to it.
func (g *gradient) thaw(w window, mean time.Duration, failing bool, at time.Duration) bool {
	c := &g.cold
	if failing {
		c.open = false
		g.used = at
		return true
	}
	c.slow++
	if float64(mean) < max(coldSlow, g.tolerance)*float64(max(g.rest, restLeast)) {
		c.slow = 0
	}
	if !g.told && c.slow > 1 {
		g.freeze(at, 0)
		return false
	}
	c.full = w.full
	if w.full && at-c.grew >= coldGrowth {
		c.limit, c.grew = min(g.max, 2*c.limit), at
	}
	return false
}

// freeze sets the first limit, to knee at least.
func (g *gradient) freeze(at time.Duration, knee float64) {
	if rest := g.profile.rest(at); rest > 0 && rest < g.rest {
		g.rest, g.clean, g.sure = rest, rest, rest
	}
	busy := max(knee, g.rate*g.rest.Seconds()*g.tolerance)
	room := g.allowance
	if room == 0 {
		room = math.Sqrt(busy)
	}
	most := g.cold.limit
	g.cold = cold{draining: true, set: at}
	g.used = at
	g.congested, g.starting = true, false
	g.set(min(busy+room, most))
	g.level, g.steady = g.limit, point{}
	g.rearm(at)
	g.w = window{start: at}
}
