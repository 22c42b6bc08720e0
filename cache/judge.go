package cache

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

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
