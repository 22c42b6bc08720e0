package breaker

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// ErrOpen is what a refusal matches with [errors.Is], whether the breaker is
// open, half-open with all trials under way, or recovering.
var ErrOpen = errors.New("breaker: open")

// errNeutral is the verdict that counts neither way, errFailed the failure, nil
// the success, as gobreaker is told them.
var (
	errNeutral = errors.New("breaker: neutral")
	errFailed  = errors.New("breaker: failed")
)

// Breaker is a circuit breaker. It is made by [New], safe for concurrent use,
// and needs no end: its timers end with the calls that they watch.
type Breaker struct {
	cfg   Config
	rules rules
	stage atomic.Pointer[stage]       // stored with mu held
	last  atomic.Pointer[lastFailure] // never nil

	silence  silence      // of Config.Silence
	released atomic.Int32 // trials under way that gave their places back

	queued     atomic.Bool // whether queue may be non-empty; spares deliver the lock
	mu         sync.Mutex  // guards what follows; taken under gobreaker's mutex, never the other way round
	queue      []Event
	delivering bool
}

// lastFailure is what the last failure that counted was.
type lastFailure struct {
	cause failure.Cause
	text  string
}

// New returns a closed Breaker. Its error joins everything that is wrong with
// cfg.
func New(cfg Config) (*Breaker, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	b := &Breaker{cfg: cfg, rules: cfg.rules()}
	now := time.Now()
	b.silence.base = now
	b.stage.Store(&stage{phase: Closed, since: now, gate: b.newGate(), window: newWindow(now, cfg.Window)})
	b.last.Store(&lastFailure{})
	return b, nil
}

// Allow asks whether a call may be made. If it may, done is called with its
// result: nil for a success, [failure.ErrUnused] if the call was not made after
// all, otherwise what went wrong. A [failure.Error] in the chain is judged by
// the table of causes; of other errors, [context.Canceled] and
// http.ErrAbortHandler are neutral and all others failures. Only the first call
// of done counts. It may come from any goroutine, at any time.
//
// A trial that is not done within TrialTimeout has failed by then, and so has any
// call that is not done within a positive SlowCall (with a SlowRatio it is slow).
// Who makes calls whose answers may stream for long uses [Breaker.AllowCall].
//
// The error of a refusal is a *[failure.Error] with the cause breaker_open that
// matches [ErrOpen]. Its RetryAfter is the time until trials are let through, or
// until everybody is while the breaker recovers; 0, for unknown, while trials are
// under way and while it is forced open.
func (b *Breaker) Allow() (done func(error), err error) {
	c := new(call)
	ctx := context.Background()
	if e := b.admit(ctx, c, b.cfg.SlowCall); e != nil {
		return nil, e
	}
	return func(err error) { c.settle(ctx, b.judgeError(err)) }, nil
}

// AllowCall is Allow for calls whose answers may be long. answered is called when
// the final header section came, unless that is a failure, for which done is
// called at once. From then on the call is not hung: while half-open it has
// succeeded, otherwise it succeeds at SlowCall or when it is done, if it does not
// fail before. Not calling answered makes no difference to done.
func (b *Breaker) AllowCall() (answered func(), done func(error), err error) {
	c := new(call)
	ctx := context.Background()
	if e := b.admit(ctx, c, b.hung()); e != nil {
		return nil, nil, e
	}
	answered = func() {
		c.answered.Store(true)
		c.heard()
		if c.trial != nil {
			c.settle(ctx, verdict{outcome: succeeded})
		}
	}
	return answered, func(err error) { c.settle(ctx, b.judgeError(err)) }, nil
}

// hung is SlowCall where it is known whether a call was answered.
func (b *Breaker) hung() time.Duration {
	switch {
	case b.cfg.Silence > 0:
		return b.cfg.Silence
	case b.cfg.SlowCall == 0:
		return hungAfter
	}
	return b.cfg.SlowCall
}

// admit lets c begin, or refuses it. slow is when it gets a verdict of its own,
// not positive for never. While the breaker is closed this is one atomic load (two
// in one that recovered).
func (b *Breaker) admit(ctx context.Context, c *call, slow time.Duration) *failure.Error {
	st := b.stage.Load()
	c.b, c.stage = b, st
	if st.phase == Closed && (st.ramp == nil || st.ramp.over.Load()) {
		if slow > 0 {
			b.watch(c, slow)
		}
		return nil
	}
	e := b.admitSome(ctx, c, slow)
	if e != nil && b.cfg.DryRun {
		c.stage = nil // what would have been refused is not counted
		return nil
	}
	return e
}

// admitSome is admit where not everybody is let through. Each turn of its loop
// follows a change of the phase, or another one's moment between taking a permit
// and giving it back.
func (b *Breaker) admitSome(ctx context.Context, c *call, slow time.Duration) *failure.Error {
	for st := c.stage; ; st = b.stage.Load() {
		now := time.Now()
		c.stage = st
		switch d := st.decide(now, false); {
		case d == refuse:
			return b.refuse(ctx, st, now)
		case d == pass:
			if slow > 0 {
				b.watch(c, slow)
			}
			return nil
		case st.phase == Open:
			// The trials' time has come: it is gobreaker's Allow that moves it on.
			if done, err := st.gate.Allow(); err == nil {
				done(errNeutral)
			}
			b.deliver(ctx)
			if b.stage.Load() == st { // its clock is a moment behind
				return b.refuse(ctx, st, now)
			}
		default:
			done, err := st.gate.Allow()
			if err == nil {
				done(errNeutral)
			}
			// If the stage is what it was before Allow, then the permit is of that
			// stage; else it may be of any, and is nobody's.
			if err != nil || b.stage.Load() != st {
				st.trials.end(true, false)
				continue
			}
			c.trial = done
			b.watchTrial(c, slow)
			return nil
		}
	}
}

// watch limits the time of a call of a closed breaker.
func (b *Breaker) watch(c *call, slow time.Duration) {
	if b.cfg.Silence > 0 {
		c.timer = time.AfterFunc(slow, c.silent)
		return
	}
	c.timer = time.AfterFunc(slow, c.expire)
}

// watchTrial limits the time of a trial.
func (b *Breaker) watchTrial(c *call, slow time.Duration) {
	limit := b.cfg.TrialTimeout
	if slow > 0 && b.cfg.Silence > 0 {
		slow = hungAfter // who is slow is not silent
	}
	if slow > 0 {
		limit = min(limit, slow)
	}
	c.timer = time.AfterFunc(limit, c.expire)
	if b.cfg.TrialRelease > 0 && b.cfg.TrialRelease < limit {
		c.later.Store(time.AfterFunc(b.cfg.TrialRelease, c.release))
	}
}

// refuse tells of a refusal.
func (b *Breaker) refuse(ctx context.Context, st *stage, now time.Time) *failure.Error {
	e := b.openError(st, now)
	if b.cfg.Observe != nil {
		b.cfg.Observe(ctx, Event{
			Kind: Refused, Name: b.cfg.Name, From: st.phase, To: st.phase, Reason: st.reason, DryRun: b.cfg.DryRun,
			Requests: st.calls, Failures: st.failed, Slow: st.slow,
			LastCause: b.last.Load().cause, RetryAfter: e.RetryAfter, Forced: st.forced, Share: st.share(now),
		})
	}
	return e
}

// openError describes a refusal: rule, sample, next trial, last cause.
func (b *Breaker) openError(st *stage, now time.Time) *failure.Error {
	e := &failure.Error{Cause: failure.BreakerOpen, Err: ErrOpen}
	d := make([]byte, 0, 160)
	d = append(strconv.AppendQuote(append(d, "breaker "...), b.cfg.Name), ' ')
	switch {
	case st.forced == ForcedOpen:
		d = st.since.UTC().AppendFormat(append(d, "forced open at "...), time.RFC3339)
	case st.phase == Open:
		// Refused is refused, even if the time ran out since: not 0, which
		// would be "unknown".
		e.RetryAfter = max(st.next.Sub(now), time.Millisecond)
		d = append(d, "opened at "...)
		d = st.since.UTC().AppendFormat(d, time.RFC3339)
		d = append(append(d, ": "...), st.reason...)
		d = append(append(d, "; next trial in "...), e.RetryAfter.Round(time.Millisecond).String()...)
	case st.phase == HalfOpen:
		underWay, _ := st.trials.show()
		d = append(d, "half-open: "...)
		d = strconv.AppendInt(d, int64(underWay), 10)
		d = append(d, " trials are under way"...)
	default:
		e.RetryAfter = max(st.ramp.left(now), time.Millisecond)
		d = append(d, "recovering: "...)
		d = strconv.AppendInt(d, int64(percent(st.ramp.share(now))), 10)
		d = append(append(d, " % admitted, all in "...), e.RetryAfter.Round(time.Millisecond).String()...)
	}
	if last := b.last.Load().text; last != "" {
		d = append(append(d, "; last cause "...), last...)
	}
	e.Detail = string(d)
	return e
}
