package cache

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// leader is a request that fetches on its own goroutine. While next runs, what
// it brings is copied to the client by a helper goroutine, from the moment
// when somebody has to take it; only one of the two touches the client's writer.
type leader struct {
	*task
	plan
	x  *fetch
	rd *reader

	f    *fill
	left atomic.Bool // the fill was told that the client is gone

	// helper is closed when the helper goroutine has ended; nil = there is none.
	helper    chan struct{}
	delivered delivered
	helperErr any // what the client's writer panicked with
	direct    bool
}

// lead fetches for this request and for all who follow. A panic of next is
// raised again, with the identical value, when the fill has been ended.
func (t *task) lead(f *fill, p plan) {
	if !t.c.running(f) {
		f.refuse()
		t.told = true
		t.forward(t.r.Context(), t.w, t.client, forwarding{fwd: "bypass", detail: failure.Draining.String(), outcome: Bypass})
		return
	}
	x := &fetch{f: f, r: t.r, ctx: f.ctx}
	if p.fallback != nil {
		failure.Reserve(f.ctx)
	}
	if p.fwd == fwdVaryMiss {
		x.others = t.c.store.others(t.primary, t.r.Header)
	}
	l := &leader{task: t, plan: p, x: x, rd: f.firstReader(false), f: f}
	x.allowDirect, x.withhold = l.passDirect, l.withhold
	settled := false
	stop := context.AfterFunc(t.r.Context(), l.clientLeft)
	defer func() {
		stop()
		if !settled { // next ended the goroutine (runtime.Goexit)
			x.panicked = &panicked{err: failure.New(failure.HandlerAbort, nil)}
			x.settle()
		}
		l.join()
		l.rd.leave()
	}()
	t.event.FillID = f.id
	x.run(t.next, func() *fillWriter {
		return &fillWriter{outer: t.w, noInfo: !t.r.ProtoAtLeast(1, 1), unlessWhole: l.startHelper}
	})
	v := x.settle()
	settled = true
	if f.ranged && v.err == nil {
		t.wholeBehind(x, time.Now())
	}
	l.answer(v)
}

// clientLeft tells the fill, once, that the client is gone.
func (l *leader) clientLeft() {
	if l.left.CompareAndSwap(false, true) {
		l.f.leaderLeft()
	}
}

// passDirect sends the headers of a response that nobody else may have; from
// then on next writes to the client by itself.
func (l *leader) passDirect(h head) {
	l.direct = true
	l.rd.leave()
	if h.failure != nil && !h.foreign {
		failure.Report(l.r.Context(), l.colour(h.failure)) // before the headers: those outside look at it then
	} else {
		l.propagate()
	}
	out := l.w.Header()
	merge(out, h.header)
	s := semantics.CacheStatus{Fwd: l.fwd, FwdStatus: h.received(), Detail: h.detail()}
	if l.event.Detail != "" {
		s.Detail = l.event.Detail
	}
	if l.c.cfg.ShowKey {
		s.Key = readable(l.primary)
	}
	l.c.addStatus(out, s)
	l.event.Outcome, l.event.Fwd, l.event.FwdStatus, l.event.Status = Miss, l.fwd, h.received(), h.status
	l.event.NotStored, l.event.Detail, l.event.Failure = h.reason, s.Detail, h.failure
	l.x.w.direct = writer.Base{}
	l.x.w.direct.Init(l.w, nil)
}

// propagate passes a failure on that was mended inside (a retry that
// succeeded) or that is the origin's own answer, for the logs.
func (l *leader) propagate() {
	e, rung := failure.Outcome(l.x.f.ctx)
	if e == nil || rung == failure.Unmended && e != l.x.answered {
		return
	}
	failure.Report(l.r.Context(), e)
	if rung != failure.Unmended {
		failure.Mend(l.r.Context(), rung)
	}
}

// withhold keeps a failure's answer back where the stale copy will answer, or
// where the refusal to serve it is to be told.
func (l *leader) withhold(e *failure.Error) bool {
	return l.mayFallBack(e) || l.forbidden != "" && e.Own()
}

// startHelper makes somebody take what is in the fill.
func (l *leader) startHelper() {
	if l.helper != nil || l.direct {
		return
	}
	l.helper = make(chan struct{})
	l.rd.listen()
	l.propagate()
	go func() {
		defer close(l.helper)
		defer l.rd.leave()
		defer func() { l.helperErr = recover() }()
		l.copy()
	}()
}

// copy reports the failure of a response that is passed on, then delivers it.
func (l *leader) copy() {
	h := l.x.f.headNow()
	if h.failure != nil && !h.foreign {
		failure.Report(l.r.Context(), h.failure)
	}
	l.delivered = l.deliver(l.rd, h, l.fwd, false)
	if l.delivered.gone {
		l.clientLeft()
	}
}

// join waits until the helper goroutine no longer uses the client's writer.
func (l *leader) join() {
	if l.helper != nil {
		<-l.helper
	}
}

// answer ends the leader's own request after the fill has ended.
func (l *leader) answer(v verdict) {
	l.join()
	x, e := l.x, v.err
	if l.helperErr != nil {
		panic(l.helperErr)
	}
	begun := l.direct || l.delivered.begun
	if p := x.panicked; p != nil && (begun || !l.mayFallBack(e)) {
		l.event.Outcome, l.event.Failure = Failed, e
		if begun {
			e = e.With(failure.Note{Kind: failure.AfterHeaders})
		}
		failure.Report(l.r.Context(), e)
		panic(p.value)
	}
	switch {
	case x.w.mode == modeHijacked:
		l.event.Outcome, l.event.Fwd, l.event.Status = Bypass, l.fwd, http.StatusSwitchingProtocols
	case l.direct:
		if v.broken {
			failure.Report(l.r.Context(), e.With(failure.Note{Kind: failure.AfterHeaders}))
			l.event.Outcome, l.event.Failure = Failed, e
		}
		l.event.Bytes = x.w.direct.Bytes()
		if t := x.w.trailer(); len(t) > 0 {
			setTrailers(l.w.Header(), x.w.header, t)
		}
	case l.helper != nil:
		l.afterHelper(e)
	case x.w.mode == modeFill && !v.broken:
		l.propagate()
		l.copy()
		l.afterHelper(e)
	case l.r.Context().Err() != nil:
		l.gone()
	case e == nil:
		l.confirmed()
	default:
		l.failed(e)
	}
}

// afterHelper is when what was to be copied has been, or could not be.
func (l *leader) afterHelper(e *failure.Error) {
	h := l.x.f.headNow()
	l.event.Stored, l.event.NotStored = h.store && e == nil, h.reason
	switch d := l.delivered; {
	case d.state == readEnd:
	case d.gone:
		l.gone()
	case d.begun:
		l.abort(d.failure(l.rd))
	default:
		l.failed(e)
	}
}

// confirmed answers from what the origin has just confirmed.
func (l *leader) confirmed() {
	f := l.x.f
	l.propagate()
	l.event.Fwd, l.event.FwdStatus = l.fwd, http.StatusNotModified
	h := f.headNow()
	now := time.Now()
	l.event.Stored, l.event.NotStored = h.store, h.reason
	if cookies := h.header["Set-Cookie"]; len(cookies) > 0 && !l.c.options.StoreSetCookie {
		set(l.w.Header(), "Set-Cookie", cookies) // of its own 304
	}
	l.object(f.object, semantics.CacheStatus{
		Fwd: l.fwd, FwdStatus: http.StatusNotModified, Stored: h.store, TTL: f.object.left(now), HasTTL: true,
	}, Revalidated, now)
}

func (l *leader) mayFallBack(e *failure.Error) bool {
	return l.fallback != nil && staleMayAnswer(e) && l.c.store.valid(l.fallback)
}

// failed answers after a fetch that brought nothing.
func (l *leader) failed(e *failure.Error) {
	l.event.Fwd = l.fwd
	before := l.x.f.headNow().failure
	if l.x.withheld != nil {
		before = l.x.withheld
	}
	l.event.FwdStatus = received(before, l.x.w.status)
	if l.mayFallBack(e) {
		l.staleAfter(l.fallback, e, l.event.FwdStatus)
		return
	}
	l.fail(l.colour(e))
}
