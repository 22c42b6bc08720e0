package cache

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// What came of a URL in parts (RFC 9111 section 3.3) is kept under a key of its
// own, so that it never answers for the whole: an object with segments in place of
// a body. Its fields are those of the whole, as far as they are known.

// maxPartials bounds the variants of a URL of which parts are kept. At the bound
// the one that was stored first goes.
const maxPartials = 4

const partialSuffix = "\x00p"

// partialKey is where the parts of a URL are. No URL's key ends like that, nor a
// variant's.
func partialKey(primary string) string { return primary + partialSuffix }

// partial tells an object that has parts of a representation.
func (o *object) partial() bool { return o.segments != nil }

// asPartial makes o, which nobody else has yet, one that has parts.
func (o *object) asPartial(c *Cache, header http.Header, segments []segment, total int64) *object {
	o.segments, o.total, o.size = segments, total, segmentBytes(segments)
	o.body, o.codings, o.codedWhole = nil, nil, c.compressesWhole(header, total)
	o.fields = slices.DeleteFunc(fieldsOf(header, nil), func(f field) bool {
		return f.name == "Content-Range" || f.name == "Content-Md5" || f.name == "Content-Digest"
	})
	return o
}

// length is that of the whole representation; -1 = not known.
func (o *object) length() int64 {
	if o.partial() {
		return o.total
	}
	return o.size
}

// covers tells whether the parts are all that a Range request needs.
func (o *object) covers(r *http.Request) bool {
	header := o.selecting()
	if semantics.Conditional(r.Method, r.Header, o.status, header, o.resp.Received) != semantics.Proceed {
		return true
	}
	sel := selectRanges(r, o.status, header, o.total, o.coded())
	if sel.whole() {
		return false
	}
	for _, span := range sel.spans {
		if body, _ := o.bodyAt(span); body == nil {
			return false
		}
	}
	return true
}

// bodyAt is the body that a span is in, and where in the representation that
// begins; nil if there is none.
func (o *object) bodyAt(span semantics.Span) (body [][]byte, start int64) {
	if !o.partial() {
		return o.body, 0
	}
	for _, s := range o.segments {
		if s.Start <= span.Start && span.End <= s.End {
			return s.body, s.Start
		}
	}
	return nil, 0
}

// findPartial returns what is there in parts for a request; nil = nothing.
func (s *Store) findPartial(primary string, h http.Header) (at found) {
	rec := s.shelf.get([]byte(partialKey(primary)))
	if rec == nil {
		return at
	}
	for _, o := range rec.partials {
		if st := s.standing(o); st != purged && o.selects(h) {
			return found{object: o, softened: st == softened}
		}
	}
	return at
}

// missing is what a whole fetch may ask the origin for in place of the whole.
// Parts without a strong validator can't be combined with others. If they have no
// validator at all it is worth a try while they are fresh: an origin of that kind
// may answer with the whole.
func (o *object) missing(limit int64, now time.Time) (gap semantics.Span, ok bool) {
	if o.total > limit {
		return gap, false
	}
	if h := o.selecting(); semantics.StrongValidator(h) == "" &&
		(len(h["Etag"]) > 0 || len(h["Last-Modified"]) > 0 || o.resp.TTL(now) <= 0) {
		return gap, false
	}
	return gapOf(o.segments, o.total)
}

// selects tells whether the response is that of a request's variant (RFC 9111
// section 4.1).
func (o *object) selects(h http.Header) bool {
	return len(o.vary) == 0 || bytes.Equal(o.variant, appendVariant(nil, o.vary, semantics.Selecting{Header: h}))
}

func (o *object) sameVariant(as *object) bool {
	return slices.Equal(o.vary, as.vary) && bytes.Equal(o.variant, as.variant)
}

func sameRepresentation(a, b *object) bool {
	return semantics.SameRepresentation(a.selecting(), b.selecting())
}

// arrival is how a part came, for the update of what is there already.
type arrival struct {
	cache          *Cache
	request        http.Header
	header         http.Header // as received
	options        semantics.Options
	tags           []string // beside those in the fields
	sent, received time.Time
	// confirmed: it is a 304, and the part has all there was and is updated.
	confirmed bool
}

// combine returns base with the parts of o, or one of them alone if the two are
// not sure to be of one representation (RFC 9111 section 3.4). The fields of the
// later one update those of the other. Neither is changed.
//
// Both are valid when this is called. A purge that the later one has seen was
// looked for in the earlier one then, so it counts as born when the later was.
func (a *arrival) combine(base, o *object) *object {
	later := o
	if base.version > o.version {
		later = base
	}
	total := max(base.total, o.total)
	last := max(base.segments[len(base.segments)-1].End, o.segments[len(o.segments)-1].End)
	if !sameRepresentation(base, o) ||
		base.total >= 0 && o.total >= 0 && base.total != o.total || total >= 0 && last > total || a.confirmed && later == o {
		return later
	}
	segs := base.segments
	for _, s := range o.segments {
		segs = addSegment(segs, s, a.cache.maxObject)
	}
	next := later.copied()
	header := later.header()
	if later == o {
		updated := semantics.Update(base.header(), a.header, a.received, a.options)
		next.resp = semantics.Analyze(updated, http.StatusOK, a.sent, a.received, a.options)
		next.tags = a.cache.store.gen.newTags(o.primary, updated, a.tags)
		header = semantics.Sanitize(updated, a.options)
	}
	return next.asPartial(a.cache, header, segs, total)
}

// complete tells whether the parts are the whole.
func (o *object) complete() bool {
	return len(o.segments) == 1 && o.segments[0].Start == 0 && o.segments[0].End == o.total
}

// completed is the whole response that the parts are; nil if something is
// missing.
func (o *object) completed(c *Cache) *object {
	if !o.complete() {
		return nil
	}
	w := o.copied()
	w.body, w.segments, w.total, w.codedWhole = o.segments[0].body, nil, 0, false
	header := o.header()
	w.describe(header)
	w.offer(c, header)
	w.codings.stored() // it is found in the store only
	return w
}

// parts does what a job is to the parts of its URL, and returns the whole
// response that is to be stored besides; nil if there is none.
func (p *publisher) parts(pending *writeSet, j *job) *object {
	o := j.put
	rec := p.partials(pending, o.primary)
	if !o.partial() && rec == nil {
		return o
	}
	next := &record{key: partialKey(o.primary), version: o.version, partials: []*object{}}
	whole := o
	if o.partial() {
		p.store.note(o, j.keep)
		at, _ := p.store.find([]byte(o.primary), j.arrival.request)
		if !p.store.valid(o) || at.object != nil &&
			(at.object.version > o.version || sameRepresentation(at.object, o)) {
			j.result = putSuperseded
			return nil
		}
	}
	if rec != nil {
		next.version = max(next.version, rec.version)
		for _, base := range rec.partials {
			switch {
			case !p.store.valid(base):
			case !base.sameVariant(o):
				next.partials = append(next.partials, base)
			case o.partial():
				o = j.arrival.combine(base, o)
			case base.version > o.version && !sameRepresentation(base, o):
				next.partials = append(next.partials, base) // of what replaced it
			}
		}
	}
	if whole.partial() {
		if whole = o.completed(j.arrival.cache); whole == nil {
			next.partials = append(next.partials, o)
		}
	}
	if n := len(next.partials) - maxPartials; n > 0 {
		next.partials = next.partials[n:]
	}
	result := &j.result
	if whole != nil {
		j.keep = whole.keep(time.Now())
		result = new(putResult) // the job's is that of the whole
	}
	p.keepPartials(pending, next, result)
	return whole
}

// removePartial takes o away.
func (p *publisher) removePartial(pending *writeSet, o *object) {
	rec := p.partials(pending, o.primary)
	if rec == nil || !slices.Contains(rec.partials, o) {
		return
	}
	next := &record{key: rec.key, version: rec.version, partials: slices.Clone(rec.partials)}
	next.partials = slices.DeleteFunc(next.partials, func(other *object) bool { return other == o })
	p.keepPartials(pending, next, new(putResult))
}

func (p *publisher) partials(pending *writeSet, primary string) *record {
	key := partialKey(primary)
	if rec := pending.get(key); rec != nil {
		return rec
	}
	return p.store.shelf.get([]byte(key))
}

func (p *publisher) keepPartials(pending *writeSet, rec *record, result *putResult) {
	now := time.Now()
	keep := time.Second // of an empty one, which goes at once
	rec.cost = recordOverhead
	for _, o := range rec.partials {
		rec.cost += o.cost()
		keep = max(keep, o.keep(now))
		p.store.note(o, o.keep(now)) // combined, they may be kept for longer than each alone
	}
	pending.add(rec, keep, result)
}

// flushPartials puts what was collected and removes the records that are empty.
func (p *publisher) flushPartials(pending *writeSet) {
	pending.flush()
	for _, e := range pending.entries {
		if len(e.rec.partials) == 0 {
			p.store.shelf.del(e.rec)
		}
	}
}
