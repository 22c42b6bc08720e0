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
// # The key
//
// What answers a request is found by the namespace, the scheme (Config.Scheme),
// the host in lower case without the scheme's default port, the escaped path as it
// came, the query as Config.Key has it, the fields and cookies that Config.Key
// names, the fields of forwarders that the request has ([Key].Unkeyed says which),
// and then by what Vary names. GET and HEAD share what is stored. A host with a dot
// at its end, and another spelling of a path's escapes, have entries of their own,
// which a purge of either reaches. Not in the key are a fragment, X-Forwarded-For
// and its kin, and a body: a request with one passes by the cache.
//
// What is not in the key must not change the answer. Config.Policy sees every
// answer that may be stored, and can refuse it.
//
// # Purging
//
// [Cache.Purge] forgets by URL, prefix, host, tag or everything, hard or soft.
// Tags are what responses have in Surrogate-Key, parted by blanks, and in
// Cache-Tag, parted by commas; case counts. 128 of them are kept, of at most 256
// bytes each and 8 KiB in all: a response with more is stored, and any purge by
// tag reaches it. Both fields pass downstream as they are, for the caches there;
// who wants them hidden takes them out of the answers outside of the cache.
// Unsafe requests that succeed invalidate what RFC 9111 section 4.4 says, and
// groups (RFC 9875) of the same origin: those that Cache-Group-Invalidation
// names, and those of what was invalidated.
//
// # Memory
//
// [Config.MemoryBytes] is divided: 7/8 for what is stored, 1/8 for what is
// being fetched. The process needs about twice as much, since the garbage
// collector lets freed memory stand for a while.
package cache
