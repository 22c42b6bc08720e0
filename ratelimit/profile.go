package ratelimit

import (
	"math"
	"math/bits"
	"time"
)

// The profile: how long requests take by how many were in flight when they began.
//
// Where requests wait for each other, those that began behind twice as many take
// twice as long, the quick ones as well as the slow. Where they are far away, or
// merely held, they take what they take. So two levels of load are compared, each a
// doubling of the one before, once nearly all that began there have ended: what has
// not ended yet would make the later one look better.
//
// Slower work has more in flight, too (Little's law), but slowly, while requests come
// and go at the same pace. In an overload more are in flight at the end of a request
// than at its beginning, by as much as more come than are answered. And who waits
// behind so many sees about so many answered meanwhile, not a multiple of it, as who is
// held does.
const (
	levels      = 21 // by powers of two, up to maxAdaptive
	levelLasts  = 5 * time.Second
	levelOld    = 10 * time.Second // and so many times the latency there
	levelOldBy  = 8
	restOld     = time.Minute
	levelFew    = 3   // requests on a level at least
	levelCount  = 16  // and on one that is looked at
	levelEnded  = 0.9 // of those that began
	lookedEvery = 8   // ends on a level

	profileStep  = 4   // buckets for a doubling of the latency
	profileFrom  = 250 // µs, below which all is the same
	profileSlots = 72  // up to a minute

	slower   = 3                      // buckets by which a level is slower than that of a quarter of its load
	within   = 1.15                   // times as slow in its upper half
	steeper  = 2                      // and than that of half of it
	slowerBy = 100 * time.Millisecond // and the time: a line that is shorter harms nobody
	growth   = 1.2                    // in flight at the ends, for one at the beginnings
	growing  = 0.7                    // share of those that ended with no fewer in flight than at their beginnings
	passing  = 12                     // answered meanwhile, for one in flight at the beginning, at most
	deviance = 2                      // standard deviations on either side
)

// centres are the shares of requests whose latencies are compared. Where a part of
// them is merely held, the other one tells; where a part needs no work, the slow ones.
var centres = [...]float64{0.45, 0.75}

// level is what requests did that began while so many were in flight.
type level struct {
	gen         uint64
	since, last time.Duration // when the first and the last of them began
	begun       int
	ended       int
	inFlight    float64 // sum, at the beginnings of those that ended
	after       float64 // sum, at their ends
	grew        int     // of them with no fewer then
	passed      float64 // sum, of what was answered meanwhile
	took        float64 // sum, in seconds
	halves      [2]half // of the loads of the level, the lower and the upper
	slots       [profileSlots]uint32
}

// half is what requests of a half of a level took, in seconds.
type half struct {
	n    int
	took float64
}

// profile counts requests in flight and has a level for every doubling.
type profile struct {
	inFlight int
	answers  uint32
	level    [levels]level
}

// mark is a request that began: how many had been answered (32 bits), the generation
// of its level (11 bits), and how many were in flight (21 bits).
type mark uint64

const (
	markGen  = 1<<11 - 1
	markLoad = 1<<21 - 1
)

func levelOf(n int) int { return min(levels-1, bits.Len(uint(max(1, n)))-1) } //nolint:gosec // positive

func (p *profile) began(at time.Duration) mark {
	p.inFlight++
	n := p.inFlight
	l := &p.level[levelOf(n)]
	if l.begun == 0 || at-l.since > levelLasts {
		*l = level{gen: (l.gen + 1) & markGen, since: at}
	}
	l.begun++
	l.last = at
	return mark(p.answers)<<32 | mark(l.gen)<<21 | mark(min(n, markLoad)) //nolint:gosec // positive
}

// ended notes the end of a request, which says something about the backend or not:
// of one that does not, and ended sooner than most, nothing is known. It tells
// whether it is time to look at the level.
func (p *profile) ended(m mark, latency time.Duration, says bool) (n int, look bool) {
	if p.inFlight == 0 {
		return 0, false
	}
	after := p.inFlight
	p.inFlight--
	n = int(m & markLoad) //nolint:gosec // 21 bits
	if says {
		p.answers++
	}
	l := &p.level[levelOf(n)]
	if l.gen != uint64(m>>21)&markGen {
		return n, false
	}
	if !says && latency.Seconds()*float64(l.ended) < l.took {
		l.begun--
		return n, false
	}
	l.ended++
	l.inFlight += float64(n)
	l.after += float64(after)
	if after >= n {
		l.grew++
	}
	l.passed += float64(p.answers - uint32(m>>32)) //nolint:gosec // wraps around
	l.took += latency.Seconds()
	h := &l.halves[(2*n>>levelOf(n))&1]
	h.n++
	h.took += latency.Seconds()
	l.slots[slotOf(latency)]++
	return n, l.known(levelCount) && (l.ended%lookedEvery == 0 || l.ended == l.begun)
}

func slotOf(d time.Duration) int {
	x := float64(d.Microseconds()) / profileFrom
	if x <= 1 {
		return 0
	}
	return min(profileSlots-1, int(math.Log2(x)*profileStep)+1)
}

func slotTime(i int) time.Duration {
	return time.Duration(math.Exp2((float64(i)-0.5)/profileStep) * profileFrom * float64(time.Microsecond))
}

// quantile is the bucket of a share of those that began; those that have not ended
// are the slowest.
func (l *level) quantile(share float64) int {
	want := int(share * float64(l.begun))
	for i, n := range l.slots {
		if want -= int(n); want < 0 {
			return i
		}
	}
	return profileSlots
}

// known tells whether enough of a level is.
func (l *level) known(least int) bool {
	return l.ended >= least && float64(l.ended) >= levelEnded*float64(l.begun)
}

// growing tells whether more were in flight when those that began there ended.
func (l *level) growing() bool {
	return l.after >= growth*l.inFlight && float64(l.grew) >= growing*float64(l.ended)
}

// rising tells whether it took longer behind more. Where it does not, the level is
// slower for another reason than its load.
func (l *level) rising() bool {
	lower, upper := l.halves[0], l.halves[1]
	return min(lower.n, upper.n) >= levelFew && upper.took*float64(lower.n) >= within*lower.took*float64(upper.n)
}

// bounds of the latency of a share, as far as chance goes, in buckets.
func (l *level) bounds(share, sigmas float64) (least, most int) {
	d := sigmas * math.Sqrt(share*(1-share)/float64(l.begun))
	return l.quantile(max(0, share-d)), l.quantile(min(0.999, share+d))
}

// overloaded tells whether requests that began while n were in flight waited for each
// other, and ever more of them do, or so many as full allows.
func (p *profile) overloaded(n int, full bool, at time.Duration) bool {
	j := levelOf(n)
	if j < 2 {
		return false
	}
	high, middle, low := &p.level[j], &p.level[j-1], &p.level[j-2]
	if p.inFlight < 1<<j || !high.known(levelCount) || !middle.known(levelFew) || !low.known(levelFew) {
		return false
	}
	if !full && (!high.growing() || !middle.growing() || !high.rising()) || high.passed > passing*high.inFlight {
		return false
	}
	lasts := time.Duration(levelOldBy * high.took / float64(high.ended) * float64(time.Second))
	if at-low.last > levelOld+lasts || at-middle.last > levelOld+lasts {
		return false
	}
	for _, c := range centres {
		least, _ := high.bounds(c, deviance)
		_, most := low.bounds(c, deviance)
		if least-most < slower || slotTime(least)-slotTime(most) < slowerBy {
			continue
		}
		least, _ = high.bounds(c, deviance/2)
		_, most = middle.bounds(c, deviance/2)
		if least-most >= steeper && middle.quantile(c) > low.quantile(c) {
			return true
		}
	}
	return false
}

// knee is a load under which requests took hardly longer than under the least.
func (p *profile) knee() float64 {
	knee, rest := 0.0, profileSlots
	for j := range p.level {
		l := &p.level[j]
		if !l.known(levelFew) {
			continue
		}
		q := l.quantile(centres[0])
		if rest = min(rest, q); q > rest+slower-1 {
			break
		}
		knee = float64(int(1) << j)
	}
	return knee
}

// rest is the least mean latency of a level, of late; 0 is unknown.
func (p *profile) rest(at time.Duration) time.Duration {
	least := 0.0
	for j := range p.level {
		l := &p.level[j]
		if !l.known(levelCount) || at-l.last > restOld {
			continue
		}
		if mean := l.took / float64(l.ended); least == 0 || mean < least {
			least = mean
		}
	}
	return time.Duration(least * float64(time.Second))
}
