package breaker

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	buckets = 10

	defaultName         = "breaker"
	defaultWindow       = 10 * time.Second
	defaultMinVolume    = 20
	defaultRatio        = 0.5
	defaultOpenFor      = 5 * time.Second
	defaultTrials       = 3
	defaultTrialTimeout = 20 * time.Second
	defaultJitter       = 0.2
	defaultRun          = 5
	minOpenMax          = 60 * time.Second
	openGrowth          = 10 // times OpenFor
	maxRamp             = 10 * time.Second

	// hungAfter is the SlowCall of those who set none.
	hungAfter = 60 * time.Second

	maxSilence = 30 * time.Second

	// slowPages is how long a backend that was once found to be slow, and not silent,
	// is taken for one.
	slowPages = 24 * time.Hour

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
	c.TrialsNeeded = count(c.TrialsNeeded, c.Trials, "TrialsNeeded", bad)
	switch {
	case c.FailureRatio == 0:
		c.FailureRatio = defaultRatio
	case !(c.FailureRatio > 0 && c.FailureRatio <= 1): // NaN is neither
		bad("FailureRatio", c.FailureRatio, fmt.Sprintf("above 0 and at most 1, or 0 for %v", defaultRatio))
	}
	c.OpenFor = positive(c.OpenFor, defaultOpenFor, "OpenFor", bad)
	switch {
	case c.OpenMax == 0:
		c.OpenMax = minOpenMax
		if c.OpenFor > minOpenMax/openGrowth {
			c.OpenMax = times(c.OpenFor, openGrowth)
		}
	case c.OpenMax < c.OpenFor:
		bad("OpenMax", c.OpenMax, fmt.Sprintf("at least OpenFor (%v), or 0 for %d times that and at least %v", c.OpenFor, openGrowth, minOpenMax))
	}
	switch {
	case c.Jitter == 0:
		c.Jitter = defaultJitter
	case c.Jitter < 0:
		c.Jitter = 0
	case !(c.Jitter < 1): // NaN is not
		bad("Jitter", c.Jitter, fmt.Sprintf("below 1, 0 for %v, or negative for none", defaultJitter))
	}
	if c.Ramp == 0 {
		c.Ramp = min(c.OpenFor, maxRamp)
	}
	c.TrialTimeout = positive(c.TrialTimeout, defaultTrialTimeout, "TrialTimeout", bad)
	if c.TrialRelease < 0 {
		bad("TrialRelease", c.TrialRelease, "positive, or 0 for never")
	}
	if c.SlowCall > 0 && c.SlowCall >= c.Window-c.SlowCall {
		bad("SlowCall", c.SlowCall, fmt.Sprintf("shorter than half of Window (%v), 0 for hung calls only, or negative for never", c.Window))
	}
	switch {
	case c.Silence == 0:
	case c.Silence < time.Millisecond || c.Silence > maxSilence:
		bad("Silence", c.Silence, fmt.Sprintf("from %v to %v, or 0 for none", time.Millisecond, maxSilence))
	case c.SlowCall != 0:
		bad("Silence", c.Silence, "0 where SlowCall is set: that decides")
	}
	switch {
	case c.SlowRatio == 0:
	case !(c.SlowRatio > 0 && c.SlowRatio <= 1):
		bad("SlowRatio", c.SlowRatio, "above 0 and at most 1, or 0 for none")
	case c.SlowCall <= 0:
		bad("SlowRatio", c.SlowRatio, "0, or SlowCall must be set: it says what is slow")
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

// times is d*n, or the longest time there is.
func times(d time.Duration, n int64) time.Duration {
	if d > time.Duration(math.MaxInt64/n) {
		return math.MaxInt64
	}
	return d * time.Duration(n)
}
