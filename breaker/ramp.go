package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// The floor of a ramp: so many calls at once (a page with its parts), and so many
// more each second, are no burden to anything that answers visitors at all.
const (
	floorBurst = 20
	floorRate  = 10 // per second
)

// ramp is a recovery that goes on.
type ramp struct {
	start  time.Time
	length time.Duration

	over atomic.Bool // what is left to those who come when it is
	mu   sync.Mutex  // guards quota
	quota
}

// newRamp returns nil if there is none.
func newRamp(now time.Time, length time.Duration) *ramp {
	if length <= 0 {
		return nil
	}
	return &ramp{start: now, length: length}
}

// share is what part of the calls is admitted at now: from 0 to 1.
func (r *ramp) share(now time.Time) float64 {
	if r == nil || r.over.Load() {
		return 1
	}
	return min(1, max(0, float64(now.Sub(r.start))/float64(r.length)))
}

// left is the time until all are admitted.
func (r *ramp) left(now time.Time) time.Duration { return r.length - now.Sub(r.start) }

// admits decides of one call. peek decides without taking a place.
func (r *ramp) admits(now time.Time, peek bool) bool {
	if r == nil || r.over.Load() {
		return true
	}
	share := r.share(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	if share >= 1 {
		if !peek {
			r.over.Store(true)
		}
		return true
	}
	next, ok := r.next(share, floorBurst+floorRate*now.Sub(r.start).Seconds())
	if !peek {
		r.quota = next
	}
	return ok
}

// back returns the place of a call that was not made.
func (r *ramp) back() {
	if r == nil || r.over.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted--
	r.owed++
}

// quota spreads a share evenly over calls. owed is how many calls short of the
// share it is; what is admitted for the floor's sake is paid back.
type quota struct {
	owed     float64
	admitted int
}

// next is q after another call, and whether that is admitted: if it is owed, or
// if fewer than floor were admitted.
func (q quota) next(share, floor float64) (quota, bool) {
	q.owed += share
	if q.owed < 1 && float64(q.admitted+1) > floor {
		return q, false
	}
	q.owed--
	q.admitted++
	return q, true
}

// percent is a share for people. Only all of it is 100.
func percent(share float64) int { return int(100*share + 1e-9) }
