package backend

import (
	"sync"
	"time"
)

// flight is the making of a connection that several requests wait for: over
// HTTP/2 one is enough for many, and until an endpoint was spoken to it is not
// known whether that is so.
type flight struct {
	done chan struct{} // closed at the end; what follows is set before

	err    error // nil: it was made
	stage  phase // how far it came
	fault  *timeoutError
	limits Timeouts // that it was made under
	own    bool     // it failed for a reason of the one request that made it
}

// share has one request make a connection while the others wait for it. Its
// failure is theirs, too: otherwise each of them would go the same way, one
// after the other.
func (p *pool) share(a *attempt, w wish) error {
	for {
		p.mu.Lock()
		f := p.making
		if f == nil {
			f = &flight{done: make(chan struct{}), limits: *a.limits}
			p.making = f
			p.mu.Unlock()
			return p.lead(a, w, f)
		}
		p.mu.Unlock()
		if err := a.join(f); err != nil {
			return err
		}
		if p.reuse(a, w) {
			return nil
		}
		if f.err != nil && f.fits(a) {
			a.stage = f.stage
			if f.fault != nil {
				a.fault.CompareAndSwap(nil, f.fault)
			}
			return f.err
		}
		if !p.multiplexes() {
			return p.dial(a, w)
		}
	}
}

// settingsWait is how long the others wait for what the peer of a new HTTP/2
// connection says of itself. How many streams it permits is in there: without
// it they would all take the one connection for theirs.
const settingsWait = 250 * time.Millisecond

// lead makes the connection, unless there is one by now.
func (p *pool) lead(a *attempt, w wish, f *flight) error {
	var once sync.Once
	end := func(tell func()) {
		once.Do(func() {
			if tell != nil {
				tell()
			}
			p.mu.Lock()
			p.making = nil
			p.mu.Unlock()
			close(f.done)
		})
	}
	// The peer of an HTTP/2 connection may have told its limits before dial is
	// back: from then on f belongs to those who waited.
	made := func() { end(nil) }
	kept := false
	defer func() {
		if !kept {
			made()
		}
	}()
	if p.reuse(a, w) {
		return nil
	}
	w.ready = made
	err := p.dial(a, w)
	if kept = err == nil && a.h2 != nil; kept {
		time.AfterFunc(settingsWait, made)
		return nil
	}
	end(func() {
		f.err, f.stage, f.fault = err, a.stage, a.fault.Load()
		f.own = err != nil && f.fault == nil && a.ctx.Err() != nil
	})
	return err
}

// join waits for what another attempt makes.
func (a *attempt) join(f *flight) error {
	a.stage = phaseConnect
	a.joined.Store(true)
	defer a.joined.Store(false)
	if !a.watch.enter(phaseConnect) {
		return a.ctx.Err()
	}
	select {
	case <-f.done:
		a.watch.enter(phaseOff)
		return nil
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
}

// fits tells that the failure of f says something to a as well: it was not the
// first one's client that left, nor a limit that a does not have.
func (f *flight) fits(a *attempt) bool {
	return !f.own && (f.fault == nil || !f.fault.total && f.limits == *a.limits)
}
