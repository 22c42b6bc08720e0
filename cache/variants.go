package cache

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// The bounds of one URL's variants. At the bound the variant that was used
// least recently goes.
const (
	maxVariants = 64
	maxVarySets = 4
)

// varyIndex is what stands under the key of a URL whose responses vary (RFC
// 9111 section 4.1). It is never changed, only replaced.
type varyIndex struct {
	// id is part of the variants' keys. A new index has a new one, so that
	// variants of an index that was evicted can't be found again: they may have
	// been invalidated when nothing was there to tell.
	id uint64
	// sets are the sets of names by which responses vary, the latest first. An
	// origin that sends the same Vary with all responses has one.
	sets [][]string
	// variants are those that were stored, the latest last. What the store has
	// of them since, it decides by itself.
	variants []variant
	expires  time.Time // when the last of them does
}

// variant is one of a URL's stored responses, without its body, which must not
// be kept from being freed by the index.
type variant struct {
	key  string
	vary []string
	used *atomic.Int64
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

// find looks a request up. key has the primary key and is used as scratch
// beyond it; it is returned as it was, perhaps with more room.
func (s *Store) find(key []byte, h http.Header) (found, []byte) {
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
	miss := found{names: rec.index.sets[0], varies: true}
	for _, names := range rec.index.sets {
		key = appendVariantPrefix(key[:n], rec.index.id, names)
		key = semantics.AppendVariant(key, names, h)
		v := s.shelf.get(key)
		if v == nil || v.object == nil {
			continue
		}
		if st := s.standing(v.object); st != purged {
			return found{object: v.object, names: names, varies: true, softened: st == softened}, key[:n]
		}
	}
	return miss, key[:n]
}

// with returns the index with o as a variant, whose key it sets, and the keys
// that had to go for it. ix may be nil.
func (ix *varyIndex) with(o *object, expires time.Time, newID func() uint64) (next *varyIndex, gone []string) {
	next = &varyIndex{expires: expires}
	if ix == nil {
		next.id = newID()
	} else {
		next.id = ix.id
		next.sets = slices.Clone(ix.sets)
		next.variants = slices.Clone(ix.variants)
		if ix.expires.After(expires) {
			next.expires = ix.expires
		}
	}
	key := appendVariantPrefix([]byte(o.primary), next.id, o.vary)
	o.key = string(append(key, o.variant...))

	next.sets = slices.DeleteFunc(next.sets, func(names []string) bool { return slices.Equal(names, o.vary) })
	next.sets = slices.Insert(next.sets, 0, o.vary)
	if len(next.sets) > maxVarySets {
		dropped := next.sets[maxVarySets]
		next.sets = next.sets[:maxVarySets]
		next.variants = slices.DeleteFunc(next.variants, func(v variant) bool {
			if !slices.Equal(v.vary, dropped) {
				return false
			}
			gone = append(gone, v.key)
			return true
		})
	}
	next.variants = slices.DeleteFunc(next.variants, func(v variant) bool { return v.key == o.key })
	if len(next.variants) >= maxVariants {
		oldest := 0
		for i, v := range next.variants {
			if v.used.Load() < next.variants[oldest].used.Load() {
				oldest = i
			}
		}
		gone = append(gone, next.variants[oldest].key)
		next.variants = slices.Delete(next.variants, oldest, oldest+1)
	}
	next.variants = append(next.variants, variant{key: o.key, vary: o.vary, used: o.used})
	return next, gone
}

// cost is what the index is charged in the store.
func (ix *varyIndex) cost(key string) int64 {
	n := int64(len(key)) + recordOverhead + int64(len(ix.variants))*64
	for _, v := range ix.variants {
		n += int64(len(v.key))
	}
	return n
}
