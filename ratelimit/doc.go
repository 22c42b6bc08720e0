// Package ratelimit limits how often a client may ask: a token bucket per
// client, in a table of bounded size. And it keeps a backend that has more to do than
// it can at what it can: see Shedding.
//
// A bucket holds Burst permits and gains Rate of them per second. A request
// takes one, and is answered with 429 and the time to wait where there is none.
// Refused requests take nothing, so that a client that keeps asking is served at
// its rate and not starved.
//
// # Who the client is
//
// By default it is the peer of the connection. Behind a proxy that would be the
// proxy, and all its visitors would share one bucket: give Config.ClientIP what
// [NewClientIP] returns, and tell it the addresses of your proxies. Nothing that
// a client can write into a field is believed. An IPv6 client is its /64, since
// it may use every address in it. Clients that can't be told apart, because
// their address is absent or unreadable, share one bucket.
//
// # Several limits
//
// Config.Limits are checked together: a request takes from all of them or from
// none. The one that refuses longest is named first in the RateLimit fields, and
// its time is the Retry-After.
//
// # Counting answers
//
// A limit with a Count counts answers of a kind (401, 404): it stops who guesses
// passwords or looks for holes, and leaves others alone. What a request may cost
// is taken when it comes, and given back when its answer does not count.
//
// # What is lost when the table is full
//
// A bucket that is full again is no different from a new one, so such are
// replaced when room is needed and nothing is lost. Where none is full, clients
// that are not in the table share one bucket of the same rate. Nobody gains a
// fresh burst by making the table forget.
//
// # Shedding
//
// An [Adaptive] finds out how many requests a backend can work on at once, from the
// times of its answers. The backend package takes one as its Config.Limit. In front
// of any other handler, a proxy of somebody else's say, a [Shedder] keeps it: beyond
// the limit a few requests wait, for a quarter of a second, and the others get a 503
// at once, which costs nobody anything. Where that goes on for a second, the newest
// are served first: they are the ones whose clients are still there.
//
// What comes first is up to ShedderConfig.Priority: sheddable requests don't wait,
// critical ones go before all others. A Shedder belongs next to the backend, behind
// a cache and behind limits per client: hits take no slot, and one client that asks
// too much is told so.
package ratelimit
