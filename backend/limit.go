package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/admit"
)

// Limit is a limit of requests in flight that changes by what it is told. Its
// methods are called on the goroutines of requests, under no lock. Who finds no slot
// under it is shed ([failure.Shed]), not merely queued in vain.
//
// It may have these methods beside, as ratelimit's Adaptive has:
//
//	Full()                                                     a request finds no slot: it waits, or goes
//	Refuse(ahead int) (detail string, retryAfter time.Duration) one goes, with so many before it: what it is told
//	Rehearsing() bool                                          a dry run: Limit is out of reach,
//	Rehearse(ctx context.Context, inFlight int)                and this is told of every request
//	Began() (mark uint64)                                      an attempt begins
//	Ended(mark uint64, latency time.Duration, says, ok bool)   it ended: told of every one, instead of Done,
//	                                                           says false of what Done is not told
type Limit interface {
	// Limit is how many requests may be in flight now; what is below 1 counts
	// as 1.
	Limit() int
	// Done is told the end of every attempt that says something: the time until
	// the final header section of an answer, or with ok false the time until a
	// failure that counts against the backend ([failure.Error.Verdict]). Clients
	// that left, upgrades, and what else says nothing about the backend are not
	// told.
	Done(latency time.Duration, ok bool)
}

const (
	maxQueue         = 1024 // the default at most
	defaultQueueWait = time.Second
	doorEvery        = 25 * time.Millisecond
)

func (cfg *Config) checkLimits(fail failFunc) {
	durationField{"QueueWait", &cfg.QueueWait, defaultQueueWait, false}.check(fail)
	if cfg.MaxInFlight < 0 {
		fail("Config.MaxInFlight is %d: must be positive, or 0 for no limit", cfg.MaxInFlight)
	}
}

// limited tells whether the backend as a whole has a limit.
func (cfg *Config) limited() bool { return cfg.MaxInFlight > 0 || cfg.Limit != nil }

// lower is the smaller one of a fixed limit and one that changes; 0 is none.
func lower(fixed int, changing Limit) int {
	if changing == nil {
		return fixed
	}
	n := max(1, changing.Limit())
	if fixed > 0 {
		n = min(n, fixed)
	}
	return n
}

// queueFor is how many may wait for one of limit slots. After an outage those
// who waited for its end come all at once: they, and who comes with them, find
// room.
func (c *call) queueFor(limit int) int {
	cfg := c.cfg()
	if c.b.outage.resuming.Load() > 0 {
		return max(cfg.Queue, cfg.RestartQueue)
	}
	if cfg.Queue != 0 {
		return max(0, cfg.Queue)
	}
	return min(limit, maxQueue)
}

// acquire takes one of the endpoint's slots; [Backend.vacate] gives it back. The
// error is that there is none.
func (ep *endpoint) acquire() *failure.Error {
	set := ep.settings.Load()
	limit := lower(set.limit, set.adaptive)
	if limit == 0 {
		ep.inFlight.Add(1)
		return nil
	}
	for {
		n := ep.inFlight.Load()
		if n >= int64(limit) {
			return &failure.Error{Cause: failure.ConnectionLimit, Detail: fmt.Sprintf("%d of %d requests in flight", n, limit)}
		}
		if ep.inFlight.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// unused gives back a slot that was taken a moment ago for nothing. Whoever is
// at the door is not told: it may be the one who took it.
func (ep *endpoint) unused() { ep.inFlight.Add(-1) }

// vacate gives a slot back.
func (b *Backend) vacate(ep *endpoint) {
	ep.inFlight.Add(-1)
	b.entrance.stir()
}

// entrance is where requests wait for a slot: in the line of the backend's own
// limit, then, where every endpoint that could be used is at its limit, at the
// door.
//
// Whoever is at the door, one at a time, looks for an endpoint whenever a slot
// became free; the others wait behind. While somebody is there, who comes later
// gets behind as well.
//
//	at the door                  elsewhere
//	1 waiting++                  a slot--
//	2 look for a slot            b read waiting, stir
//
// Whatever the interleaving, either 2 sees the slot of a, or b sees 1.
type entrance struct {
	slots   *admit.Semaphore // of the backend
	door    *admit.Semaphore // of 1
	waiting atomic.Int32     // at the door and behind
	stirred chan struct{}    // something changed; room for one
}

func (n *entrance) init(b *Backend) {
	n.slots, n.door = admit.New((*ownLimit)(b)), admit.New(admit.Fixed(1))
	n.stirred = make(chan struct{}, 1)
}

// ownLimit is the backend's own limit at this moment.
type ownLimit Backend

func (b *ownLimit) Limit() int {
	cfg := &b.state.Load().cfg
	if n := lower(cfg.MaxInFlight, cfg.Limit); n > 0 {
		return n
	}
	return math.MaxInt
}

// stir has whoever is at the door look again.
func (n *entrance) stir() {
	if n.waiting.Load() == 0 {
		return
	}
	select {
	case n.stirred <- struct{}{}:
	default:
	}
}

// close turns everybody away who waits, and everybody who would have to.
func (n *entrance) close(e *failure.Error) {
	n.slots.Close(e)
	n.door.Close(e)
	n.stir()
}

// queued is how many requests wait.
func (n *entrance) queued() int { return n.slots.Stats().Queued + int(n.waiting.Load()) }

var errNoneLeft = errors.New("backend: no endpoint is left")

// endpointsChanged is told whenever an endpoint came to be used or to be used no
// more, or a limit changed. Where none is left nobody waits for a slot.
func (b *Backend) endpointsChanged() {
	n := &b.entrance
	if !b.now().usable() {
		n.slots.Flush(errNoneLeft)
	} else {
		n.slots.Wake()
	}
	n.stir()
}

// usable tells whether the balance would use an endpoint, be it in panic.
func (s *state) usable() bool { return s.some(query{}, 0) }

// enter takes a slot of the backend. The error ends the request.
func (c *call) enter() *failure.Error {
	cfg := c.cfg()
	if c.slot != nil || !cfg.limited() {
		return nil
	}
	slots := c.b.entrance.slots
	if slots.TryAcquire() {
		c.slot = slots
		rehearse(c.r.Context(), cfg.Limit, slots)
		return nil
	}
	noteFull(cfg.MaxInFlight, cfg.Limit)
	if !c.state.usable() {
		return c.state.none(query{}, nil)
	}
	limit := slots.Stats().Limit
	wait, short := c.patience()
	began := time.Now()
	err := slots.AcquireAs(c.r.Context(), c.class(), c.queueFor(limit), wait)
	c.queued(err, began)
	if err == nil {
		c.slot = slots
		return nil
	}
	return c.turnedAway(err, short)
}

// leave gives the backend's slot back, unless a handler has it.
func (c *call) leave() {
	if c.slot != nil {
		c.slot.Release()
		c.slot = nil
	}
}

// patience is how long the request may wait for a slot. short tells that its
// time is over sooner than its patience.
func (c *call) patience() (wait time.Duration, short bool) {
	wait = max(c.cfg().QueueWait-c.lined(), time.Millisecond)
	if left, ok := c.left(); ok && left < wait {
		return max(left, time.Millisecond), true
	}
	return wait, false
}

// lined is how long the request has waited for slots.
func (c *call) lined() time.Duration { return c.phases[failure.PhaseQueue] - c.rested }

// waitedFor counts time before an attempt.
func (c *call) waitedFor(p failure.Phase, d time.Duration) {
	c.phases[p] += d
	c.waited[p] += d
}

// queued counts the time in a line, if the request was in it.
func (c *call) queued(err error, began time.Time) {
	if r, ok := errors.AsType[*admit.RefusedError](err); ok && r.Reason != admit.TimedOut {
		return
	}
	c.waitedFor(failure.PhaseQueue, time.Since(began))
}

// turnedAway explains why there was no slot of the backend.
func (c *call) turnedAway(err error, short bool) *failure.Error {
	e := c.noSlot(err, short)
	if cfg := c.cfg(); bound(cfg.MaxInFlight, cfg.Limit) {
		if r, ok := errors.AsType[*admit.RefusedError](err); ok {
			shed(e, cfg.Limit, r.InFlight+r.Queued)
		}
	}
	return e
}

// noSlot explains a refusal by a limit, whichever it is.
func (c *call) noSlot(err error, short bool) *failure.Error {
	if errors.Is(err, errNoneLeft) {
		return c.state.none(query{}, nil)
	}
	e := &failure.Error{Backend: c.cfg().Name, Attempts: c.attempts, Phases: c.phases}
	if r, ok := errors.AsType[*admit.RefusedError](err); ok {
		inFlight := fmt.Sprintf("%d of %d requests in flight", r.InFlight, r.Limit)
		switch r.Reason {
		case admit.Occupied:
			e.Cause, e.Detail = failure.ConnectionLimit, inFlight
		case admit.Full:
			e.Cause, e.Detail = failure.QueueFull, fmt.Sprintf("%d of %d waiting, %s", r.Queued, r.Queue, inFlight)
		case admit.TimedOut:
			e.Cause, e.Detail = failure.QueueTimeout, fmt.Sprintf("waited %d ms, %s", c.lined().Milliseconds(), inFlight)
			if short {
				c.outOfTime(e)
			}
		}
		return e
	}
	if own, ok := errors.AsType[*failure.Error](err); ok {
		e.Cause, e.Detail, e.Err = own.Cause, own.Detail, own.Err
		return e
	}
	ended := endedBy(facts{ended: err})
	ended.Backend, ended.Attempts, ended.Phases = e.Backend, e.Attempts, e.Phases
	return ended
}

// pick chooses the endpoint for the next attempt. Where all that could be used
// are at their limits it waits for one.
func (c *call) pick(other bool) (*endpoint, *pass, *failure.Error) {
	n := &c.b.entrance
	if n.waiting.Load() == 0 || c.attempts > 0 {
		ep, gate, refused := c.state.choose(c.query(other))
		if refused == nil {
			return ep, gate, nil
		}
		if !full(refused) || other || c.queueFor(1) == 0 {
			refused = crowded(refused)
			if refused.Cause == failure.ConnectionLimit && !other {
				c.state.noteFull()
				c.shedByAll(refused)
			}
			return nil, nil, refused
		}
	}
	return c.stand(other)
}

// stand waits at the door, or behind it.
func (c *call) stand(other bool) (*endpoint, *pass, *failure.Error) {
	n := &c.b.entrance
	wait, short := c.patience()
	began := time.Now()
	n.waiting.Add(1)
	defer n.waiting.Add(-1)
	ctx := c.r.Context()
	queue := c.queueFor(c.state.capacity())
	c.state.noteFull()
	if err := n.door.AcquireAs(ctx, c.class(), queue-1, wait); err != nil {
		c.queued(err, began)
		e := c.noSlot(err, short)
		c.atTheDoor(e, queue)
		return nil, nil, e
	}
	defer n.door.Release()
	deadline := time.NewTimer(wait - time.Since(began))
	defer deadline.Stop()
	look := time.NewTicker(doorEvery) // for gates that open, limits that grow
	defer look.Stop()
	for {
		ep, gate, refused := c.state.choose(c.query(other))
		if refused == nil || !full(refused) {
			c.waitedFor(failure.PhaseQueue, time.Since(began))
			return ep, gate, crowded(refused)
		}
		var err error
		select {
		case <-n.stirred:
		case <-look.C:
		case <-deadline.C:
			err = &admit.RefusedError{Reason: admit.TimedOut}
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err == nil && c.b.calls.closing() {
			err = &failure.Error{Cause: failure.Draining}
		}
		if err != nil {
			c.waitedFor(failure.PhaseQueue, time.Since(began))
			e := c.noSlot(err, short)
			c.atTheDoor(e, queue)
			return nil, nil, e
		}
	}
}

// capacity is what all endpoints that have a limit can take together.
func (s *state) capacity() int {
	sum := 0
	for _, ep := range s.endpoints {
		set := ep.settings.Load()
		sum += lower(set.limit, set.adaptive)
	}
	return max(1, sum)
}

// atTheDoor gives a refusal at the door its facts: the slots are those of the
// endpoints.
func (c *call) atTheDoor(e *failure.Error, queue int) {
	s, inFlight := c.state, 0
	for _, ep := range s.endpoints {
		inFlight += int(ep.inFlight.Load())
	}
	of := fmt.Sprintf("%d of %d requests in flight", inFlight, s.capacity())
	switch e.Cause {
	case failure.ConnectionLimit, failure.QueueFull: // a line of one is the door alone
		e.Cause, e.Detail = failure.QueueFull, fmt.Sprintf("%d of %d waiting, %s", queue, queue, of)
	case failure.QueueTimeout:
		e.Detail = fmt.Sprintf("waited %d ms, %s", c.lined().Milliseconds(), of)
	default:
	}
	c.shedByAll(e)
}

// full tells that an endpoint would have been used if it were not at its limit.
func full(e *failure.Error) bool {
	some, _ := ofCause(e, failure.ConnectionLimit)
	return some
}

// ofCause tells whether some, and whether all endpoints' reasons in a refusal of
// the balance are c.
func ofCause(e *failure.Error, c failure.Cause) (some, all bool) {
	if e.Cause != failure.NoEndpoint {
		return e.Cause == c, e.Cause == c
	}
	joined, ok := e.Err.(interface{ Unwrap() []error })
	if !ok {
		return false, false
	}
	all = true
	for _, err := range joined.Unwrap() {
		one, ok := errors.AsType[*failure.Error](err)
		if ok && one.Cause == c {
			some = true
		} else {
			all = false
		}
	}
	return some, some && all
}

// crowded names the cause where all endpoints are at their limits.
func crowded(e *failure.Error) *failure.Error {
	if e == nil || e.Cause != failure.NoEndpoint {
		return e
	}
	if _, all := ofCause(e, failure.ConnectionLimit); !all {
		return e
	}
	same := *e
	same.Cause = failure.ConnectionLimit
	_, same.Detail, _ = strings.Cut(e.Detail, "may be used: ")
	return &same
}

// told reports an attempt to the limits that change. The time in which the
// client's body was under way is not the backend's.
func (c *call) told(a *attempt, e *failure.Error, now time.Time, uploaded time.Duration) {
	if a.judges[0].limit == nil && a.judges[1].limit == nil {
		return
	}
	ok := e == nil
	says := ok || e.Verdict() != failure.Neutral
	if a.res != nil && a.res.StatusCode == http.StatusSwitchingProtocols {
		says = false
	}
	latency := now.Sub(a.at.start)
	if (ok || !says) && !a.at.headers.IsZero() {
		latency = a.at.headers.Sub(a.at.start)
	}
	a.judged(max(0, latency-uploaded), says, ok)
}
