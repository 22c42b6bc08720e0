package cache

import (
	"sync"
	"time"
)

// publisher is the one goroutine that writes to a store's shelf, which keeps
// the writes in order and the waiting for their visibility off every response's
// path. What waits to be published is bounded by the fill budget, which a body
// leaves only afterwards.
type publisher struct {
	store *Store
	ids   uint64 // of indexes; only the goroutine uses it

	mu     sync.Mutex // guards what follows
	queue  []job
	closed bool
	wake   chan struct{} // has one element when there is something to do
	ended  chan struct{}
}

// job is one thing to write.
type job struct {
	put  *object // to be stored
	del  *object // to be removed, if it is still there
	keep time.Duration
	// onlyNew: put replaces nothing.
	onlyNew bool
	done    func(putResult) // called on the publisher's goroutine; must not block
	result  putResult
}

// maxBatch is how many jobs share one wait for visibility.
const maxBatch = 64

func (p *publisher) init(s *Store) {
	p.store = s
	p.wake = make(chan struct{}, 1)
	p.ended = make(chan struct{})
	go p.run()
}

// submit hands a job over. After close it is done at once, unstored.
func (p *publisher) submit(j job) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		j.finish(putRejected)
		return
	}
	p.queue = append(p.queue, j)
	p.mu.Unlock()
	p.nudge()
}

func (p *publisher) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

func (p *publisher) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.nudge()
	<-p.ended
}

func (j job) finish(r putResult) {
	if j.done != nil {
		j.done(r)
	}
}

func (p *publisher) run() {
	defer close(p.ended)
	for range p.wake {
		for {
			p.mu.Lock()
			batch, closed := p.queue, p.closed
			if len(batch) > maxBatch {
				batch, p.queue = batch[:maxBatch:maxBatch], batch[maxBatch:]
			} else {
				p.queue = nil
			}
			p.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			p.publish(batch)
		}
	}
}

// publish writes a batch and tells everybody when it can be seen.
//
// Variants go before the index that names them. Both waits end before any fill
// of the batch leaves its row, so whoever does not find the row finds the
// entry, if it was admitted at all.
func (p *publisher) publish(batch []job) {
	shelf := p.store.shelf
	objects := newWriteSet(shelf)
	indexes := newWriteSet(shelf)
	var gone []string
	for i := range batch {
		j := &batch[i]
		switch o := j.put; {
		case j.del != nil:
			if rec := shelf.get([]byte(j.del.key)); rec != nil && rec.object == j.del {
				shelf.del(rec)
			}
		case !p.store.valid(o), j.onlyNew && p.taken(o):
			j.result = putSuperseded
		case len(o.vary) == 0:
			p.store.note(o, j.keep)
			o.key = o.primary
			objects.add(&record{key: o.key, version: o.version, cost: o.cost(), object: o}, j.keep, &j.result)
		default:
			p.store.note(o, j.keep)
			rec, old := p.index(indexes, o, time.Now().Add(j.keep))
			if rec == nil {
				j.result = putSuperseded
				continue
			}
			gone = append(gone, old...)
			objects.add(&record{key: o.key, version: o.version, cost: o.cost(), object: o}, j.keep, &j.result)
			indexes.add(rec, time.Until(rec.index.expires), &j.result)
		}
	}
	objects.flush()
	indexes.flush()
	for _, key := range gone {
		if rec := shelf.get([]byte(key)); rec != nil {
			shelf.del(rec)
		}
	}
	for _, j := range batch {
		j.finish(j.result)
	}
}

// taken tells whether something is there already where o is to be put.
func (p *publisher) taken(o *object) bool {
	rec := p.store.shelf.get([]byte(o.primary))
	if rec == nil || rec.index == nil || len(o.vary) == 0 {
		return rec != nil
	}
	key := appendVariantPrefix([]byte(o.primary), rec.index.id, o.vary)
	return p.store.shelf.get(append(key, o.variant...)) != nil
}

// index is the record for the index of o's URL with o in it, made from that in
// the batch or in the shelf, and the keys that had to go; nil where an object
// that doesn't vary is there and later.
func (p *publisher) index(pending *writeSet, o *object, expires time.Time) (*record, []string) {
	rec := pending.get(o.primary)
	if rec == nil {
		rec = p.store.shelf.get([]byte(o.primary))
	}
	var ix *varyIndex
	version := o.version
	switch {
	case rec == nil:
	case rec.object != nil && rec.version > o.version:
		return nil, nil
	case rec.index != nil:
		ix = rec.index
		version = max(version, rec.version) // also for a variant that is late
	}
	next, gone := ix.with(o, expires, func() uint64 { p.ids++; return p.ids })
	return &record{key: o.primary, version: version, cost: next.cost(o.primary), index: next}, gone
}

// writeSet collects entries, one for each key: of two quick Sets of one key the
// older would win.
type writeSet struct {
	shelf   *shelf
	entries []entry
	results [][]*putResult
	at      map[string]int
}

func newWriteSet(s *shelf) *writeSet { return &writeSet{shelf: s, at: make(map[string]int)} }

func (w *writeSet) get(key string) *record {
	if i, ok := w.at[key]; ok {
		return w.entries[i].rec
	}
	return nil
}

// add collects an entry whose outcome goes to result.
func (w *writeSet) add(rec *record, ttl time.Duration, result *putResult) {
	i, ok := w.at[rec.key]
	switch {
	case !ok:
		w.at[rec.key] = len(w.entries)
		w.entries = append(w.entries, entry{rec, ttl})
		w.results = append(w.results, []*putResult{result})
	case rec.index != nil: // it includes the one before
		w.entries[i] = entry{rec, ttl}
		w.results[i] = append(w.results[i], result)
	case rec.version < w.entries[i].rec.version:
		*result = putSuperseded
	default:
		for _, r := range w.results[i] {
			*r = putSuperseded
		}
		w.entries[i], w.results[i] = entry{rec, ttl}, []*putResult{result}
	}
}

// flush puts what was collected. A result that tells of trouble already stays.
func (w *writeSet) flush() {
	if len(w.entries) == 0 {
		return
	}
	for i, r := range w.shelf.put(w.entries) {
		for _, result := range w.results[i] {
			if *result == putStored {
				*result = r
			}
		}
	}
}
