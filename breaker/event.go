package breaker

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// EventKind tells what an [Event] is about.
type EventKind uint8

// The kinds of events.
const (
	Changed EventKind = iota + 1 // the phase changed
	Refused                      // a call was refused
)

// String returns the kind's name in logs and metrics.
func (k EventKind) String() string {
	switch k {
	case Changed:
		return "changed"
	case Refused:
		return "refused"
	}
	return "event(?)"
}

// Event is something that an operator wants to know of.
type Event struct {
	Kind EventKind
	// Name is the breaker's.
	Name string
	// From and To are the phases before and after; for a refusal both are the
	// phase that refused.
	From, To Phase
	// Reason is why the phase To began.
	Reason string
	// Forced tells whether [Breaker.Force] brought it about.
	Forced Forced
	// DryRun tells that what the event says was decided and not done.
	DryRun bool
	// Requests, Failures and Slow are the verdicts that opened the breaker, and
	// those of them that failed and that were slow; 0 if the change was not about
	// them.
	Requests, Failures, Slow int
	// Share is what part of the calls is admitted: less than 1 in a closed breaker
	// that recovers, 0 in one that is not closed.
	Share float64
	// LastCause is the cause of the last failure that counted.
	LastCause failure.Cause
	// RetryAfter is the time until trials are let through, or until everybody is
	// while the breaker recovers; 0 if it is unknown or no call is refused.
	RetryAfter time.Duration
}

// deliver hands the changes that wait to Observe. Only one goroutine at a time
// does, so that they arrive in their order; whoever finds another one at it,
// or is called by Observe itself, leaves them to that one.
func (b *Breaker) deliver(ctx context.Context) {
	for b.queued.Load() && b.deliverOne(ctx) {
	}
}

func (b *Breaker) deliverOne(ctx context.Context) bool {
	b.mu.Lock()
	if b.delivering {
		b.mu.Unlock()
		return false
	}
	if len(b.queue) == 0 {
		b.queue = nil
		b.queued.Store(false)
		b.mu.Unlock()
		return false
	}
	ev := b.queue[0]
	b.queue = b.queue[1:]
	b.delivering = true
	b.mu.Unlock()

	defer func() { // also if Observe panics
		b.mu.Lock()
		b.delivering = false
		b.mu.Unlock()
	}()
	b.cfg.Observe(ctx, ev)
	return true
}
