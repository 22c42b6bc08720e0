package backend

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

var errNegotiated = errors.New("backend: HTTP/2 was not negotiated")

// wish is what an attempt asks of a connection.
type wish struct {
	upgrade bool   // HTTP/1
	fresh   bool   // not used before
	ready   func() // called once the peer of an HTTP/2 connection told its limits, or will not; nil: nobody waits
	young   bool   // fresh or just used: the request must not meet a backend that is closing
}

// justUsed is how long a connection may have been idle for a request that can't
// be repeated.
const justUsed = 250 * time.Millisecond

// hastyFor is how long an endpoint is remembered that closes connections sooner
// than that: such a request then gets a fresh one.
const hastyFor = 10 * time.Second

// maxIdle bounds the idle connections of an endpoint.
const maxIdle = 256

// pool holds the connections of one endpoint: HTTP/1 ones while they are idle,
// the last used first, and HTTP/2 ones while they live.
type pool struct {
	b  *Backend
	ep *endpoint

	mu     sync.Mutex // guards what follows
	idle   []*h1conn  // the oldest first
	multi  []*h2conn
	speaks protocol
	closed bool
	epoch  int       // counts changes of the addresses
	hasty  time.Time // when the endpoint last closed a connection that was just used
	reaper *time.Timer
	making *flight // a connection for several; nil: none is being made
}

// protocol is what the endpoint spoke when it was last dialled.
type protocol uint8

const (
	unknown protocol = iota
	http1
	http2
)

func newPool(b *Backend, ep *endpoint) *pool {
	p := &pool{b: b, ep: ep}
	if ep.h2c || ep.h2 {
		p.speaks = http2
	}
	return p
}

// acquire gives the attempt a connection: its conn or its h2 is set. The error
// is one of dialling.
func (p *pool) acquire(a *attempt, w wish) error {
	if a.check { // which has a connection of its own
		return p.dial(a, w)
	}
	if p.reuse(a, w) {
		return nil
	}
	if w.upgrade || !p.multiplexes() {
		return p.dial(a, w)
	}
	return p.share(a, w)
}

// multiplexes tells that a connection is, or may turn out to be, for several
// requests at once.
func (p *pool) multiplexes() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.speaks == http2 || p.speaks == unknown && p.ep.url.Scheme == "https"
}

// reuse looks for a connection that is there already.
func (p *pool) reuse(a *attempt, w wish) bool {
	if w.fresh || p.ep.proxy != 0 {
		return false
	}
	if !w.upgrade && p.reuseMulti(a) {
		return true
	}
	now := time.Now()
	for {
		c := p.pop(now, w.young)
		if c == nil {
			return false
		}
		if c.pulse.alive() {
			c.head.limit = p.b.now().cfg.MaxHeaderBytes
			a.conn, a.addr, a.reused = c, c.addr, true
			if c.clock == nil {
				c.clock = newClock()
			}
			a.watch.attach(c.clock)
			return true
		}
		c.close()
		if now.Sub(c.idleSince) < justUsed {
			p.closesEarly(now)
		}
	}
}

// closesEarly is reached when the endpoint closed a connection that was just
// used, or one that was being used again.
func (p *pool) closesEarly(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hasty = now
}

func (p *pool) reuseMulti(a *attempt) bool {
	var gone []*h2conn
	found := false
	p.mu.Lock()
	for i := 0; i < len(p.multi) && !found; {
		c := p.multi[i]
		if c.gone() {
			gone = append(gone, c)
			p.multi = slices.Delete(p.multi, i, i+1)
			continue
		}
		if found = c.reserve(); found {
			a.h2, a.addr, a.reused = c, c.addr, true
		}
		i++
	}
	p.mu.Unlock()
	for _, c := range gone {
		c.retire()
	}
	return found
}

// pop takes the connection that was used last, if it is young enough.
func (p *pool) pop(now time.Time, young bool) *h1conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	age := now.Sub(c.idleSince)
	if age >= p.b.now().cfg.IdleConn || young && (age >= justUsed || !p.hasty.IsZero() && now.Sub(p.hasty) < hastyFor) {
		return nil // the reaper has the old ones, others may have the rest
	}
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

// put takes an HTTP/1 connection back.
func (p *pool) put(c *h1conn, now time.Time) {
	c.idleSince = now
	is := p.ep.settings.Load()
	p.mu.Lock()
	drop := p.closed || p.ep.proxy != 0 || p.b.now().cfg.IdleConn <= 0 || c.epoch != p.epoch && !is.has(c.raw)
	var oldest *h1conn
	if !drop {
		c.epoch = p.epoch
		if len(p.idle) >= maxIdle {
			oldest = p.idle[0]
			p.idle = append(p.idle[:0], p.idle[1:]...)
		}
		p.idle = append(p.idle, c)
		p.reapLater()
	}
	p.mu.Unlock()
	if drop {
		c.close()
	}
	if oldest != nil {
		oldest.close()
	}
}

// dial makes a connection. The attempt's stage tells where it failed.
func (p *pool) dial(a *attempt, w wish) error {
	if (p.ep.h2c || p.ep.h2) && w.upgrade {
		return errUpgradeOverHTTP2
	}
	p.mu.Lock()
	epoch := p.epoch
	p.mu.Unlock()
	raw, conn, err := a.dial(w.upgrade)
	if err != nil {
		return err
	}
	if !p.ep.h2c && negotiated(conn) != "h2" {
		if p.ep.h2 {
			raw.Close()
			a.stage = phaseTLS
			return &failure.Error{
				Cause: failure.TLSProtocol, Err: errNegotiated,
				Detail: fmt.Sprintf("the endpoint is to speak HTTP/2, but the handshake chose %q", firstOf(negotiated(conn), "no protocol")),
			}
		}
		if !w.upgrade { // which leaves no choice
			p.learn(http1)
		}
		a.conn = newH1(raw, conn, p.b.now().cfg.MaxHeaderBytes)
		a.conn.epoch, a.conn.addr = epoch, a.addr
		return nil
	}
	c, err := p.b.newH2(a.ctx, conn, w.ready)
	if err != nil {
		raw.Close()
		return err
	}
	c.once = c.once || a.check
	if !c.reserve() { // it permits no stream, or is gone again; the request finds out
		c.mu.Lock()
		c.streams++
		c.mu.Unlock()
	}
	a.h2, c.addr = c, a.addr
	if a.check {
		return nil
	}
	p.mu.Lock()
	p.speaks = http2
	closed := p.closed
	if !closed {
		p.multi = append(p.multi, c)
		p.reapLater()
	}
	p.mu.Unlock()
	if closed {
		c.retire()
	}
	return nil
}

func (p *pool) learn(proto protocol) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.speaks = proto
}

// reapLater requires that mu is held.
func (p *pool) reapLater() {
	if p.reaper == nil && p.b.now().cfg.IdleConn > 0 {
		p.reaper = time.AfterFunc(p.b.now().cfg.IdleConn, p.reap)
	}
}

// reap closes what has been idle for too long.
func (p *pool) reap() {
	now := time.Now()
	limit := p.b.now().cfg.IdleConn
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= limit {
		n++
	}
	old := append([]*h1conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	var oldMulti []*h2conn
	kept := p.multi[:0]
	for _, c := range p.multi {
		if c.gone() || c.idleFor(now) >= limit {
			oldMulti = append(oldMulti, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(p.multi[len(kept):])
	p.multi = kept
	p.reaper = nil
	if !p.closed && len(p.idle)+len(p.multi) > 0 {
		wait := limit / 2
		if len(p.idle) > 0 {
			wait = min(limit, max(limit-now.Sub(p.idle[0].idleSince), time.Millisecond))
		}
		p.reaper = time.AfterFunc(wait, p.reap)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
	for _, c := range oldMulti {
		c.retire()
	}
}

// follow closes what a change of the configuration or of the addresses has made
// useless. What is in use is closed afterwards.
func (p *pool) follow(old, next *state, was, is *settings) {
	moved := !slices.Equal(was.addrs, is.addrs) && len(is.addrs) > 0
	renewed := old.http2 != next.http2
	if moved || renewed {
		p.retireMulti(func(c *h2conn) bool { return renewed || !is.has(c.wire.Conn) })
	}
	if moved {
		p.mu.Lock()
		p.epoch++
		p.mu.Unlock()
		p.dropIdle(func(c *h1conn) bool { return !is.has(c.raw) })
	}
	if old.cfg.IdleConn != next.cfg.IdleConn {
		p.reap()
	}
}

// has tells whether a connection leads to one of the addresses.
func (p place) has(conn net.Conn) bool {
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || len(p.addrs) == 0 {
		return true
	}
	ip := at.AddrPort().Addr().Unmap().WithZone("")
	return slices.Contains(p.addrs, ip) || slices.Contains(p.spare, ip)
}

func (p *pool) retireMulti(which func(*h2conn) bool) {
	p.mu.Lock()
	kept, taken := divide(p.multi, which)
	p.multi = kept
	p.mu.Unlock()
	for _, c := range taken {
		c.retire()
	}
}

func (p *pool) dropIdle(which func(*h1conn) bool) {
	p.mu.Lock()
	kept, taken := divide(p.idle, which)
	p.idle = kept
	p.mu.Unlock()
	for _, c := range taken {
		c.close()
	}
}

// divide takes those out of all for which which is true. It reuses all.
func divide[T any](all []T, which func(T) bool) (kept, taken []T) {
	kept = slices.DeleteFunc(all, func(c T) bool {
		if which(c) {
			taken = append(taken, c)
			return true
		}
		return false
	})
	return kept, taken
}

// close ends all idle connections, and the others as they become idle.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle, multi := p.idle, p.multi
	p.idle, p.multi = nil, nil
	if p.reaper != nil {
		p.reaper.Stop()
		p.reaper = nil
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	for _, c := range multi {
		c.retire()
	}
}
