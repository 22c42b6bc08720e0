package cache

import (
	"slices"
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
	put *object // to be stored
	del *object // to be removed, if it is still there
	// coded are codings that are to be entered for codedOf.
	coded   *coded
	codedOf *object
	// arrival goes with a put of parts.
	arrival *arrival
	keep    time.Duration
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
	gone := make(map[string][]string)
	partials := newWriteSet(shelf)
	for i := range batch {
		j := &batch[i]
		if j.put != nil {
			if j.put = p.parts(partials, j); j.put == nil {
				continue
			}
		}
		o := j.put
		switch {
		case j.coded != nil:
		case j.del != nil && j.del.partial():
			p.removePartial(partials, j.del)
		case j.del != nil:
			p.remove(j.del)
		case !p.store.valid(o), j.onlyNew && p.taken(o):
			j.result = putSuperseded
		default:
			p.store.note(o, j.keep)
			if keys := p.place(objects, indexes, j); len(keys) > 0 {
				gone[o.primary] = append(gone[o.primary], keys...)
			}
		}
	}
	objects.flush()
	indexes.flush()
	p.flushPartials(partials)
	for primary, keys := range gone {
		p.clear(primary, keys)
	}
	for _, j := range batch {
		if j.coded != nil {
			shelf.enter(j.codedOf, j.coded)
		}
	}
	for _, j := range batch {
		j.finish(j.result)
	}
}

// taken tells whether something is there already where o is to be put, or what
// was fetched since may be about all requests.
func (p *publisher) taken(o *object) bool {
	rec := p.store.shelf.get([]byte(o.primary))
	switch {
	case rec == nil:
		return false
	case rec.index == nil:
		return len(o.vary) == 0 || rec.version > 0
	}
	return p.store.shelf.get([]byte(rec.index.keyOf(o))) != nil
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
	case rec.index != nil, rec.partials != nil: // it includes the one before
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

// move puts what is or would be under another key in there.
func (w *writeSet) move(from string, rec *record, ttl time.Duration) {
	i, ok := w.at[from]
	if !ok {
		w.add(rec, ttl, new(putResult))
		return
	}
	delete(w.at, from)
	w.at[rec.key], w.entries[i] = i, entry{rec, ttl}
}

// drop takes an entry out, in whose place another one comes.
func (w *writeSet) drop(key string) {
	i, ok := w.at[key]
	if !ok {
		return
	}
	for _, r := range w.results[i] {
		*r = putSuperseded
	}
	delete(w.at, key)
	w.entries, w.results = slices.Delete(w.entries, i, i+1), slices.Delete(w.results, i, i+1)
	for k, at := range w.at {
		if at > i {
			w.at[k] = at - 1
		}
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
