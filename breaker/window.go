package breaker

import (
	"fmt"
	"sync"
	"time"
)

// gobreaker counts two kinds of verdicts, tells of them only when one is a
// failure, and files them under the time in which their permits were taken. So
// it keeps phases and trials, and the verdicts of a closed breaker are counted
// here.

// kind is how a call is counted.
type kind uint8

const (
	good       kind = iota
	bad             // a failure that came as an answer
	silent          // a failure without an answer
	unreached       // a failure to reach the backend at all
	stalled         // a call that goes on without an answer, and has failed
	slow            // not over yet
	slowGood        // what was counted as slow ended well
	slowBad         // it ended in a failure that came as an answer
	slowSilent      // or in one that was none
	waiting         // nothing was heard for Config.Silence, and it is no verdict yet
)

// tally is the verdicts of some time.
type tally struct{ calls, failed, slow int }

func (t *tally) add(o tally, sign int) {
	t.calls += sign * o.calls
	t.failed += sign * o.failed
	t.slow += sign * o.slow
}

// run is failures in a row.
type run struct {
	n     int
	since time.Time
}

func (r *run) more(now time.Time) {
	if r.n == 0 {
		r.since = now
	}
	r.n++
}

// limit is a run that opens: n failures, spread over at least over; n = 0 is none.
type limit struct {
	n    int
	over time.Duration
}

func (l limit) reached(r run, now time.Time) bool {
	return l.n > 0 && r.n >= l.n && now.Sub(r.since) >= l.over
}

// rules is what opens a breaker.
type rules struct {
	window       time.Duration
	volume       int
	failureRatio float64
	slowRatio    float64 // 0 = none
	slowCall     time.Duration
	run, local   limit
	silentOnly   bool // answers end the run, whatever they say
}

// rampVolume is the volume at which ratios count while the breaker recovers.
const rampVolume = 5

func (c Config) rules() rules {
	r := rules{
		window: c.Window, volume: c.MinVolume, failureRatio: c.FailureRatio, slowRatio: c.SlowRatio, slowCall: c.SlowCall,
		run: limit{n: max(c.Consecutive, 0)}, local: limit{n: max(c.LocalConsecutive, 0)},
	}
	switch {
	case c.Silence > 0:
		r.slowCall = c.Silence
	case c.SlowCall == 0:
		r.slowCall = hungAfter
	}
	if c.Consecutive == 0 {
		r.run, r.silentOnly = limit{defaultRun, c.Window}, true
	}
	if c.LocalConsecutive == 0 {
		r.local = limit{defaultRun, c.OpenFor}
	}
	return r
}

// window is the verdicts of one stretch of time in which the breaker is closed.
// They roll in buckets; the runs don't.
type window struct {
	start  time.Time
	bucket time.Duration

	mu      sync.Mutex // guards what follows
	age     int64      // of the newest bucket
	buckets [buckets]tally
	sum     tally
	runs    runs
}

// heard is told of an answer that is no verdict yet.
func (w *window) heard(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs.stalls.n > 0 && w.runs.stalls.since.Before(at) {
		w.runs.stalls = run{}
	}
}

// runs is what came in a row.
type runs struct {
	fails  run // failures without a success between them
	locals run // failures to reach the backend
	stalls run // calls without an answer in time, with no answered one between them
}

func newWindow(now time.Time, length time.Duration) *window {
	// Rounded up: a verdict counts for at least nine tenths of the length.
	return &window{start: now, bucket: (length + buckets - 1) / buckets}
}

// rollLocked forgets what is too old. Time that goes back changes nothing.
func (w *window) rollLocked(now time.Time) {
	age := int64(now.Sub(w.start) / w.bucket)
	if age-w.age >= buckets {
		w.buckets, w.sum, w.age = [buckets]tally{}, tally{}, age
		return
	}
	for w.age < age {
		w.age++
		old := &w.buckets[w.age%buckets]
		w.sum.add(*old, -1)
		*old = tally{}
	}
}

// tally returns the verdicts of now.
func (w *window) tally(now time.Time) tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rollLocked(now)
	return w.shownLocked()
}

// shownLocked is the sum in which failures are never more than calls, which they
// could be where calls that failed after they were slow were counted a while ago.
func (w *window) shownLocked() tally {
	t := w.sum
	t.calls = max(t.calls, t.failed)
	return t
}

// trip is why a breaker opens.
type trip struct {
	tally
	rule       rule
	run        run // of a rule about runs
	at         time.Time
	recovering bool
}

// rule is one of rules.
type rule uint8

const (
	tooManyFailed rule = iota
	tooManySlow
	runFailed
	runUnreached
	runStalled
)

// add counts a verdict, and tells whether the breaker must open.
func (w *window) add(k kind, now time.Time, r *rules, recovering bool) *trip {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rollLocked(now)
	at := &w.buckets[w.age%buckets]
	one := tally{}
	switch k {
	case good:
		one.calls = 1
	case slow:
		one = tally{calls: 1, slow: 1}
	case bad, silent, unreached, stalled:
		one = tally{calls: 1, failed: 1}
	case slowBad, slowSilent:
		one.failed = 1
	case slowGood, waiting:
	}
	at.add(one, 1)
	w.sum.add(one, 1)
	w.runs.add(k, now, r.silentOnly)
	if k == good || k == slowGood {
		return nil
	}
	return r.tripped(w.shownLocked(), &w.runs, now, recovering)
}

func (r *runs) add(k kind, now time.Time, silentOnly bool) {
	switch k {
	case good, slowGood:
		*r = runs{}
	case bad, slowBad:
		r.locals, r.stalls = run{}, run{}
		if silentOnly {
			r.fails = run{}
		} else {
			r.fails.more(now)
		}
	case silent, slowSilent:
		r.locals = run{}
		r.fails.more(now)
	case unreached:
		r.fails.more(now)
		r.locals.more(now)
	case stalled:
		r.fails.more(now)
		r.stalls.more(now)
	case slow, waiting: // how it ends is not known
		r.stalls.more(now)
	}
}

// tripped decides by what is counted. It returns nil to stay closed.
func (r *rules) tripped(t tally, rs *runs, now time.Time, recovering bool) *trip {
	volume := r.volume
	if recovering {
		volume = min(volume, rampVolume)
	}
	enough := t.calls > 0 && t.calls >= volume
	why := trip{tally: t, at: now, recovering: recovering}
	switch n := float64(t.calls); {
	case enough && float64(t.failed)/n >= r.failureRatio:
		why.rule = tooManyFailed
	case enough && r.slowRatio > 0 && float64(t.slow)/n >= r.slowRatio:
		why.rule = tooManySlow
	case rs.stalls.n >= volume:
		why.rule, why.run = runStalled, rs.stalls
	case r.local.reached(rs.locals, now):
		why.rule, why.run = runUnreached, rs.locals
	case r.run.reached(rs.fails, now):
		why.rule, why.run = runFailed, rs.fails
	default:
		return nil
	}
	return &why
}

// reason is t for the operator.
func (r *rules) reason(t *trip) string {
	while := ""
	if t.recovering {
		while = ", while recovering"
	}
	switch t.rule {
	case tooManyFailed:
		return fmt.Sprintf("%d of %d calls within %v failed (%v opens%s)", t.failed, t.calls, r.window, r.failureRatio, while)
	case tooManySlow:
		return fmt.Sprintf("%d of %d calls within %v had no answer in %v (%v opens%s)", t.slow, t.calls, r.window, r.slowCall, r.slowRatio, while)
	case runStalled:
		return fmt.Sprintf("%d calls in a row had no answer in %v%s", t.run.n, r.slowCall, while)
	case runUnreached:
		return fmt.Sprintf("not reached %d times in a row%s", t.run.n, r.local.describe(t))
	default:
		return fmt.Sprintf("%d failures in a row%s", t.run.n, r.run.describe(t))
	}
}

func (l limit) describe(t *trip) string {
	if l.over == 0 {
		return fmt.Sprintf(" (%d opens)", l.n)
	}
	return fmt.Sprintf(" over %v (%d over %v open)", t.at.Sub(t.run.since).Round(time.Millisecond), l.n, l.over)
}
