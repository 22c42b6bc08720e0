package backend

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/admit"
)

// bound tells whether the changing one of two limits is the lower.
func bound(fixed int, changing Limit) bool {
	return changing != nil && (fixed == 0 || changing.Limit() < fixed)
}

// noteFull tells a limit that somebody found no slot under it.
func noteFull(fixed int, changing Limit) {
	if l, ok := changing.(interface{ Full() }); ok && bound(fixed, changing) {
		l.Full()
	}
}

// noteFull tells the limits of all endpoints.
func (s *state) noteFull() {
	for _, ep := range s.endpoints {
		set := ep.settings.Load()
		noteFull(set.limit, set.adaptive)
	}
}

// rehearse tells a limit in its dry run of a request.
func rehearse(ctx context.Context, l Limit, slots *admit.Semaphore) {
	if l, ok := l.(interface {
		Rehearsing() bool
		Rehearse(ctx context.Context, inFlight int)
	}); ok && l.Rehearsing() {
		l.Rehearse(ctx, slots.Stats().InFlight)
	}
}

// class is what goes before what in line: who has an answer in reserve comes last.
func (c *call) class() admit.Class {
	if failure.Reserved(c.r.Context()) {
		return admit.Low
	}
	return admit.Ordinary
}

// shed makes a refusal one of a limit that changes. ahead is how many are in flight
// or waiting.
func shed(e *failure.Error, l Limit, ahead int) {
	switch e.Cause {
	case failure.ConnectionLimit, failure.QueueFull, failure.QueueTimeout:
	default:
		return
	}
	e.Cause = failure.Shed
	if l, ok := l.(interface {
		Refuse(ahead int) (detail string, retryAfter time.Duration)
	}); ok {
		var detail string
		if detail, e.RetryAfter = l.Refuse(ahead); detail != "" {
			e.Detail += ", " + detail
		}
	}
}

// shedByAll makes a refusal by the limits of all endpoints one of those that change,
// if all are.
func (c *call) shedByAll(e *failure.Error) {
	var first Limit
	ahead := c.b.entrance.queued()
	for _, ep := range c.state.endpoints {
		set := ep.settings.Load()
		if !bound(set.limit, set.adaptive) {
			return
		}
		if first == nil {
			first = set.adaptive
			ahead += int(ep.inFlight.Load())
		}
	}
	if first != nil {
		shed(e, first, ahead)
	}
}

// judge is a limit that changes with an attempt that it is told of.
type judge struct {
	limit Limit // nil: none
	mark  uint64
}

// counting is what a limit has that is told of beginnings.
type counting interface {
	Began() (mark uint64)
	Ended(mark uint64, latency time.Duration, says, ok bool)
}

func judgeOf(l Limit) judge {
	j := judge{limit: l}
	if l, ok := l.(counting); ok {
		j.mark = l.Began()
	}
	return j
}

// judged tells the limits of the attempt's end, once.
func (a *attempt) judged(latency time.Duration, says, ok bool) {
	for i := range a.judges {
		a.judges[i].ended(latency, says, ok)
		a.judges[i].limit = nil
	}
}

func (j *judge) ended(latency time.Duration, says, ok bool) {
	if l, counts := j.limit.(counting); counts {
		l.Ended(j.mark, latency, says, ok)
	} else if j.limit != nil && says {
		j.limit.Done(latency, ok)
	}
}
