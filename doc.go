// Package holdfast is the documentation of a library that keeps an HTTP service
// answering while what stands behind it is slow, overloaded, broken or gone. It
// has no code: import the packages below.
//
// Every avoidable 503 is avoided, and every one that is left explains itself.
//
// # The map
//
// Five packages are peers: none imports another, and each is useful alone in
// front of any [net/http.Handler].
//
//   - [github.com/holdfast-go/holdfast/backend] reaches an origin, by address or
//     in the same process: timeouts by phase, retries, health, several endpoints.
//   - [github.com/holdfast-go/holdfast/breaker] stops asking a backend that
//     fails, and tells when it will ask again.
//   - [github.com/holdfast-go/holdfast/cache] is a shared HTTP cache (RFC 9111)
//     that collapses concurrent requests and serves stale content where that is
//     allowed and better than an error.
//   - [github.com/holdfast-go/holdfast/ratelimit] has token buckets per client,
//     with bounded memory, and finds the client's address behind trusted proxies.
//   - [github.com/holdfast-go/holdfast/errorpage] answers what nobody further in
//     could mend: branded, negotiated, with the request's id.
//
// Beneath them is [github.com/holdfast-go/holdfast/failure], the vocabulary: one
// table of the causes that can end a request, and how a failure travels. Beside
// them is [github.com/holdfast-go/holdfast/observe]: request ids, log lines and
// metrics from the events of the five.
//
// Each has a Config whose zero value works and is safe, a New that validates all
// of it, a Handler method that fits everything made of
// func(http.Handler) http.Handler, and an Observe hook. (A backend is a handler
// itself: it ends the chain.) What they need of one another is a func field or a
// small interface that the program composing them fills in.
//
// # The order, outside in
//
//		observer.Handler(page.Handler(limit.Handler(store.Handler(trip.Handler(origin)))))
//
//	  - observe stands outermost: it overwrites the request's X-Request-Id, which
//	    all others read, and times everything.
//	  - errorpage comes next, since it must see every failure that nobody further
//	    in mended, and recovers panics as long as nothing was sent.
//	  - ratelimit, generous and per client, stands before the cache because a flood
//	    costs more than the check does. A second one behind the cache counts only
//	    what would reach the backend.
//	  - cache: a hit costs no breaker slot and no connection. Stale content beats an
//	    error page, so nothing that writes a branded page may stand between the
//	    cache and the backend.
//	  - breaker: it sees only what would really reach the backend. With several
//	    endpoints it works per endpoint instead, as the backend's Gate.
//	  - backend: retries happen as far inside as possible, where it is known what
//	    was sent.
//
// # How a failure travels
//
// The part that fails reports it into a slot of the request's context, then
// answers. A layer further out that can do better, a cache with a stale copy,
// marks it as mended. What is unmended at the outside becomes the error page, the
// log line and the metric, all with the same cause. On the wire it is in
// Proxy-Status (RFC 9209), and what the cache did is in Cache-Status (RFC 9211).
//
// # Guarantees
//
//   - Streaming: every layer passes on flushes, 1xx responses, trailers, uploads,
//     server-sent events and upgrades unbuffered; one conformance test over real
//     HTTP/1.1 and HTTP/2 connections holds each of them to it.
//   - A message that broke off never ends as if it were whole, and is never
//     stored.
//   - A client that leaves is nobody's failure: it trips no breaker and ends no
//     fetch that others wait for.
//   - Every timeout is finite unless switched off, and everything that a client or
//     a backend can make grow is bounded.
//   - No header and no peer is trusted unless configured: not for the client's
//     address, the scheme or the request id.
//   - There is no global state. What a constructor starts ends with its Shutdown
//     or Close; everything else ends with its request.
//   - No type of the libraries inside appears in an exported signature.
package holdfast
