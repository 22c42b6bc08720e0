package backend

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
)

// source is one configured endpoint with those that stand for it at the moment:
// one, or one for each address where its name has several of a family. A source
// is part of a state and never changed.
type source struct {
	one       Endpoint
	target    target
	name      *name     // nil: nothing to resolve in the background
	good      *lastGood // nil: nothing to resolve
	endpoints []*endpoint
	settings  []*settings // of endpoints, in order

	steering *atomic.Uint32 // what its new endpoints begin with
}

// workshop has what was made for a state that is not in force yet. When another
// change came first it is thrown away.
type workshop struct {
	endpoints []*endpoint
	names     map[string]*name
	good      map[string]*lastGood
}

func (w *workshop) discard() {
	for _, ep := range w.endpoints {
		ep.retire()
	}
	for _, n := range w.names {
		n.stop()
	}
}

// name is the name that host has in old, or a new one.
func (w *workshop) name(b *Backend, old *state, host string) *name {
	if old != nil {
		if n := old.names[host]; n != nil {
			return n
		}
	}
	n := w.names[host]
	if n == nil {
		n = newName(b, host, w.lastGood(old, host))
		if w.names == nil {
			w.names = make(map[string]*name)
		}
		w.names[host] = n
	}
	return n
}

// lastGood is what host has in old, or a new one.
func (w *workshop) lastGood(old *state, host string) *lastGood {
	if old != nil {
		if g := old.good[host]; g != nil {
			return g
		}
	}
	g := w.good[host]
	if g == nil {
		g = new(lastGood)
		if w.good == nil {
			w.good = make(map[string]*lastGood)
		}
		w.good[host] = g
	}
	return g
}

// plan makes the state that follows old: the endpoints of cfg at the addresses
// that are known now. Those of old that are the same are taken over. No lock may
// be held: NewGate is called.
func (b *Backend) plan(old *state, cfg Config, targets []target, sameTLS bool, w *workshop) *state {
	sources := make([]source, len(targets))
	for i, t := range targets {
		src := &sources[i]
		src.one, src.target = cfg.Endpoints[i], t
		was := old.source(t, sameTLS)
		if was != nil {
			src.steering = was.steering
		} else {
			was, src.steering = &source{}, new(atomic.Uint32)
		}
		if t.resolvable() {
			src.good = w.lastGood(old, t.host)
			if cfg.ResolveInterval > 0 {
				src.name = w.name(b, old, t.host)
			}
		}
		b.populate(src, was, cfg, w)
	}
	next := b.newState(cfg, sources)
	if old != nil {
		next.tlsFrom = old.tlsFrom
	}
	if old != nil && old.cfg.MaxHeaderBytes == cfg.MaxHeaderBytes && old.cfg.Write == cfg.Write {
		next.http2 = old.http2
	} else {
		next.http2 = newTransport(cfg)
	}
	return next
}

// source is the one whose endpoints may stand for t; nil: there is none.
func (s *state) source(t target, sameTLS bool) *source {
	if s == nil {
		return nil
	}
	if was := s.byKey[t.key]; was != nil && (sameTLS || t.url == nil || t.url.Scheme != "https") {
		return was
	}
	return nil
}

// populate gives src its endpoints: those of was as far as their addresses are
// still there, and new ones.
func (b *Backend) populate(src, was *source, cfg Config, w *workshop) {
	places := []place{{}}
	if src.name != nil {
		if addrs := src.name.known(); len(addrs) > 0 {
			places = spread(addrs, was.family())
		}
	}
	kept := assign(places, was)
	bare := slices.ContainsFunc(kept, func(k int) bool { return k >= 0 && was.endpoints[k].name == src.target.name })
	for i, p := range places {
		var ep *endpoint
		var before *settings
		if k := kept[i]; k >= 0 {
			ep, before = was.endpoints[k], was.settings[k]
		} else {
			t := src.target
			if bare && len(p.addrs) > 0 {
				t.name += "@" + p.addrs[0].String()
			}
			bare = true
			ep = b.newEndpoint(cfg, src.one, t)
			ep.steering.Store(src.steering.Load())
			w.endpoints = append(w.endpoints, ep)
			before = ep.settings.Load()
		}
		set := settingsOf(cfg, src.one, ep.name, before)
		set.name, set.good, set.place = src.name, src.good, p
		src.endpoints, src.settings = append(src.endpoints, ep), append(src.settings, set)
	}
}

// family is that of the endpoints where there are several: 4 or 6; 0: there is
// one.
func (s *source) family() int {
	if len(s.settings) < 2 || len(s.settings[0].addrs) == 0 {
		return 0
	}
	return familyOf(s.settings[0].addrs[0])
}

// assign finds for each place the endpoint of was that stays there, by its
// index; -1: none. An endpoint stays where one of its addresses does. One whose
// name was never resolved has the first place; one place that is not resolved
// keeps the endpoint that has the configured name.
func assign(places []place, was *source) []int {
	kept := make([]int, len(places))
	taken := make([]bool, len(was.endpoints))
	pick := func(i int, fits func(k int) bool) {
		for k := range was.endpoints {
			if kept[i] < 0 && !taken[k] && fits(k) {
				kept[i], taken[k] = k, true
			}
		}
	}
	for i, p := range places {
		kept[i] = -1
		pick(i, func(k int) bool {
			return slices.ContainsFunc(was.settings[k].addrs, func(a netip.Addr) bool { return slices.Contains(p.addrs, a) })
		})
	}
	for i, p := range places {
		unresolved := func(k int) bool { return len(was.settings[k].addrs) == 0 }
		if len(p.addrs) == 0 {
			pick(i, func(k int) bool { return was.endpoints[k].name == was.target.name })
			unresolved = func(int) bool { return true }
		}
		pick(i, unresolved)
	}
	return kept
}

// change replaces the state. It is planned without a lock and again if another
// change came first. false: the backend was shut down.
func (b *Backend) change(plan func(old *state, w *workshop) *state) bool {
	for {
		old := b.now()
		w := &workshop{}
		next := plan(old, w)
		done, closed := b.commit(old, next)
		if done {
			b.clear(old, next)
			b.endpointsChanged()
			return true
		}
		w.discard()
		if closed {
			return false
		}
	}
}

// commit puts next in the place of old, if it is still in force, and begins what
// next needs.
func (b *Backend) commit(old, next *state) (done, closed bool) {
	b.setMu.Lock()
	defer b.setMu.Unlock()
	if b.closed || b.state.Load() != old {
		return false, b.closed
	}
	b.state.Store(next)
	next.pardon()
	for i := range next.sources {
		src := &next.sources[i]
		for k, ep := range src.endpoints {
			ep.settings.Store(src.settings[k])
			if old != nil && old.settingsOf(ep) == nil {
				ep.steering.Store(src.steering.Load()) // which may have changed meanwhile
				if !old.unresolved(src.target.key) {
					ep.warmUp(b)
				}
			}
		}
		if n := src.name; n != nil && !n.started {
			n.started = true
			b.checks.Go(n.run)
		}
	}
	anew := old != nil && !reflect.DeepEqual(old.cfg.Health, next.cfg.Health)
	for _, ep := range next.endpoints {
		b.followChecks(ep, &next.cfg.Health, anew)
	}
	return true, false
}

// followChecks has the endpoint checked as h says; anew tells that it says
// something new. It requires that setMu is held.
func (b *Backend) followChecks(ep *endpoint, h *Health, anew bool) {
	if ep.stopChecks != nil && anew {
		ep.stopChecks()
		ep.stopChecks = nil
		if !h.on() {
			ep.unchecked()
		}
	}
	if ep.stopChecks != nil || !h.on() {
		return
	}
	var ctx context.Context
	ctx, ep.stopChecks = context.WithCancel(ep.ctx)
	b.checks.Add(1)
	go b.watchHealth(ctx, ep)
}

// clear ends what next does not have of old any more, and has the rest follow
// what changed. It does I/O.
func (b *Backend) clear(old, next *state) {
	if old == nil {
		return
	}
	for i := range old.sources {
		was := &old.sources[i]
		if n := was.name; n != nil && !next.has(n) {
			n.stop()
		}
		for k, ep := range was.endpoints {
			switch set := next.settingsOf(ep); {
			case set == nil:
				ep.retire()
				if ep.pool != nil {
					ep.pool.close()
				}
			case ep.pool != nil:
				ep.pool.follow(old, next, was.settings[k], set)
			}
		}
	}
	if old.cfg.ResolveInterval != next.cfg.ResolveInterval {
		for i := range next.sources {
			if n := next.sources[i].name; n != nil {
				n.poke()
			}
		}
	}
}

func (s *state) has(n *name) bool { return s.names[n.host] == n }

// unresolved tells whether the address has a name that was not resolved yet.
func (s *state) unresolved(key string) bool {
	src := s.byKey[key]
	return src != nil && src.name != nil && len(src.settings) > 0 && len(src.settings[0].addrs) == 0
}

// settingsOf are those that ep has in s; nil: it is not among the endpoints.
func (s *state) settingsOf(ep *endpoint) *settings { return s.is[ep] }

// closeSet has no further change come into force.
func (b *Backend) closeSet() {
	b.setMu.Lock()
	defer b.setMu.Unlock()
	b.closed = true
}

// address is where the endpoint is, for a report.
func (ep *endpoint) address() string {
	addrs := ep.settings.Load().addrs
	if ep.ip != nil {
		addrs = ep.ip
	}
	switch {
	case ep.inProcess():
		return ""
	case ep.unix:
		return ep.addr
	case len(addrs) == 0:
		return ""
	}
	return net.JoinHostPort(addrs[0].String(), ep.port)
}

// resolveError is why the name can't be resolved; "": it can, or there is none.
func (ep *endpoint) resolveError() string {
	n := ep.settings.Load().name
	if n == nil {
		return ""
	}
	if err := n.answer.Load().err; err != nil {
		return err.Error()
	}
	return ""
}
