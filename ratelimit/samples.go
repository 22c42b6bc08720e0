package ratelimit

import (
	"math"
	"time"
)

// window is what was gathered since start. Times are since some fixed moment.
type window struct {
	start   time.Duration
	n       int           // answers
	began   time.Duration // all of their beginnings
	sum     time.Duration // of their latencies
	clipped time.Duration // without outliers
	squares float64       // of them in seconds
	slow    int           // failures that took long
	quick   int           // answers as at rest
	full    bool          // somebody found no slot
}

// point is a load and what came of it.
type point struct {
	n         int
	sum, took time.Duration
	clipped   time.Duration
	squares   float64 // of the latencies in seconds
}

func (p *point) add(q point) {
	p.n += q.n
	p.sum += q.sum
	p.took += q.took
	p.clipped += q.clipped
	p.squares += q.squares
}

func (w window) point(now time.Duration) point {
	return point{n: w.n, sum: w.sum, took: now - w.start, clipped: w.clipped, squares: w.squares}
}

// mean is that of the latencies, without outliers.
func (p point) mean() time.Duration {
	if p.n == 0 {
		return 0
	}
	return p.clipped / time.Duration(p.n)
}

// spread is the variance of the latencies, as a multiple of their mean's square.
func (p point) spread() float64 {
	if p.sum == 0 {
		return 0
	}
	mean := p.sum.Seconds() / float64(p.n)
	return p.squares/float64(p.n)/(mean*mean) - 1
}

// inFlight is the mean number in flight, by Little's law.
func (p point) inFlight() float64 { return ratio(p.sum, p.took) }

// rate is answers per second.
func (p point) rate() float64 {
	if p.took <= 0 {
		return 0
	}
	return float64(p.n) / p.took.Seconds()
}

func ratio(a, b time.Duration) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// finding is what two points tell.
type finding uint8

const (
	unclear finding = iota
	queueing
	working
)

// From what on a difference of two loads is told from chance.
const (
	elasticity = 0.3
	sigmas     = 1.6
)

// compare tells what the requests that two loads differ by did: they waited, or
// they were worked on. What may be chance is unclear.
func compare(a, b point) finding {
	more, less := a, b
	if more.inFlight() < less.inFlight() {
		more, less = b, a
	}
	if min(a.n, b.n) == 0 || less.inFlight() <= 0 {
		return unclear
	}
	grew := math.Log(more.inFlight() / less.inFlight())
	gained := math.Log(more.rate()/less.rate()) - elasticity*grew
	spread := max(1, 2*less.spread())
	chance := sigmas * math.Sqrt(spread/float64(a.n)+spread/float64(b.n))
	switch {
	case grew < math.Log(1.1):
		return unclear
	case gained > chance:
		return working
	case gained < -chance:
		return queueing
	}
	return unclear
}

// beginning makes a first idea of the latency at rest, of those requests that
// began first: they met no queue. The first to end would not do, they are the
// fast ones.
type beginning struct {
	n       int
	began   [firstCount]time.Duration
	latency [firstCount]time.Duration
}

// add returns the latency as soon as it is known; 0 is not yet.
func (b *beginning) add(at, latency time.Duration) time.Duration {
	began, i := at-latency, b.n
	if b.n < firstCount {
		b.n++
	} else {
		i = 0
		for j, other := range b.began {
			if other > b.began[i] {
				i = j
			}
		}
	}
	if b.latency[i] == 0 || began < b.began[i] {
		b.began[i], b.latency[i] = began, latency
	}
	if b.n < firstCount {
		return 0
	}
	var sum, most, next time.Duration
	last := b.began[0]
	for j, d := range b.latency {
		sum += d
		most, next = max(most, d), max(next, min(most, d))
		last = max(last, b.began[j])
	}
	mean := (sum - most + next) / firstCount // one may have been anything
	if at-last < max(firstAfter, 3*mean) {
		return 0
	}
	return mean
}
