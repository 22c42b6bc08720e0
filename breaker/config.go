package breaker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Config configures a [Breaker]. The zero Config works.
type Config struct {
	// Name identifies the breaker in errors and events. "" is "breaker".
	Name string

	// Window is the time over which verdicts are counted. It rolls in ten
	// buckets, so that a verdict counts for at least nine tenths of it. 0 is
	// 10 s; otherwise from 10 ms to 24 h.
	Window time.Duration

	// MinVolume is how many verdicts (successes and failures; not calls in
	// flight, nothing neutral) must have fallen in the window before the ratio
	// counts. 0 is 20; negative is an error.
	MinVolume int

	// FailureRatio is the share of failures among those verdicts at which the
	// breaker opens. 0 is 0.5; otherwise above 0 and at most 1.
	FailureRatio float64

	// OpenFor is how long calls are refused before trials are let through. 0 is
	// 5 s; negative is an error.
	OpenFor time.Duration

	// Trials is how many calls are let through while half-open, at most so many
	// at once, and how many of them must succeed without a failure among them
	// to close the breaker. 0 is 3; negative is an error.
	Trials int

	// SlowCall is the time at which a call that goes on gets its verdict: a
	// failure if it was not answered yet, a success if it was. Its own course
	// is not disturbed. Set it to what is broken rather than slow: a backend
	// whose every page takes longer is cut off.
	//
	// A positive SlowCall must be shorter than half of Window, so that the slow
	// calls that are counted are of the same time as the quick ones beside
	// them. With [Breaker.Allow], where nobody tells of the answer, it is the
	// time until done is called; not so with [Breaker.AllowCall].
	//
	// 0 judges nothing for being slow, only for being hung: it is 60 s, longer
	// than working backends take to begin an answer, and does not apply to
	// Allow. (Holdfast's own backend fails a call without a first byte sooner,
	// and that counts as a failure anyway.) Negative is never.
	SlowCall time.Duration

	// TrialTimeout is the time after which a trial without a verdict counts as
	// failed, so that a lost one can't keep the breaker half-open for good. It
	// should exceed the time that the backend is given for an answer. 0 is
	// 20 s; negative is an error.
	TrialTimeout time.Duration

	// TrialRelease is how long a trial without an answer keeps another one from
	// being tried in its place. Its own verdict counts whenever it comes while the
	// phase lasts, so a backend that is merely slow closes the breaker, and one
	// that is well again need not wait until the calls that hung have timed out. At
	// most 32 trials are released at a time. 0 = as long as they go on; negative is
	// an error.
	TrialRelease time.Duration

	// IsFailure decides what is a failure, in place of the table of causes. It
	// is asked with the failure that was reported during the call, nil if there
	// was none, and the status, 0 if there is none. (An error that is none of
	// ours, given to a done func of Allow, comes wrapped in one without a
	// cause.) What it does not call a failure is a success, unless the table
	// calls the reported failure neutral. It is not asked about clients that
	// left, aborted handlers, unused permits, slow calls and panics. It runs on
	// the goroutine of the call, under no lock.
	IsFailure func(*failure.Error, int) bool

	// ErrorHandler answers the requests that Handler refuses. nil is
	// [failure.WriteError].
	ErrorHandler failure.ErrorHandler

	// Observe is told of every change of phase and every refusal; nil is
	// nobody. It runs on the goroutine of a call or of its timer, under no
	// lock, one change after the other in their order, and may call the
	// Breaker. The context is that of the request that brought it about where
	// Handler knows it.
	Observe func(context.Context, Event)
}

const (
	buckets = 10

	defaultName         = "breaker"
	defaultWindow       = 10 * time.Second
	defaultMinVolume    = 20
	defaultRatio        = 0.5
	defaultOpenFor      = 5 * time.Second
	defaultTrials       = 3
	defaultTrialTimeout = 20 * time.Second

	// hungAfter is the SlowCall of those who set none.
	hungAfter = 60 * time.Second

	// maxReleased bounds what a backend that hangs is asked beside its trials.
	maxReleased = 32

	minWindow = buckets * time.Millisecond
	maxWindow = 24 * time.Hour
)

// normalize fills in the defaults and validates everything.
func (c Config) normalize() (Config, error) {
	var errs []error
	bad := func(field string, value any, must string) {
		errs = append(errs, fmt.Errorf("breaker: Config.%s is %v: must be %s", field, value, must))
	}
	if c.Name == "" {
		c.Name = defaultName
	}
	switch {
	case c.Window == 0:
		c.Window = defaultWindow
	case c.Window < minWindow || c.Window > maxWindow:
		bad("Window", c.Window, fmt.Sprintf("from %v to %v, or 0 for %v", minWindow, maxWindow, defaultWindow))
	}
	c.MinVolume = count(c.MinVolume, defaultMinVolume, "MinVolume", bad)
	c.Trials = count(c.Trials, defaultTrials, "Trials", bad)
	switch {
	case c.FailureRatio == 0:
		c.FailureRatio = defaultRatio
	case !(c.FailureRatio > 0 && c.FailureRatio <= 1): // NaN is neither
		bad("FailureRatio", c.FailureRatio, fmt.Sprintf("above 0 and at most 1, or 0 for %v", defaultRatio))
	}
	c.OpenFor = positive(c.OpenFor, defaultOpenFor, "OpenFor", bad)
	c.TrialTimeout = positive(c.TrialTimeout, defaultTrialTimeout, "TrialTimeout", bad)
	if c.TrialRelease < 0 {
		bad("TrialRelease", c.TrialRelease, "positive, or 0 for never")
	}
	if c.SlowCall > 0 && c.SlowCall >= c.Window-c.SlowCall {
		bad("SlowCall", c.SlowCall, fmt.Sprintf("shorter than half of Window (%v), 0 for hung calls only, or negative for never", c.Window))
	}
	return c, errors.Join(errs...)
}

func count(n, byDefault int, field string, bad func(string, any, string)) int {
	if n == 0 {
		return byDefault
	}
	if n < 0 || n > math.MaxInt32 {
		bad(field, n, fmt.Sprintf("from 1 to %d, or 0 for %d", math.MaxInt32, byDefault))
	}
	return n
}

func positive(d, byDefault time.Duration, field string, bad func(string, any, string)) time.Duration {
	if d == 0 {
		return byDefault
	}
	if d < 0 {
		bad(field, d, fmt.Sprintf("positive, or 0 for %v", byDefault))
	}
	return d
}
