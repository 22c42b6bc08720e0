package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	defaultRestartQueue = 1000
	probeEvery          = 25 * time.Millisecond // and as much again at random
	probeSeldom         = time.Second           // when nobody can wait any more
	firstWave           = 16                    // of those who waited; each wave is twice as large
)

func (cfg *Config) checkRestart(fail failFunc) {
	if cfg.RestartWait < 0 {
		fail("Config.RestartWait is %v: must be positive, or 0 for none", cfg.RestartWait)
	}
	switch {
	case cfg.RestartQueue < 0:
		fail("Config.RestartQueue is %d: must be positive, or 0 for %d", cfg.RestartQueue, defaultRestartQueue)
	case cfg.RestartQueue == 0:
		cfg.RestartQueue = defaultRestartQueue
	}
}

// outage is the time in which all endpoints refuse connections. It begins with a
// request that has no endpoint left which does not, and ends with the first
// connection that was made. Meanwhile one goroutine tries to connect, and wakes
// those who wait when it could.
type outage struct {
	since    atomic.Int64 // in ns since the backend's start; 0: there is none
	before   atomic.Int64 // since of the last one, until a request got through
	resuming atomic.Int32 // woken, and not under way yet

	mu      sync.Mutex     // guards what follows
	last    *failure.Error // a refusal of it
	line    []*sleeper     // the oldest first
	probing bool
	closed  bool
}

// began is told of every refusal that left a request without endpoints.
func (b *Backend) outageBegan(e *failure.Error) {
	o := &b.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = e
	o.since.CompareAndSwap(0, b.clock(time.Now()))
	b.keepProbing()
}

// keepProbing requires that the outage's mu is held.
func (b *Backend) keepProbing() {
	if o := &b.outage; !o.probing && !o.closed {
		o.probing = true
		b.checks.Add(1)
		go b.probe()
	}
}

// connected is told of every attempt that had a new connection: there is no
// outage, or no longer. A connection that was there before proves nothing: its
// server may be about to end.
func (o *outage) connected() {
	if o.since.Load() != 0 {
		o.since.Store(0)
	}
	if o.before.Load() != 0 {
		o.before.Store(0)
	}
}

// over ends the outage: a connection could be made. What it left behind, open
// gates above all, may still keep requests out.
func (o *outage) over() {
	if since := o.since.Load(); since != 0 && o.since.CompareAndSwap(since, 0) {
		o.before.Store(since)
	}
}

// of is when the outage began that a request meets which has no endpoint; 0:
// there is none.
func (o *outage) of() int64 {
	if since := o.since.Load(); since != 0 {
		return since
	}
	return o.before.Load()
}

// close ends the probing.
func (o *outage) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

// sleeper is a request that waits for the end of an outage.
type sleeper struct{ awake chan struct{} } // closed when it is over

// join gets in line, unless it is full.
func (b *Backend) join(limit int) (*sleeper, bool) {
	o := &b.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) >= limit {
		return nil, false
	}
	s := &sleeper{make(chan struct{})}
	o.line = append(o.line, s)
	b.keepProbing()
	return s, true
}

// leave gets out of line. It tells whether s was woken before.
func (o *outage) leave(s *sleeper) (woken bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.line, s)
	if i >= 0 {
		o.line = slices.Delete(o.line, i, i+1)
	}
	return i < 0
}

// wake wakes the first n in line.
func (o *outage) wake(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n = min(n, len(o.line))
	for _, s := range o.line[:n] {
		o.resuming.Add(1)
		close(s.awake)
	}
	o.line = slices.Delete(o.line, 0, n)
}

// idle ends the probing if there is no reason for it left.
func (o *outage) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) == 0 && o.since.Load() == 0 {
		o.probing = false
	}
	return !o.probing
}

// probe tries to connect until the outage is over and all are awake. Those who
// waited go in waves, so that a backend that has just started is not run over.
func (b *Backend) probe() {
	defer b.checks.Done()
	o := &b.outage
	pause, wave := probeEvery, firstWave
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for !o.idle() {
		timer.Reset(pause + rand.N(pause))
		select {
		case <-b.ctx.Done():
			return
		case <-timer.C:
		}
		if b.reachable() {
			o.over()
			o.wake(wave)
			pause, wave = probeEvery, wave*2
			continue
		}
		wave = firstWave
		since := o.since.Load()
		if since != 0 && b.clock(time.Now())-since > int64(b.now().cfg.RestartWait) {
			pause = min(2*pause, probeSeldom)
		} else {
			pause = probeEvery
		}
	}
}

// reachable tells whether one of the endpoints accepts a connection.
func (b *Backend) reachable() bool {
	limits := &Timeouts{Resolve: time.Second, Connect: time.Second}
	for _, ep := range b.now().endpoints {
		if ep.inProcess() || ep.steered() == ForceDown || ep.steered() == Drain {
			continue
		}
		a := b.start(b.ctx, ep, 1, limits, 0, 0)
		a.check = true
		raw, err := a.reach()
		a.finish(nil)
		if err == nil {
			raw.Close()
			ep.heldUntil.Store(0)
			return true
		}
	}
	return false
}

// refusals tells whether e, an answer of the balance, may come from refused
// connections: it says nothing else of any endpoint.
func refusals(e *failure.Error) bool {
	switch e.Cause {
	case failure.HeldDown, failure.EndpointDown, failure.EndpointEjected, failure.BreakerOpen:
		return true
	case failure.NoEndpoint:
		joined, ok := e.Err.(interface{ Unwrap() []error })
		if !ok {
			return false
		}
		for _, err := range joined.Unwrap() {
			if one, ok := errors.AsType[*failure.Error](err); !ok || !refusals(one) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// sitOut is where a request comes by before its first attempt: while there is an
// outage it waits without one.
func (c *call) sitOut() *failure.Error {
	o := &c.b.outage
	since := o.since.Load()
	wait := c.cfg().RestartWait
	if wait <= 0 || since == 0 || c.picked != nil || c.b.clock(c.began)-since >= int64(wait) {
		return nil
	}
	o.mu.Lock()
	e := o.last
	o.mu.Unlock()
	_, ended := c.outlast(e, 0)
	return ended
}

// outlast waits for the end of an outage, of which e is the refusal; retryAfter
// is when a gate permits an attempt again, 0 if none stands in the way. woken
// tells that another attempt is to be made; with neither it is not to be waited.
// Who has an answer in reserve does not wait.
func (c *call) outlast(e *failure.Error, retryAfter time.Duration) (woken bool, ended *failure.Error) {
	if failure.Reserved(c.r.Context()) {
		return false, nil
	}
	o := &c.b.outage
	cfg := c.cfg()
	now := c.b.clock(time.Now())
	if c.restartBy == 0 {
		since := o.of()
		if since == 0 {
			since = now
		}
		c.restartBy = since + int64(cfg.RestartWait)
	}
	rest := time.Duration(c.restartBy - now)
	if left, ok := c.left(); ok && left < rest {
		rest = left
	}
	if rest <= 0 || retryAfter > rest || !c.upload.replayable() || !c.upload.claim() {
		return false, nil
	}
	place, ok := c.b.join(cfg.RestartQueue)
	if !ok {
		return false, c.stillRefused(e).With(failure.Note{Kind: failure.NotRetried, Detail: "restart queue full"})
	}
	c.resumed()
	c.leave()
	awake, wait := place.awake, rest
	if retryAfter > 0 { // its time comes whatever the endpoint does
		awake, wait = nil, retryAfter
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	ctx := c.r.Context()
	var why error
	late := false
	select {
	case <-awake:
	case <-timer.C:
		late = retryAfter == 0
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-c.b.ctx.Done():
		why = &failure.Error{Cause: failure.Draining}
	}
	c.rested += time.Duration(c.b.clock(time.Now()) - now)
	c.waitedFor(failure.PhaseQueue, time.Duration(c.b.clock(time.Now())-now))
	if o.leave(place) {
		late, c.resuming = false, true
	}
	switch {
	case why != nil:
		return false, c.turnedAway(why, false)
	case late:
		return false, c.stillRefused(e)
	}
	c.tried = c.tried[:0]
	c.forgiven = c.attempts
	c.state = c.b.now() // it may have come back elsewhere
	return true, nil
}

// refusedByAll tells whether e, the outcome of an attempt, is one of an outage:
// nothing is left to try that did not refuse a connection.
func (c *call) refusedByAll(e *failure.Error) bool {
	if e.Cause != failure.ConnectionRefused || c.cfg().RestartWait <= 0 || c.state.untried(c.tried) {
		return false
	}
	c.b.outageBegan(e)
	return true
}

// shutOut is reached where the balance has no endpoint after last; nil: there
// was no attempt. It waits if that is because of an outage.
func (c *call) shutOut(last, refused *failure.Error) (woken bool, ended *failure.Error) {
	if c.cfg().RestartWait <= 0 || !refusals(refused) {
		return false, nil
	}
	e := last
	switch {
	case e == nil:
		o := &c.b.outage
		o.mu.Lock()
		e = o.last
		o.mu.Unlock()
		if e == nil || o.of() == 0 && c.restartBy == 0 {
			return false, nil
		}
	case e.Cause != failure.ConnectionRefused:
		return false, nil
	default:
		c.b.outageBegan(e)
	}
	woken, ended = c.outlast(e, gatesOpen(refused))
	if some, _ := ofCause(refused, failure.BreakerOpen); some && last == nil && c.rested == 0 {
		return woken, ended // nothing was tried for it: gates keep it out, and they know until when
	}
	if !woken && ended == nil {
		ended = c.stillRefused(e).With(failure.Note{Kind: failure.NotRetried, Detail: refused.Cause.String()})
	}
	return woken, ended
}

// gatesOpen is when the first gate permits an attempt again, where nothing but
// gates stands in the way; else 0.
func gatesOpen(e *failure.Error) time.Duration {
	if _, all := ofCause(e, failure.BreakerOpen); all {
		return e.RetryAfter
	}
	return 0
}

// resumed is reached when a request that was woken is under way, or over.
func (c *call) resumed() {
	if c.resuming {
		c.resuming = false
		c.b.outage.resuming.Add(-1)
	}
}

// stillRefused is the end of a request that waited in vain: the true cause.
func (c *call) stillRefused(e *failure.Error) *failure.Error {
	same := *e
	same.Attempts, same.Phases = c.attempts, c.phases
	if c.rested > 0 {
		same.Detail = fmt.Sprintf("waited %d ms for it to come back", c.rested.Milliseconds())
	}
	return &same
}
