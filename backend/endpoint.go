package backend

import (
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
	handler       http.Handler // nil: remote
	tls, tlsHTTP1 *tls.Config  // for https
	pool          *pool        // remote
	gate          Gate         // nil: none

	inFlight  atomic.Int64
	heldUntil atomic.Int64 // in ns since the backend's start; 0: never held

	mu     sync.Mutex // guards what follows
	health health
}

// holdDown is how long an endpoint is not preferred after it refused a connection,
// or after none could be made from here.
const holdDown = 250 * time.Millisecond

func (b *Backend) newEndpoint(cfg Endpoint, t target) *endpoint {
	ep := &endpoint{target: t, handler: cfg.Handler, gate: b.cfg.Gate}
	if b.cfg.NewGate != nil {
		ep.gate = b.cfg.NewGate(t.name)
	}
	if ep.handler == nil {
		ep.pool = newPool(b, ep)
		if t.url.Scheme == "https" {
			ep.tls, ep.tlsHTTP1 = tlsConfigs(b.cfg.TLS, t.url.Hostname())
		}
	}
	ep.health = health{up: true, since: b.began}
	return ep
}

// hold keeps the endpoint out of the first choice for a moment.
func (ep *endpoint) hold(b *Backend, c failure.Cause) {
	if c == failure.ConnectionRefused || c == failure.LocalLimit {
		ep.heldUntil.Store(int64(time.Since(b.began) + holdDown))
	}
}

func (ep *endpoint) held(b *Backend) bool {
	until := ep.heldUntil.Load()
	return until != 0 && int64(time.Since(b.began)) < until
}

func (ep *endpoint) up() bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.health.up
}

func (ep *endpoint) status(b *Backend) EndpointStatus {
	ep.mu.Lock()
	h := ep.health
	ep.mu.Unlock()
	s := EndpointStatus{
		Name: ep.name, Healthy: h.up, Detail: h.detail, Since: h.since,
		InFlight: int(ep.inFlight.Load()),
	}
	switch {
	case !h.up:
		s.Reason = failure.EndpointDown
	case ep.held(b):
		s.Reason = failure.HeldDown
		s.Detail = "refused a connection a moment ago"
	}
	return s
}
