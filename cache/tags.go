package cache

import (
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// tags are what a response is filed under beside its URL.
type tags struct {
	names  []string // of Surrogate-Key, Cache-Tag and Config.Policy
	groups []string // RFC 9875
	// moreNames and moreGroups: there were more than are kept, or longer ones.
	// Then a purge of any of the namespace, or of the origin, is one of them.
	moreNames, moreGroups bool
	ids                   []uint64 // the marks of all these
}

// newTags are the tags that a response with the primary key and the fields has,
// and those in more; nil if there are none.
func (g *generations) newTags(primary string, h http.Header, more []string) *tags {
	var t tags
	t.names, t.moreNames = semantics.Tags(h, more)
	t.groups, t.moreGroups = semantics.Groups(h[semantics.CacheGroups])
	if len(t.names) == 0 && len(t.groups) == 0 && !t.moreNames && !t.moreGroups {
		return nil
	}
	at := semantics.SplitKey(semantics.URLPart(primary))
	t.ids = make([]uint64, 0, len(t.names)+len(t.groups)+3)
	for _, name := range t.names {
		t.ids = append(t.ids, g.id(markTag, at.Namespace, name))
	}
	if t.moreNames {
		t.ids = append(t.ids, g.id(markAnyTag, at.Namespace))
	}
	for _, name := range t.groups {
		t.ids = append(t.ids, g.groupID(at, name))
	}
	if t.moreGroups {
		t.ids = append(t.ids, g.id(markAnyGrp, at.Namespace, at.Scheme, at.Host))
	}
	if len(t.groups) > 0 || t.moreGroups {
		t.ids = append(t.ids, g.id(markGroups, at.Namespace, at.Scheme, at.Host))
	}
	return &t
}

// cost is what tags are charged in the store.
func (t *tags) cost() (n int64) {
	if t == nil {
		return 0
	}
	for _, list := range [...][]string{t.names, t.groups} {
		for _, s := range list {
			n += int64(len(s)) + 24
		}
	}
	return n + 128
}

// groupID is the mark of a group, which is one of its origin's (RFC 9875 section
// 2).
func (g *generations) groupID(at semantics.KeyParts, name string) uint64 {
	return g.id(markGroup, at.Namespace, at.Scheme, at.Host, strings.ReplaceAll(name, "\x00", "\x00n"))
}

// purgeGroups forgets what is in any of an origin's groups; more: there are more
// of them than were read, so that it is all that has a group.
func (s *Store) purgeGroups(url string, groups []string, more bool) {
	if len(groups) == 0 && !more {
		return
	}
	g, at := &s.gen, semantics.SplitKey(url)
	ids := make([]uint64, 0, len(groups)+2)
	for _, name := range groups {
		ids = append(ids, g.groupID(at, name))
	}
	ids = append(ids, g.id(markAnyGrp, at.Namespace, at.Scheme, at.Host))
	if more {
		ids = append(ids, g.id(markGroups, at.Namespace, at.Scheme, at.Host))
	}
	g.purge(false, ids...)
}

// groupsOf are the groups of what is stored under a key, in parts or whole.
func (s *Store) groupsOf(key string) (groups []string, more bool) {
	add := func(o *object) {
		if o != nil && o.tags != nil && s.valid(o) {
			groups, more = append(groups, o.tags.groups...), more || o.tags.moreGroups
		}
	}
	if rec := s.shelf.get([]byte(key)); rec != nil {
		add(rec.object)
		if rec.index != nil {
			for _, v := range rec.index.variants {
				if one := s.shelf.get([]byte(v.key)); one != nil {
					add(one.object)
				}
			}
		}
	}
	if rec := s.shelf.get([]byte(partialKey(key))); rec != nil {
		for _, o := range rec.partials {
			add(o)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), more
}
