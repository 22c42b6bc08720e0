package ratelimit

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// clock tells the time of a set of buckets. It never goes back: it is read with
// the lock held that guards them, and what it says is remembered. Callers that
// bring a time from before the lock hand out permits of the same instant
// twice.
type clock struct {
	last time.Time
}

// nowLocked requires that the lock over the clock's buckets is held.
func (c *clock) nowLocked() time.Time {
	if now := time.Now(); now.After(c.last) {
		c.last = now
	}
	return c.last
}

// until is the time from now until lim will hold n permits; 0 if it does.
func until(lim *rate.Limiter, now time.Time, n int) time.Duration {
	return wait(float64(n)-lim.TokensAt(now), float64(lim.Limit()))
}

// maxWait is a time that may still be rounded up and added to a time.
const maxWait = math.MaxInt64 / 4

// wait is the time in which missing permits come at perSecond. AllowN overlooks
// less than a nanosecond, so rounding down is exact; rounding up would make 2 s
// of 1 s and an error in the last place.
func wait(missing, perSecond float64) time.Duration {
	if missing <= 0 {
		return 0
	}
	if ns := missing / perSecond * 1e9; ns < maxWait {
		return time.Duration(ns)
	}
	return maxWait
}

// shared is one bucket for all who have none of their own.
type shared struct {
	mu    sync.Mutex // guards what follows
	clock clock
	lim   *rate.Limiter
}
