// Package observe listens to the other packages: a request id, one log line
// per request and one per failure, and metrics for Prometheus.
//
// [Observer.Handler] goes outermost. The five methods [Observer.Backend],
// [Observer.Breaker], [Observer.Cache], [Observer.RateLimit] and
// [Observer.ErrorPage] are the Observe funcs of the packages of those names:
//
//	obs, err := observe.New(observe.Config{})
//	store, err := cache.New(cache.Config{Observe: obs.Cache})
//	…
//	h := obs.Handler(page.Handler(limit.Handler(store.Handler(trip.Handler(origin)))))
//
// # What belongs together
//
// Every request has an id, which its lines carry as request_id, the visitor's
// error page shows, and the backend gets in the same header field. A fetch that
// the cache makes for several requests, or for none that still waits, has an id
// of its own: fill, in the lines of the requests that it answered and in its
// own.
//
// The access line (level Info, message "request") has method, host, path, proto,
// peer, status, bytes, duration, request_id, and where they apply cache, rung,
// fill, attempts, client_gone and aborted. It never has the query, which often
// carries tokens and addresses. The status is 499 where the client left before
// it was answered, and 0 where the connection was cut before an answer.
//
// The failure line (message "request failed", level Error for a 5xx, else Warn;
// "failure mended", level Warn, where the visitor noticed nothing; "fill failed",
// level Warn, for a fetch that no request waited for) has cause, rung, status,
// backend, endpoint, detail, error, phases, attempts, notes, retry_after, hint,
// request_id and fill. A client that left is nobody's failure and has none.
//
// # Metrics
//
// No label has a value that a client chooses: they come from configuration and
// from fixed sets. Counters of a name appear with their first event.
package observe
