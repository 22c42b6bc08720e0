package breaker

import (
	"context"
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
}

// settle gives the call its verdict, if it has none yet.
func (c *call) settle(ctx context.Context, v verdict) {
	if !c.settled.CompareAndSwap(false, true) {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
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
		c.trial(verdict)
	case v.outcome != neutral:
		b.count(c.stage, verdict)
	}
	b.deliver(ctx)
}
