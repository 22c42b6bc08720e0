package ratelimit

import (
	"math"
	"time"
)

// A trial is more than the limit for a moment, to see whether more is finished then.
const (
	trialStep     = 1.4
	trialPause    = time.Second / 2 // between trials; doubles up to trialPauseMax while they find a queue
	trialPauseMax = 16 * time.Second
	trialCount    = 100 // samples on each side of a trial
	trialMost     = 800 // and when it is given up
	leaversLeast  = 5   // who leave during a trial, and one for so many answers: it asks too much
	leaversShare  = 20
)

// settle arms a trial where the limit stands still under congestion.
func (g *gradient) settle(p point, at time.Duration) {
	if g.level == 0 || math.Abs(g.limit-g.level) > 0.2*g.level {
		g.level, g.steady = g.limit, point{}
		g.rearm(at)
		return
	}
	g.steady.add(p)
	if at < g.tryAt || g.steady.n < trialCount || !g.congested || g.limit >= g.max {
		return
	}
	g.trying, g.trial = 1, point{}
	g.level = g.limit
	g.set(max(g.limit*trialStep, g.limit+2))
}

func (g *gradient) rearm(at time.Duration) {
	g.pause = trialPause
	g.tryAt = at + g.pause
}

// try goes on with a trial.
func (g *gradient) try(p point, at time.Duration) {
	if g.trying == 1 {
		g.trying = 2
		return
	}
	g.trial.add(p)
	if g.trial.n < trialCount {
		return
	}
	found := compare(g.steady, g.trial)
	if found == unclear && g.trial.n < trialMost {
		return
	}
	g.end(found, at)
}

// left notes that somebody left during a trial who had waited for longer than others
// do. It tells whether there are so many that the trial has its finding.
func (g *gradient) left() bool {
	g.leavers++
	return g.leavers >= leaversLeast && g.leavers*leaversShare > g.trial.n
}

// end ends a trial.
func (g *gradient) end(found finding, at time.Duration) {
	g.trying, g.leavers = 0, 0
	switch found {
	case working:
		g.raise(g.steady, g.trial)
		g.rearm(at)
	case queueing:
		g.doubt()
		fallthrough
	case unclear:
		g.set(g.level)
		g.pause = min(2*g.pause, trialPauseMax)
		g.tryAt = at + g.pause
	}
	g.level, g.steady = g.limit, point{}
}

// raise takes what the lighter one of two loads took for work, as far as the limit
// need not go down for it.
func (g *gradient) raise(a, b point) {
	if b.inFlight() < a.inFlight() {
		a = b
	}
	g.rest = max(g.rest, time.Duration(float64(a.mean())/g.tolerance))
	g.sure += (g.rest - g.sure) / 2
}

// doubt takes back half of what was taken for work once, and a little of what was
// again and again.
func (g *gradient) doubt() {
	g.rest = g.sure + (g.rest-g.sure)/2
	g.sure = g.clean + (g.sure-g.clean)*9/10
}
