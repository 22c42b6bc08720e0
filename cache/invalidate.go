package cache

import (
	"net/http"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// invalidate does what RFC 9111 section 4.4 asks for after an unsafe request:
// its URI, Location and Content-Location are no longer answered from the store,
// nor from what is being fetched already.
func (c *Cache) invalidate(r *http.Request, status int, h http.Header) {
	if !semantics.Invalidates(r.Method, status) {
		return
	}
	scheme := c.cfg.Scheme(r)
	c.store.invalidate(string(semantics.AppendKey(nil, c.cfg.Namespace, scheme, r)))
	for _, u := range semantics.InvalidatedURIs(r, scheme, h) {
		c.store.invalidate(string(semantics.AppendURLKey(nil, c.cfg.Namespace, u)))
	}
}
