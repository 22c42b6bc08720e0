package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/observe"
	"github.com/holdfast-go/holdfast/ratelimit"
)

// stack is the parts of Holdfast in their order.
type stack struct {
	handler  http.Handler
	metrics  http.Handler
	observer *observe.Observer
	page     *errorpage.Page
	cache    *cache.Cache
	backend  *backend.Backend
	breakers *breakers
	shed     *ratelimit.Adaptive // nil: off
}

// tuning is what differs between the proxy and the demonstration beside the
// flags.
type tuning struct {
	breaker    breaker.Config
	health     backend.Health // but its path
	retryStale time.Duration
	page       errorpage.Config
}

// siteTuning is for a site in earnest: visitors wait half a second for a refresh at
// most, and within two seconds after the site is well again its pages are fresh.
//
// The cache asks an origin in trouble once a second. So the breaker and the check
// may not keep it away for longer than that: the breaker tries again after a
// second, and one good check is enough, of which there are two a second. A trial
// has the time that the site is given for an answer: a slow site would otherwise
// be cut off for good. But others are tried beside one that hangs.
func siteTuning(cfg config) tuning {
	return tuning{
		breaker: breaker.Config{
			OpenFor:      time.Second,
			Silence:      silence(cfg),
			TrialTimeout: cfg.firstByte + 5*time.Second,
			TrialRelease: time.Second,
		},
		health: backend.Health{
			Interval: cfg.healthInterval,
			Timeout:  time.Second,
			Rise:     1,
			Fall:     3,
		},
		retryStale: time.Second,
	}
}

// silence is when an endpoint that answers nobody any more has stalled: before the
// first of its visitors run into -first-byte, and after most of them would have left.
func silence(cfg config) time.Duration {
	d := min(max(cfg.firstByte/3, 2*time.Second), 20*time.Second)
	if d >= cfg.firstByte {
		return 0
	}
	return d
}

// newStack puts the parts in line, outside in:
//
//	observe    gives the request its id, and records what became of it
//	errorpage  answers where nobody inside could
//	loopGuard  what comes back must not wait for itself in the cache
//	errorpage  maintenance, unless it is to be inside of the cache
//	ratelimit  with -rate: a flood costs less than a hit
//	cache      a hit costs no breaker slot and no connection
//	backend    queue, shedding, balance, retries, timeouts, health
//	breaker    inside the backend, one per endpoint
//
// An error joins everything that any part has to say about its configuration.
func newStack(ctx context.Context, cfg config, t tuning, endpoints []backend.Endpoint, log *slog.Logger) (*stack, error) {
	s := &stack{}
	watch := observe.Config{Logger: log}
	var clientIP func(*http.Request) (netip.Addr, bool) // nil: the peer is the client
	if len(cfg.trustedProxies) > 0 {
		var err error
		if clientIP, err = ratelimit.NewClientIP(ratelimit.ClientIPConfig{TrustedProxies: cfg.trustedProxies}); err != nil {
			return nil, err
		}
		watch.ClientIP = clientIP
	}
	obs, err := observe.New(watch)
	if err != nil {
		return nil, err // without an observer there is nothing to give to the others
	}
	s.metrics, s.observer = obs.Metrics(), obs
	pages := pageConfig(cfg, t)
	pages.Observe = obs.ErrorPage
	page, pageErr := errorpage.New(pages)
	var (
		limit    *ratelimit.Limiter
		limitErr error
	)
	if cfg.rate > 0 {
		limit, limitErr = ratelimit.New(ratelimit.Config{Rate: cfg.rate, Burst: cfg.burst, ClientIP: clientIP, DryRun: cfg.dry("rate"), Observe: obs.RateLimit})
	}
	var shedErr error
	if cfg.shed {
		s.shed, shedErr = ratelimit.NewAdaptive(ratelimit.AdaptiveConfig{Name: "site", DryRun: cfg.dry("shed"), Observe: obs.Shed})
	}
	t.breaker = cfg.breaker(t.breaker)
	t.breaker.Observe = obs.Breaker
	var breakerErr error
	s.breakers, breakerErr = newBreakers(t.breaker)
	// Nothing that has goroutines is made before everything else is known to be right.
	if err := errors.Join(pageErr, limitErr, shedErr, breakerErr); err != nil {
		return nil, err
	}
	if s.backend, err = backend.New(s.backendConfig(cfg, t, endpoints, obs)); err != nil { //nolint:contextcheck // its checks live until Shutdown
		return nil, err
	}
	if s.cache, err = cache.New(cacheConfig(cfg, t, obs)); err != nil {
		return nil, errors.Join(err, s.backend.Shutdown(ctx))
	}
	if err = errors.Join(obs.CacheStore("site", s.cache.Stats), obs.BackendStatus(s.backend.Status), obs.Maintenance(page.MaintenanceState)); err != nil {
		return nil, errors.Join(err, s.cache.Shutdown(ctx), s.backend.Shutdown(ctx))
	}

	s.page = page
	loop := newLoopGuard()
	h := loop.Mark(s.backend)
	if cfg.maintenancePlace == inside {
		h = page.Maintenance(h)
	}
	h = s.cache.Handler(h)
	if limit != nil {
		h = limit.Handler(h)
	}
	if cfg.maintenancePlace == outside {
		h = page.Maintenance(h)
	}
	s.handler = obs.Handler(page.Handler(loop.Handler(h)))
	return s, nil
}

func (s *stack) backendConfig(cfg config, t tuning, endpoints []backend.Endpoint, obs *observe.Observer) backend.Config {
	c := backend.Config{
		Name:           "site",
		Endpoints:      endpoints,
		Connect:        cfg.connect,
		FirstByte:      cfg.firstByte,
		BetweenBytes:   cfg.betweenBytes,
		UntilHeaders:   untilHeaders(cfg),
		PreserveHost:   preserveHost(endpoints),
		TrustForwarded: proxies(cfg.trustedProxies).sent,
		Retries:        retries(cfg, endpoints),
		RestartWait:    cfg.restartWait,
		Balance:        cfg.balance,
		MaxInFlight:    cfg.maxInFlight,
		QueueWait:      cfg.queueWait,
		Health:         t.health,
		NewGate:        s.breakers.gate,
		Ejection:       backend.Ejection{DryRun: cfg.dry("eject")},
		Observe:        obs.Backend,
	}
	if s.shed != nil {
		c.Limit = s.shed
	}
	if cfg.balance == backend.ConsistentHash {
		c.HashKey = func(r *http.Request) string { return r.Host + r.URL.RequestURI() }
	}
	if c.Queue = cfg.queue; cfg.queue <= 0 {
		c.Queue = -1 - cfg.queue // there 0 is what suits the limit, and -1 none
	}
	c.Health.Path = cfg.health
	return c
}

// breaker is c with what the flags say otherwise.
func (cfg config) breaker(c breaker.Config) breaker.Config {
	c.FailureRatio = cmp.Or(cfg.breakerRatio, c.FailureRatio)
	c.MinVolume = cmp.Or(cfg.breakerMin, c.MinVolume)
	c.Window = cmp.Or(cfg.breakerWindow, c.Window)
	c.OpenFor = cmp.Or(cfg.breakerOpen, c.OpenFor)
	if cfg.breakerSlow > 0 {
		c.SlowCall, c.Silence = cfg.breakerSlow, 0
	}
	c.OpenMax = c.OpenFor // no growth: one trial is nothing beside visitors who wait for a site that is well
	c.DryRun = cfg.dry("breaker")
	return c
}

// retries is how many more attempts may follow the first. A lone endpoint gets
// one, which is for a connection that was just being closed; more would only add
// to its trouble.
func retries(cfg config, endpoints []backend.Endpoint) int {
	switch {
	case cfg.retries > 0:
		return cfg.retries
	case cfg.retries == 0:
		return -1
	case len(endpoints) == 1:
		return 1
	}
	return 2
}

// preserveHost tells whether the site is told the name that visitors asked for.
// It is, so that its redirects and links lead back through the proxy, but not over
// https, where its certificate and its virtual host go by the name in the URL. It
// learns the visitors' name from X-Forwarded-Host in either case.
func preserveHost(endpoints []backend.Endpoint) bool {
	return !slices.ContainsFunc(endpoints, func(e backend.Endpoint) bool {
		return strings.HasPrefix(e.URL, "https:") || strings.HasPrefix(e.URL, "h2:")
	})
}

// untilHeaders is the budget of a request until its headers are there, in all
// attempts: enough to wait for the first one, which runs into -first-byte, and for
// a second that does not.
func untilHeaders(cfg config) time.Duration {
	return max(time.Minute, 2*cfg.firstByte+cfg.queueWait+cfg.restartWait+10*time.Second)
}

// followerWait is after what time a page that hangs at the origin is asked for
// once more, for all who wait for it.
const followerWait = 5 * time.Second

func cacheConfig(cfg config, t tuning, obs *observe.Observer) cache.Config {
	c := cache.Config{
		MemoryBytes:          cfg.cacheMemory,
		MaxObjectBytes:       cfg.maxObject,
		StaleWhileRevalidate: cfg.staleWhileRevalidate,
		StaleIfError:         cfg.staleIfError,
		StaleIfSlow:          cfg.staleIfSlow,
		RetryStale:           t.retryStale,
		FillTimeout:          untilHeaders(cfg),
		StoreSetCookie:       cfg.storeSetCookie,
		Key:                  cache.Key{QueryIgnore: cfg.keyIgnoreQuery},
		Compress:             cfg.compress,
		Scheme:               proxies(cfg.trustedProxies).scheme,
		Observe:              obs.Cache,
	}
	if cfg.staleIfError == 0 {
		c.StaleIfError = -1
	}
	if cfg.staleIfSlow > 0 { // without it a refresh is awaited, however long it takes
		c.FollowerWait = followerWait
	}
	return c
}

// endpointsOf names the endpoints by their address, or by the whole URL where
// two share one.
func endpointsOf(urls []*url.URL) []backend.Endpoint {
	address := func(u *url.URL) string {
		if u.Scheme == "unix" {
			return u.Path
		}
		return u.Host
	}
	count := make(map[string]int)
	for _, u := range urls {
		count[address(u)]++
	}
	endpoints := make([]backend.Endpoint, 0, len(urls))
	for _, u := range urls {
		e := backend.Endpoint{URL: u.String(), Name: address(u)}
		if count[e.Name] > 1 {
			e.Name = u.String()
		}
		endpoints = append(endpoints, e)
	}
	return endpoints
}
