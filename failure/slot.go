package failure

import (
	"context"
	"sync"
	"sync/atomic"
)

// Rung is a step of the degradation ladder: how a failure was kept from the
// visitor. The zero Rung is none: it was not.
type Rung uint8

// The rungs, the mildest first.
const (
	Unmended        Rung = iota
	Retried              // another attempt succeeded
	StaleRefreshing      // stale content while a refresh runs (stale-while-revalidate)
	StaleOnSlow          // stale content, since the refresh took too long
	StaleNoAttempt       // stale content without asking the backend
	StaleIfError         // stale content after a failed attempt
	Restarted            // waited for the backend to come back
)

var rungNames = [...]string{"unmended", "retried", "stale_refreshing", "stale_on_slow", "stale_no_attempt", "stale_if_error", "restarted"}

// String returns the rung's name in logs and metrics.
func (r Rung) String() string {
	if int(r) >= len(rungNames) {
		return "rung(?)"
	}
	return rungNames[r]
}

type slot struct {
	reserved atomic.Bool

	mu   sync.Mutex // guards what follows
	err  *Error
	rung Rung
}

type slotKey struct{}

func slotOf(ctx context.Context) *slot {
	s, _ := ctx.Value(slotKey{}).(*slot)
	return s
}

// Track returns a context with a slot that holds the request's failure; ctx
// itself if it has one already.
func Track(ctx context.Context) context.Context {
	if slotOf(ctx) != nil {
		return ctx
	}
	return Isolate(ctx)
}

// Isolate returns a context with a slot of its own, even if ctx has one: for
// work that is shared by several requests or outlives its request.
func Isolate(ctx context.Context) context.Context {
	return context.WithValue(ctx, slotKey{}, new(slot))
}

// Reserve says of the request of ctx that somebody further out has an answer in
// reserve, a stale copy say: to fail at once serves it better than to wait for
// better times. Without a slot it does nothing.
func Reserve(ctx context.Context) {
	if s := slotOf(ctx); s != nil {
		s.reserved.Store(true)
	}
}

// Reserved tells whether [Reserve] was said of the request of ctx.
func Reserved(ctx context.Context) bool {
	s := slotOf(ctx)
	return s != nil && s.reserved.Load()
}

// Report puts e into the slot of ctx, in place of what was there. Without a
// slot, or with a nil e, it does nothing. e must not be changed afterwards.
func Report(ctx context.Context, e *Error) {
	s := slotOf(ctx)
	if s == nil || e == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.rung = e, Unmended
}

// Mend marks the failure in the slot as kept from the visitor by r. Without a
// failure it does nothing.
func Mend(ctx context.Context, r Rung) {
	s := slotOf(ctx)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.rung = r
	}
}

// From returns the failure in the slot that nobody mended.
func From(ctx context.Context) (*Error, bool) {
	e, r := Outcome(ctx)
	if e == nil || r != Unmended {
		return nil, false
	}
	return e, true
}

// Outcome returns the failure in the slot, mended or not, and how it was
// mended; nil if there was none.
func Outcome(ctx context.Context) (*Error, Rung) {
	s := slotOf(ctx)
	if s == nil {
		return nil, Unmended
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err, s.rung
}
