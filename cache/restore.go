package cache

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// Restore puts what [Cache.Snapshot] wrote back into the cache, and returns
// how many responses it has of it now. r is read to its end. It is for the start
// of a process; traffic may already go on.
//
// Responses keep their age, to which the time between is added; a clock that was
// set back meanwhile takes nothing away. What may be done with them is worked out
// anew, by this cache's Config. What has expired by now or may not be stored any
// more is left out, and so is what was fetched, or invalidated, since Restore
// was called or, in the process that took the snapshot, since then. What
// Config.Policy said of a response counts as long as there is a Policy. What does not fit into the room that is free is left out, too,
// beginning with what was not used for the longest time; nothing is evicted.
//
// A snapshot that is damaged, truncated, of another version of the form, of
// another Namespace or made with other keys is refused with an error that
// wraps [ErrSnapshot], and nothing of it is kept. While it is being checked it
// takes as much memory as the store has room for.
func (c *Cache) Restore(r io.Reader) (n int, err error) {
	s := c.store
	if s.shelf.isClosed() || c.closing.Load() {
		return 0, errClosed
	}
	// What is invalidated from here on is noted, found or not: see
	// Store.purgeURL. Then the snapshot is read.
	s.restoring.Add(1)
	defer s.restoring.Add(-1)
	staged, err := c.readSnapshot(r)
	if err != nil {
		return 0, err
	}
	slices.Reverse(staged) // those used last get in last, and are the last variants
	for batch := range slices.Chunk(staged, maxBatch) {
		n += s.putRestored(batch)
	}
	return n, nil
}

// putRestored publishes a batch and waits until it can be seen: so the
// publisher's queue stays short for the fills.
func (s *Store) putRestored(batch []restored) (stored int) {
	results := make([]putResult, len(batch))
	var wg sync.WaitGroup
	for i, e := range batch {
		wg.Add(1)
		s.publisher.submit(job{put: e.object, keep: e.keep, onlyNew: true, done: func(r putResult) {
			results[i] = r
			if r == putStored {
				e.object.codings.stored()
			}
			wg.Done()
		}})
	}
	wg.Wait()
	for _, r := range results {
		if r == putStored {
			stored++
		}
	}
	return stored
}

// restored is a response that is to be put back, and for how long.
type restored struct {
	object *object
	keep   time.Duration
}

// readSnapshot reads and checks a snapshot, and returns what of it is to be
// stored: no more than there is room for.
func (c *Cache) readSnapshot(r io.Reader) ([]restored, error) {
	in := &frameReader{r: bufio.NewReaderSize(r, maxChunk)}
	if err := in.preamble(); err != nil {
		return nil, err
	}
	header, err := c.readSnapshotHeader(in)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	down := max(now.Sub(header.taken), 0)
	limit := c.store.shelf.limit - c.store.shelf.used()
	used := int64(0)
	var staged []restored
	for count := uint64(0); ; count++ {
		head, err := in.head()
		if err != nil {
			return nil, err
		}
		if head.kind == frameEnd {
			return staged, in.readEnd(head, count)
		}
		if head.kind != frameEntry {
			return nil, badSnapshot("it is malformed: a frame of kind %q", head.kind)
		}
		e, err := in.readEntry(head, min(limit-used, c.store.shelf.maxEntry))
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		if !strings.HasPrefix(e.primary, string(semantics.AppendNamespace(nil, c.cfg.Namespace))) {
			return nil, badSnapshot("it is malformed: a key of another namespace")
		}
		o, keep := c.restoredObject(e, header.point, now, down)
		if o == nil || keep <= 0 {
			continue
		}
		cost := o.cost()
		if len(o.vary) > 0 { // its share of the index, at most
			cost += recordOverhead + int64(2*len(o.primary)+len(o.variant)) + 64
		}
		if used+cost <= limit {
			used += cost
			staged = append(staged, restored{o, keep})
		}
	}
}

func (c *Cache) readSnapshotHeader(in *frameReader) (snapshotHeader, error) {
	head, err := in.head()
	if err != nil {
		return snapshotHeader{}, err
	}
	if head.kind != frameHeader {
		return snapshotHeader{}, badSnapshot("it is malformed: it begins with a frame of kind %q", head.kind)
	}
	fields, err := in.readFields(head)
	if err != nil {
		return snapshotHeader{}, err
	}
	h, err := parseSnapshotHeader(fields)
	switch {
	case err != nil:
		return h, err
	case h.namespace != c.cfg.Namespace:
		return h, badSnapshot("it is of the namespace %q, this cache's is %q", h.namespace, c.cfg.Namespace)
	case h.keys != c.keyForm():
		return h, badSnapshot("it was made by a cache that makes keys in another way (%q, here %q)", h.keys, c.keyForm())
	}
	return h, nil
}

// readFields reads a frame that has no body.
func (fr *frameReader) readFields(head frameHead) ([]byte, error) {
	if head.size != 0 {
		return nil, badSnapshot("it is malformed: a frame of kind %q with a body", head.kind)
	}
	chunks, err := fr.read(int64(head.fields))
	if err != nil {
		return nil, err
	}
	return slices.Concat(chunks...), fr.check()
}

func (fr *frameReader) readEnd(head frameHead, count uint64) error {
	fields, err := fr.readFields(head)
	if err != nil {
		return err
	}
	if n, size := binary.Uvarint(fields); size != len(fields) || size <= 0 || n != count {
		return badSnapshot("it is malformed: there are %d entries, it says %d", count, n)
	}
	return fr.end()
}

// readEntry reads an entry; nil if it is larger than room.
func (fr *frameReader) readEntry(head frameHead, room int64) (*snapshotEntry, error) {
	if head.size > room || int64(head.fields) > room-head.size {
		if err := fr.skip(int64(head.fields)); err != nil {
			return nil, err
		}
		if err := fr.skip(head.size); err != nil {
			return nil, err
		}
		return nil, fr.check()
	}
	fields, err := fr.read(int64(head.fields))
	if err != nil {
		return nil, err
	}
	body, err := fr.read(head.size)
	if err != nil {
		return nil, err
	}
	if err := fr.check(); err != nil {
		return nil, err
	}
	e, err := parseSnapshotEntry(slices.Concat(fields...))
	if err != nil {
		return nil, err
	}
	e.body, e.size = body, head.size
	return &e, nil
}

// maxSnapshotAge is far beyond any use, and far from an overflow.
const maxSnapshotAge = 100 * 366 * 24 * time.Hour

// restoredObject is the object that e becomes here and now, down after the
// snapshot was taken, and for how long it is to be kept; nil if it may not be
// stored.
//
// Its version is 0, below that of any fetch: it replaces nothing.
func (c *Cache) restoredObject(e *snapshotEntry, point purgePoint, now time.Time, down time.Duration) (*object, time.Duration) {
	opts := c.options
	if c.cfg.Policy != nil {
		opts.Grant = e.grant
	}
	if ok, _ := semantics.Storable("GET", nil, e.status, e.header, opts); !ok || e.size > c.maxObject {
		return nil, 0
	}
	born, ok := c.store.gen.bornAt(e.primary, point)
	if !ok {
		return nil, 0
	}
	held := addDuration(e.held, down)
	received := now.Add(-held)
	e.header["Age"] = []string{strconv.FormatInt(semantics.Seconds(e.initialAge), 10)} // it is not kept
	resp := semantics.Analyze(e.header, e.status, received, received, opts)
	resp.InitialAge = e.initialAge
	if addDuration(e.initialAge, held) > maxSnapshotAge {
		return nil, 0
	}
	if e.shareable && !resp.Shareable {
		return nil, 0 // it may be the answer to somebody with credentials
	}
	tags := c.store.gen.newTags(e.primary, e.header, e.tags)
	if e.moreTags && (tags == nil || !tags.moreNames) {
		return nil, 0 // a purge could miss it
	}
	f := &fill{cache: c, primary: e.primary, born: born}
	o := newObject(f, e.status, semantics.Sanitize(e.header, opts), e.body, e.size, c.sharedTrailer(e.trailer), resp, tags)
	if e.soft {
		o.checked.Store(born<<1 | uint64(softened))
	}
	if !slices.Equal(o.vary, e.vary) {
		return nil, 0 // it varies by something else now: what the request had of that is not known
	}
	o.variant = e.variant
	o.used.Store(now.Add(-addDuration(e.idle, down)).Unix())
	return o, o.keep(received) - held
}

// addDuration adds spans that are not negative; what does not fit is as large as
// can be.
func addDuration(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
