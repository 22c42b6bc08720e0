package backend

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// health is what the active checks of an endpoint found.
type health struct {
	up     bool
	since  time.Time
	detail string // of the last check: its status line or its error
	streak int    // checks in a row that contradict up
}

// next is the state after one more check. It is a pure function.
func (h health) next(good bool, detail string, now time.Time, rise, fall int) health {
	h.detail = detail
	if good == h.up {
		h.streak = 0
		return h
	}
	h.streak++
	need := fall
	if good {
		need = rise
	}
	if h.streak >= need {
		h.up, h.since, h.streak = good, now, 0
	}
	return h
}

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
		good, detail := false, "the handler of an earlier check has not returned"
		if last == nil || last.returned() {
			good, detail, last = b.check(ctx, ep)
		}
		if ctx.Err() != nil {
			return
		}
		b.recordHealth(ep, good, detail)
		timer.Reset(b.now().cfg.Health.Interval)
	}
}

func (b *Backend) recordHealth(ep *endpoint, good bool, detail string) {
	cfg := &b.now().cfg.Health
	ep.mu.Lock()
	before := ep.health
	ep.health = before.next(good, detail, time.Now(), cfg.Rise, cfg.Fall)
	after := ep.health
	ep.mu.Unlock()
	if after.up && !before.up {
		ep.warmUp(b)
	}
	if after.up != before.up {
		b.endpointsChanged()
		b.observe(b.ctx, Event{Kind: HealthChanged, Endpoint: ep.name, Healthy: after.up, Detail: detail})
	}
}

// check is one active check, on the way that requests take.
func (b *Backend) check(ctx context.Context, ep *endpoint) (good bool, detail string, inner *inProcess) {
	s := b.now()
	cfg := &s.cfg.Health
	limit := cfg.Timeout
	a := b.start(ctx, ep, 1, &s.limits, 0, 0)
	a.check = true
	stop := time.AfterFunc(limit, func() { a.cancel(&timeoutError{total: true, limit: limit}) })
	defer stop.Stop()
	res, err := a.exchange(cfg.request(ep), func(*http.Response) {}) //nolint:bodyclose,contextcheck // the attempt owns it until finish, and has the context
	if err != nil {
		e := a.explain(err)
		a.finish(e)
		return false, describe(e), a.inner
	}
	status := res.StatusCode
	e := a.drain()
	a.finish(e)
	if status < 200 || status >= 400 {
		return false, fmt.Sprintf("GET %s: %d %s", cfg.Path, status, http.StatusText(status)), a.inner
	}
	return true, fmt.Sprintf("GET %s: %d %s", cfg.Path, status, http.StatusText(status)), a.inner
}

// drain reads what there is of a short body, so that the connection can be used
// again. What is long is not worth it.
func (a *attempt) drain() *failure.Error {
	buf := make([]byte, 4096)
	for range 16 {
		_, err := a.read(buf)
		if ended(err) {
			a.at.done = time.Now()
			return nil
		}
		if err != nil {
			return a.explain(err)
		}
	}
	return failure.New(failure.HandlerAbort, nil)
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

func (h *Health) request(ep *endpoint) *request {
	u, err := url.ParseRequestURI(h.Path)
	if err != nil { // New has parsed it
		u = &url.URL{Path: "/"}
	}
	r := &http.Request{
		Method: http.MethodGet, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"holdfast-health"}}, Body: http.NoBody, Host: ep.name,
	}
	if ep.inProcess() {
		r.RequestURI, r.RemoteAddr = h.Path, "127.0.0.1:0"
		return &request{origin: r, http: r, client: discardWriter{http.Header{}}}
	}
	r.URL = ep.join(u)
	r.Host = ep.url.Host
	return &request{http: r, target: r.URL.RequestURI()}
}

// discardWriter stands for a client where there is none.
type discardWriter struct{ header http.Header }

func (d discardWriter) Header() http.Header       { return d.header }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}
