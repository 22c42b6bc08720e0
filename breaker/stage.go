package breaker

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// gate is gobreaker: phases, their generations, and the trials' verdicts.
type gate = gobreaker.TwoStepCircuitBreaker[struct{}]

// stage is one stretch of time in one phase. Its address identifies it: a call
// that began in another stage has nothing to say about this one. What is not
// behind a pointer does not change.
type stage struct {
	phase  Phase
	forced Forced
	since  time.Time
	next   time.Time // while open, and not forced
	reason string
	tally  // while not closed, what opened the breaker

	gate   *gate   // nil while forced
	window *window // while closed
	ramp   *ramp   // while closed; nil = everybody passes
	trials *trials // while half-open

	outage  time.Time     // when the outage began that goes on, or was the last; zero = none was
	openFor time.Duration // the open time of now, or the last

	tripped atomic.Pointer[trip] // why a closed one ends
}

// decision is what becomes of a call.
type decision uint8

const (
	refuse decision = iota
	pass
	try
)

// decide decides of a call at now. It takes a place on the ramp or among the
// trials, unless it only peeks.
func (st *stage) decide(now time.Time, peek bool) decision {
	switch {
	case st.forced == ForcedOpen:
	case st.phase == Closed:
		if st.ramp.admits(now, peek) {
			return pass
		}
	case st.phase == Open:
		if now.After(st.next) {
			return try
		}
	case peek:
		if _, free := st.trials.show(); free {
			return try
		}
	case st.trials.take():
		return try
	}
	return refuse
}

// share is what part of the calls is admitted, but for trials.
func (st *stage) share(now time.Time) float64 {
	if st.phase == Closed {
		return st.ramp.share(now)
	}
	return 0
}

// newGate makes the gobreaker of the stages from here on. It is asked for trials,
// to move an open breaker to half-open when the stage's time has come (its own is
// the shortest that there is), and told of one failure when a closed one must open.
//
// All four callbacks run with its mutex held: they are arithmetic on values, and
// nothing of a user runs in them.
func (b *Breaker) newGate() *gate {
	var g *gate
	g = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          b.cfg.Name,
		MaxRequests:   uint32(b.cfg.TrialsNeeded), // validated: 1 to MaxInt32
		Timeout:       b.cfg.shortestOpen(),
		ReadyToTrip:   func(gobreaker.Counts) bool { return true },
		OnStateChange: func(_ string, _, to gobreaker.State) { b.moved(g, to) },
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return errors.Is(err, errNeutral) },
	})
	return g
}

// count files a verdict of a closed breaker's call where it falls. One of an
// earlier stage is old news, and one of the stage that ends just now changes
// nothing.
func (b *Breaker) count(at *stage, k kind) {
	if at.window == nil || b.stage.Load() != at {
		return
	}
	now := time.Now()
	t := at.window.add(k, now, &b.rules, at.share(now) < 1)
	if t == nil || at.gate == nil || !at.tripped.CompareAndSwap(nil, t) {
		return
	}
	// This is the only one who tells the gate of this stage anything, so that it
	// is closed, unless it was retired by Force.
	if done, err := at.gate.Allow(); err == nil {
		done(errFailed)
	}
}

const reasonDue = "trial due"

// moved is called with g's mutex held.
func (b *Breaker) moved(g *gate, to gobreaker.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.stage.Load()
	if old.gate != g {
		return // forced meanwhile
	}
	now := time.Now()
	st := &stage{since: now, gate: g, outage: old.outage, openFor: old.openFor}
	switch to {
	case gobreaker.StateClosed:
		n := strconv.Itoa(b.cfg.TrialsNeeded)
		st.reason = n + " of " + n + " trials succeeded"
		st.window, st.ramp = newWindow(now, b.cfg.Window), newRamp(now, b.cfg.Ramp)
	case gobreaker.StateHalfOpen:
		st.phase, st.reason, st.tally = HalfOpen, reasonDue, old.tally
		st.trials = &trials{atOnce: b.cfg.Trials, needed: b.cfg.TrialsNeeded}
	case gobreaker.StateOpen:
		st.outage = b.cfg.outageSince(old, now)
		st.openFor = b.cfg.openTime(now.Sub(st.outage), rand.Float64())
		st.phase, st.next = Open, now.Add(st.openFor)
		if old.phase == HalfOpen {
			st.reason, st.tally = "trial failed", old.tally
		} else {
			t := old.tripped.Load()
			st.reason, st.tally = b.rules.reason(t), t.tally
		}
	}
	b.enterLocked(old, st)
}

// enterLocked requires that mu is held.
func (b *Breaker) enterLocked(old, st *stage) {
	b.stage.Store(st)
	if b.cfg.Observe == nil {
		return
	}
	ev := Event{
		Kind: Changed, Name: b.cfg.Name, From: old.phase, To: st.phase, Reason: st.reason, DryRun: b.cfg.DryRun,
		LastCause: b.last.Load().cause, RetryAfter: st.openTime(), Forced: st.forced, Share: st.share(st.since),
	}
	if st.phase == Open && old.phase == Closed {
		ev.Requests, ev.Failures, ev.Slow = st.calls, st.failed, st.slow
	}
	b.queue = append(b.queue, ev)
	b.queued.Store(true)
}

// openTime is how long the stage refuses from its beginning on; 0 is unknown.
func (st *stage) openTime() time.Duration {
	switch {
	case st.forced != Automatic:
		return 0
	case st.phase == Open:
		return st.openFor
	case st.ramp != nil:
		return st.ramp.length
	}
	return 0
}
