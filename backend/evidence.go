package backend

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// outcome is how an attempt at an endpoint ended.
type outcome struct {
	failure *failure.Error // nil: answered whole, and not by an error
	began   time.Time
	headers time.Time // when the final header section was there; zero: it was not seen
	ended   time.Time
	// uploaded is the time in which the request's body was under way.
	uploaded time.Duration
	hurried  bool // the caller gave it less time than the configuration
}

// verdict is what the endpoint's judges make of it.
func (o *outcome) verdict() failure.Verdict {
	if o.failure == nil {
		return failure.Neutral
	}
	return o.failure.Verdict()
}

// erred tells that the endpoint did answer, but with an error.
func (o *outcome) erred() bool {
	return o.failure != nil && o.failure.Cause == failure.Upstream5xx
}

// stalled tells that the endpoint let a whole time limit pass. Of the limit over
// all attempts it must have had the greater part, and a caller's own says
// nothing.
func (o *outcome) stalled() bool {
	if o.failure == nil {
		return false
	}
	switch o.failure.Cause {
	case failure.ConnectTimeout, failure.TLSTimeout, failure.WriteTimeout, failure.FirstByteTimeout, failure.HeaderStall, failure.BodyStall:
		return true
	case failure.TotalDeadline:
		t, ok := errors.AsType[*timeoutError](o.failure.Err)
		return ok && (t.body || !o.hurried && o.ended.Sub(o.began)-o.uploaded > t.limit/2)
	default:
		return false
	}
}

// evidence is what live traffic tells of an endpoint. It is safe for concurrent
// use and takes no lock. Times are in ns since the backend's start, and never 0;
// see [Backend.clock].
//
// What says nothing about the endpoint (a client that left, a limit of this
// process) is counted as an attempt, and otherwise changes nothing.
type evidence struct {
	good, bad  atomic.Int64 // when an attempt last succeeded, last failed; 0: never
	unanswered atomic.Bool  // of the failures since the last success one was no answer
	errors     atomic.Int32 // answers that were errors since the last success
	trialled   atomic.Int64 // when the last trial was let through
	hurried    atomic.Int64 // when an attempt was last made that had hardly enough time

	attempts, failures atomic.Uint64
	causes             [numCauses]atomic.Uint64
	recent             [windowSeconds]atomic.Uint64 // second << 40 | good << 20 | bad
}

const (
	windowSeconds = 10
	countBits     = 20
	countMask     = 1<<countBits - 1
	secondMask    = 1<<(64-2*countBits) - 1
	// numCauses bounds the table of causes.
	numCauses = int(failure.Draining) + 1
	// manyErrors is how many answers in a row have to be errors until they say
	// as much as no answer.
	manyErrors = 5
	// trialEvery is how often an endpoint that is thought to be dead is tried.
	trialEvery = time.Second
)

// clock is t as evidence has it.
func (b *Backend) clock(t time.Time) int64 { return max(1, int64(t.Sub(b.began))) }

// answered is a final header section that is no failure.
func (v *evidence) answered(now int64) {
	v.good.Store(now)
	if v.unanswered.Load() {
		v.unanswered.Store(false)
	}
	if v.errors.Load() != 0 {
		v.errors.Store(0)
	}
}

// settled is the end of an attempt.
func (v *evidence) settled(o *outcome, now int64) {
	v.attempts.Add(1)
	if o.failure == nil {
		if o.headers.IsZero() {
			v.answered(now)
		}
		v.count(now, 1<<countBits)
		return
	}
	v.causes[min(int(o.failure.Cause), numCauses-1)].Add(1)
	v.failures.Add(1)
	if o.verdict() == failure.Neutral {
		return
	}
	v.count(now, 1)
	if o.erred() {
		v.errors.Add(1)
	} else {
		v.unanswered.Store(true)
	}
	v.bad.Store(now)
}

// confirmsDown tells whether live traffic agrees that the endpoint is down: its
// last attempt failed later than its last success. Answers that are errors
// confirm it only when there were many in a row: they are as good to the visitor
// as an error of ours.
func (v *evidence) confirmsDown() bool {
	bad := v.bad.Load()
	return bad != 0 && bad > v.good.Load() && (v.unanswered.Load() || v.errors.Load() >= manyErrors)
}

// due tells whether a trial would be permitted.
func (v *evidence) due(now int64) bool {
	last := v.trialled.Load()
	return last == 0 || now-last >= int64(trialEvery)
}

// trial permits one attempt per second at an endpoint that is thought to be
// dead.
func (v *evidence) trial(now int64) bool {
	last := v.trialled.Load()
	return (last == 0 || now-last >= int64(trialEvery)) && v.trialled.CompareAndSwap(last, now)
}

// count adds to the bucket of this second. A bucket that is full stays so.
func (v *evidence) count(now int64, one uint64) {
	second := uint64(now/int64(time.Second)) & secondMask
	bucket := &v.recent[second%windowSeconds]
	for {
		old := bucket.Load()
		next := old
		if old>>(2*countBits) != second {
			next = second << (2 * countBits)
		}
		if one == 1 && next&countMask == countMask || one != 1 && next>>countBits&countMask == countMask {
			return
		}
		if bucket.CompareAndSwap(old, next+one) {
			return
		}
	}
}

// tally counts attempts that say something about an endpoint.
type tally struct{ good, bad int }

func (t tally) volume() int { return t.good + t.bad }

// failing is the share of failures; 0 without volume.
func (t tally) failing() float64 {
	if t.volume() == 0 {
		return 0
	}
	return float64(t.bad) / float64(t.volume())
}

// window is what was counted in the last seconds, at most ten.
func (v *evidence) window(now int64, seconds int) tally {
	second := uint64(now/int64(time.Second)) & secondMask
	var t tally
	for i := range v.recent {
		word := v.recent[i].Load()
		if age := (second - word>>(2*countBits)) & secondMask; age < uint64(seconds) {
			t.good += int(word >> countBits & countMask)
			t.bad += int(word & countMask)
		}
	}
	return t
}

// forget empties the window.
func (v *evidence) forget() {
	for i := range v.recent {
		v.recent[i].Store(0)
	}
}
