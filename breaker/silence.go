package breaker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// silence is what is known of when the backend answers, for Config.Silence. Times
// are in nanoseconds since base, 0 is never.
type silence struct {
	base   time.Time
	last   atomic.Int64 // answer of anything
	slowly atomic.Int64 // answer of a call that had been silent
}

// heard notes that the backend answered the call.
func (c *call) heard() {
	b := c.b
	if b.cfg.Silence <= 0 {
		return
	}
	now := max(1, int64(time.Since(b.silence.base)))
	b.silence.last.Store(now)
	if c.quiet.Load() {
		b.silence.slowly.Store(now)
	}
}

// fell tells whether nothing was heard for Config.Silence of a backend that was
// heard before, and that has no slow pages. last is when it was heard.
func (b *Breaker) fell(now time.Time) (last time.Time, silent bool) {
	s := &b.silence
	at, heard, slowly := now.Sub(s.base), time.Duration(s.last.Load()), time.Duration(s.slowly.Load())
	return s.base.Add(heard), heard > 0 && at-heard >= b.cfg.Silence && (slowly == 0 || at-slowly >= slowPages)
}

// silent is the timer's at Config.Silence. The call may be late, or the backend
// has stalled: that many calls decide. Like expire it must not look at c.timer.
func (c *call) silent() {
	b := c.b
	t := time.AfterFunc(hungAfter-b.cfg.Silence, c.expire)
	c.later.Store(t)
	if c.state.Load() != pending { // meanwhile
		t.Stop()
		return
	}
	if c.answered.Load() {
		return
	}
	c.quiet.Store(true)
	last, silent := b.fell(time.Now())
	if !silent || c.stage.window == nil || b.stage.Load() != c.stage {
		return
	}
	ctx := context.Background()
	c.stage.window.heard(last)
	b.note(c, verdict{outcome: failed, cause: failure.FirstByteTimeout, text: "no answer in time"})
	b.count(c.stage, waiting)
	b.deliver(ctx)
}
