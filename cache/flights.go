package cache

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// flights are the fetches in flight, in one row per URL. A fill is in its row
// from before its request is sent until what it stored can be found.
type flights struct {
	mu   sync.Mutex // guards rows and what is in them; taken before a fill's mu, never after
	rows map[string]*row
	// unlisted counts the rows whose keys are not those of their URLs, by these.
	unlisted map[uint64]int
}

type row struct {
	fills []*fill
	// names are those by which responses of the URL vary, as far as known.
	names []string
	// letOut is when a request that had waited in vain last got a fetch of its own.
	letOut time.Time
}

// hasBut tells whether anything is in flight for a key, beside but, which may be
// nil.
func (fl *flights) hasBut(primary string, but *fill) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	rw := fl.rows[primary]
	return rw != nil && (len(rw.fills) != 1 || rw.fills[0] != but)
}

func (fl *flights) count() (n int) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, rw := range fl.rows {
		n += len(rw.fills)
	}
	return n
}

// countOf is how many fills are in flight for a key.
func (fl *flights) countOf(primary string) int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if rw := fl.rows[primary]; rw != nil {
		return len(rw.fills)
	}
	return 0
}

func (fl *flights) hasUnlisted(url uint64) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.unlisted[url] > 0
}

// query is what a request asks of a URL's row.
type query struct {
	cache   *Cache
	primary string
	header  http.Header
	parsed  semantics.Request
	seen    *object  // what the store had
	names   []string // see found
	// solo: it neither waits for others nor lets others wait, unless content is
	// known to be shareable.
	solo bool
	// fresh: only what is sent from now on will do.
	fresh bool
	// alone: it has looked often enough and fetches now, whatever is there.
	alone bool
	// letOut asks for a fetch of its own although others are in flight.
	letOut bool

	// What follows is for the fill that may begin.

	ctx      context.Context //nolint:containedctx // its values are the fill's
	base     *object         // to be validated; nil = nothing
	detached bool
	// parts are the newest that the request has seen.
	parts *object
	// ranged and partial are the fill's.
	ranged  bool
	partial *object
	// behind: nobody waits for it. Any fill in flight will do.
	behind bool
	// anonymous: the request says neither who its client is nor that nothing is
	// to be stored, so what comes back speaks for the URL.
	anonymous bool
}

// place is what a request gets in a row: one of its fields is set, or none where
// nothing is to be done.
type place struct {
	lead   *fill
	follow *reader
	// late is a response that is there by now, whether the store shows it yet or
	// not: the request decides anew.
	late *object
	// held: the stale copy is to answer at once, for err or, where that is nil,
	// since the refresh in flight is slow.
	held bool
	err  *failure.Error
	// behind: what is led is not to be waited for.
	behind bool
	// hung is the refresh whose place it takes; nil = none.
	hung *fill
}

// enter makes the request a follower of a fill in flight or the leader of one
// that it begins.
//
// The store is looked at once more before a fill begins:
//
//  1. A request finds nothing in the store.
//  2. The publisher makes the entry visible and drops the row.
//  3. The request finds no row. Without the second look it would fetch again.
//
// Both the row's end and this are under mu, so whoever does not find the row
// finds the entry.
func (s *Store) enter(q *query) place {
	fl := &s.flights
	fl.mu.Lock()
	defer fl.mu.Unlock()
	rw := fl.rows[q.primary]
	if rw != nil && q.letOut {
		// One per limit: the others get it to wait for.
		if now := time.Now(); now.Sub(rw.letOut) >= q.cache.cfg.FollowerWait {
			rw.letOut = now
			return place{lead: s.begin(rw, q)}
		}
	}
	if rw != nil && !q.alone {
		for _, f := range slices.Backward(rw.fills) {
			if o := s.complete(f, q); o != nil {
				return place{late: o}
			}
			if o := s.completePart(f, q); o != nil {
				return place{late: o}
			}
		}
	}
	if q.behind && q.base == nil && rw != nil && slices.ContainsFunc(rw.fills, func(f *fill) bool { return !f.ranged }) {
		return place{}
	}
	var v verdictOn
	var hung *fill
	apart := q.alone
	if q.detached && q.base != nil {
		// Before the election's vote is taken.
		if at, _ := s.find([]byte(q.primary), q.header); !q.alone && at.object != nil && newer(at.object, q.seen) {
			return place{late: at.object}
		}
		in := s.refreshing(rw, q)
		v = q.cache.consider(q.base, in, time.Now())
		switch {
		case v.ruling == hold:
			return place{held: true, err: v.err}
		case v.ruling == join && q.behind:
			return place{}
		case v.ruling == attempt && in.n > 1:
			hung = in.last // the oldest is given the time that it takes
		}
		apart = q.alone || v.ruling == attempt && in.n > 0
		q.fresh = q.fresh && in.n < 2
	}
	if rw != nil && !q.fresh && !apart && !q.behind && !q.ranged {
		for _, f := range slices.Backward(rw.fills) {
			if rd := s.join(rw, f, q); rd != nil {
				return place{follow: rd}
			}
		}
	}
	if at, _ := s.find([]byte(q.primary), q.header); !q.alone && at.object != nil && newer(at.object, q.seen) {
		return place{late: at.object}
	}
	if rw == nil {
		rw = &row{names: q.names}
		fl.rows[q.primary] = rw
	}
	f := s.begin(rw, q)
	f.elected = v.elected
	return place{lead: f, behind: v.behind, hung: hung}
}

// begin puts a new fill into the row. flights.mu is held.
func (s *Store) begin(rw *row, q *query) *fill {
	f := newFill(q)
	s.list(rw, f)
	if q.partial != nil {
		f.born = min(f.born, q.partial.born)
	}
	if f.base != nil && !s.valid(f.base) {
		// It was purged since the store was looked at, before the fill began: a 304
		// would bring it back.
		f.base = nil
	}
	return f
}

// list puts f into the row and numbers it. flights.mu is held.
func (s *Store) list(rw *row, f *fill) {
	if len(rw.fills) == 0 && f.primary != f.marks.url {
		if s.flights.unlisted == nil {
			s.flights.unlisted = make(map[uint64]int)
		}
		s.flights.unlisted[f.marks.ids[0]]++
	}
	rw.fills = append(rw.fills, f)
	// After it is in the row: see Store.invalidate.
	f.born = s.gen.seq.Load()
	f.version = s.sends.Add(1)
}

// sound tells whether f is not older than a purge, soft or not, of what it
// fetches. Tags that it may bring are looked at when they are known.
func (s *Store) sound(f *fill) bool { return s.gen.standing(&f.marks, f.born) == sound }

// hold puts a place for what a forwarded request may bring into the row, which
// nobody joins: until it leaves, invalidations of the URL are recorded.
func (s *Store) hold(c *Cache, primary string, names []string, header http.Header) *fill {
	fl := &s.flights
	fl.mu.Lock()
	defer fl.mu.Unlock()
	rw := fl.rows[primary]
	if rw == nil {
		rw = &row{names: names}
		fl.rows[primary] = rw
	}
	f := &fill{
		cache: c, primary: primary, reqHeader: header, marks: s.gen.marksOf(primary),
		phase: phaseDone, closed: true, begun: time.Now(),
	}
	s.list(rw, f)
	return f
}

// refreshes tells whether f is a refresh in flight of what q is about.
// flights.mu is held.
func (s *Store) refreshes(rw *row, f *fill, q *query) bool {
	if f.ranged || f.cache != q.cache || !s.sound(f) || !sameVariant(rw.names, f.reqHeader, q.header) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase == phaseDone {
		// It is being published. What brought q's own object is no refresh of it.
		return !f.closed && f.object != nil && newer(f.object, q.seen)
	}
	return !f.lost && (f.phase == phaseWaiting || !f.closed)
}

// refreshing are the refreshes in flight of what q is about. flights.mu is held.
func (s *Store) refreshing(rw *row, q *query) (in flying) {
	if rw == nil {
		return in
	}
	for _, f := range rw.fills {
		if !s.refreshes(rw, f, q) {
			continue
		}
		if in.n++; in.oldest.IsZero() || f.begun.Before(in.oldest) {
			in.oldest = f.begun
		}
		if in.last == nil || !f.begun.Before(in.newest) {
			in.newest, in.last = f.begun, f
		}
	}
	return in
}

// supersede ends the refreshes that f, which brought o, has overtaken.
func (s *Store) supersede(f *fill, o *object) {
	for _, old := range s.overtaken(f, o) {
		old.supersede()
	}
}

func (s *Store) overtaken(f *fill, o *object) (old []*fill) {
	fl := &s.flights
	fl.mu.Lock()
	defer fl.mu.Unlock()
	rw := fl.rows[f.primary]
	if rw == nil {
		return nil
	}
	for _, other := range rw.fills {
		if other.detached && other.cache == f.cache && other.version < f.version && sameVariant(o.vary, f.reqHeader, other.reqHeader) {
			old = append(old, other)
		}
	}
	return old
}

// complete is the object of a fill that has ended and is being published, if it
// is of the request's variant and newer than what that has seen.
// flights.mu is held.
func (s *Store) complete(f *fill, q *query) *object {
	if f.cache != q.cache || !s.sound(f) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase != phaseDone || f.closed || !f.head.store || f.object == nil || f.object.partial() || s.standing(f.object) != sound ||
		!newer(f.object, q.seen) || !sameVariant(f.object.vary, f.reqHeader, q.header) {
		return nil
	}
	return f.object
}

// completePart is complete for the parts that a range brought.
// flights.mu is held.
func (s *Store) completePart(f *fill, q *query) *object {
	if !f.ranged || q.detached || f.cache != q.cache || !s.sound(f) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase != phaseDone || f.closed || !f.head.store || f.object == nil || !f.object.partial() ||
		!newer(f.object, q.parts) || !f.object.selects(q.header) {
		return nil
	}
	return f.object
}

func newer(o, than *object) bool { return than == nil || o.version > than.version }

// join makes the request a reader of f if it may share what f brings, as far as
// that is known yet. flights.mu is held.
func (s *Store) join(rw *row, f *fill, q *query) *reader {
	if f.ranged || f.cache != q.cache || !s.sound(f) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil
	case f.phase == phaseWaiting:
		if f.solo || q.solo || !sameVariant(rw.names, f.reqHeader, q.header) {
			return nil
		}
	case !f.suits(q.header, q.parsed, q.solo):
		return nil
	}
	return f.newReader()
}

// named notes by which names responses of the URL vary.
func (fl *flights) named(primary string, names []string) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if rw := fl.rows[primary]; rw != nil {
		rw.names = names
	}
}

// leave takes f out of its row.
func (fl *flights) leave(f *fill) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	rw := fl.rows[f.primary]
	if rw == nil {
		return
	}
	rw.fills = slices.DeleteFunc(rw.fills, func(o *fill) bool { return o == f })
	if len(rw.fills) == 0 {
		delete(fl.rows, f.primary)
		if url := f.marks.ids[0]; f.primary != f.marks.url {
			if fl.unlisted[url]--; fl.unlisted[url] <= 0 {
				delete(fl.unlisted, url)
			}
		}
	}
}

// sameVariant tells whether two requests select the same variant (RFC 9111
// section 4.1).
func sameVariant(names []string, a, b http.Header) bool {
	return len(names) == 0 ||
		bytes.Equal(semantics.AppendVariant(nil, names, a), semantics.AppendVariant(nil, names, b))
}
