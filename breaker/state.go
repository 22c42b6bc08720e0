package breaker

import (
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

// MarshalText returns what String does.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// State is what a breaker is doing at one moment.
type State struct {
	Phase Phase `json:"phase"`
	// Forced tells whether [Breaker.Force] brought it about.
	Forced Forced `json:"forced"`
	// DryRun tells that it is decided and not done.
	DryRun bool `json:"dryRun,omitempty"`
	// Since is when the phase began, or was forced.
	Since time.Time `json:"since"`
	// Reason is why it did, for the operator; "" in a breaker that was never
	// open.
	Reason string `json:"reason,omitempty"`
	// Requests is the verdicts in the window, and Failures and Slow those among
	// them that failed and that were slow (where Config.SlowRatio is set); while not
	// closed, those that opened the breaker.
	Requests int `json:"requests"`
	Failures int `json:"failures"`
	Slow     int `json:"slow"`
	// FailureRatio and SlowRatio are their shares of Requests, from 0 to 1.
	FailureRatio float64 `json:"failureRatio"`
	SlowRatio    float64 `json:"slowRatio"`
	// Next is when trials are let through; zero while not open, or forced open.
	Next time.Time `json:"next,omitzero"`
	// Trials is how many trials are under way.
	Trials int `json:"trials,omitempty"`
	// Share is what part of the calls is admitted, from 0 to 1: less than 1 while
	// the breaker recovers (Config.Ramp), 0 while it is not closed.
	Share float64 `json:"share"`
	// LastCause is the cause of the last failure that counted; zero if there
	// was none or it had no cause.
	LastCause failure.Cause `json:"lastCause,omitempty"`
	// Last is that failure in words; "" if there was none.
	Last string `json:"last,omitempty"`
}

// State returns what the breaker is doing now. An open breaker whose time is
// over is shown as half-open: the next call will be a trial. It changes nothing.
func (b *Breaker) State() State { return b.show(b.stage.Load(), time.Now()) }

func (b *Breaker) show(st *stage, now time.Time) State {
	last := b.last.Load()
	s := State{
		Phase: st.phase, Forced: st.forced, DryRun: b.cfg.DryRun, Since: st.since, Reason: st.reason, Next: st.next,
		Share: st.share(now), LastCause: last.cause, Last: last.text,
	}
	t := st.tally
	switch {
	case st.window != nil:
		t = st.window.tally(now)
	case st.trials != nil:
		s.Trials, _ = st.trials.show()
	case st.forced == Automatic && now.After(st.next):
		s.Phase, s.Since, s.Next, s.Reason = HalfOpen, st.next, time.Time{}, reasonDue
	}
	s.Requests, s.Failures, s.Slow = t.calls, t.failed, t.slow
	if t.calls > 0 {
		s.FailureRatio, s.SlowRatio = float64(t.failed)/float64(t.calls), float64(t.slow)/float64(t.calls)
	}
	return s
}
