package cache

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// fetch is a fill being made: next is called, and what it writes is judged.
// Its methods run on the goroutine that calls next.
type fetch struct {
	f   *fill
	w   *fillWriter
	r   *http.Request
	ctx context.Context //nolint:containedctx // what next gets: the fill's, or one within it

	// allowDirect: what nobody else may have goes straight to the client of this
	// goroutine. It is called before anything is sent.
	allowDirect func(h head)
	// withhold: the response is a failure that something better can answer.
	withhold func(*failure.Error) bool

	attempts    int
	conditional bool
	// rest is what the request asks for in place of the whole, or what of it came;
	// nil = the whole.
	rest *rest
	// others are the variants that are to be validated where there is no base, and
	// named those that the 304 is about.
	others []other
	named  []*object
	// confirmed has the fields of the 304 that confirmed the base, or named.
	confirmed http.Header
	// unasked: a 304 or 206 that nobody asked for.
	unasked bool
	// undivided: the whole is asked for in place of a range: see undivides.
	undivided bool
	withheld  *failure.Error
	// answered is the reported error answer of the origin that is stored like any
	// other response.
	answered *failure.Error

	// decision is that of Config.Policy.
	decision    Decision
	policyPanic *panicked

	sent     time.Time
	panicked *panicked
}

// panicked is a panic of next that was recovered, to be raised again where its
// request ends.
type panicked struct {
	value any
	err   *failure.Error
}

// request is the request that next gets: without the client's conditions, and
// with ours if there is something to validate.
func (x *fetch) request(base *object, others []other) *http.Request {
	r := x.r.WithContext(x.ctx)
	r.Header = x.r.Header.Clone()
	r.Method = http.MethodGet
	if x.f.ranged && !x.undivided {
		x.rangeRequest(r, base)
		return r
	}
	if x.asksForRest() {
		others = nil
	}
	etags, modified := tagsOf(others), ""
	if base != nil {
		if base.resp.ETag != "" {
			etags = []string{base.resp.ETag}
		}
		modified = base.resp.LastModified
	}
	x.conditional = len(etags) > 0 || modified != ""
	semantics.SetValidators(r.Header, etags, modified)
	x.restRequest(r)
	return r
}

// run calls next, and once more without conditions if it answers with a 304 or
// 206 that nobody asked for. prepare makes the writer of each call.
func (x *fetch) run(next http.Handler, prepare func() *fillWriter) {
	base, others := x.f.base, x.others
	for x.attempts = 1; ; x.attempts++ {
		x.unasked, x.confirmed = false, nil
		x.w = prepare()
		x.w.f, x.w.h, x.w.length = x.f, make(http.Header), -1
		x.w.decide, x.w.announce = x.decide, x.announce
		x.sent = time.Now()
		x.call(next, x.request(base, others))
		if !x.unasked || x.panicked != nil || x.attempts == 2 || x.f.ctx.Err() != nil {
			return
		}
		if x.rest != nil { // what is there is of no use
			x.f.cache.store.publisher.submit(job{del: x.rest.of})
		}
		base, others = nil, nil
	}
}

func (x *fetch) call(next http.Handler, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			var stack []byte
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				stack = debug.Stack()
			}
			x.panicked = &panicked{v, failure.Recovered(v, stack)}
		}
	}()
	next.ServeHTTP(x.w, r)
	x.w.finish()
	x.panicked = x.policyPanic
}

// decide says what becomes of a response when its final status is known.
func (x *fetch) decide(status int, h http.Header, length int64) mode {
	f := x.f
	e, reported := failure.From(f.ctx)
	hd := head{status: status, header: h, length: length}
	if !reported {
		switch {
		case status == http.StatusPartialContent && f.ranged && !x.undivides(h):
			hd.part = true
		case status == http.StatusPartialContent && x.completes(h, length):
			hd = head{status: http.StatusOK, header: x.rest.header, length: x.rest.total, rest: true}
		case status == http.StatusNotModified && f.ranged && !x.conditional && semantics.HasConditions(f.reqHeader):
			// The client's own conditions are answered.
		case status == http.StatusNotModified && x.validated(h):
			base := x.validatedOne()
			updated := semantics.Update(base.header(), h, time.Now(), f.cache.options)
			if x.unasked = !x.answers(base, updated); !x.unasked && (f.cache.cfg.Policy == nil || x.ask(base.status, updated)) {
				x.confirmed = h
			}
			return modeVoid
		case status == http.StatusNotModified, status == http.StatusPartialContent,
			status == http.StatusRequestedRangeNotSatisfiable && x.rest != nil:
			x.unasked = true
			return modeVoid
		}
	}
	judged := status
	if hd.part || hd.rest {
		judged = http.StatusOK
	}
	if (!reported || !e.Own()) && !x.ask(judged, hd.header) {
		return modeVoid
	}
	hd.store, hd.reason = x.judge(&hd)
	personal := len(h["Set-Cookie"]) > 0 || forOne(hd.reason)
	good := f.base != nil && f.base.status < 500 // an error does not replace it
	x.answered = nil
	switch {
	case reported && (e.Own() || !hd.store || good):
		hd.store, hd.reason, hd.failure = false, reasonFailure, e
	case !reported && status >= 500 && (!hd.store || good):
		hd.store, hd.reason, hd.failure, hd.foreign = false, reasonFailure, foreignFailure(status, h), true
	case hd.store && hd.length > f.limit:
		hd.store, hd.reason = false, reasonTooLarge
	}
	if reported && hd.failure == nil {
		x.answered = e
	}
	if hd.failure != nil {
		if x.withhold != nil && x.withhold(hd.failure) {
			x.withheld = hd.failure
			return modeVoid
		}
		// The page may be another visitor's business although the failure is not.
		own := hd.failure.Own() && len(h["Set-Cookie"]) == 0
		hd.share = hd.sharesFailure() && (own || !personal)
	}
	x.withdraw(&hd)
	if x.allowDirect != nil && !hd.store && !hd.rest && (!hd.share || !f.followed()) {
		hd.share = false
		x.mark(&hd)
		f.open(hd)
		x.allowDirect(hd)
		return modeDirect
	}
	x.w.head = hd
	return modeFill
}

// judge tells whether a response may be stored. What a Range gave rise to may
// not be if it is about the range.
func (x *fetch) judge(hd *head) (ok bool, reason string) {
	if x.f.ranged {
		switch hd.status {
		case http.StatusPartialContent:
			if hd.part {
				return x.storablePart(hd.header, hd.length)
			}
		case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
			return false, semantics.ReasonStatus
		}
	}
	return x.storable(hd.status, hd.header)
}

// forOne tells reasons for not storing a response that keep it from whoever did
// not ask for it, too.
func forOne(reason string) bool {
	switch reason {
	case semantics.ReasonNoStore, semantics.ReasonPrivate, semantics.ReasonSetCookie,
		semantics.ReasonAuthorization, semantics.ReasonVary:
		return true
	}
	return false
}

// announce opens the fill with headers that are final.
func (x *fetch) announce(h http.Header, length int64) {
	hd := x.w.head
	if hd.rest {
		x.f.place(x.rest.before())
	} else {
		hd.header, hd.length = h, length
	}
	x.complete(&hd)
	x.mark(&hd)
	x.f.open(hd)
}

// complete works out what others than the request itself may see.
func (x *fetch) complete(hd *head) {
	received := time.Now()
	hd.shared = semantics.Sanitize(hd.header, x.f.cache.options)
	if !semantics.HasDate(hd.header) {
		hd.shared["Date"] = []string{semantics.FormatDate(received)}
	}
	hd.vary, _ = semantics.VaryNames(hd.header)
	hd.varies = hd.store && x.f.cache.compresses(hd.status, hd.header, hd.length)
	status := hd.status
	if hd.part {
		status = http.StatusOK
	}
	hd.resp = semantics.Analyze(hd.header, status, x.sent, received, x.options())
	hd.tags = x.f.cache.store.gen.newTags(x.f.primary, hd.header, x.decision.Tags)
}

// validated tells whether a 304 is about what was to be validated.
func (x *fetch) validated(h http.Header) bool {
	if !x.conditional {
		return false
	}
	if x.f.base != nil {
		return semantics.Confirms(h, &x.f.base.resp)
	}
	x.named = x.f.cache.store.named(x.others, h)
	return len(x.named) > 0
}

// validatedOne is the response that a 304 confirmed.
func (x *fetch) validatedOne() *object {
	if x.f.base != nil {
		return x.f.base
	}
	return x.named[0]
}

// foreignFailure is what a 5xx stands for that came without a report: the
// origin answered it.
func foreignFailure(status int, h http.Header) *failure.Error {
	e := &failure.Error{Cause: failure.Upstream5xx, Status: status}
	if lines := h["Retry-After"]; len(lines) > 0 {
		if s, err := strconv.ParseUint(strings.TrimSpace(lines[0]), 10, 32); err == nil {
			e.RetryAfter = time.Duration(s) * time.Second
		} else if at, ok := semantics.ParseDate(lines[0]); ok {
			e.RetryAfter = max(time.Until(at), 0)
		}
	}
	return e
}

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

func (f *fill) followersNow() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followers
}

func (f *fill) headNow() head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
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
