package breaker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// call is one call that was let through, until it has its verdict.
type call struct {
	b        *Breaker
	stage    *stage      // in which it began
	trial    func(error) // gobreaker's, taken while half-open; nil of a closed breaker's call
	timer    *time.Timer // nil where none watches
	answered atomic.Bool // its final header section came
	settled  atomic.Bool // it has its verdict

	patience *time.Timer // after which a trial is released; nil = never
	permit   atomic.Bool // a trial's permit was given back, or used up by a verdict
	loose    atomic.Bool // it is counted among the breaker's released trials
}

// settle gives the call its verdict, if it has none yet.
func (c *call) settle(ctx context.Context, v verdict) {
	if !c.settled.CompareAndSwap(false, true) {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.patience != nil {
		c.patience.Stop()
	}
	c.file(ctx, v)
}

// expire is the timer's end of settle. It must not look at c.timer, which the
// caller of AfterFunc may not have stored yet.
func (c *call) expire() {
	if !c.settled.CompareAndSwap(false, true) {
		return
	}
	v := verdict{outcome: failed, cause: failure.FirstByteTimeout, text: "no answer in time"}
	if c.answered.Load() {
		v = verdict{outcome: succeeded}
	}
	c.file(context.Background(), v)
}

func (c *call) file(ctx context.Context, v verdict) {
	b := c.b
	verdict := error(nil)
	switch v.outcome {
	case succeeded:
	case neutral:
		verdict = errNeutral
	case failed:
		verdict = errFailed
		if c.trial != nil || b.stage.Load() == c.stage {
			b.last.Store(&lastFailure{cause: v.cause, text: v.String()}) // before the change that it may bring about
		}
	}
	switch {
	case c.trial != nil:
		c.fileTrial(verdict)
	case v.outcome != neutral:
		b.count(c.stage, verdict)
	}
	b.deliver(ctx)
}

// release gives the permit of a trial that has no answer yet back.
func (c *call) release() {
	b := c.b
	if c.answered.Load() || c.settled.Load() {
		return
	}
	if b.released.Add(1) > maxReleased {
		b.released.Add(-1)
		return
	}
	c.loose.Store(true)
	if c.permit.CompareAndSwap(false, true) {
		c.trial(errNeutral)
	}
	if c.settled.Load() { // meanwhile
		c.tied()
	}
}

// fileTrial tells gobreaker a trial's verdict. Its done can be called again after
// an exclusion, which gave the permit back: in the same phase a success and a
// failure count as they would have. What is given back is so once only.
func (c *call) fileTrial(verdict error) {
	if c.permit.CompareAndSwap(false, true) || !errors.Is(verdict, errNeutral) {
		c.trial(verdict)
	}
	c.tied()
}

// tied ends the counting of a released trial.
func (c *call) tied() {
	if c.loose.CompareAndSwap(true, false) {
		c.b.released.Add(-1)
	}
}
