package cache

import (
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// The bounds of what is sent of other variants' tags: of them all, and their
// bytes with what is between them.
const (
	maxOthers     = 16
	maxOthersTags = 1024
)

// other is a stored variant that a request does not match. The origin may say
// that it is the answer nevertheless (RFC 9111 sections 4.1 and 4.3.1). It
// is never used without that word.
type other struct{ key, tag string }

// others are the variants of a URL by whose tags a request that matches none of
// them may be validated, those used last first: what is still there, may be
// used after validation, and is in a coding that the client can read. That the
// origin is asked about, too; but there are many that give a page and its
// compressed form one tag.
func (s *Store) others(primary string, reqHeader http.Header) []other {
	rec := s.shelf.get([]byte(primary))
	if rec == nil || rec.index == nil {
		return nil
	}
	variants := slices.Clone(rec.index.variants)
	slices.Reverse(variants) // the latest first
	used := make(map[string]int64, len(variants))
	for _, v := range variants {
		used[v.key] = v.used.Load()
	}
	slices.SortStableFunc(variants, func(a, b variant) int { return int(used[b.key] - used[a.key]) })
	var list []other
	size := 0
	for _, v := range variants {
		if !semantics.IsETag(v.etag) {
			continue
		}
		known := slices.ContainsFunc(list, func(o other) bool { return o.tag == v.etag })
		if !known && size+len(v.etag)+2 > maxOthersTags {
			continue
		}
		o := s.other(other{v.key, v.etag})
		if o == nil || !semantics.CodingsAccepted(reqHeader, o.values("Content-Encoding")) {
			continue
		}
		if !known {
			size += len(v.etag) + 2
		}
		if list = append(list, other{v.key, v.etag}); len(list) == maxOthers {
			break
		}
	}
	return list
}

// other is the object that v stands for; nil if it is gone by now.
func (s *Store) other(v other) *object {
	rec := s.shelf.get([]byte(v.key))
	if rec == nil || rec.object == nil || rec.object.resp.ETag != v.tag || !s.valid(rec.object) {
		return nil
	}
	return rec.object
}

// tagsOf are the tags of list, each once.
func tagsOf(list []other) (tags []string) {
	for _, v := range list {
		if !slices.Contains(tags, v.tag) {
			tags = append(tags, v.tag)
		}
	}
	return tags
}

// named are the variants that a 304 names by its tag, the most recent first (RFC
// 9111 section 4.3.4): a strong one names all that have it, a weak one the most
// recent of those that have it. Without a tag it names none.
func (s *Store) named(list []other, h http.Header) (objects []*object) {
	lines := h["Etag"]
	if len(lines) != 1 || !semantics.IsETag(lines[0]) {
		return nil
	}
	for _, v := range list {
		if !semantics.NamedBy(lines[0], v.tag) {
			continue
		}
		if o := s.other(v); o != nil {
			objects = append(objects, o)
		}
	}
	slices.SortStableFunc(objects, func(a, b *object) int {
		switch x, y := orderOf(a), orderOf(b); {
		case x.after(y):
			return -1
		case y.after(x):
			return 1
		}
		return 0
	})
	if len(objects) > 1 && semantics.IsWeak(lines[0]) {
		objects = objects[:1]
	}
	return objects
}

// confirmOthers updates the variants that a 304 confirmed beside the one that
// became the answer.
func (x *fetch) confirmOthers(answer *object, now time.Time) {
	f := x.f
	c := f.cache
	if c.cfg.Policy != nil {
		return // it was asked about the answer only
	}
	for _, base := range x.named {
		updated := semantics.Update(base.header(), x.confirmed, now, c.options)
		if ok, _ := semantics.Storable(http.MethodGet, f.reqHeader, base.status, updated, c.options); !ok {
			continue
		}
		resp := semantics.Analyze(updated, base.status, x.sent, now, c.options)
		tags := c.store.gen.newTags(f.primary, updated, nil)
		o := newObject(f, base.status, semantics.Sanitize(updated, c.options), base.body, base.size, base.trailer, resp, tags)
		if !slices.Equal(o.vary, base.vary) || slices.Equal(o.vary, answer.vary) && string(base.variant) == string(answer.variant) {
			continue // what it is selected by now its own request would have to tell
		}
		o.variant, o.used = base.variant, base.used
		o.keepCodings(base)
		c.store.publisher.submit(job{put: o, keep: o.keep(now)})
	}
}
