package cache

import "time"

// place decides under which keys a response goes, and returns the keys that it
// takes the place of.
//
// A response without Vary stands under the primary key, and one with it under a
// key of its own, which the index under the primary key leads to. Where both
// kinds are there, the one without is a variant, too: that of every request.
// But one that is later than all others is the answer to every request, and
// stands alone; one with Vary that is not later than it is never the answer.
func (p *publisher) place(objects, indexes *writeSet, j *job) (gone []string) {
	o, now := j.put, time.Now()
	rec := indexes.get(o.primary)
	if rec == nil {
		rec = objects.get(o.primary)
	}
	if rec == nil {
		rec = p.store.shelf.get([]byte(o.primary))
	}
	version := o.version
	if rec == nil {
		rec = &record{}
	} else {
		version = max(version, rec.version) // also for one that is late
	}
	plain := rec.object
	if plain != nil && !p.store.valid(plain) {
		plain = nil
	}
	ix := rec.index
	switch {
	case len(o.vary) == 0 && ix == nil:
		o.key = o.primary
		objects.add(&record{key: o.key, version: o.version, cost: o.cost(), object: o}, j.keep, &j.result)
		return nil
	case len(o.vary) == 0 && ix.outdated(o):
		indexes.drop(o.primary)
		o.key = o.primary
		objects.add(&record{key: o.key, version: version, cost: o.cost(), object: o}, j.keep, &j.result)
		return ix.keys()
	case plain != nil && orderOf(plain).after(orderOf(o)):
		j.result = putSuperseded
		return nil
	}
	newID := func() uint64 { p.ids++; return p.ids }
	limit := min(p.store.shelf.maxEntry, maxIndex)
	if keep := p.keepOf(plain, now); keep > 0 {
		ix, _ = ix.with(plain, now, now.Add(keep), limit, newID)
		key := ix.variants[0].key
		objects.move(o.primary, &record{key: key, version: plain.version, cost: plain.cost(), object: plain}, keep)
	}
	ix, gone = ix.with(o, now, now.Add(j.keep), limit, newID)
	o.key = ix.variants[len(ix.variants)-1].key
	objects.add(&record{key: o.key, version: o.version, cost: o.cost(), object: o}, j.keep, &j.result)
	indexes.add(&record{key: o.primary, version: version, cost: ix.cost(o.primary), index: ix}, ix.expires.Sub(now), &j.result)
	return gone
}

// keepOf is for how long a response is kept on; 0 where there is none.
func (p *publisher) keepOf(o *object, now time.Time) time.Duration {
	if o == nil {
		return 0
	}
	return o.keep(now)
}

// remove removes what o is stored as, if it is still there.
func (p *publisher) remove(o *object) {
	shelf := p.store.shelf
	rec := shelf.get([]byte(o.primary))
	if rec != nil && rec.index != nil {
		rec = shelf.get([]byte(rec.index.keyOf(o)))
	}
	if rec != nil && rec.object == o {
		shelf.del(rec)
	}
}

// clear removes what had to go. What the index under its primary key still has,
// since that could not be replaced, stays.
func (p *publisher) clear(primary string, gone []string) {
	if len(gone) == 0 {
		return
	}
	shelf := p.store.shelf
	at := shelf.get([]byte(primary))
	for _, key := range gone {
		if at != nil && at.index != nil && at.index.has(key) {
			continue
		}
		if rec := shelf.get([]byte(key)); rec != nil {
			shelf.del(rec)
		}
	}
}
