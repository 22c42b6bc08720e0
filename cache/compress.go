package cache

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// The bounds of compression.
const (
	// compressQueue is how many objects wait at most. What does not find a place
	// is tried again when it is asked for.
	compressQueue = 128
	// worthwhile is the share of its length, in percent, that a compressed body
	// has at most.
	worthwhile = 95
	// zstdWindow is what a client has to keep for decoding, in bytes: far below
	// what all of them do (RFC 9659).
	zstdWindow = 1 << 20
)

// compressor makes the codings of what was stored, on one goroutine of its own,
// so that it never takes more than one processor from those who answer.
type compressor struct {
	store *Store
	limit int64 // of the bytes that wait

	waiting atomic.Int64
	queue   chan *object

	once  sync.Once
	stop  chan struct{}
	ended chan struct{}
}

func newCompressor(s *Store) *compressor {
	p := &compressor{
		store: s,
		limit: s.budget.limit,
		queue: make(chan *object, compressQueue),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	go p.run()
	return p
}

// stored notes that o can be found by now.
func (k *codings) stored() {
	if k != nil {
		k.state.CompareAndSwap(codingsEarly, codingsNone)
	}
}

// offer hands an object over that was stored, if it is to be compressed, was not
// handed over already, and there is room for it. It never waits.
func (p *compressor) offer(o *object) {
	k := o.codings
	if k == nil || k.state.Load() != codingsNone || !k.state.CompareAndSwap(codingsNone, codingsQueued) {
		return
	}
	if p.waiting.Add(o.size) <= p.limit {
		select {
		case p.queue <- o:
			return
		default:
		}
	}
	p.waiting.Add(-o.size)
	k.state.Store(codingsNone)
}

func (p *compressor) close() {
	p.once.Do(func() { close(p.stop) })
	<-p.ended
}

func (p *compressor) run() {
	defer close(p.ended)
	zip := gzip.NewWriter(io.Discard)
	zst, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		zst = nil // an option that does not fit; gzip it is
	}
	for {
		select {
		case <-p.stop:
			return
		case o := <-p.queue:
			p.compress(o, zip, zst)
			p.waiting.Add(-o.size)
		}
	}
}

// compress makes o's codings, unless it is gone already. What cost they have
// is the publisher's to enter, and they are seen after that.
func (p *compressor) compress(o *object, zip *gzip.Writer, zst *zstd.Encoder) {
	if _, there := p.store.shelf.timeLeft(o.key); !there || !p.store.valid(o) {
		o.codings.state.Store(codingsDone)
		return
	}
	var bodies [semantics.Codings][]byte
	out := &capped{most: o.size * worthwhile / 100}
	zip.Reset(out)
	bodies[semantics.Gzip] = p.encode(o, zip, out)
	if zst != nil {
		out = &capped{most: o.size * worthwhile / 100}
		zst.ResetContentSize(out, o.size)
		bodies[semantics.Zstd] = p.encode(o, zst, out)
	}
	p.store.publisher.submit(job{coded: o.withBodies(&bodies), codedOf: o})
}

// encode returns the body of o under a coding; nil where that is not worth it,
// or the cache is being shut down.
func (p *compressor) encode(o *object, w io.WriteCloser, out *capped) []byte {
	var err error
	for _, chunk := range o.body {
		select {
		case <-p.stop:
			err = errClosed
		default:
		}
		if err == nil {
			_, err = w.Write(chunk)
		}
	}
	if closing := w.Close(); err != nil || closing != nil {
		return nil
	}
	return out.exactly()
}

// capped is a buffer that ends at a size from which on it is of no use.
type capped struct {
	b    []byte
	most int64
}

var errNotWorthwhile = errors.New("cache: it does not get smaller")

func (c *capped) Write(p []byte) (int, error) {
	if int64(len(c.b)+len(p)) > c.most {
		return 0, errNotWorthwhile
	}
	c.b = append(c.b, p...)
	return len(p), nil
}

func (c *capped) exactly() []byte {
	b := make([]byte, len(c.b))
	copy(b, c.b)
	return b
}

// enter gives an object its codings, as far as there is room: the entry
// grows in place, and what that is too much the next entry evicts. It is called
// by the publisher.
func (s *shelf) enter(o *object, made *coded) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	o.codings.state.Store(codingsDone)
	if s.closed {
		return
	}
	key := []byte(o.primary)
	rec, ok := s.cache.Get(key)
	if ok && rec != nil && rec.key == o.primary && rec.index != nil {
		key = []byte(rec.index.keyOf(o))
		rec, ok = s.cache.Get(key)
	}
	ttl, there := s.cache.GetTTL(key)
	if !ok || !there || rec == nil || rec.object != o || ttl <= 0 {
		return
	}
	room := min(s.cache.RemainingCost()+s.limit/growth, s.maxEntry-rec.cost)
	for made.cost() > room {
		if made = made.without(); made == nil {
			return
		}
	}
	if made.cost() == 0 {
		return
	}
	o.codings.made.Store(made)
	grown := *rec
	grown.cost += made.cost()
	s.count(&grown, 1)
	s.cache.SetWithTTL(key, &grown, grown.cost, ttl)
	s.cache.Wait()
}

// growth is the part of the limit by which entries that grow in place may
// exceed it together.
const growth = 64

// without leaves the largest of the representations out; nil if none is left.
func (m *coded) without() *coded {
	largest := semantics.Identity
	for c, rep := range m.reps {
		if rep != nil && (largest == semantics.Identity || m.sizes[c] > m.sizes[largest]) {
			largest = semantics.Coding(c) //nolint:gosec // one of few
		}
	}
	if largest == semantics.Identity {
		return nil
	}
	less := *m
	less.sizes[largest], less.reps[largest] = 0, nil
	return &less
}

// timeLeft is how long the entry of a key still has; asking does not count as a
// use.
func (s *shelf) timeLeft(key string) (left int64, ok bool) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return 0, false
	}
	ttl, ok := s.cache.GetTTL([]byte(key))
	return int64(ttl), ok
}
