package cache

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// The reasons of our own for which a part is not stored.
const (
	// reasonRange: it is not clear which part it is.
	reasonRange = "content_range"
)

// fetchRange forwards a Range request, with the conditions that its client sent
// or, where there are none, with ours for the parts that are to be validated.
// Nobody waits for another's range.
func (t *task) fetchRange(at found, now time.Time, p plan) bool {
	q := t.query(at, now)
	q.base, q.ranged = p.base, true
	q.solo, q.fresh, q.letOut = true, true, false
	place := t.c.store.enter(&q)
	if place.lead != nil {
		t.lead(place.lead, p)
		return true
	}
	t.late = place.late
	return false
}

// findParts returns what is there in parts, in the store or on its way to it.
func (t *task) findParts() found {
	if t.r.Method != http.MethodGet || semantics.HasOriginConditions(t.r.Header) {
		return found{}
	}
	at := t.c.store.findPartial(t.primary, t.r.Header)
	if at.object != nil && newer(at.object, t.parts) {
		t.parts = at.object
	}
	if late := t.late; late != nil && late.partial() {
		if newer(late, t.parts) {
			t.parts = late
		}
		st := t.c.store.standing(late)
		if st != purged && newer(late, at.object) && (at.object == nil || !at.object.covers(t.r)) {
			return found{object: late, softened: st == softened}
		}
	}
	return at
}

// chooseParts decides about a request by the parts that are there for it. It
// changes nothing.
func (t *task) chooseParts(at found, now time.Time) choice {
	if len(t.r.Header["Range"]) == 0 || !at.object.covers(t.r) {
		if t.q.OnlyIfCached {
			return choice{do: doRefuse}
		}
		return choice{do: doFetch, fwd: "partial"}
	}
	d := at.judge(t.q, now)
	switch {
	case d.Verdict == semantics.Fresh:
		return choice{do: doHit}
	case t.q.OnlyIfCached:
		return choice{do: doRefuse, forbidden: d.StaleForbidden}
	}
	c := choice{do: doFetch, fwd: d.Fwd, forbidden: d.StaleForbidden}
	if c.fwd == "" {
		c.fwd = "stale"
	}
	if d.StaleAllowed {
		c.do = doRefresh
	}
	return c
}

// partial is a round of a request for which there are parts in the store.
func (t *task) partial(at, parts found, now time.Time) bool {
	o, choice := parts.object, t.chooseParts(parts, now)
	p := plan{fwd: choice.fwd, forbidden: choice.forbidden}
	switch {
	case choice.do == doHit:
		t.object(o, semantics.CacheStatus{Hit: true, TTL: o.left(now), HasTTL: true}, Hit, now)
		return true
	case choice.do == doRefuse:
		t.fail(failure.New(failure.OnlyIfCached, nil))
		return true
	case choice.do == doRefresh:
		if v := t.c.consider(o, flying{}, now); v.ruling == hold {
			t.held(o, v.err, now)
			return true
		}
		p.base, p.fallback = o, o
	case choice.fwd != "partial":
		p.base = o
	case len(t.r.Header["Range"]) == 0:
		if _, ok := o.missing(t.c.maxObject, now); ok {
			p.partial = o
		}
	}
	return t.fetch(at, now, p)
}

// rangeRequest makes r the request for a range: with ours conditions beside it,
// if there is something to validate and the client has none. The range goes
// along, so that what has changed comes as a part.
func (x *fetch) rangeRequest(r *http.Request, base *object) {
	x.conditional = false
	h := r.Header
	if base == nil || len(h["If-None-Match"]) > 0 || len(h["If-Modified-Since"]) > 0 {
		return
	}
	if base.resp.ETag != "" {
		h["If-None-Match"] = []string{base.resp.ETag}
	}
	if base.resp.LastModified != "" {
		h["If-Modified-Since"] = []string{base.resp.LastModified}
	}
	x.conditional = base.resp.ETag != "" || base.resp.LastModified != ""
}

// undivides tells whether the 206 to a range with the date of If-Range may be
// the rest of another coding than the client has the beginning of. The whole is
// asked for then.
func (x *fetch) undivides(h http.Header) bool {
	if x.undivided || x.f.cache.compressor == nil || !semantics.RangeByDate(x.f.reqHeader) {
		return x.undivided
	}
	cr, one := semantics.ParseContentRange(h["Content-Range"])
	// Of several parts the type of the whole is not among the fields.
	x.undivided = !one || x.f.cache.compressesWhole(h, cr.Total)
	return x.undivided
}

// answers tells whether parts are still the answer with the fields that a 304
// brought: by these If-Range may not hold any more.
func (x *fetch) answers(base *object, updated http.Header) bool {
	if !base.partial() {
		return true
	}
	next := base.copied()
	next.fields = fieldsOf(updated, nil)
	return next.covers(x.r)
}

// rest is the request for what is missing of a response (RFC 9111 section 3.3).
type rest struct {
	of     *object
	gap    semantics.Span
	header http.Header // of the whole, when it is known
	total  int64
}

func (x *fetch) asksForRest() bool { return x.f.partial != nil && x.attempts == 1 }

// restRequest asks for what is missing, if r is the first attempt to.
func (x *fetch) restRequest(r *http.Request) {
	x.rest = nil
	if !x.asksForRest() {
		return
	}
	o := x.f.partial
	gap, ok := o.missing(x.f.limit, time.Now())
	if !ok {
		return
	}
	last := ""
	if gap.End != o.total && gap.End != semantics.OpenEnd {
		last = strconv.FormatInt(gap.End-1, 10)
	}
	r.Header["Range"] = []string{"bytes=" + strconv.FormatInt(gap.Start, 10) + "-" + last}
	if v := semantics.StrongValidator(o.selecting()); v != "" {
		r.Header["If-Range"] = []string{v}
	}
	x.rest = &rest{of: o, gap: gap}
}

// completes tells whether a 206 is just what was missing, of the representation
// that the rest of is there (RFC 9111 section 3.4). Then h becomes the header of
// the whole.
func (x *fetch) completes(h http.Header, length int64) bool {
	m := x.rest
	if m == nil {
		return false
	}
	cr, ok := semantics.ParseContentRange(h["Content-Range"])
	total := max(cr.Total, m.of.total)
	if !ok || cr.Start != m.gap.Start || total < 0 || cr.Total >= 0 && m.of.total >= 0 && cr.Total != m.of.total ||
		cr.End != min(m.gap.End, total) || length >= 0 && length != cr.Len() ||
		!semantics.SameRepresentation(dated(h), m.of.selecting()) {
		return false
	}
	m.gap, m.total = cr.Span, total
	m.header = semantics.Update(m.of.header(), h, time.Now(), x.f.cache.options)
	delete(m.header, "Content-Range")
	m.header["Content-Length"] = []string{strconv.FormatInt(total, 10)}
	h["Content-Type"] = m.header["Content-Type"] // it is not to be guessed from the middle
	x.w.length = cr.Len()
	return true
}

// dated is h with a Date, which those that have none were received at (RFC 9110
// section 6.6.1).
func dated(h http.Header) http.Header {
	if len(h["Date"]) > 0 {
		return h
	}
	out := make(http.Header, len(h)+1)
	maps.Copy(out, h)
	out["Date"] = []string{semantics.FormatDate(time.Now())}
	return out
}

// before and after are the parts that stand around what was missing.
func (m *rest) before() [][]byte {
	if m.gap.Start == 0 {
		return nil
	}
	body, _ := m.of.bodyAt(semantics.Span{Start: 0, End: m.gap.Start})
	return body
}

func (m *rest) after() [][]byte {
	if m.gap.End == m.total {
		return nil
	}
	body, _ := m.of.bodyAt(semantics.Span{Start: m.gap.End, End: m.total})
	return body
}

// place adds what is stored already to the body. It is shared, not copied.
func (f *fill) place(body [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range body {
		f.chunks = append(f.chunks, chunk{buf: slices.Clip(b)})
		f.size += int64(len(b))
	}
	f.wakeAll()
}

// storablePart tells whether a 206 may be stored: what a 200 with its fields may
// be, if it is clear which part it is.
func (x *fetch) storablePart(h http.Header, length int64) (ok bool, reason string) {
	if ok, reason = x.storable(http.StatusOK, h); !ok {
		return false, reason
	}
	cr, ok := semantics.ParseContentRange(h["Content-Range"])
	if !ok || len(h["Trailer"]) > 0 || length >= 0 && !x.fits(cr, length) {
		return false, reasonRange
	}
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // it is not to be guessed from the middle
	}
	return true, ""
}

// fits tells whether n bytes are what Content-Range says, or the misfit of
// [fetch.misfit].
func (x *fetch) fits(cr semantics.ContentRange, n int64) bool {
	return n == cr.Len() || x.misfit(cr, n)
}

// misfit tells the answer of an origin that miscounts: as many bytes from the end
// as were asked for, but a Content-Range that has more. Its first position is
// believed, and that the end is the end. Such a part is never combined.
func (x *fetch) misfit(cr semantics.ContentRange, n int64) bool {
	specs, ok := semantics.ParseRange(x.f.reqHeader["Range"])
	return ok && len(specs) == 1 && specs[0].Suffix() && specs[0].Last == n && n > 0 &&
		n < cr.Len() && cr.End == cr.Total
}

// part is the object of a 206; nil if it turned out not to be what its header
// said.
func (x *fetch) part(hd *head, trailer http.Header) *object {
	cr, _ := semantics.ParseContentRange(hd.header["Content-Range"])
	n := x.w.written
	if !x.fits(cr, n) || len(trailer) > 0 {
		hd.store, hd.reason = false, reasonRange
		return nil
	}
	header, resp := maps.Clone(hd.shared), hd.resp
	if n != cr.Len() {
		cr.End = cr.Start + n
		cr.Total = cr.End
		delete(header, "Etag")
		delete(header, "Last-Modified")
		resp.ETag, resp.LastModified = "", ""
	}
	o := newObject(x.f, http.StatusOK, header, nil, 0, nil, resp, hd.tags)
	return o.asPartial(x.f.cache, header, []segment{{cr.Span, x.f.whole()}}, cr.Total)
}

// arrival is how o came, if it is a part; else nil.
func (x *fetch) arrival(o *object, hd *head) *arrival {
	if !o.partial() {
		return nil
	}
	a := &arrival{
		cache: x.f.cache, request: x.f.reqHeader, header: hd.header,
		options: x.options(), tags: x.decision.Tags, sent: x.sent, received: o.resp.Received, confirmed: x.confirmed != nil,
	}
	return a
}
