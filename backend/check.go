package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// watchHealth checks one endpoint until ctx ends: with the backend, with the
// endpoint, or since other checks begin.
func (b *Backend) watchHealth(ctx context.Context, ep *endpoint) {
	defer b.checks.Done()
	var last *inProcess // of a handler
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		f := finding{detail: "the handler of an earlier check has not returned"}
		if last == nil || last.returned() {
			f, last = b.check(ctx, ep)
		}
		if ctx.Err() != nil {
			return
		}
		b.recordHealth(ep, Probe{At: began, OK: f.good, Took: time.Since(began), Detail: clipped(f.detail)})
		cfg := &b.now().cfg.Health
		ep.mu.Lock()
		h := ep.health
		ep.mu.Unlock()
		timer.Reset(cfg.pause(h, rand.Float64()))
	}
}

// pause is the time until the next check; chance is from 0 to 1.
func (h *Health) pause(is health, chance float64) time.Duration {
	d := h.Interval
	if is.fast() {
		d = h.FastInterval
	}
	return max(time.Millisecond, d+time.Duration(float64(d)*h.Jitter*(2*chance-1)))
}

// finding is what one check found.
type finding struct {
	good   bool
	detail string
}

// check is one active check, on the way that requests take. inner is the exchange
// with a handler, which may still be under way; nil: there is none.
func (b *Backend) check(ctx context.Context, ep *endpoint) (f finding, inner *inProcess) {
	s := b.now()
	cfg := &s.cfg.Health
	if cfg.Kind == CheckTCP && ep.inProcess() {
		return finding{true, "a handler in this process: there is nothing to connect to"}, nil
	}
	a := b.start(ctx, ep, 1, &s.limits, 0, 0)
	a.check = true
	stop := time.AfterFunc(cfg.Timeout, func() { a.cancel(&timeoutError{total: true, limit: cfg.Timeout}) })
	defer stop.Stop()
	var err error
	switch cfg.Kind {
	case CheckTCP:
		f, err = a.checkTCP()
	case CheckGRPC:
		f, err = a.checkGRPC(cfg) //nolint:contextcheck // the attempt has the context
	case CheckHTTP:
		f, err = a.checkHTTP(cfg) //nolint:contextcheck // the attempt has the context
	}
	var e *failure.Error
	if err != nil {
		e = a.explain(err)
		f = finding{detail: a.broke(cfg.subject(), e, cfg.Timeout)}
	}
	a.finish(e)
	return f, a.inner
}

// subject is what a check asks for, as the details of its results begin.
func (h *Health) subject() string {
	switch h.Kind {
	case CheckTCP:
		return "connect"
	case CheckGRPC:
		if h.Service != "" {
			return "grpc.health.v1.Health/Check of " + h.Service
		}
		return "grpc.health.v1.Health/Check"
	case CheckHTTP:
	}
	return firstOf(h.Method, http.MethodGet) + " " + h.Path
}

// broke tells why a check was not answered.
func (a *attempt) broke(subject string, e *failure.Error, limit time.Duration) string {
	late, ok := errors.AsType[*timeoutError](e.Err)
	if !ok {
		late, ok = errors.AsType[*timeoutError](context.Cause(a.ctx))
	}
	switch {
	case e.Cause == failure.ConnectionRefused:
		return "connect: refused"
	case !ok:
	case late.total:
		return fmt.Sprintf("%s after %v", a.silence(subject), limit)
	case late.limit > 0:
		return fmt.Sprintf("%s after %v", a.silence(subject), late.limit)
	}
	switch a.stage {
	case phaseResolve:
		return "resolve: " + describe(e)
	case phaseConnect:
		return "connect: " + describe(e)
	case phaseTLS:
		return "TLS: " + describe(e)
	case phaseOff, phaseWrite, phaseUpload, phaseFirstByte, phaseHeaders, phaseBody, phaseFired:
	}
	return subject + ": " + describe(e)
}

// silence tells what did not come in time.
func (a *attempt) silence(subject string) string {
	switch a.stage {
	case phaseResolve:
		return "resolve: no address"
	case phaseConnect:
		return "connect: no connection"
	case phaseTLS:
		return "TLS: handshake not finished"
	case phaseHeaders:
		return subject + ": header section not finished"
	case phaseBody:
		return subject + ": body not finished"
	case phaseOff, phaseWrite, phaseUpload, phaseFirstByte, phaseFired:
	}
	return subject + ": no answer"
}

func describe(e *failure.Error) string {
	text := e.Cause.String()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// clipped bounds what a backend may have us remember.
func clipped(detail string) string {
	const limit = 512
	if len(detail) > limit {
		detail = detail[:limit] + "…"
	}
	return strings.ToValidUTF8(detail, "\uFFFD")
}
