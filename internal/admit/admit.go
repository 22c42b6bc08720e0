package admit

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Patience is how long the line refuses before the newest goes first, and for
// how long nobody must have been refused until it is served in order again.
const Patience = time.Second

// Limiter says how many may be in at once. What is below 1 counts as 1.
type Limiter interface {
	// Limit is called at every coming and going, under no lock. It must be fast
	// and safe for concurrent use.
	Limit() int
}

// Fixed is a limit that never changes.
type Fixed int

// Limit returns n.
func (n Fixed) Limit() int { return int(n) }

// Semaphore has slots and a line of those who wait for one. It is made by [New]
// and safe for concurrent use.
type Semaphore struct {
	limiter Limiter

	mu       sync.Mutex // guards what follows; never held while limiter is asked
	inFlight int
	lines    [classes]line
	queued   int       // in all lines
	strained time.Time // when the present strain began; zero: none
	refused  time.Time // when somebody was last refused under it
	closed   error     // nobody waits any more
}

// New makes a semaphore with nobody in.
func New(l Limiter) *Semaphore { return &Semaphore{limiter: l} }

func (s *Semaphore) limit() int { return max(1, s.limiter.Limit()) }

// Reason is why somebody was turned away.
type Reason uint8

// The reasons.
const (
	Occupied Reason = iota // no slot is free, and there is no line
	Full                   // the line is full
	TimedOut               // waited in vain
)

// RefusedError is the error of [Semaphore.Acquire] where there was no slot to be had,
// with the facts of that moment.
type RefusedError struct {
	Reason          Reason
	InFlight, Limit int
	Queued, Queue   int // those in the line, and how many it may hold
	Waited          time.Duration
}

func (r *RefusedError) Error() string {
	switch r.Reason {
	case Full:
		return fmt.Sprintf("admit: %d of %d waiting", r.Queued, r.Queue)
	case TimedOut:
		return fmt.Sprintf("admit: waited %d ms", r.Waited.Milliseconds())
	case Occupied:
	}
	return fmt.Sprintf("admit: %d of %d in flight", r.InFlight, r.Limit)
}

// TryAcquire takes a slot if one is free and nobody waits for it.
func (s *Semaphore) TryAcquire() bool {
	limit := s.limit()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(limit)
}

// take requires that mu is held. Waiters come first: the limit may have grown.
func (s *Semaphore) take(limit int) bool {
	s.grant(limit)
	if s.inFlight >= limit {
		return false
	}
	s.inFlight++
	return true
}

// Class is what goes before what in the line, highest first.
type Class uint8

// The classes.
const (
	Low Class = iota
	Ordinary
	High

	classes = int(High) + 1
)

// Acquire is AcquireAs of the Ordinary class.
func (s *Semaphore) Acquire(ctx context.Context, queue int, wait time.Duration) error {
	return s.AcquireAs(ctx, Ordinary, queue, wait)
}

// AcquireAs takes a slot; [Semaphore.Release] gives it back. Where none is free it
// waits in a line of at most queue waiters (0: there is none), for at most wait
// (0: as long as ctx lasts). Where the line is full it takes the place of the
// longest waiting of the lowest class below its own.
//
// The error is a [*RefusedError], the cause of ctx's end, or what [Semaphore.Flush]
// or [Semaphore.Close] was called with. With an error no slot is held.
func (s *Semaphore) AcquireAs(ctx context.Context, class Class, queue int, wait time.Duration) error {
	limit := s.limit()
	s.mu.Lock()
	if s.take(limit) {
		s.mu.Unlock()
		return nil
	}
	if err := s.closed; err != nil {
		s.mu.Unlock()
		return err
	}
	if s.queued >= queue && !s.displace(class, limit, queue) {
		r := s.refusal(Full, limit, queue)
		if queue <= 0 {
			r.Reason = Occupied
		} else {
			s.strain(time.Now())
		}
		s.mu.Unlock()
		return r
	}
	w := &waiter{since: time.Now(), class: class, done: make(chan error, 1)}
	s.push(w)
	s.mu.Unlock()

	var late <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case err := <-w.done:
		return err
	case <-late:
		return s.giveUp(w, queue)
	case <-ctx.Done():
		return s.leave(w, context.Cause(ctx))
	}
}

// giveUp ends a wait that was too long, unless a slot came at the last moment.
func (s *Semaphore) giveUp(w *waiter, queue int) error {
	limit := s.limit()
	s.mu.Lock()
	if !w.listed {
		s.mu.Unlock()
		return <-w.done
	}
	s.remove(w)
	now := time.Now()
	s.strain(now)
	s.eased()
	r := s.refusal(TimedOut, limit, queue)
	s.mu.Unlock()
	r.Waited = now.Sub(w.since)
	return r
}

// leave ends a wait that nobody is interested in any more. A slot that came
// meanwhile is handed on.
func (s *Semaphore) leave(w *waiter, why error) error {
	s.mu.Lock()
	if w.listed {
		s.remove(w)
		s.eased()
		s.mu.Unlock()
		return why
	}
	s.mu.Unlock()
	if err := <-w.done; err == nil {
		s.Release()
	}
	return why
}

// Release gives a slot back. It is called exactly once for every one that was
// taken.
func (s *Semaphore) Release() {
	limit := s.limit()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight == 0 {
		panic("admit: released more than was acquired")
	}
	s.inFlight--
	s.grant(limit)
}

// Wake looks at the limit again: it may have grown while nobody came or went.
func (s *Semaphore) Wake() {
	limit := s.limit()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant(limit)
}

// grant requires that mu is held.
func (s *Semaphore) grant(limit int) {
	if s.queued == 0 || s.inFlight >= limit {
		return
	}
	newest := s.newestFirst(time.Now())
	for s.queued > 0 && s.inFlight < limit {
		l := s.highest()
		w := l.first
		if newest {
			w = l.last
		}
		s.remove(w)
		s.inFlight++
		w.done <- nil
	}
	s.eased()
}

// push requires that mu is held.
func (s *Semaphore) push(w *waiter) {
	s.lines[w.class].push(w)
	s.queued++
}

// remove requires that mu is held.
func (s *Semaphore) remove(w *waiter) {
	s.lines[w.class].remove(w)
	s.queued--
}

// highest is the line that is served next. It requires that mu is held and that
// somebody waits.
func (s *Semaphore) highest() *line {
	l := &s.lines[High]
	for i := classes - 1; i > 0 && l.first == nil; i-- {
		l = &s.lines[i-1]
	}
	return l
}

// displace makes room for somebody of a class in a line that is full. It requires
// that mu is held.
func (s *Semaphore) displace(class Class, limit, queue int) bool {
	if queue <= 0 {
		return false
	}
	for i := range class {
		w := s.lines[i].first
		if w == nil {
			continue
		}
		now := time.Now()
		r := s.refusal(Full, limit, queue)
		r.Waited = now.Sub(w.since)
		s.remove(w)
		s.strain(now)
		w.done <- r
		return true
	}
	return false
}

// Flush empties the line at once: everybody in it gets err, which must not be
// nil. Slots that are held stay so.
func (s *Semaphore) Flush(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush(err)
}

// Close empties the line like Flush, and nobody gets into it any more. Slots can
// still be had as long as some are free.
func (s *Semaphore) Close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = err
	s.flush(err)
}

// flush requires that mu is held.
func (s *Semaphore) flush(err error) {
	for s.queued > 0 {
		w := s.highest().first
		s.remove(w)
		w.done <- err
	}
	s.eased()
}

// strain requires that mu is held.
func (s *Semaphore) strain(now time.Time) {
	if s.strained.IsZero() || now.Sub(s.refused) > Patience {
		s.strained = now
	}
	s.refused = now
}

// eased ends the strain if the line is empty. It requires that mu is held.
func (s *Semaphore) eased() {
	if s.queued == 0 {
		s.strained = time.Time{}
	}
}

// newestFirst requires that mu is held.
func (s *Semaphore) newestFirst(now time.Time) bool {
	return !s.strained.IsZero() && now.Sub(s.strained) >= Patience && now.Sub(s.refused) <= Patience
}

// refusal requires that mu is held.
func (s *Semaphore) refusal(why Reason, limit, queue int) *RefusedError {
	return &RefusedError{Reason: why, InFlight: s.inFlight, Limit: limit, Queued: s.queued, Queue: queue}
}

// Stats is the state of a semaphore at one moment.
type Stats struct {
	Limit    int
	InFlight int // may be over a limit that has shrunk
	Queued   int
	// Oldest is how long the first in the line has waited; 0: there is none.
	Oldest time.Duration
	// NewestFirst tells that the line is not served in order.
	NewestFirst bool
}

// Stats tells the state.
func (s *Semaphore) Stats() Stats {
	limit, now := s.limit(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Limit: limit, InFlight: s.inFlight, Queued: s.queued, NewestFirst: s.newestFirst(now)}
	for i := range s.lines {
		if w := s.lines[i].first; w != nil {
			st.Oldest = max(st.Oldest, now.Sub(w.since))
		}
	}
	return st
}
