package cache

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// The bounds of one URL's variants. At the bound the variant that was used
// least recently goes, and the set of names that was stored least recently.
const (
	defaultVariants = 64
	maxVariants     = 1024
	maxVarySets     = 4
	// maxVariantKey is how long what a request has under the names may be to
	// stand in a key as it is. What is longer (cookies) stands there as a digest:
	// the index has the keys of all variants, and clients choose their length.
	maxVariantKey = 256
	// maxIndex bounds what an index costs, in bytes: URLs may be long.
	maxIndex = 1 << 20
)

// varyIndex is what stands under the key of a URL whose responses vary (RFC
// 9111 section 4.1). It is never changed, only replaced.
type varyIndex struct {
	// id is part of the variants' keys. A new index has a new one, so that
	// variants of an index that was evicted can't be found again: they may have
	// been invalidated when nothing was there to tell.
	id uint64
	// sets are the sets of names by which responses vary, the latest first. An
	// origin that sends the same Vary with all responses has one. The empty set
	// is that of a response without Vary beside others with it.
	sets [][]string
	// variants are those that were stored, the latest last. What the store has
	// of them since, it decides by itself.
	variants []variant
	expires  time.Time // when the last of them does
	// wasted is how many variants in a row had to go that were never used.
	wasted int
}

// variant is one of a URL's stored responses, without its body, which must not
// be kept from being freed by the index.
type variant struct {
	key     string
	vary    []string
	used    *atomic.Int64
	stored  int64 // Unix second
	expires time.Time
	etag    string
	order   order
}

// order is what tells which of several responses that match a request is used.
type order struct {
	poor    bool  // an error of the server's: it answers where nothing else does
	date    int64 // Unix second
	version uint64
}

func orderOf(o *object) order { return order{o.status >= 500, o.date, o.version} }

// after tells whether a response is the one to use, of two that match: it is
// the most recent one by its Date (RFC 9111 section 4); of one second, the one
// that was asked for last.
func (a order) after(b order) bool {
	switch {
	case a.poor != b.poor:
		return b.poor
	case a.date != b.date:
		return a.date > b.date
	}
	return a.version > b.version
}

// appendVariantPrefix makes the part of a variant's key before what the request
// has under the names.
func appendVariantPrefix(key []byte, id uint64, names []string) []byte {
	key = append(key, 0, 'v')
	key = strconv.AppendUint(key, id, 36)
	for _, name := range names {
		key = append(append(key, 0), name...)
	}
	return append(key, 0, 0)
}

// appendVariant makes the part of a variant's key that says what the request
// has under the names.
func appendVariant(key []byte, names []string, s semantics.Selecting) []byte {
	n := len(key)
	key = s.AppendVariant(key, names)
	if len(key)-n > maxVariantKey {
		sum := sha256.Sum256(key[n:])
		key = append(append(key[:n], 0, 'h'), sum[:]...) // no name begins like that
	}
	return key
}

// found is what the store has for a request.
type found struct {
	object *object
	// names are those by which responses of the URL vary; nil = not known, or
	// they don't.
	names []string
	// varies tells a URL that has variants, but not this one.
	varies bool
	// softened: object was softly purged.
	softened bool
}

// judge tells what may be done with the object for a request.
func (at *found) judge(q semantics.Request, now time.Time) semantics.Decision {
	d := semantics.Decide(q, &at.object.resp, now)
	if at.softened {
		d = semantics.Soften(d, q, &at.object.resp, now)
	}
	return d
}

// find looks a request up that has the header h. key has the primary key and is
// used as scratch beyond it; it is returned as it was, perhaps with more room.
func (s *Store) find(key []byte, h http.Header) (found, []byte) {
	return s.lookup(key, semantics.Selecting{Header: h})
}

// lookup is find with the fields that select a variant.
func (s *Store) lookup(key []byte, sel semantics.Selecting) (found, []byte) {
	rec := s.shelf.get(key)
	switch {
	case rec == nil:
		return found{}, key
	case rec.object != nil:
		if st := s.standing(rec.object); st != purged {
			return found{object: rec.object, softened: st == softened}, key
		}
		return found{}, key
	}
	n := len(key)
	at := found{names: rec.index.sets[0], varies: true}
	for _, names := range rec.index.sets {
		key = appendVariant(appendVariantPrefix(key[:n], rec.index.id, names), names, sel)
		v := s.shelf.get(key)
		if v == nil || v.object == nil {
			continue
		}
		st := s.standing(v.object)
		if st != purged && (at.object == nil || orderOf(v.object).after(orderOf(at.object))) {
			at.object, at.names, at.softened = v.object, names, st == softened
		}
	}
	return at, key[:n]
}

// with returns the index with o as a variant, and the keys that had to go for
// it. limit bounds what it may cost. ix may be nil.
func (ix *varyIndex) with(o *object, now, expires time.Time, limit int64, newID func() uint64) (next *varyIndex, gone []string) {
	next = &varyIndex{}
	if ix == nil {
		next.id = newID()
	} else {
		next.id, next.wasted = ix.id, ix.wasted
		next.sets = slices.Clone(ix.sets)
		next.variants = slices.Clone(ix.variants)
	}
	v := variant{
		key: next.keyOf(o), vary: o.vary, used: o.used, stored: now.Unix(),
		expires: expires, etag: o.resp.ETag, order: orderOf(o),
	}
	drop := func(unwanted func(variant) bool) {
		next.variants = slices.DeleteFunc(next.variants, func(old variant) bool {
			if !unwanted(old) {
				return false
			}
			gone = append(gone, old.key)
			return true
		})
	}
	drop(func(old variant) bool { return !now.Before(old.expires) && old.key != v.key })
	next.variants = slices.DeleteFunc(next.variants, func(old variant) bool { return old.key == v.key })

	next.sets = slices.DeleteFunc(next.sets, func(names []string) bool {
		return slices.Equal(names, o.vary) ||
			!slices.ContainsFunc(next.variants, func(v variant) bool { return slices.Equal(v.vary, names) })
	})
	next.sets = slices.Insert(next.sets, 0, o.vary)
	if len(next.sets) > maxVarySets {
		last := next.sets[maxVarySets]
		next.sets = next.sets[:maxVarySets]
		drop(func(old variant) bool { return slices.Equal(old.vary, last) })
	}
	cost := next.cost(o.primary) + v.cost()
	for n := max(o.maxVariants, 1); len(next.variants) > 0 && (len(next.variants) >= n || cost > limit); {
		oldest := 0
		for i, v := range next.variants {
			if v.used.Load() < next.variants[oldest].used.Load() {
				oldest = i
			}
		}
		old := next.variants[oldest]
		if next.wasted++; old.used.Load() > old.stored {
			next.wasted = 0
		}
		cost -= old.cost()
		gone = append(gone, old.key)
		next.variants = slices.Delete(next.variants, oldest, oldest+1)
	}
	next.variants = append(next.variants, v)
	for _, v := range next.variants {
		if v.expires.After(next.expires) {
			next.expires = v.expires
		}
	}
	return next, gone
}

// keyOf is the key of a variant.
func (ix *varyIndex) keyOf(o *object) string {
	return string(append(appendVariantPrefix([]byte(o.primary), ix.id, o.vary), o.variant...))
}

// keys are the keys of all variants.
func (ix *varyIndex) keys() []string {
	keys := make([]string, len(ix.variants))
	for i, v := range ix.variants {
		keys[i] = v.key
	}
	return keys
}

func (ix *varyIndex) has(key string) bool {
	return slices.ContainsFunc(ix.variants, func(v variant) bool { return v.key == key })
}

// outdated tells whether a response that matches all requests is the one to
// use, whatever variants there are.
func (ix *varyIndex) outdated(by *object) bool {
	o := orderOf(by)
	return !slices.ContainsFunc(ix.variants, func(v variant) bool { return v.order.after(o) })
}

// detailVariantLimit is the Detail of a fetch whose response is stored as one of
// more variants than the URL may have.
const detailVariantLimit = "variant_limit"

// crowded tells of a URL whose variants are in each other's way.
func (s *Store) crowded(primary string) bool {
	rec := s.shelf.get([]byte(primary))
	return rec != nil && rec.index != nil && rec.index.crowded()
}

// crowded tells of variants that come and go, and are of no use to anybody: the
// URL varies by what nearly every client has another value of.
func (ix *varyIndex) crowded() bool { return ix.wasted > 0 && ix.wasted >= len(ix.variants) }

// cost is what the index is charged in the store.
func (ix *varyIndex) cost(key string) int64 {
	n := int64(len(key)) + recordOverhead
	for _, v := range ix.variants {
		n += v.cost()
	}
	return n
}

func (v *variant) cost() int64 { return int64(len(v.key)+len(v.etag)) + 160 }
