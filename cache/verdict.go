package cache

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// verdict is how a fetch ended.
type verdict struct {
	err    *failure.Error // nil = it did not fail
	broken bool           // there is no response, or not the whole of one
}

// settle ends the fill after next has returned: stores what may be stored,
// remembers what failed, and tells.
func (x *fetch) settle() verdict {
	f, now := x.f, time.Now()
	v := x.verdict()
	var o *object
	var trailer http.Header
	hd := f.headNow()
	switch {
	case v.err != nil:
	case x.confirmed != nil:
		o, hd = x.confirm(now)
	case x.w.mode == modeFill:
		trailer = x.w.trailer()
		size := x.w.written
		if hd.rest {
			f.place(x.rest.after())
			size = x.rest.total
		}
		switch {
		case hd.store && hd.part:
			o = x.part(&hd, trailer)
		case hd.store:
			o = newObject(f, hd.status, hd.shared, f.whole(), size, f.cache.sharedTrailer(trailer), hd.resp, hd.tags)
		}
	}
	store := o != nil && hd.store && f.cache.store.valid(o)
	if o != nil && hd.store && !store {
		hd.reason = reasonInvalidated
	}

	switch {
	case v.err == nil:
		f.cache.noteSuccess(f, x.sent, now)
		if store && usable(anyRequest, &o.resp) {
			f.cache.markers.forget(f.primary)
		}
	case f.base != nil && v.err.Cause != failure.ClientGone && !f.isLost():
		f.cache.noteFailure(f, v.err, now)
	}
	if f.elected && v.err != nil && !attempted(v.err) {
		f.site.again()
	}

	f.end(v, hd, trailer, o)
	if f.detached {
		f.site.ended(f.wasSuperseded())
	}
	published := func(r putResult) {
		f.published()
		if o != nil && o.codings != nil && r == putStored {
			o.codings.stored()
			f.cache.compressor.offer(o)
		}
	}
	switch {
	case store:
		if x.confirmed != nil && f.base == nil {
			x.confirmOthers(o, now)
		}
		f.cache.store.publisher.submit(job{put: o, arrival: x.arrival(o, &hd), keep: o.keep(now), done: published})
	case f.base != nil && v.err == nil && (hd.status == http.StatusNotFound || hd.status == http.StatusGone):
		// The origin took it away: the copy goes too.
		f.cache.store.publisher.submit(job{del: f.base, done: published})
	default:
		f.published()
	}
	if store && f.detached {
		f.cache.store.supersede(f, o)
	}
	f.cancel(context.Canceled)
	f.behindEnded()
	var size int64
	if store {
		size = o.size
	}
	x.tell(v.err, hd, store, size, now)
	f.cache.ended(f)
	return v
}

// anyRequest is a request without directives.
var anyRequest = semantics.ParseRequest(nil)

// verdict judges the fetch when next has returned. What next reported is the
// cause of whatever went wrong with it; a failure that was reported before the
// headers has a response that is whole.
func (x *fetch) verdict() verdict {
	f := x.f
	hd := f.headNow()
	reported, failed := failure.From(f.ctx)
	because := func(e *failure.Error) verdict {
		switch {
		case failed && reported != x.answered:
			e = reported
		case hd.failure != nil: // nobody may have wanted the rest of its answer
			e = hd.failure
		}
		return verdict{e, true}
	}
	cause := context.Cause(f.ctx)
	switch {
	case errors.Is(cause, errSuperseded):
		return verdict{errSuperseded, true}
	case x.panicked != nil:
		return because(x.panicked.err)
	case x.withheld != nil:
		return verdict{x.withheld, true}
	case x.unasked:
		return because(&failure.Error{
			Cause: failure.BadValidation, Status: x.w.status,
			Detail: "a " + strconv.Itoa(x.w.status) + " to a request without conditions and range",
		})
	case (x.w.mode == modeDirect || x.w.mode == modeHijacked) && (!failed || reported == hd.failure || reported == x.answered):
		return verdict{hd.failure, false} // its framing is the server's to judge
	case x.w.mode == modeFill && x.w.length >= 0 && x.w.written != x.w.length && bodyAllowed(x.w.status):
		return because(&failure.Error{
			Cause:  failure.Truncated,
			Detail: "got " + strconv.FormatInt(x.w.written, 10) + " of " + strconv.FormatInt(x.w.length, 10) + " bytes",
		})
	case failed && reported != hd.failure && reported != x.answered:
		return verdict{reported, true}
	case errors.Is(cause, errDeadline):
		return because(errDeadline)
	case errors.Is(cause, errShutdown):
		return because(errShutdown)
	case cause != nil:
		return because(failure.New(failure.ClientGone, cause))
	}
	return verdict{hd.failure, false}
}

// confirm makes the object that a 304 confirmed and updated (RFC 9111 section
// 4.3.4). Its head is that of the 304, which is for nobody to see: it becomes
// known together with the object.
func (x *fetch) confirm(now time.Time) (*object, head) {
	f, base := x.f, x.validatedOne()
	opts := x.options()
	updated := semantics.Update(base.header(), x.confirmed, now, opts)
	hd := head{status: http.StatusNotModified, header: x.confirmed, length: -1}
	hd.store, hd.reason = x.storable(base.status, updated)
	hd.resp = semantics.Analyze(updated, base.status, x.sent, now, opts)
	hd.shared = semantics.Sanitize(updated, opts)
	hd.tags = f.cache.store.gen.newTags(f.primary, updated, x.decision.Tags)
	o := newObject(f, base.status, hd.shared, base.body, base.size, base.trailer, hd.resp, hd.tags)
	o.keepCodings(base)
	if base.partial() {
		o.asPartial(f.cache, hd.shared, base.segments, base.total)
	}
	if base == f.base {
		o.used = base.used
	}
	hd.vary = o.vary
	x.withdraw(&hd)
	x.mark(&hd)
	if len(hd.vary) > 0 {
		f.cache.store.flights.named(f.primary, hd.vary)
	}
	return o, hd
}

// mark notes that the URL's responses are of no use to those who wait, so that
// nobody waits in vain for a while.
func (x *fetch) mark(hd *head) {
	reason := hd.reason
	if hd.store && !usable(anyRequest, &hd.resp) {
		reason = semantics.ReasonNoFreshness
	}
	if hd.failure == nil && reason != "" && x.f.anonymous && !x.f.ranged {
		x.f.cache.putMarker(x.f.primary, reason)
	}
}

// withdraw takes the copy that was to be refreshed away where the origin's newest
// answer says that the URL's content is not, or no longer, for everybody. RFC 9111
// would let it answer until its windows end.
func (x *fetch) withdraw(hd *head) {
	f := x.f
	if f.base == nil || hd.store || hd.failure != nil || !f.anonymous {
		return
	}
	switch hd.reason {
	case semantics.ReasonNoStore, semantics.ReasonPrivate, semantics.ReasonSetCookie, semantics.ReasonVary:
		f.cache.store.gen.purge(false, f.marks.ids[0])
	}
}

func (x *fetch) tell(e *failure.Error, hd head, stored bool, size int64, now time.Time) {
	c := x.f.cache
	if c.cfg.Observe == nil {
		return
	}
	ev := Event{
		Kind: FillDone, Outcome: Miss, FillID: x.f.id, Stored: stored, NotStored: hd.reason,
		FwdStatus: x.w.status, Bytes: x.w.written + x.w.direct.Bytes(), Size: size, Followers: x.f.followersNow(),
		Duration: now.Sub(x.f.begun), Failure: e,
	}
	switch {
	case e != nil:
		ev.Outcome = Failed
		if ev.NotStored == "" {
			ev.NotStored = reasonFailure
		}
	case x.confirmed != nil:
		ev.Outcome = Revalidated
	}
	if stored {
		ev.TTL = hd.resp.TTL(now)
		if len(hd.vary) > 0 && c.store.crowded(x.f.primary) {
			ev.Detail = detailVariantLimit
		}
	}
	c.cfg.Observe(x.f.ctx, ev)
}
