package cache

import (
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// A client that seeks asks for many ranges, and each costs the origin a request.
// So the second range of a URL that is forwarded starts one fetch of the whole,
// behind the answers, if that is going to be stored. One range alone does not: it
// may have been all that anybody wanted.

// The bounds of these fetches: how many there are at once in a cache, for how
// long a forwarded range is remembered, and for how long no other fetch of the
// whole is tried.
const (
	maxWholes  = 4
	rangeLife  = 10 * time.Minute
	wholePause = 5 * time.Minute
)

// rangesSeen is what is remembered of a URL whose ranges are forwarded.
type rangesSeen uint8

const (
	rangeForwarded rangesSeen = iota + 1
	wholeTried
)

// wholeBehind is called after a range was fetched. It starts the fetch of the
// whole, or of the rest, if it is time.
func (t *task) wholeBehind(x *fetch, now time.Time) {
	c := t.c
	hd, part := x.f.headNow(), x.f.object
	if !hd.part || !hd.store || part == nil || t.identified() && !hd.resp.Shareable || !usable(anyRequest, &hd.resp) {
		return
	}
	if base := c.store.findPartial(t.primary, t.r.Header).object; base != nil {
		part = x.arrival(part, &hd).combine(base, part) // as the publisher will
	}
	if part.total < 0 || part.total > c.maxObject || part.complete() {
		return
	}
	switch seen, current := c.ranges.get(t.primary, now); {
	case !current:
		c.ranges.put(t.primary, rangeForwarded, now, now.Add(rangeLife))
		return
	case seen == wholeTried:
		return
	}
	_, marked := c.markers.get(t.primary, now)
	_, failed := c.failures.get(t.primary, now)
	if marked || failed {
		return
	}
	if c.wholes.Add(1) > maxWholes {
		c.wholes.Add(-1)
		return
	}
	c.ranges.put(t.primary, wholeTried, now, now.Add(wholePause))
	q := t.detachedQuery(found{names: hd.vary}, nil, now)
	q.behind, q.letOut, q.alone, q.solo, q.fresh = true, false, false, false, false
	if _, ok := part.missing(c.maxObject, now); ok && semantics.StrongValidator(part.selecting()) != "" {
		q.partial = part
	}
	f := c.store.enter(&q).lead
	if f == nil { // it is there, or on its way
		c.wholes.Add(-1)
		return
	}
	f.behind = true
	t.startRefresh(f)
}

// behindEnded is called when a fill that wholeBehind began has ended.
func (f *fill) behindEnded() {
	if f.behind {
		f.cache.wholes.Add(-1)
	}
}
