package cache

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// task is one request that was not a plain hit.
type task struct {
	*handler
	w       http.ResponseWriter
	r       *http.Request // normalised
	client  *http.Request // as it came
	primary string
	q       semantics.Request
	start   time.Time

	// alone: what others fetched was of no use, it fetches for itself.
	alone bool
	// late is a response that the store may not show yet.
	late *object
	// parts are the newest that it has seen, those of late among them.
	parts *object
	// waited is how often the limit of FollowerWait was reached.
	waited int
	// span is what the client gets of a body that is coming in; zero = all.
	span semantics.Span

	event Event
	told  bool
}

// maxRounds bounds how often a request looks again after what it waited for was
// of no use. Then it fetches alone.
const maxRounds = 4

// run answers the request. Each round decides by what the store has then.
func (t *task) run(ctx context.Context, at found, now time.Time) {
	defer t.tell(ctx)
	for round := 1; ; round++ {
		if round-t.waited >= maxRounds {
			t.alone = true
		}
		if t.step(at, now) { //nolint:contextcheck // the request that t has carries its own
			return
		}
		at, _ = t.c.store.find([]byte(t.primary), t.r.Header)
		if t.late != nil && !t.late.partial() && newer(t.late, at.object) {
			if st := t.c.store.standing(t.late); st != purged {
				at.object, at.softened = t.late, st == softened
			}
		}
		now = time.Now()
	}
}

// step is one round. It is false if another is needed.
func (t *task) step(at found, now time.Time) bool {
	if at.object == nil {
		if parts := t.findParts(); parts.object != nil {
			return t.partial(at, parts, now)
		}
	}
	o, choice := at.object, t.choose(at, now)
	switch choice.do {
	case doHit:
		t.told = true
		t.hit(t.w, t.r, o, now)
		return true
	case doStaleRefreshing:
		if e := t.refreshBehind(o, at, now); e != nil {
			t.stale(o, failure.StaleNoAttempt, e, 0, e.Cause.String(), now)
			return true
		}
		t.stale(o, failure.StaleRefreshing, nil, 0, detailRefreshing, now)
		return true
	case doRefuse:
		t.fail(failure.New(failure.OnlyIfCached, nil))
		return true
	case doRefresh:
		return t.refreshFirst(o, at, choice.fwd, now)
	default:
	}
	p := plan{fwd: choice.fwd, base: o, forbidden: choice.forbidden}
	if o == nil {
		return t.fetch(at, now, p)
	}
	if past := -o.resp.TTL(now) - o.resp.SIE; p.forbidden == "" && past > 0 {
		p.expired = past.Round(time.Second).String() + " ago"
	}
	return t.fetch(at, now, p)
}

// plan is a fetch without a stale copy that could answer before it, and what to
// do if it fails.
type plan struct {
	fwd       string
	base      *object // to be validated, and kept if an error comes; nil = nothing
	fallback  *object // may answer if the fetch fails before it has headers; nil = none
	forbidden string  // the directive that keeps base from answering then
	expired   string  // since when base may not answer then
	partial   *object // parts of which the rest is asked for; nil = none
}

// colour adds what kept a stale copy from answering.
func (p plan) colour(e *failure.Error) *failure.Error {
	switch {
	case p.forbidden != "" && e.Own():
		return e.With(failure.Note{Kind: failure.StaleForbidden, Detail: p.forbidden})
	case p.expired != "":
		return e.With(failure.Note{Kind: failure.StaleExpired, Detail: p.expired})
	}
	return e
}

// fetch gets the response with others or alone. HEAD, conditions on the origin's
// current state and those on a copy that only the client has are forwarded as they
// are, and not stored. So are ranges, whose parts are stored, unless there is a
// whole response that can be validated.
func (t *task) fetch(at found, now time.Time, p plan) bool {
	ranged := len(t.r.Header["Range"]) > 0
	switch {
	case t.passesOn(at, now):
		t.pass(at, p)
		return true
	case ranged && at.object == nil:
		return t.fetchRange(at, now, p)
	}
	q := t.query(at, now)
	q.base, q.partial = p.base, p.partial
	place := t.c.store.enter(&q)
	switch {
	case place.lead != nil:
		t.lead(place.lead, p)
		return true
	case place.follow != nil:
		return t.follow(place.follow, p)
	}
	t.late = place.late
	return false
}

// passesOn tells whether a fetch is forwarded as the client sent it.
func (t *task) passesOn(at found, now time.Time) bool {
	return t.r.Method == http.MethodHead || semantics.HasOriginConditions(t.r.Header) ||
		len(t.r.Header["Range"]) == 0 && t.itsOwn(at, now)
}

// itsOwn tells whether the request is conditional on a copy of the client's own,
// of what is not for others as far as known: the origin can spare it the body.
func (t *task) itsOwn(at found, now time.Time) bool {
	if at.object != nil || !semantics.HasConditions(t.r.Header) {
		return false
	}
	why, marked := t.c.markers.get(t.primary, now)
	return marked && why != semantics.ReasonNoFreshness || t.identified() // what is of use when stale is worth a fetch
}

// query is what the request asks of its URL's row.
func (t *task) query(at found, now time.Time) query {
	return query{
		cache:     t.c,
		primary:   t.primary,
		header:    t.r.Header,
		parsed:    t.q,
		seen:      at.object,
		names:     at.names,
		solo:      t.solo(now),
		anonymous: !t.q.NoStore && !t.identified(),
		alone:     t.alone,
		parts:     t.parts,
		fresh:     t.q.NoCache || t.q.MaxAge == 0,
		letOut:    t.waited > 0,
		ctx:       t.r.Context(),
	}
}

// solo tells whether the request neither waits for others nor lets others wait.
func (t *task) solo(now time.Time) bool {
	_, marked := t.c.markers.get(t.primary, now)
	return marked || t.alone || t.q.NoStore || t.identified()
}

// identified tells whether the request says who its client is.
func (t *task) identified() bool {
	if len(t.r.Header["Authorization"]) > 0 {
		return true
	}
	if len(t.c.cfg.IdentityCookies) == 0 || len(t.r.Header["Cookie"]) == 0 {
		return false
	}
	for _, name := range t.c.cfg.IdentityCookies {
		if _, err := t.r.Cookie(name); err == nil {
			return true
		}
	}
	return false
}

// stale answers from a stale object: a rung of the ladder. e is what failed, nil
// if nothing did; the failure is reported and mended in one go.
func (t *task) stale(o *object, rung failure.Rung, e *failure.Error, fwdStatus int, detail string, now time.Time) {
	if e != nil {
		failure.Report(t.r.Context(), e)
		failure.Mend(t.r.Context(), rung)
	}
	s := semantics.CacheStatus{TTL: t.staleLeft(o, now), HasTTL: true, Detail: detail}
	switch rung {
	case failure.StaleRefreshing, failure.StaleNoAttempt:
		s.Hit = true
	default:
		s.Fwd, s.FwdStatus = "stale", fwdStatus
	}
	t.event.Rung, t.event.Failure, t.event.Fwd, t.event.FwdStatus, t.event.Detail = rung, e, s.Fwd, s.FwdStatus, detail
	t.object(o, s, Stale, now)
}

// staleAtOnce answers from a stale object since the refresh in flight, or the
// one before, is slower than anybody is to wait.
func (t *task) staleAtOnce(o *object, now time.Time) {
	s := semantics.CacheStatus{Hit: true, TTL: t.staleLeft(o, now), HasTTL: true, Detail: failure.StaleOnSlow.String()}
	t.event.Rung, t.event.Detail = failure.StaleOnSlow, s.Detail
	t.object(o, s, Stale, now)
}

// staleLeft is what Cache-Status says is left of a stale object's freshness. Since
// when one that was softly purged is stale is not known.
func (t *task) staleLeft(o *object, now time.Time) time.Duration {
	left := o.left(now)
	if left > 0 && t.c.store.standing(o) == softened {
		return 0
	}
	return left
}

// object answers from an object.
func (t *task) object(o *object, s semantics.CacheStatus, outcome Outcome, now time.Time) {
	if t.c.cfg.ShowKey {
		s.Key = readable(t.primary)
	}
	o.touch(now)
	sent := t.c.serveObject(t.w, t.r, o, o.memoAt(t.c, now).ageField, t.c.statusOf(o, s))
	if sent.condition != semantics.Proceed && outcome != Stale {
		outcome = NotModified
	}
	t.event.Outcome = outcome
	t.event.Status, t.event.Bytes, t.event.TTL = sent.status, sent.bytes, o.resp.TTL(now)
}

// fail answers with a failure.
func (t *task) fail(e *failure.Error) {
	t.event.Outcome, t.event.Failure, t.event.Status = Failed, e, e.HTTPStatus()
	if t.event.Detail == "" {
		t.event.Detail = e.Cause.String()
	}
	s := semantics.CacheStatus{Fwd: t.event.Fwd, FwdStatus: t.event.FwdStatus, Detail: t.event.Detail}
	if s.Fwd == "" && e.Cause != failure.OnlyIfCached { // that one is never forwarded
		s.Fwd = "miss"
	}
	t.c.addStatus(t.w.Header(), s)
	failure.Serve(t.w, t.client, e, t.c.cfg.ErrorHandler)
}

// gone ends a request whose client left, without an answer.
func (t *task) gone() {
	e := failure.New(failure.ClientGone, t.r.Context().Err())
	t.event.Outcome, t.event.Failure, t.event.Status = Failed, e, failure.StatusClientGone
	failure.Serve(t.w, t.r, e, nil)
}

// abort ends a response that had begun and can't be finished, so that it does
// not look whole.
func (t *task) abort(e *failure.Error) {
	if e != nil {
		e = e.With(failure.Note{Kind: failure.AfterHeaders})
		failure.Report(t.r.Context(), e)
	}
	t.event.Outcome, t.event.Failure, t.event.Stored = Failed, e, false
	panic(http.ErrAbortHandler)
}

// tell is called when the request ends, also by a panic.
func (t *task) tell(ctx context.Context) {
	if t.told || t.c.cfg.Observe == nil {
		return
	}
	t.told = true
	t.event.Kind = Served
	t.event.Duration = time.Since(t.start)
	t.c.cfg.Observe(ctx, t.event)
}
