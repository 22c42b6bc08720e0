package cache

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// refresh is a detached fetch on its own goroutine, made while a stale copy is
// there.
type refresh struct {
	x    *fetch
	used bool // next was reached
}

// refreshFirst awaits a refresh of a stale object: until it is complete, takes
// too long, or fails. It is false if it was of no use.
func (t *task) refreshFirst(o *object, at found, fwd string, now time.Time) bool {
	p := plan{fwd: fwd, base: o, fallback: o}
	if t.solo(now) && t.c.cfg.StaleIfSlow == 0 && t.r.Method == http.MethodGet && len(t.r.Header["Range"]) == 0 {
		if v := t.c.consider(o, flying{}, now); v.ruling == hold {
			t.held(o, v.err, now)
			return true
		}
		return t.fetch(at, now, p) // its answer may be for nobody else
	}
	q := t.detachedQuery(at, o, now)
	if t.c.cfg.StaleIfSlow > 0 {
		// Others may wait although they will have to ask for themselves: while the
		// origin is slow all get the stale copy, and it one request.
		q.solo = t.alone || t.q.NoStore || t.identified()
	}
	place := t.c.store.enter(&q)
	if place.hung != nil {
		place.hung.supersede()
	}
	switch {
	case place.held:
		t.held(o, place.err, now)
		return true
	case place.lead != nil && place.behind:
		t.startBehind(place.lead)
		t.held(o, nil, now)
		return true
	case place.lead != nil:
		rd := place.lead.firstReader(true).listen()
		if !t.startRefresh(place.lead) {
			t.stale(o, failure.StaleNoAttempt, failure.New(failure.Draining, nil), 0, failure.Draining.String(), now)
			return true
		}
		return t.await(rd, o, p, true)
	case place.follow != nil:
		return t.await(place.follow, o, p, false)
	}
	t.late = place.late
	return false
}

// held answers from the stale object at once: for a failure a moment ago or,
// without one, since the origin is slow.
func (t *task) held(o *object, e *failure.Error, now time.Time) {
	if e != nil {
		t.stale(o, failure.StaleNoAttempt, e, 0, e.Cause.String(), now)
		return
	}
	t.staleAtOnce(o, now)
}

// refreshBehind starts a refresh that nobody waits for, unless there is one. The
// error is the failure for which it does not.
func (t *task) refreshBehind(o *object, at found, now time.Time) *failure.Error {
	q := t.detachedQuery(at, o, now)
	q.behind, q.letOut = true, false
	place := t.c.store.enter(&q)
	if place.hung != nil {
		place.hung.supersede()
	}
	if place.lead != nil {
		t.startRefresh(place.lead)
	}
	return place.err
}

// startBehind starts a refresh that was to be waited for, and is not.
func (t *task) startBehind(f *fill) {
	if t.startRefresh(f) {
		f.userLeft()
	}
}

// detachedQuery is query for a refresh of o.
func (t *task) detachedQuery(at found, o *object, now time.Time) query {
	q := t.query(at, now)
	q.base, q.detached = o, true
	if t.c.cfg.Refresh != nil {
		q.ctx = freshContext(q.ctx)
	}
	return q
}

// startRefresh makes the fill on a goroutine of its own, with a deadline. It is
// false if the cache is being shut down.
func (t *task) startRefresh(f *fill) bool {
	if !t.c.running(f) {
		f.refuse()
		return false
	}
	f.site.began()
	next, r := t.next, t.r
	if t.c.cfg.Refresh != nil {
		next, r = t.c.cfg.Refresh, outermost(r)
	}
	r = r.Clone(f.ctx)
	r.Body, r.ContentLength = http.NoBody, 0
	rf := &refresh{x: &fetch{f: f, r: r, ctx: f.ctx}}
	f.limitTime()
	go rf.run(next)
	return true
}

// outermost is the request as the server had it, before routers took parts of
// its path away.
func outermost(r *http.Request) *http.Request {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return r
	}
	r = r.WithContext(r.Context())
	r.URL = u
	return r
}

// freshContext has nothing of what a router may have put into ctx and taken
// back to its pool by now.
func freshContext(ctx context.Context) context.Context {
	fresh := context.Background()
	for _, key := range []any{http.ServerContextKey, http.LocalAddrContextKey} {
		if v := ctx.Value(key); v != nil {
			fresh = context.WithValue(fresh, key, v)
		}
	}
	return fresh
}

// run makes the fill. A panic ends here: it is the fill's failure.
func (rf *refresh) run(next http.Handler) {
	x := rf.x
	settled := false
	defer func() {
		if !settled { // runtime.Goexit
			x.panicked = &panicked{err: failure.New(failure.HandlerAbort, nil)}
			x.settle()
		}
	}()
	if x.f.cache.cfg.Refresh != nil {
		rf.viaOutermost(next)
	} else {
		x.run(next, detachedWriter)
	}
	x.settle()
	settled = true
}

func detachedWriter() *fillWriter { return &fillWriter{unlessWhole: func() {}} }

// viaOutermost enters at Config.Refresh. The Cache inside it calls enter; what
// comes back out is of no interest, unless it never got there.
func (rf *refresh) viaOutermost(outermost http.Handler) {
	x := rf.x
	x.f.mark.refresh.Store(rf)
	out := &discard{h: make(http.Header)}
	r := x.r
	func() {
		defer func() {
			if v := recover(); v != nil && x.panicked == nil {
				x.panicked = &panicked{v, failure.Recovered(v, nil)}
			}
		}()
		outermost.ServeHTTP(out, r)
	}()
	if rf.used {
		return
	}
	x.w = detachedWriter()
	x.w.f, x.w.status = x.f, out.status
	if e, ok := failure.From(x.f.ctx); ok {
		x.withheld = e
	} else {
		x.withheld = &failure.Error{Cause: failure.HandlerAbort, Detail: "Config.Refresh answered before the cache inside it was reached"}
	}
}

// enter is called by the Cache that a refresh has come to, on the way that any
// request takes. w leads outward, where nobody listens.
func (rf *refresh) enter(next http.Handler, w http.ResponseWriter, r *http.Request) {
	rf.used = true
	x := rf.x
	x.r, x.ctx = r, r.Context()
	x.run(next, detachedWriter)
	if p := x.panicked; p != nil {
		panic(p.value) // those outside see what they would
	}
	if x.w.status != 0 {
		w.WriteHeader(x.w.status)
	}
}

// discard is a writer for whom nobody listens to.
type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header { return d.h }

func (d *discard) WriteHeader(status int) {
	if d.status == 0 && status >= 200 {
		d.status = status
	}
}

func (d *discard) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	return len(p), nil
}

// await waits for a refresh, with the stale object o at hand. own: the refresh
// was made from this request, which may have its answer, whatever that is.
func (t *task) await(rd *reader, o *object, p plan, own bool) bool {
	defer rd.leave()
	t.event.FillID = rd.f.id
	slow := timer(t.c.cfg.StaleIfSlow)
	if patience := t.c.cfg.StaleIfSlow; patience > 0 { // of all who wait, from when it began
		slow.Reset(max(patience-time.Since(rd.f.begun), 0))
	}
	defer slow.Stop()
	limit := timer(t.c.cfg.FollowerWait)
	defer limit.Stop()
	if own {
		limit.Stop() // FillTimeout ends it
	}
	solo := t.solo(time.Now())
	for {
		v := rd.view(t.r.Header, t.q, solo)
		switch {
		case v.err == errSuperseded:
			return false
		case v.lost:
			return t.refreshFailed(rd, v, v.err, o, p, own)
		case v.phase != phaseWaiting && v.head.failure != nil:
			return t.refreshFailed(rd, v, v.head.failure, o, p, own)
		case v.phase == phaseDone && v.err != nil:
			return t.refreshFailed(rd, v, v.err, o, p, own)
		case v.phase == phaseDone && v.object != nil && (own || v.suits):
			t.refreshed(v, p, own)
			return true
		case v.phase == phaseWaiting, v.phase == phaseOpen && v.head.store:
		case own && v.object == nil:
			return t.stream(rd, v.head, p.fwd, false) // it has become something that is not stored
		default:
			t.alone = true
			return false
		}
		select {
		case <-rd.wake:
		case <-t.r.Context().Done():
			t.gone()
			return true
		case <-slow.C:
			if own && rd.f.solo { // it ends with this request, so others would wait in vain, too
				t.c.noteFailure(rd.f, errSlow, time.Now())
			}
			t.stale(o, failure.StaleOnSlow, nil, 0, failure.StaleOnSlow.String(), time.Now())
			return true
		case <-limit.C:
			t.stale(o, failure.StaleOnSlow, nil, 0, failure.FillTimeout.String(), time.Now())
			return true
		}
	}
}

// refreshed answers from what a refresh brought or confirmed.
func (t *task) refreshed(v view, p plan, own bool) {
	now := time.Now()
	outcome := Miss
	if v.head.status == http.StatusNotModified {
		outcome = Revalidated
	}
	t.event.Fwd, t.event.FwdStatus, t.event.Collapsed, t.event.Stored = p.fwd, v.head.status, !own, own && v.head.store
	t.object(v.object, semantics.CacheStatus{
		Fwd: p.fwd, FwdStatus: v.head.status, Stored: own && v.head.store, Collapsed: !own,
		TTL: v.object.left(now), HasTTL: true,
	}, outcome, now)
}

// refreshFailed answers with the stale object, if it may stand in for the
// failure and was not invalidated meanwhile; else with the failure.
func (t *task) refreshFailed(rd *reader, v view, e *failure.Error, o *object, p plan, own bool) bool {
	if staleMayAnswer(e) && t.c.store.valid(o) {
		t.staleAfter(o, e, v.head.received())
		return true
	}
	switch {
	case !own && !e.Cause.Row().Share:
		t.alone = true
		return false
	case v.head.failure != nil && (own || v.shares) && rd.stream():
		return t.stream(rd, v.head, p.fwd, !own)
	default:
		t.event.Fwd, t.event.Collapsed = p.fwd, !own
		if !own {
			e = sharedFailure(e, rd.f)
		}
		t.fail(e)
	}
	return true
}

// staleAfter answers with a stale object after a failure.
func (t *task) staleAfter(o *object, e *failure.Error, fwdStatus int) {
	rung := failure.StaleIfError
	if !attempted(e) {
		rung = failure.StaleNoAttempt
	}
	t.stale(o, rung, e, fwdStatus, e.Cause.String(), time.Now())
}
