// Package cache is a shared HTTP cache (RFC 9111) that keeps answering when
// what stands behind it is slow, overloaded, broken or gone.
//
// [Cache.Handler] wraps any http.Handler. A response that may be stored is
// stored while it streams to whoever waits for it; many requests for the same
// content make one fetch. When a stored response is no longer fresh it is
// refreshed, and if that fails, takes too long or would be refused anyway, the
// stale copy answers, unless the origin forbade it (must-revalidate and its
// kin). Which rung of that ladder was used is told in Cache-Status (RFC 9211),
// in the [Event] and in the request's failure slot (package failure).
//
// # What next must know
//
// Without a stale copy next runs on the request's own goroutine, with a writer
// of the cache's own and a context that outlives the client, so that a client
// that leaves hurts nobody who waits for the same content. With a stale copy
// the refresh is detached: it runs on its own goroutine, with the values of
// the request's context but neither its cancellation nor its deadline. Where
// the cache stands inside a router whose contexts are pooled (chi, gin),
// [Config.Refresh] names the outermost handler, which refreshes enter instead.
//
// Requests that can't be cached (unsafe methods, upgrades, bodies) pass with
// the original writer, or one that forwards everything.
//
// # Memory
//
// [Config.MemoryBytes] is divided: 7/8 for what is stored, 1/8 for what is
// being fetched. The process needs about twice as much, since the garbage
// collector lets freed memory stand for a while.
package cache
