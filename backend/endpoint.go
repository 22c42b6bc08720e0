package backend

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// endpoint is one place that answers, with what is known of it.
type endpoint struct {
	target
	settings      atomic.Pointer[settings]
	tls, tlsHTTP1 *tls.Config // for https
	http1         atomic.Bool // HTTP/2 is not offered any more
	pool          *pool       // nil: in-process

	ctx    context.Context // ends when the endpoint is removed, or the backend ends
	retire context.CancelFunc

	stopChecks context.CancelFunc // guarded by the backend's setMu; nil: none run

	steering  atomic.Uint32 // a Steering
	inFlight  atomic.Int64
	heldUntil atomic.Int64 // in ns since the backend's start; 0: never held

	barredUntil atomic.Int64 // the same; by Retry-After

	live     evidence
	load     load
	latency  latencies
	ejection ejection

	warmSince atomic.Int64 // in ns since the backend's start; 0: it has its whole weight
	due       float64      // guarded by Backend.turn
	seed      uint64       // of the name

	down atomic.Bool // by its check

	mu      sync.Mutex // guards what follows
	health  health
	history history
}

// holdDown is how long an endpoint is not preferred after it refused a connection,
// or after none could be made from here.
const holdDown = 250 * time.Millisecond

// settings is what may change during the life of an endpoint. It is replaced,
// never changed.
type settings struct {
	weight int // at least 1
	backup bool
	limit  int // of requests in flight; 0: none

	handler http.Handler // nil: remote
	gate    Gate         // nil: none
	ownGate bool         // made by NewGate

	name *name     // nil: nothing to resolve in the background
	good *lastGood // nil: nothing to resolve
	place

	adaptive Limit // made by NewLimit; nil: none
	ownLimit bool  // NewLimit was asked
}

func (b *Backend) newEndpoint(cfg Config, one Endpoint, t target) *endpoint {
	ep := &endpoint{target: t, seed: hashOf(t.name)}
	ep.ctx, ep.retire = context.WithCancel(b.ctx)
	ep.settings.Store(settingsOf(cfg, one, t.name, nil))
	if one.Handler == nil {
		ep.pool = newPool(b, ep)
		if t.url.Scheme == "https" {
			ep.tls, ep.tlsHTTP1 = tlsConfigs(cfg.TLS, t.host, t.h2)
		}
	}
	ep.health = health{up: true, since: time.Now()}
	if cfg.Health.on() && cfg.Health.InitialDown {
		ep.health.up, ep.health.unproven, ep.health.detail = false, true, "not checked yet"
		ep.down.Store(true)
	}
	return ep
}

// settingsOf are the settings of an endpoint by cfg; before are those that it
// has, nil for a new one. A gate of its own is made once.
func settingsOf(cfg Config, one Endpoint, name string, before *settings) *settings {
	s := &settings{
		weight: max(1, one.Weight), backup: one.Backup, limit: one.MaxInFlight,
		handler: one.Handler, gate: cfg.Gate,
	}
	switch {
	case cfg.NewLimit == nil:
	case before != nil && before.ownLimit:
		s.adaptive, s.ownLimit = before.adaptive, true
	default:
		s.adaptive, s.ownLimit = cfg.NewLimit(name), true
	}
	switch {
	case cfg.NewGate == nil:
	case before != nil && before.ownGate:
		s.gate, s.ownGate = before.gate, true
	default:
		s.gate, s.ownGate = cfg.NewGate(name), true
	}
	return s
}

// inProcess tells whether a handler answers.
func (ep *endpoint) inProcess() bool { return ep.pool == nil }

// asked is the gate to ask; nil: none.
func (ep *endpoint) asked() Gate { return ep.settings.Load().gate }

// answered is told of every final header section that is no failure, when it
// came. What has no end in sight (lasting) is a success by it.
func (ep *endpoint) answered(b *Backend, began, headers time.Time, lasting bool) {
	ep.live.answered(b.clock(headers))
	if ep.down.Load() {
		b.contradict(ep, true, began)
	}
	if lasting && ep.ejection.known.Load() {
		b.redeem(b.now(), ep, began)
	}
}

// settled is told the outcome of every attempt of a request, before its gate is.
// It keeps an endpoint that refused a connection out of the first choice for a
// moment.
func (ep *endpoint) settled(b *Backend, o *outcome) {
	now := b.clock(o.ended)
	ep.live.settled(o, now)
	ep.load.settled(o, time.Duration(now))
	b.judge(ep, o, now)
	if ep.down.Load() && o.verdict() != failure.Neutral {
		b.contradict(ep, false, o.began)
	}
	if e := o.failure; e != nil && (e.Cause == failure.ConnectionRefused || e.Cause == failure.LocalLimit) {
		ep.heldUntil.Store(now + int64(holdDown))
	}
}

func (ep *endpoint) held(b *Backend) bool {
	until := ep.heldUntil.Load()
	return until != 0 && int64(time.Since(b.began)) < until
}
