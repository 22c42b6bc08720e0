package cache

import (
	"net/http"
	"slices"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// invalidate does what RFC 9111 section 4.4 asks for after an unsafe request:
// its URI, Location and Content-Location are no longer answered from the store,
// nor from what is being fetched already. What shares a group with what was
// stored there goes too, and so do the groups that the answer names (RFC 9875
// sections 2.2 and 3); what shares another group with these stays. renewed: the target's
// old content is invalid already, and what the answer brought must not be.
func (c *Cache) invalidate(r *http.Request, status int, h http.Header, renewed bool) {
	if !semantics.Invalidates(r.Method, status) {
		return
	}
	s := c.store
	target := string(c.keyer.appendURL(nil, r))
	urls := []string{target}
	for _, u := range semantics.InvalidatedURIs(r, c.cfg.Scheme(r), h) {
		urls = append(urls, string(c.keyer.AppendURL(nil, u)))
	}
	groups, more := semantics.Groups(h[semantics.CacheGroupInvalidation])
	// Under which other keys the URLs have content is not known. Behind a load
	// balancer most of it has the fields that this request has, too.
	fields := ""
	if key, ok := c.keyer.append(nil, r, c.normal.Select(r.Header)); ok {
		fields = string(key[len(target):])
	}
	for _, url := range urls { // all of the target's origin, and all before any is purged
		for _, key := range slices.Compact([]string{url, url + fields}) {
			shared, over := s.groupsOf(key)
			groups, more = append(groups, shared...), more || over
		}
	}
	for _, url := range urls {
		if renewed && url == target {
			continue
		}
		s.purgeURL(url, false)
	}
	slices.Sort(groups)
	s.purgeGroups(target, slices.Compact(groups), more)
}
