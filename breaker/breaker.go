package breaker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/holdfast-go/holdfast/failure"
)

// ErrOpen is what a refusal matches with [errors.Is], whether the breaker is
// open or half-open with all trials under way.
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
	gate  *gobreaker.TwoStepCircuitBreaker[struct{}]
	stage atomic.Pointer[stage]       // stored with gobreaker's mutex held
	last  atomic.Pointer[lastFailure] // never nil

	// tripped is what readyToTrip saw. Only gobreaker's callbacks use it, with
	// its mutex held.
	tripped gobreaker.Counts

	released atomic.Int32 // trials under way that gave their permits back

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
	b := &Breaker{cfg: cfg}
	b.stage.Store(&stage{phase: Closed, since: time.Now()})
	b.last.Store(&lastFailure{})
	// All four callbacks run with gobreaker's mutex held: they are arithmetic
	// on values and atomic stores, and nothing of a user runs in them.
	b.gate = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          cfg.Name,
		MaxRequests:   uint32(cfg.Trials), // validated: 1 to MaxInt32
		Interval:      cfg.Window,
		BucketPeriod:  cfg.Window / buckets,
		Timeout:       cfg.OpenFor,
		ReadyToTrip:   b.readyToTrip,
		OnStateChange: b.onStateChange,
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return errors.Is(err, errNeutral) },
	})
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
// call that is not done within a positive SlowCall. Who makes calls whose answers
// may stream for long uses [Breaker.AllowCall].
//
// The error of a refusal is a *[failure.Error] with the cause breaker_open that
// matches [ErrOpen]. Its RetryAfter is the time until trials are let through, 0
// while trials are under way.
func (b *Breaker) Allow() (done func(error), err error) {
	c := new(call)
	ctx := context.Background()
	if refusal := b.admit(ctx, c, b.cfg.SlowCall); refusal != nil {
		b.refused(ctx, refusal)
		return nil, refusal.err
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
	if refusal := b.admit(ctx, c, b.hung()); refusal != nil {
		b.refused(ctx, refusal)
		return nil, nil, refusal.err
	}
	answered = func() {
		c.answered.Store(true)
		if c.trial != nil {
			c.settle(ctx, verdict{outcome: succeeded})
		}
	}
	return answered, func(err error) { c.settle(ctx, b.judgeError(err)) }, nil
}

// hung is SlowCall where it is known whether a call was answered.
func (b *Breaker) hung() time.Duration {
	if b.cfg.SlowCall == 0 {
		return hungAfter
	}
	return b.cfg.SlowCall
}

// refusal is a *failure.Error and the phase that it came of.
type refusal struct {
	err   *failure.Error
	stage *stage
}

// admit lets c begin, or refuses it. slow is when it gets a verdict of its own,
// not positive for never. While the breaker is closed this is one atomic load.
//
// gobreaker files a result under the bucket in which its permit was taken, and
// forgets it when that bucket is out of the window: with a permit taken here, a
// call that takes longer than Window to fail would never count. So a closed
// breaker's permit is taken where the verdict falls, by count. A trial's is taken
// here, since it is what limits their number.
func (b *Breaker) admit(ctx context.Context, c *call, slow time.Duration) *refusal {
	c.b, c.stage = b, b.stage.Load()
	if c.stage.phase == Closed {
		if slow > 0 {
			c.timer = time.AfterFunc(slow, c.expire)
		}
		return nil
	}
	done, err := b.gate.Allow()
	st := b.stage.Load() // no older than what Allow saw
	b.deliver(ctx)       // Allow itself moves an open breaker to half-open
	if err != nil {
		return &refusal{b.openError(st), st}
	}
	// If a failed trial opened the breaker again just now, or the others closed
	// it, then gobreaker ignores this one's verdict by itself.
	c.trial = done
	limit := b.cfg.TrialTimeout
	if slow > 0 {
		limit = min(limit, slow)
	}
	c.timer = time.AfterFunc(limit, c.expire)
	if b.cfg.TrialRelease > 0 && b.cfg.TrialRelease < limit {
		c.patience = time.AfterFunc(b.cfg.TrialRelease, c.release)
	}
	return nil
}

// count files a verdict of a closed breaker's call.
//
// The stage is compared twice. Before, since a call of an earlier stage is old
// news. And after the permit was taken: if the breaker opened and half-opened in
// between, the permit is a trial's, and is given back. Where both times it was
// the same stage, the permit is of that stage, too, and if it ends before done
// is called, gobreaker drops the verdict.
func (b *Breaker) count(at *stage, verdict error) {
	if b.stage.Load() != at {
		return
	}
	done, err := b.gate.Allow()
	if err != nil {
		return
	}
	if b.stage.Load() != at {
		verdict = errNeutral
	}
	done(verdict)
}

// readyToTrip is called after every failure while closed, with gobreaker's
// mutex held. Requests is no measure: it may contain what has no verdict.
func (b *Breaker) readyToTrip(counts gobreaker.Counts) bool {
	if !trips(counts.TotalSuccesses, counts.TotalFailures, b.cfg.MinVolume, b.cfg.FailureRatio) {
		return false
	}
	b.tripped = counts
	return true
}

func trips(successes, failures uint32, minVolume int, ratio float64) bool {
	volume := int(successes) + int(failures)
	return volume >= minVolume && float64(failures)/float64(volume) >= ratio
}

const reasonDue = "trial due"

// onStateChange is called with gobreaker's mutex held.
func (b *Breaker) onStateChange(_ string, _, to gobreaker.State) {
	old, last := b.stage.Load(), b.last.Load()
	st := &stage{phase: Closed, since: time.Now()}
	ev := Event{Kind: Changed, Name: b.cfg.Name, From: old.phase, LastCause: last.cause}
	switch to {
	case gobreaker.StateClosed:
		st.reason = strconv.Itoa(b.cfg.Trials) + " of " + strconv.Itoa(b.cfg.Trials) + " trials succeeded"
	case gobreaker.StateHalfOpen:
		st.phase, st.reason, st.requests, st.failures = HalfOpen, reasonDue, old.requests, old.failures
	case gobreaker.StateOpen:
		st.phase, st.next = Open, st.since.Add(b.cfg.OpenFor)
		ev.RetryAfter = b.cfg.OpenFor
		if old.phase == HalfOpen {
			st.reason, st.requests, st.failures = "trial failed", old.requests, old.failures
		} else {
			st.failures = int(b.tripped.TotalFailures)
			st.requests = st.failures + int(b.tripped.TotalSuccesses)
			st.reason = fmt.Sprintf("%d of %d calls within %v failed (%v opens)", st.failures, st.requests, b.cfg.Window, b.cfg.FailureRatio)
			ev.Requests, ev.Failures = st.requests, st.failures
		}
	}
	ev.To, ev.Reason = st.phase, st.reason
	b.stage.Store(st)
	b.enqueue(ev)
}

// openError describes a refusal: rule, sample, next trial, last cause.
func (b *Breaker) openError(st *stage) *failure.Error {
	e := &failure.Error{Cause: failure.BreakerOpen, Err: ErrOpen}
	d := make([]byte, 0, 160)
	d = append(strconv.AppendQuote(append(d, "breaker "...), b.cfg.Name), ' ')
	if st.phase == Open {
		// Refused is refused, even if the time ran out since: not 0, which
		// would be "unknown".
		e.RetryAfter = max(time.Until(st.next), time.Millisecond)
		d = append(d, "opened at "...)
		d = st.since.UTC().AppendFormat(d, time.RFC3339)
		d = append(append(d, ": "...), st.reason...)
		d = append(append(d, "; next trial in "...), e.RetryAfter.Round(time.Millisecond).String()...)
	} else {
		d = append(d, "half-open: "...)
		d = strconv.AppendInt(d, int64(b.cfg.Trials), 10)
		d = append(d, " trials are under way"...)
	}
	if last := b.last.Load().text; last != "" {
		d = append(append(d, "; last cause "...), last...)
	}
	e.Detail = string(d)
	return e
}

// refused tells of a refusal.
func (b *Breaker) refused(ctx context.Context, r *refusal) {
	if b.cfg.Observe == nil {
		return
	}
	b.cfg.Observe(ctx, Event{
		Kind: Refused, Name: b.cfg.Name, From: r.stage.phase, To: r.stage.phase, Reason: r.stage.reason,
		Requests: r.stage.requests, Failures: r.stage.failures,
		LastCause: b.last.Load().cause, RetryAfter: r.err.RetryAfter,
	})
}
