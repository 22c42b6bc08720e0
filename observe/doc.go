// Package observe listens to the other packages: a request id, one log line
// per request and one per failure, and metrics for Prometheus.
//
// [Observer.Handler] goes outermost. The methods [Observer.Backend],
// [Observer.Breaker], [Observer.Cache], [Observer.RateLimit] and
// [Observer.ErrorPage] are the Observe funcs of the packages of those names,
// [Observer.Shed] that of ratelimit's Adaptive and Shedder. What is a state and no
// event is asked for at every scrape: [Observer.CacheStore],
// [Observer.BackendStatus] and [Observer.Maintenance]. [Observer.ServerLog] is for http.Server.ErrorLog.
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
// peer, status, bytes, duration, request_id, and where they apply client, cache,
// rung, fill, attempts, client_gone and aborted. It never has the query, which often
// carries tokens and addresses. The status is 499 where the client left before
// it was answered, and 0 where the connection was cut before an answer.
//
// The failure line (message "request failed", level Error for a 5xx, else
// Warn; "failure mended", level Warn, where the visitor noticed nothing; "fill
// failed", level Warn, for a fetch that no request waited for; "panic recovered",
// level Error, for a panic after the page; level Info for what is planned, cause
// maintenance) has cause, rung, status, backend, endpoint,
// received_status, detail, error, phases, attempts, notes, retry_after, hint,
// request_id and fill; where a policy refused, breaker, limiter and limit name
// it. A client that left is nobody's failure and has none.
//
// What a dry run would have done to a request is a line of level Info, "would
// refuse" (a breaker), "would limit" or "would shed", with dry_run. What it would
// have done to an endpoint is in the lines of breakers and ejections, with dry_run
// as well.
//
// # Floods
//
// An attack, or an outage, makes thousands of these lines per second that say the
// same: they have the same message and level, cause, backend and endpoint, breaker,
// limiter and limit, and panics the same origin. Of each such kind a burst is
// logged in full (Config.LogBurst, 20), and then so many per second
// (Config.LogRate, 10). The rest is neither formatted nor forgotten: "lines left
// out", at most once a second and kind and as long as more are, and "no more lines
// left out", after a second without, have the level of what they stand for, and of
// (its message), left_out (how many since then), since (when the first was left
// out) and what the lines have in common. What [Observer.ServerLog] writes is bounded
// in the same way. So the last one of a flood has its
// whole number. Observer.Shutdown tells what has not been told by then. After
// ten seconds of calm the next line is there, however low the rate.
//
// Access lines are never left out (Config.SkipAccess is for them), nor are changes
// of state: a breaker that opens or closes, an endpoint that goes or comes,
// maintenance on or off, a purge. Lines of level Debug, one for every attempt that failed, are for who wants
// them all. Metrics count everything. Beyond 1000 kinds, which takes names that
// somebody makes up, those that are new are bounded together, by message, as
// backend "other".
//
// # Metrics
//
// The label dry_run is "true" for what a policy decided and did not do. No label
// has a value that a client chooses: they come from configuration and
// from fixed sets. Counters of a name appear with their first event.
package observe
