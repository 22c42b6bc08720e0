package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/internal/writer"
)

// gate stands outermost. It counts the requests in flight, tunnels included, and
// from the start of the drain on lets every response close its connection
// (RFC 9112 section 9.6; over HTTP/2 that makes net/http send GOAWAY).
//
// That is what becomes of idle connections in the lame duck: they stay open, the
// next request on one is answered, and the answer ends it. Closing them at once,
// as http.Server.Shutdown does, would lose the requests that are already under
// way on them.
type gate struct {
	draining atomic.Bool
	inFlight atomic.Int64
}

// Handler counts what passes to next.
func (g *gate) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.inFlight.Add(1)
		defer g.inFlight.Add(-1)
		c := &closer{gate: g}
		c.Init(w, c)
		next.ServeHTTP(c, r)
		if c.Status() == 0 {
			c.Begin(http.StatusOK) // net/http is about to send a 200 of its own
		}
	})
}

type closer struct {
	writer.Base
	gate *gate
}

var connectionClose = []string{"close"}

// Begin decides when the status is known, not when the request came: what is in
// flight when the drain begins is told as well.
func (c *closer) Begin(status int) bool {
	if status != http.StatusSwitchingProtocols && c.gate.draining.Load() {
		c.Header()["Connection"] = connectionClose[:1:1]
	}
	return true
}

// errSecondSignal is why a drain ends early.
var errSecondSignal = errors.New("a second signal")

// drain ends the proxy without losing a request:
//
//  1. /readyz turns to 503, and every response closes its connection. For the
//     lame duck everything is still accepted and answered.
//  2. The listener closes. What reached it is answered.
//  3. The snapshot is written. For that a part of the time is kept back.
//  4. Refreshes of the cache end, then tunnels, which end only by being told to.
//  5. The log gets told what was left out of it.
//  6. The admin listener closes last, so that all this can be watched.
//
// All of it together takes no longer than the drain timeout. What is then still
// running is cut, and said so in the error. An end of abort does the same at once.
func (p *proxy) drain(abort context.Context) error {
	ctx, cancel := context.WithTimeoutCause(abort, p.cfg.drainTimeout,
		fmt.Errorf("-drain-timeout %v is over", p.cfg.drainTimeout))
	defer cancel()
	p.log.Info("draining: not ready for new traffic, answering what comes until the listener closes",
		slog.Int64("in_flight", p.gate.inFlight.Load()), slog.Duration("lame_duck", p.cfg.lameDuck))
	p.gate.draining.Store(true)
	if p.demo != nil {
		p.demo.quiet()
	}
	pause(ctx, p.cfg.lameDuck)

	var early error
	step := func(ctx context.Context, shutdown func(context.Context) error) {
		if err := shutdown(ctx); err != nil && early == nil {
			early = cmp.Or(context.Cause(ctx), err)
		}
	}
	answering, answered := ctx, context.CancelFunc(func() {})
	if p.cfg.snapshot != "" {
		answering, answered = context.WithTimeoutCause(ctx, p.cfg.drainTimeout-p.cfg.lameDuck-reserve(p.cfg.drainTimeout-p.cfg.lameDuck),
			fmt.Errorf("-drain-timeout %v is over, but for what the snapshot needs of it", p.cfg.drainTimeout))
	}
	step(answering, p.public.shutdown)
	answered()
	left := p.gate.inFlight.Load()
	if early != nil {
		p.public.server.Close()
	}
	unsaved := p.save(ctx)
	step(ctx, p.stack.cache.Shutdown)
	step(ctx, p.stack.backend.Shutdown)
	step(ctx, p.stack.observer.Shutdown)
	p.closePrivate(ctx)
	if early != nil {
		return errors.Join(fmt.Errorf("the drain ended early, requests in flight: %d: %w", left, early), unsaved)
	}
	if unsaved != nil {
		return unsaved
	}
	p.log.Info("drained: nothing was lost")
	return nil
}

// lastLook is how long those may take who are watching the drain.
const lastLook = time.Second

// closePrivate ends the listeners that are not for visitors. Nothing that they
// answer is worth a longer wait.
func (p *proxy) closePrivate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	for _, s := range p.private() {
		if s.server.Shutdown(ctx) != nil {
			s.server.Close()
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
