package breaker

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Phase is what a breaker does with calls.
type Phase uint8

// The phases.
const (
	Closed   Phase = iota // calls pass and are counted
	Open                  // calls are refused
	HalfOpen              // a few trials pass, all others are refused
)

var phaseNames = [...]string{"closed", "open", "half_open"}

// String returns the phase's name in logs and metrics.
func (p Phase) String() string {
	if int(p) >= len(phaseNames) {
		return "phase(?)"
	}
	return phaseNames[p]
}

// State is what a breaker is doing at one moment.
type State struct {
	Phase Phase
	// Since is when the phase began.
	Since time.Time
	// Reason is why it did, for the operator; "" in a breaker that was never
	// open.
	Reason string
	// Requests and Failures are the verdicts in the window, and the failures
	// among them; while not closed, those that opened the breaker.
	Requests, Failures int
	// Next is when trials are let through; zero while not open.
	Next time.Time
	// LastCause is the cause of the last failure that counted; zero if there
	// was none or it had no cause.
	LastCause failure.Cause
}

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
	// Requests and Failures are the verdicts that opened the breaker; 0 if the
	// change was not about them.
	Requests, Failures int
	// LastCause is the cause of the last failure that counted.
	LastCause failure.Cause
	// RetryAfter is the time until trials are let through; 0 if it is unknown
	// or no call is refused.
	RetryAfter time.Duration
}

// stage is one stretch of time in one phase. It is immutable, and its address
// identifies it: a call that began in another stage has nothing to say about
// this one.
type stage struct {
	phase              Phase
	since              time.Time
	next               time.Time // while open
	reason             string
	requests, failures int
}

// State returns what the breaker is doing now. An open breaker whose time is
// over is shown as half-open: the next call will be a trial.
func (b *Breaker) State() State {
	st := b.stage.Load()
	if st.phase == Closed {
		// Counts alone would show verdicts that the window has left behind:
		// it is State that rolls it.
		b.gate.State()
		counts := b.gate.Counts()
		b.deliver(context.Background())
		if b.stage.Load() == st {
			s := b.show(st)
			s.Requests, s.Failures = int(counts.TotalSuccesses+counts.TotalFailures), int(counts.TotalFailures)
			return s
		}
		st = b.stage.Load()
	}
	s := b.show(st)
	if s.Phase == Open && time.Now().After(s.Next) {
		s.Phase, s.Since, s.Next, s.Reason = HalfOpen, s.Next, time.Time{}, reasonDue
	}
	return s
}

func (b *Breaker) show(st *stage) State {
	return State{
		Phase: st.phase, Since: st.since, Reason: st.reason, Requests: st.requests, Failures: st.failures,
		Next: st.next, LastCause: b.last.Load().cause,
	}
}

// enqueue keeps a change until no lock is held. It is called with gobreaker's
// mutex held.
func (b *Breaker) enqueue(ev Event) {
	if b.cfg.Observe == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, ev)
	b.queued.Store(true)
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
