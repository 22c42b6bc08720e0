package cache

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// pass forwards a request that nothing is stored from, and does what its answer
// means for what is stored already.
func (t *task) pass(at found, p plan) {
	t.told = true
	how := forwarding{fwd: p.fwd, outcome: Miss}
	r := t.r
	if p.base != nil {
		r = r.WithContext(failure.Track(r.Context()))
		how.over = &over{task: t, plan: p, ctx: r.Context(), sent: time.Now()}
		if r.Method == http.MethodHead {
			how.over.f = t.c.store.hold(t.c, t.primary, at.names, r.Header)
			defer how.over.end()
		}
		if p.forbidden != "" {
			how.over.before = maps.Clone(t.w.Header())
		}
	}
	t.forward(r.Context(), t.w, r, how)
}

// over is a request that is forwarded although something is stored for it.
type over struct {
	*task
	plan
	ctx     context.Context //nolint:containedctx // the request's, with a slot
	before  http.Header     // the client's header map before next saw it; nil = the answer passes in any case
	sent    time.Time
	refused *failure.Error // answered in place of what next answered

	// f holds the URL's row for a HEAD; publishing: what it brought is on its way.
	f          *fill
	publishing bool
}

// end leaves the row, unless what is being published does so.
func (o *over) end() {
	if !o.publishing {
		o.c.store.flights.leave(o.f)
	}
}

func (o *over) publish(j job) {
	o.publishing = true
	j.done = func(putResult) { o.c.store.flights.leave(o.f) }
	o.c.store.publisher.submit(j)
}

// begin looks at an answer before it passes. It is false if another is to be
// given in its place: a cache that may not use what it has, and can't reach the
// origin, answers 504 (RFC 9111 section 5.2.2.2).
func (o *over) begin(status int, h http.Header) bool {
	e, failed := failure.From(o.ctx)
	switch {
	case failed && o.before != nil && e.Own():
		o.refused = o.colour(e)
		return false
	case !failed && o.r.Method == http.MethodHead && status == http.StatusOK:
		o.freshen(h)
	}
	return true
}

// answer gives the answer in place of next's.
func (o *over) answer(how *forwarding) {
	h := o.w.Header()
	clear(h)
	maps.Copy(h, o.before)
	how.detail = o.refused.Cause.String()
	o.c.addStatus(h, semantics.CacheStatus{Fwd: how.fwd, FwdStatus: o.refused.Received(), Detail: how.detail})
	failure.Serve(o.w, o.client.WithContext(o.ctx), o.refused, o.c.cfg.ErrorHandler)
}

// freshen updates what is stored with the answer to a HEAD that describes it (RFC
// 9111 section 4.3.5). By one that does not it would become stale; but it is, or
// the request would not have been forwarded.
func (o *over) freshen(h http.Header) {
	base, opts, now := o.base, o.c.options, time.Now()
	if !semantics.SameResponse(h, &base.resp, base.size) {
		return
	}
	updated := semantics.Update(base.header(), h, now, opts)
	d, bad := o.c.ask(o.r, base.status, updated)
	if bad != nil {
		return // nothing hangs on it here
	}
	opts = o.c.grants(&d)
	ok, reason := semantics.Storable(http.MethodGet, o.r.Header, base.status, updated, opts)
	switch {
	case d.Store == StoreNever:
		o.publish(job{del: base})
	case !o.identified() && (reason == semantics.ReasonNoStore || reason == semantics.ReasonPrivate):
		o.publish(job{del: base})
	case ok && o.c.store.sound(o.f):
		resp := semantics.Analyze(updated, base.status, o.sent, now, opts)
		o.f.base = base
		fresh := newObject(o.f, base.status, semantics.Sanitize(updated, opts), base.body, base.size, base.trailer, resp,
			o.c.store.gen.newTags(o.primary, updated, d.Tags))
		fresh.keepCodings(base)
		if base.used != nil && fresh.used != nil {
			fresh.used = base.used
		}
		o.publish(job{put: fresh, keep: fresh.keep(now)})
	}
}
