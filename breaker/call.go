package breaker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// call is one call that was let through, until it has its verdict.
type call struct {
	b     *Breaker
	stage *stage      // in which it began; nil of one that is not counted
	trial func(error) // gobreaker's, taken while half-open; nil of a closed breaker's call
	timer *time.Timer // nil where none watches
	// later is what follows timer: after which a trial is released, or what remains
	// of the time of a call that was silent; nil mostly.
	later    atomic.Pointer[time.Timer]
	state    atomic.Uint32
	answered atomic.Bool // its final header section came
	quiet    atomic.Bool // nothing had come by Config.Silence
	placed   atomic.Bool // a trial's place was given back
	loose    atomic.Bool // it is counted among the breaker's released trials
}

// The states of a call.
const (
	pending uint32 = iota
	overdue        // counted as slow; how it ends is still of interest
	settled        // it has its verdict
)

// settle gives the call its verdict, if it has none yet.
func (c *call) settle(ctx context.Context, v verdict) {
	before := c.state.Swap(settled)
	if before == settled {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if t := c.later.Load(); t != nil {
		t.Stop()
	}
	c.file(ctx, v, before == overdue)
}

// expire is the timer's end of settle. It must not look at c.timer, which the
// caller of AfterFunc may not have stored yet.
func (c *call) expire() {
	ctx := context.Background()
	v := verdict{outcome: failed, cause: failure.FirstByteTimeout, text: "no answer in time", failure: stalled}
	answered := c.answered.Load()
	if answered {
		v = verdict{outcome: succeeded}
	}
	if c.trial == nil && !answered && c.b.cfg.SlowRatio > 0 {
		if c.state.CompareAndSwap(pending, overdue) {
			c.b.note(c, v)
			c.b.count(c.stage, slow)
			c.b.deliver(ctx)
		}
		return
	}
	if c.state.CompareAndSwap(pending, settled) {
		c.file(ctx, v, false)
	}
}

// note keeps what a failure that counts was, before the change that it may bring
// about.
func (b *Breaker) note(c *call, v verdict) {
	if c.trial != nil || b.stage.Load() == c.stage {
		b.last.Store(&lastFailure{cause: v.cause, text: v.String()})
	}
}

// file counts a verdict; wasSlow tells that the call was counted as slow before.
func (c *call) file(ctx context.Context, v verdict, wasSlow bool) {
	b := c.b
	if v.outcome == succeeded && !c.answered.Load() || v.outcome == failed && v.failure == bad {
		c.heard()
	}
	if v.outcome == failed {
		b.note(c, v)
	}
	switch {
	case c.trial != nil:
		c.fileTrial(v.outcome)
	case c.stage == nil:
	case v.outcome != neutral:
		b.count(c.stage, v.kind(wasSlow))
	case v.unused && !wasSlow:
		c.stage.ramp.back()
	}
	b.deliver(ctx)
}

// release gives the place of a trial that has no answer yet back.
func (c *call) release() {
	b := c.b
	if c.answered.Load() || c.state.Load() == settled {
		return
	}
	if b.released.Add(1) > maxReleased {
		b.released.Add(-1)
		return
	}
	c.loose.Store(true)
	if c.placed.CompareAndSwap(false, true) {
		c.stage.trials.end(true, false)
	}
	if c.state.Load() == settled { // meanwhile
		c.tied()
	}
}

// fileTrial tells gobreaker a trial's verdict. Its place is free only when
// nobody would take it for a trial too many: after a failure is known, and
// together with the success.
//
// Of another stage it must not even be told what it would ignore: hearing
// anything moves an open one to half-open by its own time, which is not ours.
func (c *call) fileTrial(o outcome) {
	current := c.b.stage.Load() == c.stage
	if o == failed && current {
		c.trial(errFailed)
	}
	c.stage.trials.end(c.placed.CompareAndSwap(false, true), o == succeeded)
	if o == succeeded && current {
		c.trial(nil)
	}
	c.tied()
}

// tied ends the counting of a released trial.
func (c *call) tied() {
	if c.loose.CompareAndSwap(true, false) {
		c.b.released.Add(-1)
	}
}
