package cache

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// errClosed is what is returned where the store is closed.
var errClosed = errors.New("cache: the store is closed")

// Snapshot writes what the cache has stored to w, for [Cache.Restore] in a
// process to come. It is what can be used at this moment: not what was
// invalidated, not what is still being fetched, and of a store that several
// caches share only what is in this cache's Namespace.
//
// Traffic goes on meanwhile; no lock is held while something is written. What
// is evicted meanwhile stays in memory until Snapshot returns. Snapshot is
// to be called before Shutdown closes the cache's own store: of a closed one
// there is none, and it says so rather than write an empty one.
//
// A snapshot has what visitors were sent, in clear. Who may read it, and that it
// replaces an older one in one piece (write beside it, then rename), is the
// caller's business. When Snapshot fails, what was written is useless.
//
// A snapshot is read by releases with the same version of its form, which
// changes whenever the form does. Others refuse it, and the cache begins empty.
func (c *Cache) Snapshot(w io.Writer) error {
	now := time.Now()
	point := c.store.gen.point() // first: what is purged from here on is found again
	objects, ok := c.snapshotObjects()
	if !ok {
		return errClosed
	}
	idle := make(map[*object]time.Duration, len(objects))
	for _, o := range objects {
		idle[o] = o.idle(now)
	}
	slices.SortStableFunc(objects, func(a, b *object) int { return cmp.Compare(idle[a], idle[b]) })

	buffered := bufio.NewWriterSize(w, maxChunk)
	out := frameWriter{w: buffered}
	out.preamble()
	header := snapshotHeader{taken: now, namespace: c.cfg.Namespace, keys: c.keyForm(), point: point}
	out.frame(frameHeader, header.append(nil), nil, 0)
	count := uint64(0)
	var fields []byte
	for _, o := range objects {
		standing := c.store.standing(o)
		if standing == purged {
			continue
		}
		e := snapshotEntry{
			primary: o.primary, vary: o.vary, variant: o.variant, status: o.status,
			initialAge: o.resp.InitialAge, held: now.Sub(o.resp.Received), idle: idle[o],
			soft: standing == softened, shareable: o.resp.Shareable, grant: o.resp.Grant, header: o.header(), trailer: o.trailer,
		}
		if o.tags != nil {
			e.tags, e.moreTags = o.tags.names, o.tags.moreNames
		}
		if fields = e.append(fields[:0]); len(fields) > maxSnapshotFields {
			continue
		}
		out.frame(frameEntry, fields, o.body, o.size)
		if count++; out.err != nil {
			break
		}
	}
	out.frame(frameEnd, binary.AppendUvarint(nil, count), nil, 0)
	if out.err == nil {
		out.err = buffered.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("cache: writing the snapshot: %w", out.err)
	}
	return nil
}

// snapshotObjects are the cache's responses that a request can find: a variant
// whose index is gone can't be, and may have been invalidated without a trace.
// ok is false if the store is closed.
func (c *Cache) snapshotObjects() (objects []*object, ok bool) {
	records, ok := c.store.shelf.records()
	if !ok {
		return nil, false
	}
	prefix := string(semantics.AppendNamespace(nil, c.cfg.Namespace))
	reachable := make(map[string]bool)
	for _, rec := range records {
		if rec.index != nil {
			for _, v := range rec.index.variants {
				reachable[v.key] = true
			}
		}
	}
	for _, rec := range records {
		o := rec.object
		if o != nil && strings.HasPrefix(o.primary, prefix) && (rec.key == o.primary || reachable[rec.key]) {
			objects = append(objects, o)
		}
	}
	return objects, true
}

// idle is for how long o was not used, as far as is known without a note of
// every use.
func (o *object) idle(now time.Time) time.Duration {
	since := now.Sub(o.resp.Received)
	if m := o.memo.Load(); m != nil {
		since = min(since, o.resp.Age(now)-time.Duration(m.age)*time.Second)
	}
	return max(min(since, now.Sub(time.Unix(o.used.Load(), 0))), 0)
}

// keyForm describes how requests are mapped to keys. Content is restored only
// where that is the same: a key that means something else by now would hand one
// visitor's page to another.
func (c *Cache) keyForm() string {
	return fmt.Sprintf("1%s %q", c.keyer.form, c.cfg.Normalize)
}
