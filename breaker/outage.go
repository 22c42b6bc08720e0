package breaker

import (
	"math"
	"time"
)

// openTime is how long to stay open, lasted after the outage began. random is
// from 0 to 1.
func (c *Config) openTime(lasted time.Duration, random float64) time.Duration {
	base := min(max(c.OpenFor, lasted/openGrowth), c.OpenMax)
	off := time.Duration(float64(base) * c.Jitter * (2*random - 1))
	if off > math.MaxInt64-base {
		return math.MaxInt64
	}
	return max(1, base+off)
}

// shortestOpen is the least that openTime returns.
func (c *Config) shortestOpen() time.Duration { return c.openTime(0, 0) }

// outageSince is when the outage began that a breaker opens for at now, after
// the stage old. One that was closed for long enough has overcome the last one.
func (c *Config) outageSince(old *stage, now time.Time) time.Time {
	if old.outage.IsZero() {
		return now
	}
	if old.phase == Closed && now.Sub(old.since) >= max(c.Window, c.Ramp, old.openFor) {
		return now
	}
	return old.outage
}
